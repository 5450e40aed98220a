"""Dictionaries found by the names of their files, and what JSON and headers say of them."""

import json
from pathlib import Path

import numpy as np
import pytest

from saeuniv.adapters import formats
from saeuniv.adapters.checkpoints import LocalFolder
from saeuniv.adapters.formats.entries import latents_of, place_of
from saeuniv.config import ConfigError, DictionaryFormat
from saeuniv.hookpoints import HookpointKind
from tests.adapters.formats.writing import (
    WIDTH,
    arrays,
    thresholds,
    write_dictionary_learning,
    write_gemma_scope,
    write_gemma_scope_2,
    write_llama_scope,
    write_sae_lens,
)

RESID, MLP, ATTENTION = HookpointKind.resid_post, HookpointKind.mlp_out, HookpointKind.attn_out


def _found(root: Path, forced: str = "auto"):
    source = LocalFolder(root, f"sae.path={root}")
    form, entries = formats.find(source, source.names(), forced=forced)
    return form, entries, [form.contents(source, each) for each in entries]


def _places(entries) -> list[tuple[int, HookpointKind | None]]:
    return [(each.layer, each.kind) for each in entries]


def test_every_format_can_be_forced():
    assert {each.name for each in formats.FORMATS} | {"auto"} == {each.value for each in DictionaryFormat}


def test_widths_of_releases_are_powers_of_two():
    words = ("4k", "16k", "32k", "65k", "131k", "262k", "524k", "1m")
    assert [*map(latents_of, words)] == [1 << power for power in (12, 14, 15, 16, 17, 18, 19, 20)]


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("blocks.11.hook_resid_pre", (11, HookpointKind.resid_pre)),
        ("blocks.3.hook_resid_post", (3, RESID)),
        ("blocks.3.hook_resid_mid", (3, HookpointKind.resid_mid)),
        ("blocks.0.hook_mlp_out", (0, MLP)),
        ("blocks.0.hook_attn_out", (0, ATTENTION)),
        ("blocks.7.mlp.hook_post", (7, HookpointKind.neurons)),
        ("blocks.7.hook_out", (7, RESID)),
        ("blocks.7.attn.hook_z", (7, None)),
        ("hook_embed", None),
    ],
)
def test_hook_names_of_transformer_lens_are_our_hookpoints(name, place):
    assert place_of(name) == place


def test_sparsify_folders_are_named_by_modules(tmp_path, write_dictionary):
    for name in ("layers.10", "layers.9", "layers.9.mlp", "h.2.attn", "embed_tokens"):
        write_dictionary(tmp_path / name)
    form, entries, contents = _found(tmp_path)
    assert form.name == "sparsify"
    assert _places(entries) == [(2, ATTENTION), (9, RESID), (9, MLP), (10, RESID)]
    assert contents[0][:4] == (16, 32, 4, "topk")
    # A single dictionary, by the name of its own folder.
    _, (entry,), _ = _found(tmp_path / "layers.9")
    assert entry[:3] == (9, RESID, "")


def test_gemma_scope_folders_say_width_and_l0_and_the_repository_what_is_read(tmp_path):
    root = tmp_path / "gemma-scope-2b-pt-res"
    for layer, l0, words in ((3, 59, "16k"), (3, 111, "16k"), (12, 82, "65k"), (0, 9, "1m")):
        write_gemma_scope(root, layer, l0, words=words)
    form, entries, contents = _found(root)
    assert form.name == "gemma_scope" and {kind for _, kind in _places(entries)} == {RESID}
    assert [(each.layer, each.width, each.l0) for each in entries] == [
        (0, 1 << 20, "9"),
        (3, 16384, "59"),
        (3, 16384, "111"),
        (12, 65536, "82"),
    ]
    assert contents[0][:4] == (6, WIDTH, None, "jumprelu") and not contents[0].faults
    root.rename(tmp_path / "gemma-scope-2b-pt-att")
    _, _, (about, *_) = _found(tmp_path / "gemma-scope-2b-pt-att")
    assert "hook_z" in about.faults[0]


def test_gemma_scope_2_folders_say_everything_and_seeds_and_transcoders_are_left(tmp_path):
    for place, name in (
        ("resid_post", "layer_12_width_16k_l0_medium"),
        ("resid_post", "layer_12_width_262k_l0_medium_seed_1"),
        ("transcoder", "layer_12_width_16k_l0_big"),
        ("mlp_out_all", "layer_0_width_262k_l0_small"),
        ("attn_out", "layer_5_width_16k_l0_big"),
    ):
        write_gemma_scope_2(tmp_path, place, name)
    form, entries, contents = _found(tmp_path)
    assert form.name == "gemma_scope_2"
    by_place = dict(zip(_places(entries), zip(entries, contents, strict=True), strict=True))
    assert set(by_place) == {(12, RESID), (0, MLP), (5, ATTENTION)}
    entry, about = by_place[12, RESID]
    assert (entry.width, entry.l0, about.d_in, about.width) == (16384, "medium", 6, WIDTH)
    assert about.base_model == "google/gemma-3-1b-pt" and not about.faults
    assert "hook_z" in by_place[5, ATTENTION][1].faults[0]


def test_gemma_scope_2_of_another_architecture_is_refused(tmp_path):
    write_gemma_scope_2(tmp_path, "resid_post", "layer_1_width_16k_l0_big", architecture="topk")
    assert "has architecture topk" in _found(tmp_path)[2][0].faults[0]


def test_sae_lens_folders_are_told_by_name_or_by_cfg_json(tmp_path):
    write_sae_lens(tmp_path / "blocks.2.hook_resid_pre", arrays(), hook_point="blocks.2.hook_resid_pre")
    about = {"hook_name": "blocks.4.hook_mlp_out", "model_name": "pythia-70m-deduped"}
    write_sae_lens(tmp_path / "4-mlp-sm", arrays(), architecture="topk", k=7, metadata=about)
    form, entries, contents = _found(tmp_path)
    assert form.name == "sae_lens"
    assert _places(entries) == [(4, MLP), (2, HookpointKind.resid_pre)]
    assert contents[0][:5] == (6, WIDTH, 7, "topk", "pythia-70m-deduped")
    assert contents[1][:4] == (6, WIDTH, None, "relu") and contents[1].processing == "none"


@pytest.mark.parametrize(
    ("cfg", "said"),
    [
        ({"normalize_activations": "expected_average_only_in"}, "whose factor is in none of its files"),
        ({"normalize_activations": True}, "whose factor is in none of its files"),
        (
            {"normalize_activations": "covariance_whitening"},
            "expected none, expected_average_only_in, layer_norm",
        ),
        ({"architecture": "temporal"}, "has architecture temporal; expected standard, topk"),
        ({"architecture": "topk"}, "without a number k"),
        ({"activation_fn_str": "tanh-relu"}, "has activation function tanh-relu"),
        ({"normalize_activations": "constant_scalar_rescale"}, "constant_scalar_rescale; expected none"),
        ({"reshape_activations": "hook_z"}, "(hook_z); expected the residual stream"),
        ({"hook_point_head_index": 3}, "reads a single head"),
        ({"d_in": 7}, "has a cfg.json with d_in=7; expected 6"),
    ],
)
def test_what_sae_lens_files_need_and_do_not_hold_is_refused(tmp_path, cfg, said):
    write_sae_lens(tmp_path / "d", arrays(), hook_point="blocks.2.hook_resid_pre", **cfg)
    (about,) = _found(tmp_path)[2]
    assert said in "".join(about.faults)


@pytest.mark.parametrize("scaler", [{}, {"scaling_factor": None}, {"scaling_factor": 0.37}])
def test_sae_lens_checkpoints_are_read_with_the_factor_that_training_saved(tmp_path, scaler):
    cfg = {"normalize_activations": "expected_average_only_in", "hook_point": "blocks.2.hook_resid_pre"}
    folder = write_sae_lens(tmp_path / "d", arrays(), **cfg)
    (folder / "activation_scaler.json").write_text(json.dumps(scaler))
    _, (entry,), (about,) = _found(tmp_path)
    assert entry.files == ("cfg.json", "sae_weights.safetensors", "activation_scaler.json")
    assert bool(about.faults) == (scaler.get("scaling_factor") is None)
    assert all("fold_activation_norm_scaling_factor(factor)" in fault for fault in about.faults)


def test_llama_scope_folders_are_named_by_layer_and_place(tmp_path):
    write_llama_scope(tmp_path / "Llama3_1-8B-Base-L12R-8x", arrays())
    write_llama_scope(tmp_path / "Llama3_1-8B-Base-L3M-8x", arrays(), act_fn="topk", jump_relu_threshold=0.0)
    write_llama_scope(tmp_path / "other", arrays(), hook_point_out="blocks.3.hook_mlp_out")
    form, entries, contents = _found(tmp_path)
    assert form.name == "llama_scope"
    by_place = dict(zip(_places(entries), contents, strict=True))
    assert set(by_place) == {(12, RESID), (3, MLP), (3, RESID)}
    assert by_place[12, RESID][:4] == (6, WIDTH, None, "jumprelu")
    assert by_place[3, MLP][:4] == (6, WIDTH, 50, "topk")
    assert "is a transcoder" in by_place[3, RESID].faults[0]


def test_dictionary_learning_folders_are_named_by_submodule_or_by_config_json(tmp_path):
    state = {**arrays(), "threshold": thresholds()}
    write_dictionary_learning(tmp_path / "resid_post_layer_7/trainer_1", state, "JumpReluAutoEncoder")
    write_dictionary_learning(
        tmp_path / "mine", state, "AutoEncoderTopK", k=5, submodule_name="mlp_out_layer_2"
    )
    write_dictionary_learning(tmp_path / "new", state, "CrossCoder", submodule_name=None)
    form, entries, contents = _found(tmp_path)
    by_place = dict(zip(_places(entries), zip(entries, contents, strict=True), strict=True))
    assert form.name == "dictionary_learning" and set(by_place) == {(7, RESID), (2, MLP), (3, RESID)}
    assert by_place[7, RESID][0].l0 == "trainer_1"
    assert by_place[2, MLP][1][:5] == (6, WIDTH, 5, "topk", "EleutherAI/pythia-70m-deduped")
    assert "has dict_class CrossCoder; expected AutoEncoder" in by_place[3, RESID][1].faults[0]


def test_a_folder_without_dictionaries_says_what_it_has(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(
        ConfigError, match=r"expected dictionaries of the format sparsify or .* among notes\.txt"
    ):
        _found(tmp_path)


def test_dictionaries_that_would_have_to_be_unpickled_are_refused_with_the_reason(tmp_path):
    (tmp_path / "layers.1").mkdir()
    for name in ("sae.pt", "cfg.json"):
        (tmp_path / "layers.1" / name).write_text("{}")
    with pytest.raises(ConfigError, match=r"layers\.1/sae\.pt would be unpickled and can run code"):
        _found(tmp_path)


def test_a_folder_of_two_formats_is_refused_unless_one_is_chosen(tmp_path, write_dictionary):
    write_dictionary(tmp_path / "layers.1")
    write_gemma_scope(tmp_path, 2, 20)
    with pytest.raises(
        ConfigError, match=r"of one format, got sparsify and gemma_scope\. Choose with sae\.format="
    ):
        _found(tmp_path)
    form, entries, _ = _found(tmp_path, forced="gemma_scope")
    assert form.name == "gemma_scope" and len(entries) == 1
    with pytest.raises(ConfigError, match="of the format llama_scope, got none"):
        _found(tmp_path, forced="llama_scope")


def test_nothing_is_read_but_names_headers_and_json(tmp_path):
    """Contents that would not read do not matter before a dictionary is loaded."""
    folder = write_dictionary_learning(tmp_path / "resid_post_layer_1", arrays(), "AutoEncoder")
    (folder / "ae.pt").write_bytes(b"no pickle")
    assert not _found(tmp_path)[2][0].faults
    lens = write_sae_lens(tmp_path / "l/blocks.1.hook_resid_pre", arrays(), architecture="standard")
    weights = lens / "sae_weights.safetensors"
    header = int(np.frombuffer(weights.read_bytes()[:8], dtype="<u8")[0])
    whole = weights.read_bytes()
    weights.write_bytes(whole[: 8 + header] + b"\xff" * (len(whole) - 8 - header))
    assert _found(tmp_path / "l")[2][0].width == WIDTH and json.loads((lens / "cfg.json").read_text())
