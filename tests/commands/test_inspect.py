"""`saeuniv inspect`: what is there, how it fits, and overrides that a run accepts."""

import shlex
from pathlib import Path

import numpy as np
import pytest

from saeuniv.adapters import fitting
from saeuniv.commands.inspect import main
from saeuniv.commands.shell import guarded
from saeuniv.preflight import preflight
from tests.adapters.formats.writing import arrays, write_gemma_scope, write_sae_lens


def _said(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(argv) == 0
    return capsys.readouterr().out


def test_what_there_is_is_shown_by_hookpoint_and_width(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = here / "gemma-scope-2b-pt-res"
    for layer, l0, words in ((0, 22, "16k"), (1, 82, "16k"), (2, 119, "16k"), (9, 60, "16k"), (1, 70, "65k")):
        write_gemma_scope(root, layer, l0, words=words)
    said = _said(capsys, str(root))
    assert "format gemma_scope, 5 dictionaries" in said
    rows = [line.split() for line in said.splitlines() if line.strip().startswith("resid_post")]
    assert rows[0] == ["resid_post", "0-2,9", "16384", "22,", "60,", "82,", "119", "jumprelu", "6"]
    assert rows[1] == ["resid_post", "1", "65536", "70", "jumprelu", "6"]
    assert f"sae_a=local sae_a.path={root} width_a=16384 sae_a.l0=canonical control=none" in said
    asked = _said(capsys, str(root), "--width", "65k", "--l0", "70")
    assert "width_a=65k sae_a.l0=70 control=none" in asked


def test_what_cannot_be_read_is_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    about = {"hook_name": "blocks.1.hook_mlp_out", "model_name": "gpt2-small"}
    write_sae_lens(here / "saes/one", arrays(), architecture="temporal", metadata=about)
    said = _said(capsys, "saes")
    assert "one has architecture temporal; expected standard, topk, jumprelu, gated. Choose another." in said
    assert "base model, as its files say: gpt2-small" in said and "sae_a.hookpoint=mlp_out" in said


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["no/such/folder"], "source=no/such/folder: expected a folder, found nothing"),
        (["."], "source=.: expected dictionaries of the format sparsify or gemma_scope"),
    ],
)
def test_a_source_without_dictionaries_ends_with_2(
    argv: list[str], said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(main, argv) == 2
    assert said in capsys.readouterr().err


def _both_signs(d_in: int) -> dict[str, np.ndarray]:
    both = np.concatenate([np.eye(d_in), -np.eye(d_in)]).astype(np.float32)
    nothing = np.zeros(2 * d_in, dtype=np.float32)
    return {"W_enc": both.T, "W_dec": both, "b_enc": nothing, "b_dec": nothing[:d_in]}


def test_the_fit_is_measured_on_a_model_and_the_overrides_pass_preflight(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from saeuniv.adapters import model_folders, tiny
    from saeuniv.config import TinyModel

    spec = TinyModel(seed=0, d_model=16, n_layers=2, n_heads=2)
    model_folders.save_model_folder(tiny.initial_model(spec), tiny.byte_tokenizer(128), here / "model")
    half = {**_both_signs(16), "W_dec": _both_signs(16)["W_dec"] / 2}
    for layer, tensors in ((0, _both_signs(16)), (1, half)):
        name = f"blocks.{layer}.hook_resid_post"
        write_sae_lens(here / "saes" / name, tensors, architecture="standard", hook_point=name, d_in=16)
    (here / "text.txt").write_text("All happy families are alike; each is unhappy in its own way. " * 60)
    said = _said(capsys, "saes", "--model", "model", "--text", "text.txt")
    assert "resid_post[0]: FVU 0.000 (0.000 at resid_pre[0], 0.000 at resid_post[1])" in said
    # Half of x about 0 is left, in variance a quarter and more where the mean is not 0.
    (own,) = (line for line in said.splitlines() if line.startswith("resid_post[1]: FVU "))
    assert 0.25 <= float(own.split()[2]) < 1
    overrides = shlex.split(next(line for line in said.splitlines() if "sae_a=local" in line))
    monkeypatch.setenv("SAEUNIV_STORE", str(here / "store"))
    more = ["a=local", "a.path=model", "sae_b=none", "allow_mixed=true", "data.context_length=64"]
    assert preflight([*overrides, *more]).faults == ()
    monkeypatch.setattr(fitting, "_TOKENS", 1 << 20)
    assert guarded(main, ["saes", "--model", "model", "--text", "text.txt"]) == 1
    assert "text.txt: expected 1048576 tokens or more, got 3720" in capsys.readouterr().err
