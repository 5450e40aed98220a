"""The names of matches and scores: what the specs that they carry say, and nothing left out of these."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from saeuniv.alignments import Hungarian, MaxCorr
from saeuniv.compare import CompareSettings
from saeuniv.config import Eligibility
from saeuniv.config.settings import Condition
from saeuniv.metrics import METRICS
from saeuniv.stages.compare import ComparePairs, PairOutputs
from saeuniv.store import Artifact, Kind, Store, artifact, artifact_named
from saeuniv.store.manifest import read_manifest
from saeuniv.sweep.naming import Naming
from saeuniv.sweep.plan import Plan

MakePlan = Callable[..., Plan]

ALL = tuple(method() for method in METRICS)


def rows(work: Plan) -> list[ComparePairs]:
    return [task for task in work.tasks if isinstance(task, ComparePairs)]


def named(pair: PairOutputs) -> list[Artifact]:
    matches = [pair.matches] if pair.matches else []
    return [*matches, *(each for _, each in pair.null_matches), *(each for _, each in pair.scores)]


def test_a_key_is_that_of_the_spec_that_is_carried(make_plan: MakePlan, store: Store) -> None:
    work = make_plan("layers.a=[[0,1]]", "layers.b=[1,[0,1]]")
    found = [each for row in rows(work) for pair in row.pairs for each in named(pair)]
    assert {each.kind for each in found} == {Kind.matches, Kind.scores}
    for each in found:
        again = artifact(each.kind, each.spec, each.parents)
        assert again == each
        # As JSON has it: what a manifest gives back.
        assert (again.spec, again.parents) == (each.spec, each.parents)
    with store.publish(found[0]) as folder:
        (folder / "x").write_text("x")
    assert read_manifest(store.folder(found[0]))["spec"] == found[0].spec


def test_the_canonical_text_must_be_that_of_the_spec() -> None:
    spec = {"b": [1, 2.5], "a": {"y": None, "x": "é"}}
    text = r'{"a":{"x":"\u00e9","y":null},"b":[1,2.5]}'
    assert artifact_named(Kind.scores, text, spec, ("x",)) == artifact(Kind.scores, spec, ("x",))
    assert artifact_named(Kind.scores, text + " ", spec, ()) != artifact(Kind.scores, spec)
    assert artifact_named(Kind.matches, text, spec, ()).key != artifact(Kind.scores, spec).key


def test_layer_pairs_and_methods_have_names_of_their_own(make_plan: MakePlan) -> None:
    found = [each for row in rows(make_plan("control=none")) for pair in row.pairs for each in named(pair)]
    # For each of four layer pairs seven scores, the alignment's pairs and those of two nulls.
    assert len(found) == len({each.path for each in found}) == 4 * (7 + 1 + 2)


def test_which_latents_are_of_a_and_which_of_b_is_in_the_name(make_plan: MakePlan) -> None:
    row = rows(make_plan("control=none"))[0]
    a, b = row.layer_a, row.pairs[0].layer_b
    naming = Naming(row.settings, row.rows)
    one, other = naming.outputs(a, b, ALL), naming.outputs(b, a, ALL)
    assert not {each.path for each in named(one)} & {each.path for each in named(other)}
    spec = one.scores[0][1].spec
    assert (spec["a"], spec["b"]) == ([a[0].artifact.key], [b[0].artifact.key])
    assert set(one.scores[0][1].parents) == {a[0].artifact.path, b[0].artifact.path}
    together = naming.outputs((*a, *b), b, ALL)
    assert together.scores[0][1].spec["a"] == [a[0].artifact.key, b[0].artifact.key]


def test_matches_are_named_where_a_metric_asks_for_them(make_plan: MakePlan) -> None:
    row = rows(make_plan("control=none"))[0]
    naming = Naming(row.settings, row.rows)
    b = row.pairs[0].layer_b
    by_name = {metric.name: metric for metric in ALL}
    unaligned = naming.outputs(row.layer_a, b, (by_name["raw_correlation"],))
    assert (unaligned.matches, unaligned.null_matches) == (None, ())
    for name in ("matched_correlation", "cka"):
        found = naming.outputs(row.layer_a, b, (by_name["raw_correlation"], by_name[name]))
        nulls = dict(found.null_matches)
        assert found.matches and nulls.keys() == set(by_name[name].needs_nulls)
        specs = [each.spec["method"]["null"] for each in (found.matches, *nulls.values())]
        assert [each and each["name"] for each in specs] == [None, *nulls]
    # The names do not depend on which metrics are asked for together.
    whole = naming.outputs(row.layer_a, b, ALL)
    assert {each.path for each in named(found)} < {each.path for each in named(whole)}


@pytest.mark.parametrize(
    ("changes", "changed"),
    [
        ({}, set()),
        ({"alignment": MaxCorr()}, {"matches", "nulls", "aligned"}),
        ({"alignment": Hungarian(condition=Condition.none)}, {"matches", "nulls", "aligned"}),
        ({"eligibility": Eligibility(min_firings=7)}, {"matches", "nulls", "aligned", "unaligned"}),
        ({"nulls": {"draws": 25}}, {"selection_shift", "aligned", "drawing"}),
        ({"nulls": {"shuffle_draws": 25}}, {"within_token_shuffle", "aligned", "drawing"}),
        ({"nulls": {"seed": 5}}, {"nulls", "aligned", "drawing", "permuting"}),
        ({"bootstrap": {"draws": 200}}, {"bootstrapped"}),
        ({"bootstrap": {"confidence": 0.9}}, set()),
    ],
)
def test_a_name_changes_with_what_changes_the_number_and_nothing_else(
    changes: dict[str, Any], changed: set[str], make_plan: MakePlan
) -> None:
    row = rows(make_plan("control=none"))[0]
    settings = replace(row.settings, **{key: _changed(row.settings, key, changes[key]) for key in changes})
    before = Naming(row.settings, row.rows).outputs(row.layer_a, row.pairs[0].layer_b, ALL)
    after = Naming(settings, row.rows).outputs(row.layer_a, row.pairs[0].layer_b, ALL)
    assert (before.matches != after.matches) == ("matches" in changed)
    for (null, one), (_, two) in zip(before.null_matches, after.null_matches, strict=True):
        assert (one != two) == bool({"nulls", null} & changed), null
    for (metric, one), (_, two) in zip(before.scores, after.scores, strict=True):
        expected = ("aligned" if metric.aligned else "unaligned") in changed
        expected |= "drawing" in changed and metric.draws_shifts
        expected |= "permuting" in changed and metric.draws_permutations
        expected |= "bootstrapped" in changed and metric.space == "tokens"
        assert (one != two) == expected, metric


def _changed(settings: CompareSettings, name: str, change: Any) -> Any:
    return replace(getattr(settings, name), **change) if isinstance(change, dict) else change


def test_one_naming_keeps_metrics_of_other_settings_apart(make_plan: MakePlan) -> None:
    row = rows(make_plan("control=none"))[0]
    svcca = next(metric for metric in ALL if metric.name == "svcca")
    other = replace(svcca, variance_kept=0.9)
    naming = Naming(row.settings, row.rows)
    b = row.pairs[0].layer_b
    found = [naming.outputs(row.layer_a, b, (each,)).scores[0][1] for each in (svcca, other)]
    fresh = [
        Naming(row.settings, row.rows).outputs(row.layer_a, b, (each,)).scores[0][1]
        for each in (svcca, other)
    ]
    assert found == fresh and found[0] != found[1]
    assert json.dumps(found[1].spec).count('"variance_kept": 0.9') == 1


@pytest.mark.parametrize("change", ["nulls.draws=25", "nulls.seed=3"])
def test_scores_that_draw_shifts_are_named_by_how_many_and_which(make_plan: MakePlan, change: str) -> None:
    def scores(*overrides: str) -> dict[str, str]:
        work = make_plan("control=none", "layers.a=0", "layers.b=0", *overrides)
        return {m.name: each.path for row in rows(work) for pair in row.pairs for m, each in pair.scores}

    chosen = "metrics=[cka_tokens,rsa_tokens,topk_overlap,partial_correlation,shared_fraction]"
    before, after = scores(chosen), scores(chosen, change)
    drawing = {"cka_tokens", "rsa_tokens", "topk_overlap"}
    assert {name for name in before if before[name] != after[name]} == drawing


def test_the_names_of_metrics_that_were_there_before_are_what_they_were(make_plan: MakePlan) -> None:
    """Those who compared before find their scores again: nothing is said of what only new metrics have."""
    row = rows(make_plan("control=none"))[0]
    found = Naming(row.settings, row.rows).outputs(row.layer_a, row.pairs[0].layer_b, ALL)
    said = {metric.name: each.spec["method"] for metric, each in found.scores}
    common = {"eligibility", "rows", "metric"}
    assert set(said["partial_correlation"]) == {*common, "bootstrap"}
    assert set(said["cka"]) == {*common, "alignment", "nulls"}
    assert set(said["cka_tokens"]) == {*common, "nulls", "bootstrap"}
    assert set(said["svcca"]["metric"]) == {"name", "type", "variance_kept"}
    assert said["published_rsa"]["nulls"] == {"seed": row.settings.nulls.seed}
    assert said["cka"]["nulls"].keys() > {"seed", "draws"}
