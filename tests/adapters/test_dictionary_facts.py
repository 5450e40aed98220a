"""What dictionaries say of themselves, which are chosen, and every fault at once."""

import json
import shutil

import pytest

from saeuniv.adapters.dictionary_facts import dictionary_facts
from saeuniv.adapters.folders import ModelFacts, model_facts
from saeuniv.config import (
    ConfigError,
    HubModel,
    HubSae,
    LocalModel,
    LocalSae,
    ReleaseFamily,
    ReleaseSae,
    Width,
)
from saeuniv.hookpoints import Hookpoint, HookpointKind

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
