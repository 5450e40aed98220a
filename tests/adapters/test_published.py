"""Which releases are known, for which models, and what else is refused."""

import re

import pytest

from saeuniv.adapters.published import RELEASES, base_fault, known_release, release_of, same_model, same_width
from saeuniv.config import ConfigError, HubModel, LocalModel, ReleaseFamily, ReleaseSae, Width
from saeuniv.hookpoints import HookpointKind


def _release(family: str, model: str, width: int | Width = Width.published, **sae):
    return release_of(
        ReleaseSae(release=ReleaseFamily(family), **sae), HubModel(name=model), width, key="sae"
    )


def _fault(*args, **kwargs) -> str:
    with pytest.raises(ConfigError) as error:
        _release(*args, **kwargs)
    return str(error.value)


def test_every_family_has_releases_and_every_repository_is_there_once():
    assert {each.family for each in RELEASES} == {*ReleaseFamily, None}
    assert len({each.repository for each in RELEASES}) == len(RELEASES)
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+", name) for each in RELEASES for name in each[1:3])


@pytest.mark.parametrize(
    ("family", "model", "kind", "width", "repository"),
    [
        ("eleuther", "EleutherAI/pythia-160m", "resid_post", 32768, "EleutherAI/sae-pythia-160m-32k"),
        ("eleuther", "EleutherAI/pythia-410m", "mlp_out", 66560, "EleutherAI/sae-pythia-410m-65k"),
        ("gemma_scope", "google/gemma-2-2b", "resid_post", 16384, "google/gemma-scope-2b-pt-res"),
        ("gemma_scope", "google/gemma-2-9b-it", "resid_post", 16384, "google/gemma-scope-9b-it-res"),
        ("gemma_scope", "google/gemma-2-9b", "mlp_out", 131072, "google/gemma-scope-9b-pt-mlp"),
        ("gemma_scope_2", "google/gemma-3-270m", "resid_post", 16384, "google/gemma-scope-2-270m-pt"),
        ("gemma_scope_2", "google/gemma-3-1b-it", "mlp_out", 16384, "google/gemma-scope-2-1b-it"),
        ("gpt2_res_jb", "gpt2", "resid_pre", 24576, "jbloom/GPT2-Small-SAEs-Reformatted"),
        (
            "gpt2_oai",
            "openai-community/gpt2",
            "mlp_out",
            131072,
            "jbloom/GPT2-Small-OAI-v5-128k-mlp-out-SAEs",
        ),
        ("llama_scope", "meta-llama/Llama-3.1-8B", "attn_out", 131072, "fnlp/Llama3_1-8B-Base-LXA-32x"),
        (
            "pythia_sm",
            "EleutherAI/pythia-70m-deduped",
            "mlp_out",
            32768,
            "ctigges/pythia-70m-deduped__mlp-sm_processed",
        ),
    ],
)
def test_repositories_are_looked_up_by_model_place_and_width(family, model, kind, width, repository):
    found = _release(family, model, width, hookpoint=HookpointKind(kind))
    assert found.repository == repository
    assert known_release(repository) == found
    assert found.processing == ("tl_compat" if family == "gpt2_res_jb" else "none")


def test_what_a_release_lacks_is_refused_with_what_it_has():
    said = _fault("gemma_scope", "google/gemma-2-2b-it")
    assert (
        "no dictionaries are known for google/gemma-2-2b-it. Nearest models with some: google/gemma-2" in said
    )
    said = _fault("gemma_scope", "google/gemma-2-2b", hookpoint=HookpointKind.attn_out)
    assert "read resid_post, mlp_out, got sae.hookpoint=attn_out. Choose one of these" in said
    said = _fault("llama_scope", "meta-llama/Llama-3.1-8B", 16384)
    assert (
        "width=16384: the dictionaries published for meta-llama/Llama-3.1-8B have 32768, 131072 latents"
        in said
    )


def test_another_base_model_or_checkpoint_is_a_fault():
    base = "EleutherAI/pythia-160m"
    for revision in ("main", "step143000", "a" * 40):
        assert base_fault(base, HubModel(name=base, revision=revision)) is None
    assert base_fault(base, LocalModel(path="mine")) is None, "a folder has no name to compare"
    other = base_fault(base, HubModel(name="EleutherAI/pythia-160m-deduped"))
    assert other == "trained on EleutherAI/pythia-160m, got EleutherAI/pythia-160m-deduped"
    assert "final checkpoint of EleutherAI/pythia-160m, got revision step3000" in str(
        base_fault(base, HubModel(name=base, revision="step3000"))
    )


def test_old_names_of_models_are_understood():
    assert same_model("openai-community/gpt2", "gpt2-small") and same_model("gpt2", "openai-community/gpt2")
    assert not same_model("someone/gpt2", "openai-community/gpt2") and not same_model("gpt2-xl", "gpt2-small")


def test_65k_is_what_releases_call_65536():
    assert same_width(65 * 1024, 65536) and same_width(131 * 1024, 131072) and same_width(16384, 16384)
    assert not same_width(65 * 1024, 32768) and not same_width(65000, 65536)
