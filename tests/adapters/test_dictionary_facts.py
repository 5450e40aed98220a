"""What dictionaries say of themselves, which are chosen, and every fault at once."""

import dataclasses
import json
import shutil

import pytest

from saeuniv.adapters.dictionary_facts import dictionary_facts
from saeuniv.adapters.dictionary_sources import absent_layers
from saeuniv.adapters.downloads import Parts, download, needed
from saeuniv.adapters.folders import ModelFacts, model_facts
from saeuniv.config import (
    ConfigError,
    CustomSae,
    HubModel,
    HubSae,
    LatentKind,
    LocalModel,
    LocalSae,
    NoSae,
    Processing,
    ReleaseFamily,
    ReleaseSae,
    Side,
    Width,
)
from saeuniv.hookpoints import Hookpoint, HookpointKind
from tests.adapters.formats.writing import arrays, write_gemma_scope, write_sae_lens
from tests.fake_hub import serving

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def _faults(call, *args, **kwargs) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as error:
        call(*args, **kwargs)
    return error.value.faults


@pytest.fixture
def dictionaries(tmp_path, write_dictionary):
    for layer in (0, 1):
        write_dictionary(tmp_path / "saes" / f"layers.{layer}")
    return tmp_path / "saes"


def _dictionaries(path, layers=(0, 1), width: int | Width = Width.published, *, d_model=16, **sae):
    facts = ModelFacts(3, d_model, 257, "gpt_neox", "", {}, "")
    source = LocalSae(path=str(path), **sae)
    return dictionary_facts(source, LocalModel(path="m"), facts, layers, width, key="sae_a")


def test_pre_activations_are_those_of_topk_and_relu(tmp_path, dictionaries):
    assert _dictionaries(dictionaries, latent_kind=LatentKind.pre_acts) == _dictionaries(dictionaries)
    write_gemma_scope(tmp_path / "jumps", 0, 82)
    (fault,) = _faults(_dictionaries, tmp_path / "jumps", (0,), d_model=6, latent_kind=LatentKind.pre_acts)
    assert fault.endswith(
        "layer_0/width_16k/average_l0_82 has no pre-activations to compare: expected TopK, groupmax or ReLU "
        "with sae.latent_kind=pre_acts, got jumprelu (as BatchTopK is read), which has a threshold or gate "
        "for each latent instead of a choice among all. Choose sae.latent_kind=latents."
    )


def test_facts_of_dictionaries_come_in_the_order_asked(dictionaries):
    second, first = _dictionaries(dictionaries, (1, 0))
    assert first[:4] == (Hookpoint(HookpointKind.resid_post, 0), 16, 32, 4)
    assert second.hookpoint.layer == 1 and second.folder == str((dictionaries / "layers.1").resolve())
    assert first.identity == second.identity, "the fixture writes equal bytes"
    assert _dictionaries(dictionaries, width=32) == (first, second)


def test_gpt2_and_mlp_dictionaries_go_by_the_names_of_their_modules(tmp_path, write_dictionary):
    write_dictionary(tmp_path / "h.2.mlp")
    facts = ModelFacts(3, 16, 257, "gpt2", "", {}, "")
    sae = LocalSae(path=str(tmp_path), hookpoint=HookpointKind.mlp_out)
    (found,) = dictionary_facts(sae, LocalModel(path="m"), facts, [2], Width.published, key="sae")
    assert found.folder.endswith("h.2.mlp")


def test_layers_without_a_dictionary_are_listed_with_those_that_have_one(dictionaries):
    (fault,) = _faults(_dictionaries, dictionaries, (1, 2, 5))
    assert fault.startswith(f"sae_a.path={dictionaries}: no dictionary")
    assert "for layers 2, 5. It has layers 0, 1. Choose layers among these, or all" in fault


def test_a_dictionary_that_does_not_fit_and_a_width_the_source_lacks_are_said_at_once(dictionaries):
    faults = _faults(_dictionaries, dictionaries, (0,), d_model=20)
    assert "layers.0 does not fit: it reads 16 dimensions, the model has d_model=20" in faults[0]
    (fault,) = _faults(_dictionaries, dictionaries, (0,), 64)
    assert "width=64 was asked, the dictionaries have 32 latents. Choose width=published" in fault
    assert len(_faults(_dictionaries, dictionaries, (0, 4), 64)) == 2


def test_the_shape_is_read_from_the_tensors_and_not_from_cfg_json(dictionaries):
    path = dictionaries / "layers.0/cfg.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "d_in": 20}))
    faults = _faults(_dictionaries, dictionaries, (0,), d_model=20)
    assert "has a cfg.json with d_in=20, k=4; expected d_in=16" in faults[0]
    assert "does not fit: it reads 16" in faults[1]


@pytest.mark.parametrize(
    ("entry", "said"), [("signed", "has signed latents"), ("transcode", "is a transcoder")]
)
def test_dictionaries_that_sparsify_would_misread_are_refused(tmp_path, write_dictionary, entry, said):
    write_dictionary(tmp_path / "layers.0", **{entry: True})
    (fault,) = _faults(_dictionaries, tmp_path, (0,))
    assert f"layers.0 {said}" in fault


def test_a_dictionary_of_2024_is_accepted(tmp_path, write_dictionary):
    write_dictionary(tmp_path / "layers.0", signed=False)
    assert _dictionaries(tmp_path, (0,))[0].width == 32


def test_a_file_that_is_no_safetensors_file_is_named(dictionaries):
    (dictionaries / "layers.0/sae.safetensors").write_text("version https://git-lfs.github.com/spec/v1")
    (fault,) = _faults(_dictionaries, dictionaries, (0,))
    assert "sae.safetensors: expected a safetensors file, got no readable header" in fault


def test_the_input_of_a_block_has_no_published_dictionary(dictionaries):
    faults = _faults(_dictionaries, dictionaries, (0,), hookpoint=HookpointKind.resid_pre)
    assert "expected dictionaries that read resid_pre, got resid_post" in faults[0]


@pytest.fixture
def hub(tmp_path, monkeypatch, model_folders, write_dictionary):
    """A hub cache with one model and one dictionary repository, and no network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for name in ("EleutherAI--pythia-70m", "EleutherAI--sae-pythia-70m-32k"):
        (tmp_path / f"models--{name}/refs").mkdir(parents=True)
        (tmp_path / f"models--{name}/refs/main").write_text(COMMIT)
    snapshot = tmp_path / f"models--EleutherAI--pythia-70m/snapshots/{COMMIT}"
    shutil.copytree(model_folders["gpt_neox"], snapshot)
    for layer in range(3):
        write_dictionary(
            tmp_path / f"models--EleutherAI--sae-pythia-70m-32k/snapshots/{COMMIT}/layers.{layer}", width=64
        )
    return HubModel(name="EleutherAI/pythia-70m")


@pytest.mark.parametrize(
    "sae", [ReleaseSae(release=ReleaseFamily.eleuther), HubSae(name="EleutherAI/sae-pythia-70m-32k")]
)
def test_hub_dictionaries_are_named_by_repository_commit_and_folder(hub, sae):
    facts = model_facts(hub, key="a")
    found = dictionary_facts(sae, hub, facts, [2, 0], Width.published, key="sae")
    assert [each.folder for each in found] == ["layers.2", "layers.0"]
    assert found[0].width == 64
    expected = {"repository": "EleutherAI/sae-pythia-70m-32k", "commit": COMMIT, "folder": "layers.2"}
    assert found[0].identity == expected


def test_eleuther_dictionaries_are_listed_where_there_are_none(hub):
    facts = model_facts(hub, key="a")
    for model, width, said in (
        (
            HubModel(name="EleutherAI/pythia-160n"),
            Width.published,
            "Nearest models with some: EleutherAI/pythia-160m,",
        ),
        (hub, 65536, "published for EleutherAI/pythia-70m have 32768 latents. Choose width=published"),
        (LocalModel(path="x/mine"), Width.published, "no dictionaries are known for mine"),
    ):
        (fault,) = _faults(
            dictionary_facts,
            ReleaseSae(release=ReleaseFamily.eleuther),
            model,
            facts,
            [0],
            width,
            key="sae_b",
        )
        assert said in fault


def _facts(architecture="gemma2", n_layers=4, d_model=6) -> ModelFacts:
    return ModelFacts(n_layers, d_model, 257, architecture, "", {}, "")


def _of(root, width: int | Width = Width.published, layers=(0,), facts=None, **sae):
    source = LocalSae(path=str(root), **sae)
    return dictionary_facts(source, LocalModel(path="m"), facts or _facts(), layers, width, key="sae_a")


def test_facts_of_gemma_scope_need_no_json_and_name_what_is_read(tmp_path):
    for layer, l0 in ((0, 105), (0, 60), (2, 82)):
        write_gemma_scope(tmp_path, layer, l0)
    first, second = _of(tmp_path, layers=(2, 0))
    assert (first.hookpoint.layer, first.l0, first.files, first.form) == (
        2,
        "82",
        ("params.npz",),
        "gemma_scope",
    )
    assert (second.l0, second.activation, second.k, second.d_in) == ("105", "jumprelu", None, 6)
    assert first.identity["format"] == "gemma_scope" and first.identity != second.identity
    (fault,) = _faults(_of, tmp_path, facts=_facts(d_model=8))
    assert (
        "layer_0/width_16k/average_l0_105 does not fit: it reads 6 dimensions, the model has d_model=8"
        in fault
    )
    (fault,) = _faults(_of, tmp_path, layers=(1, 2, 3))
    assert "no dictionary for layers 1, 3. It has layers 0, 2." in fault
    (fault,) = _faults(_of, tmp_path, layers=(2,), l0="60")
    assert "no dictionary for layers 2 (no dictionary with l0 60; it has 82)" in fault


def test_layers_without_dictionaries_are_known_with_the_reason(tmp_path):
    for layer, l0 in ((0, 105), (2, 82), (9, 80)):
        write_gemma_scope(tmp_path, layer, l0)
    side = Side("a", LocalModel(path="m"), LocalSae(path=str(tmp_path)), Width.published, "all")
    absent = absent_layers(side, _facts())
    assert set(absent) == {1, 3} and "no dictionary at resid_post[1] in sae_a.path=" in absent[1]
    chosen = dataclasses.replace(side, sae=LocalSae(path=str(tmp_path), l0="82"))
    assert absent_layers(chosen, _facts())[0] == "no dictionary with l0 82; it has 105"
    assert absent_layers(dataclasses.replace(side, sae=NoSae()), _facts()) == {}


def test_a_base_model_that_files_name_is_compared_with_a_hub_model(tmp_path):
    cfg = {"metadata": {"hook_name": "blocks.0.hook_resid_post", "model_name": "pythia-70m-deduped"}}
    write_sae_lens(tmp_path / "d", arrays(), architecture="standard", **cfg)
    sae, facts = LocalSae(path=str(tmp_path)), _facts("gpt_neox")
    for name, refused in (("EleutherAI/pythia-70m-deduped", False), ("EleutherAI/pythia-70m", True)):
        call = (dictionary_facts, sae, HubModel(name=name), facts, [0], Width.published)
        if refused:
            (fault,) = _faults(*call, key="sae_a")
            assert "trained on pythia-70m-deduped, got EleutherAI/pythia-70m. Choose that model, or" in fault
            assert "sae_a.allow_other_base=true" in fault
            sae.allow_other_base = True
        assert call[0](*call[1:], key="sae_a")


def test_centred_activations_are_those_of_models_with_layer_norm(tmp_path):
    write_sae_lens(tmp_path / "d", arrays(), hook_point="blocks.0.hook_resid_pre", architecture="standard")
    asked = {"hookpoint": HookpointKind.resid_pre, "processing": Processing.tl_compat}
    (centred,) = _of(tmp_path, facts=_facts("gpt2"), **asked)
    (raw,) = _of(tmp_path, facts=_facts("gpt2"), hookpoint=HookpointKind.resid_pre)
    assert centred.centred and not raw.centred and centred.identity != raw.identity
    (fault,) = _faults(_of, tmp_path, facts=_facts("llama"), **asked)
    assert "which only models with LayerNorm have, got llama. Choose sae_a.processing=none" in fault


def test_no_dictionary_is_bounded_in_width(tmp_path):
    call = (dictionary_facts, NoSae(), LocalModel(path="m"), _facts())
    (facts,) = call[0](*call[1:], [1], Width.published, key="sae")
    assert (facts.d_in, facts.width, facts.folder) == (6, 12, "none")
    (fault,) = _faults(call[0], NoSae(max_width=5), *call[2:], [1], Width.published, key="sae")
    assert "sae=none: expected at most 5 dimensions at resid_post[1], got 6" in fault
    assert "Raise sae.max_width" in fault
    assert "sae=none has 12 latents" in _faults(*call, [1], 64, key="sae")[0]


def test_an_object_of_the_user_is_named_by_its_file_and_not_imported(tmp_path, monkeypatch):
    (tmp_path / "mine_of_the_test.py").write_text("raise SystemExit('run')\n")
    monkeypatch.syspath_prepend(tmp_path)
    sae = CustomSae(object="mine_of_the_test:make")
    call = (dictionary_facts, sae, LocalModel(path="m"), _facts(), [1])
    (facts,) = call[0](*call[1:], 64, key="sae")
    assert (facts.width, facts.folder, facts.activation) == (64, "mine_of_the_test:make", "custom")
    (tmp_path / "mine_of_the_test.py").write_text("raise SystemExit('again')\n")
    assert call[0](*call[1:], 64, key="sae")[0].identity != facts.identity
    assert (
        "expected the number of latents, got width=published" in _faults(*call, Width.published, key="sae")[0]
    )
    for name, said in (
        ("no_such_module_here:make", "expected a module that Python finds"),
        ("make", "expected module:function"),
    ):
        sae.object = name
        assert said in _faults(*call, 64, key="sae")[0]


def test_dictionaries_of_a_release_are_listed_by_the_hub_and_named_by_commit(tmp_path, monkeypatch):
    repository = "google/gemma-scope-2b-pt-res"
    for layer, l0 in ((0, 105), (1, 70)):
        write_gemma_scope(tmp_path / "files", layer, l0)
    files = {
        path.relative_to(tmp_path / "files").as_posix(): path.read_bytes()
        for path in (tmp_path / "files").rglob("*.npz")
    }
    model = HubModel(name="google/gemma-2-2b")
    sae = ReleaseSae(release=ReleaseFamily.gemma_scope)
    with serving(tmp_path, monkeypatch) as hub:
        commit = hub.add(repository, files)
        call = (dictionary_facts, sae, model, _facts(), [0, 1], 16384)
        first, second = call[0](*call[1:], key="sae")
        assert first.identity["commit"] == commit and first.d_in is None, "not fetched to be looked at"
        assert hub.fetched() == [], "names are enough"
        names = frozenset(f"{each.folder}/{file}" for each in (first, second) for file in each.files)
        assert {each.name for each in needed(repository, commit, Parts(dictionaries=names))} == set(files)
        for name in names:
            download(repository, commit, name)
        # Without a network the cache is enough, and headers are looked at.
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        again = call[0](*call[1:-1], Width.published, key="sae")
        assert [each.identity for each in again] == [first.identity, second.identity] and again[0].d_in == 6
