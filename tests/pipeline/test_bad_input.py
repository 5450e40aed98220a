"""What a user may get wrong: exit code 2 and nothing written, or exit code 1 and one message."""

import json
import shutil
import struct
import sys
from pathlib import Path

import pytest

from saeuniv.app import main
from tests.pipeline.conftest import Desk, read_status

MIXED = "allow_mixed=true"


def safetensors(**shapes: tuple[int, int]) -> bytes:
    """Zeros in the safetensors format."""
    header: dict[str, object] = {}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * shape[0] * shape[1]
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(end)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with files that do not do, where the user stands; the store beside it does not exist yet."""
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "empty.txt").write_text("")
    (folder / "binary.txt").write_bytes(b"\x00\xff\xfe" * 400)
    (folder / "short.txt").write_text("too short")
    (folder / "file").write_text("")
    config = {"model_type": "gpt_neox", "hidden_size": 64, "num_hidden_layers": 4, "vocab_size": 256}
    tokenizer = {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}
    parts = {
        "config.json": json.dumps(config).encode(),
        "model.safetensors": safetensors(),
        "tokenizer.json": json.dumps(tokenizer).encode(),
    }
    for model, lacks in (("no_weights", "model.safetensors"), ("no_tokenizer", "tokenizer.json")):
        (folder / model).mkdir()
        for name in parts.keys() - {lacks}:
            (folder / model / name).write_bytes(parts[name])
    (folder / "gemma").mkdir()
    gemma = {**parts, "config.json": json.dumps({**config, "model_type": "gemma2"}).encode()}
    for name, content in gemma.items():
        (folder / "gemma" / name).write_bytes(content)
    for name, d_in in (("wide", 128), ("good", 64)):
        for layer in range(4):
            place = folder / name / f"layers.{layer}"
            place.mkdir(parents=True)
            (place / "cfg.json").write_text(json.dumps({"d_in": d_in, "k": 8, "num_latents": 256}))
            shapes = {"encoder.weight": (256, d_in), "W_dec": (256, d_in)}
            (place / "sae.safetensors").write_bytes(safetensors(**shapes))
    shutil.copytree(folder / "good", folder / "signed")
    signed = {"d_in": 64, "k": 8, "num_latents": 256, "signed": True}
    (folder / "signed/layers.0/cfg.json").write_text(json.dumps(signed))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SAEUNIV_STORE", str(tmp_path / "store"))
    monkeypatch.delenv("SAEUNIV_CONFIG_DIR", raising=False)
    return folder


LOCAL_SAE = ("sae=local", "control=none", MIXED)
TEXT = ("data=text", "data.held_out=0.3", MIXED)

WRONG = {
    "a layer the model lacks": (["layers.a=9"], "layers.a=9: tiny_s0 has 4 layers (0..3)."),
    "a misspelt key": (["layr.a=3"], "did you mean layers.a?"),
    "an unknown key with +": (["+foo=1"], "foo is no key of the configuration"),
    "a misspelt key with ++": (["++nulls.drawz=3"], "did you mean nulls.draws?"),
    "an unknown option": (
        ["control=untraned"],
        "Choose one of none, rerandomized, rerandomized_all, step0, untrained; did you mean untrained?",
    ),
    "an unknown experiment": (["experiment=tiny_seed"], "did you mean tiny_seeds?"),
    "a wrong type": (["bootstrap.draws=many"], "could not be converted to Integer"),
    "an alignment as a metric": (["metrics=[hungarian]"], "hungarian is an alignment; set alignment="),
    "a corpus that is missing": ([*TEXT, "data.path=none.txt"], "data.path=none.txt: expected"),
    "a corpus that is empty": ([*TEXT, "data.path=empty.txt"], "data.path=empty.txt: expected"),
    "a corpus that is binary": ([*TEXT, "data.path=binary.txt"], "data.path=binary.txt: expected"),
    "a corpus that is short": ([*TEXT, "data.path=short.txt"], "data.path=short.txt: expected"),
    "a model without weights": (["a=local", "a.path=no_weights", MIXED], "weights are missing"),
    "a model without tokenizer": (["a=local", "a.path=no_tokenizer", MIXED], "tokenizer.json"),
    "a dictionary that does not fit": (
        [*LOCAL_SAE, "sae.path=wide"],
        "reads 128 dimensions, the model has d_model=64",
    ),
    "a type the model overflows in": (
        ["a=local", "a.path=gemma", "a.dtype=float16", MIXED],
        "a.dtype=float16: expected a type that the activations of gemma2 fit in",
    ),
    "a model spread over CPUs": (
        ["resources.n_devices=2", "resources.device=cpu"],
        "resources.device=cpu: expected cuda for resources.n_devices=2, got cpu.",
    ),
    "a hookpoint the model lacks": (
        ["sae.hookpoint=resid_mid"],
        "sae.hookpoint=resid_mid: expected an activation that the model has, got resid_mid of a gpt_neox",
    ),
    "a width the source lacks": (
        [*LOCAL_SAE, "sae.path=good", "width=16k"],
        "width=16384 was asked, the dictionaries have 256 latents",
    ),
    "a layer without a dictionary": (
        [*LOCAL_SAE, "sae.path=good/layers.1", "layers.a=2"],
        "no dictionary for layers 2. It has layers 1. Choose layers among these, or all for these.",
    ),
    "signed latents": ([*LOCAL_SAE, "sae.path=signed"], "layers.0 has signed latents"),
    "activations that are too wide": (
        ["sae=none", "sae.max_width=32"],
        "sae=none: expected at most 32 dimensions at resid_post[0], got 64",
    ),
    "a release for other models": (
        ["sae=gemma_scope", "control=none", MIXED],
        "sae=gemma_scope: no dictionaries are known for tiny_s0",
    ),
    "dictionaries that nobody lends": (["sae_a=shared"], "sae_a=shared: expected dictionaries of A's own"),
    "a store that cannot be written": (["store=file/store"], "store=file/store: expected a folder"),
}


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("fault", WRONG)
@pytest.mark.parametrize("flags", [[], ["-m"]], ids=["one", "sweep"])
def test_a_wrong_command_exits_with_2_and_writes_nothing(
    fault: str,
    flags: list[str],
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    argv, message = WRONG[fault]
    # A second fault elsewhere: all are told at once.
    second = "tracking.project" if argv[0] != "experiment=tiny_seed" else None
    monkeypatch.setattr(sys, "argv", ["saeuniv", *flags, *argv, *([f"+{second}x=1"] if second else [])])
    before = snapshot(here.parent)
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    printed, said = capsys.readouterr()
    assert printed == ""
    assert said.startswith("The configuration is wrong; nothing was run or written.\n  ")
    assert message in said
    assert second is None or "did you mean tracking.project?" in said
    assert "Traceback" not in said
    assert snapshot(here.parent) == before


@pytest.fixture
def off_by_one(desk: Desk) -> Path:
    """The dictionaries of tiny_s0, those of layer 0 and layer 1 exchanged."""
    model = next(
        path.parent.name
        for path in (desk.store / "models").glob("*/manifest.json")
        if (spec := json.loads(path.read_text())["spec"])["seed"] == 0 and spec["steps"] == 30
    )
    folder = desk.here / "off_by_one"
    for path in (desk.store / "dictionaries").glob("*/manifest.json"):
        spec = json.loads(path.read_text())["spec"]
        if spec["model"] == model:
            layer = {"resid_post[0]": 1, "resid_post[1]": 0}[spec["hookpoint"]]
            shutil.copytree(path.parent, folder / f"layers.{layer}")
    return folder


def test_a_dictionary_of_another_layer_is_refused_in_one_message(desk: Desk, off_by_one: Path) -> None:
    launch = str(Path(__file__).resolve().parents[2] / "launch.py")
    a = ("a.steps=30", "a.n_layers=2", "sae_a=local", "sae_a.path=off_by_one", "sae_a.max_fvu=0.08")
    b = ("b.steps=30", "b.n_layers=2", "sae.n_tokens=40000", "width_b=64")
    rest = ("control=none", "tracking=off", MIXED, "data.max_sequences_per_document=4", "nulls.draws=19")
    quick = ("bootstrap.draws=100", "metrics=[raw_correlation]", "resources.processes=1")
    done = desk.python(launch, *a, *b, *rest, *quick)
    assert done.returncode == 1, done.stderr
    assert "tiny_d64l2_s0 at resid_post[0]: FVU " in done.stderr
    assert "expected at most 0.08" in done.stderr
    assert "It fits resid_post[1] best" in done.stderr or "It fits resid_pre[1] best" in done.stderr
    assert "tasks that need what failed were not run." in done.stderr
    assert "Traceback" not in done.stderr
    (folder,) = (desk.here / "multirun" / "single").iterdir()
    assert read_status(folder)["state"] == "failed"
    assert desk.comparisons() == []
