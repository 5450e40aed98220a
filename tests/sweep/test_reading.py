"""How latents are read is in names and keys only where it is not the usual way; refusals, in words."""

from collections.abc import Callable
from typing import Any

import pytest

from saeuniv.config.cell import plain
from saeuniv.config.trained import TinySae
from saeuniv.hookpoints import Hookpoint, HookpointKind
from saeuniv.preflight import preflight
from saeuniv.stages.dictionaries import TrainDictionaries
from saeuniv.stages.encode import Encode
from saeuniv.store import Store
from saeuniv.sweep.plan import Plan
from tests.sweep.conftest import pretend

MakePlan = Callable[..., Plan]

PRE_ACTS, OFF_BY_ONE = "sae.latent_kind=pre_acts", "sae.hidden_state_off_by_one=true"
NO_SAE = ("sae_b=none", "width_b=published")
SHARED = ("sae_a=tiny", "width_a=64", "sae_b=shared")

# As they were before there was a choice.
NAMES: dict[tuple[str, ...], str] = {
    (): "e0e4dedd",
    NO_SAE: "53e2276c",
    SHARED: "463ea646",
}
KEYS: dict[tuple[str, ...], tuple[str, ...]] = {
    (): ("a4623e9193756f44", "fad75f7c03071160", "3cad2ef65d74776e", "223e2d504d6335d6"),
    NO_SAE: ("a4623e9193756f44", "fad75f7c03071160", "5d79440ec96f935f", "c78fe2a820e9f0c1"),
    SHARED: ("a4623e9193756f44", "fad75f7c03071160", "bb8666c67aedbe62", "d204ef655ec6b97c"),
}
DICTIONARIES = {"1457628aed52c165", "b9c531536a0c4d19", "ad68c513b0d83dd2", "0a010cbef97730d9"}


def encodings(work: Plan) -> list[Encode]:
    return [task for task in work.tasks if isinstance(task, Encode)]


def latents(work: Plan) -> dict[str, Any]:
    return {each.key: each.spec for task in encodings(work) for each in task.outputs}


def dictionaries(work: Plan) -> set[str]:
    return {each.key for task in work.tasks if isinstance(task, TrainDictionaries) for each in task.outputs}


@pytest.mark.parametrize("argv", NAMES)
def test_comparisons_latents_and_dictionaries_keep_their_names(
    argv: tuple[str, ...], make_plan: MakePlan
) -> None:
    work = make_plan(*argv, "control=none")
    assert work.reports[0].described.comparison.endswith(f"-{NAMES[argv]}")
    assert tuple(latents(work)) == KEYS[argv]
    assert dictionaries(work) <= DICTIONARIES
    assert not {"latent_kind", "hidden_state_off_by_one"} & plain(TinySae()).keys()


@pytest.mark.parametrize(
    ("line", "entries"),
    [
        (PRE_ACTS, [{"kind": "pre_acts", "width": 64}] * 4),
        (OFF_BY_ONE, [{"kind": "topk", "given": f"resid_pre[{layer}]"} for layer in (0, 1, 0, 1)]),
    ],
)
def test_asked_for_it_is_in_the_key_of_latents_and_in_the_name_and_dictionaries_stay(
    line: str, entries: list[dict[str, object]], make_plan: MakePlan
) -> None:
    work = make_plan(line, "control=none")
    specs = latents(work)
    assert not specs.keys() & set(KEYS[()])
    assert [
        {name: spec[name] for name in entry} for spec, entry in zip(specs.values(), entries, strict=True)
    ] == entries
    assert dictionaries(work) == DICTIONARIES
    assert work.reports[0].described.comparison.rpartition("-")[2] not in NAMES.values()


def test_shared_dictionaries_read_as_those_of_a_do(make_plan: MakePlan) -> None:
    off = "sae_a.hidden_state_off_by_one=true"
    first, second = encodings(make_plan(*SHARED, off, "sae_a.latent_kind=pre_acts", "control=none"))
    pre = [Hookpoint(HookpointKind.resid_pre, layer) for layer in (0, 1)]
    for task in (first, second):
        assert [each.dictionary.given for each in task.latents] == pre
        assert {each.artifact.spec["kind"] for each in task.latents} == {"pre_acts"}
    faults = preflight([*SHARED, "sae_b.hidden_state_off_by_one=true", "sae_b.latent_kind=pre_acts"]).faults
    assert faults == tuple(
        f"sae_b.{name}: expected none, since sae_b=shared reads as A does. Set sae_a.{name}, which is for "
        f"both sides then."
        for name in ("latent_kind", "hidden_state_off_by_one")
    )


def test_each_side_is_read_in_its_own_way_and_results_say_so(make_plan: MakePlan, store: Store) -> None:
    line = ("sae_a=tiny", "width_a=64", "sae_a.hidden_state_off_by_one=true", "control=none")
    work = make_plan(*line)
    described = work.reports[0].described
    assert described.a.place("0+1") == "resid_post[0+1]<-resid_pre[0+1]"
    assert (described.b.hookpoint, described.b.place("1")) == ("resid_post", "resid_post[1]")
    # What is usual of B is no part of its keys.
    found = list(latents(work))
    assert found[2:] == list(KEYS[()][2:]) and not set(found[:2]) & set(KEYS[()])
    # As recorded: an error of 1 in 10.
    pretend(work, store)
    stricter = make_plan(*line, "sae_a.max_fvu=0.09", "sae.max_fvu=0.11")
    assert stricter.tasks == () and stricter.reports[0].max_fvu[0] > 1e300
    assert make_plan(*line, "sae_a.max_fvu=0.11", "sae.max_fvu=0.09").tasks


def test_what_cannot_be_read_so_is_refused() -> None:
    none = ("sae_b=none", "sae_b.latent_kind=pre_acts")
    off = (
        "sae.hidden_state_off_by_one=true: expected false with sae.hookpoint=mlp_out: hidden_states are the "
        "residual stream between blocks, which sae.hookpoint=resid_post alone reads one later, got true."
    )
    no_topk = (
        "sae_b.latent_kind=pre_acts: expected latents: sae_b=none and sae_b=custom have no TopK, before "
        "which something could be read, got pre_acts."
    )
    assert {off, no_topk} <= {*preflight(["sae.hookpoint=mlp_out", OFF_BY_ONE, *none]).faults}
    custom = ("sae_b=custom", "sae_b.object=m:f", "width_b=64", "sae_b.latent_kind=pre_acts")
    assert no_topk in preflight(custom).faults
