"""What is planned: what is missing and nothing else; and what enters which key."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterable

import pytest

from saeuniv.stages.compare import ComparePairs
from saeuniv.stages.dictionaries import TrainDictionaries
from saeuniv.stages.encode import Encode
from saeuniv.stages.task import Task
from saeuniv.store import Store
from saeuniv.sweep.comparison import unite
from saeuniv.sweep.plan import Plan
from tests.sweep.conftest import cells, pretend

MakePlan = Callable[..., Plan]
KINDS = ("tokens", "models", "dictionaries", "latents", "matches", "scores")


def stages(work: Plan) -> Counter[str]:
    return Counter(task.stage for task in work.tasks)


def missing(tasks: Iterable[Task], store: Store) -> list[str]:
    """What tasks would publish that is not there yet, shards aside."""
    return [
        output.path
        for task in tasks
        for output in task.outputs
        if not store.exists(output) and not any(store.folder(output).glob("*/manifest.json"))
    ]


def paths(work: Plan, kind: str) -> set[str]:
    """Everything of a kind behind the comparison, its control left out."""
    return {each.path for each in work.reports[0].made_from if each.kind.value == kind}


def test_an_empty_store_needs_everything_once(make_plan: MakePlan) -> None:
    work = make_plan()
    # Training stream and held-out text are one task; models and what is made of them: two and their
    # untrained counterparts; scores: a task for each layer of A, and as many for the control.
    assert stages(work) == {"tokens": 1, "models": 4, "dictionaries": 4, "latents": 4, "scores": 4}
    assert [report.job_type for report in work.reports] == ["comparison", "control"]
    assert work.n_cached == 0


def test_a_task_comes_after_what_it_needs_and_everything_it_needs_is_made(make_plan: MakePlan) -> None:
    work = make_plan()
    made: set[str] = set()
    for task in (*work.tasks, *work.reports):
        assert {each.path for each in task.inputs} <= made, task
        made |= {each.path for each in task.outputs}


def test_nothing_but_reports_is_planned_where_all_is_there(make_plan: MakePlan, store: Store) -> None:
    pretend(make_plan(), store)
    work = make_plan()
    assert work.tasks == ()
    assert len(work.reports) == 2
    assert work.n_cached > 50


def test_what_nothing_asks_for_is_not_made_again(make_plan: MakePlan, store: Store) -> None:
    pretend(make_plan(), store)
    for kind in ("models", "dictionaries", "latents", "matches"):
        shutil.rmtree(store.root / kind)
    assert make_plan().tasks == ()


def test_a_missing_score_needs_one_layer_pair_and_what_it_rests_on(make_plan: MakePlan, store: Store) -> None:
    pretend(make_plan(), store)
    lost = make_plan().reports[0].reported[0]
    shutil.rmtree(store.folder(lost.scores))
    (task,) = make_plan().tasks
    assert isinstance(task, ComparePairs)
    assert (len(task.pairs), missing([task], store)) == (1, [lost.scores.path])
    first = task.layer_a[0]
    shutil.rmtree(store.folder(first.artifact) / "00001")
    encode, compare = make_plan().tasks
    assert isinstance(encode, Encode) and compare == task
    assert encode.outputs == (first.artifact,)


def test_a_damaged_artifact_is_made_again_even_where_nothing_asks_for_it(
    make_plan: MakePlan, store: Store
) -> None:
    pretend(make_plan(), store)
    paths_of_models = sorted((store.root / "models").iterdir())
    (paths_of_models[0] / "name.txt").write_text("x" * 23)
    (task,) = make_plan().tasks
    assert (task.stage, [each.path for each in task.outputs]) == (
        "models",
        [f"models/{paths_of_models[0].name}"],
    )


def test_a_lowered_bound_of_the_fvu_is_checked_before_anything_is_reported(
    make_plan: MakePlan, store: Store
) -> None:
    pretend(make_plan("control=none"), store)
    assert make_plan("control=none", "sae.max_fvu=0.11").tasks == ()
    work = make_plan("control=none", "sae.max_fvu=0.09")
    assert stages(work) == {"latents": 2}
    checked = {output.path for task in work.tasks for output in task.outputs}
    assert checked <= {each.path for each in work.reports[0].inputs}


def test_a_new_metric_needs_that_metric_only(make_plan: MakePlan, store: Store) -> None:
    pretend(make_plan("metrics=[raw_correlation]"), store)
    work = make_plan("metrics=[raw_correlation,svcca]")
    assert stages(work) == {"scores": 4}
    reported = [each for report in work.reports for each in report.reported]
    assert missing(work.tasks, store) == [
        each.scores.path for each in reported if each.metric.name == "svcca"
    ]


@pytest.mark.parametrize(("side", "n_rows"), [("a", 1), ("b", 2)])
def test_a_new_layer_needs_its_row_or_column(
    side: str, n_rows: int, make_plan: MakePlan, store: Store
) -> None:
    one, both = (f"layers.{side}=1", "control=none"), (f"layers.{side}=[0,1]", "control=none")
    pretend(make_plan(*one), store)
    work = make_plan(*both)
    assert stages(work) == {"dictionaries": 1, "latents": 1, "scores": n_rows}
    train = next(task for task in work.tasks if isinstance(task, TrainDictionaries))
    assert [str(each.hookpoint) for each in train.dictionaries] == ["resid_post[0]"]
    new = [
        each for each in work.reports[0].reported if (each.layer_a if side == "a" else each.layer_b) == "0"
    ]
    assert sorted(missing((task for task in work.tasks if task.stage == "scores"), store)) == sorted(
        each.scores.path for each in new
    )


def test_a_layer_alone_is_the_layer_among_others(make_plan: MakePlan) -> None:
    whole, alone = make_plan(), make_plan("layers.a=0", "layers.b=1")
    for kind in KINDS:
        assert paths(alone, kind) < paths(whole, kind) or kind in ("tokens", "models")
        assert paths(alone, kind) <= paths(whole, kind)


@pytest.mark.parametrize(
    "override",
    [
        *(
            "resources.processes=3",
            "resources.encode_batch_sequences=8",
            "tracking=online",
            "sweep.name=mine",
        ),
        *("bootstrap.confidence=0.9", "primary_metric=cka", "sae.max_fvu=0.4", "control=none", "width=x1"),
    ],
)
def test_where_and_how_it_runs_and_how_it_is_told_changes_no_key(override: str, make_plan: MakePlan) -> None:
    changed, base = make_plan(override), make_plan()
    for kind in KINDS:
        assert paths(changed, kind) == paths(base, kind)


def differing(changed: Plan, base: Plan) -> set[str]:
    """Kinds with another key, and the metrics whose scores have one."""
    kinds = {kind for kind in KINDS if paths(changed, kind) != paths(base, kind)} - {"scores"}
    before = {each.scores.path for each in base.reports[0].reported}
    return kinds | {e.metric.name for e in changed.reports[0].reported if e.scores.path not in before}


TOKEN_METRICS = {
    *("partial_correlation", "partial_correlation_bigram", "partial_correlation_trigram"),
    *("raw_correlation", "matched_correlation"),
}
ALIGNED = {"matched_correlation", "cka", "svcca"}
SCORES = TOKEN_METRICS | ALIGNED

# What each setting changes; nothing above it.
CHANGES: dict[str, set[str]] = {
    "data.held_out=0.2": {*KINDS[:-1], *SCORES},
    "data.max_sequences_per_document=3": {"tokens", "latents", "matches", *SCORES},
    "data.skip_first=5": {"latents", "matches", *SCORES},
    "a.seed=5": {"models", "dictionaries", "latents", "matches", *SCORES},
    "a.steps=29": {"models", "dictionaries", "latents", "matches", *SCORES},
    "b.learning_rate=0.001": {"models", "dictionaries", "latents", "matches", *SCORES},
    "a.untrained=true": {"models", "dictionaries", "latents", "matches", *SCORES},
    "sae.k=4": {"dictionaries", "latents", "matches", *SCORES},
    "sae.seed=1": {"dictionaries", "latents", "matches", *SCORES},
    "width_a=32": {"dictionaries", "latents", "matches", *SCORES},
    "sae.hookpoint=mlp_out": {"dictionaries", "latents", "matches", *SCORES},
    "eligibility.max_rate=0.4": {"matches", *SCORES},
    "alignment=max_corr": {"matches", *ALIGNED},
    "alignment.condition=none": {"matches", *ALIGNED},
    "nulls.draws=25": {"matches", *ALIGNED},
    "bootstrap.draws=200": TOKEN_METRICS,
    "metrics.svcca.variance_kept=0.9": {"svcca"},
    "metrics.partial_correlation_bigram.null=true": {"partial_correlation_bigram"},
}


@pytest.mark.parametrize("override", CHANGES)
def test_a_setting_changes_what_rests_on_it_and_nothing_above(override: str, make_plan: MakePlan) -> None:
    assert differing(make_plan(override, "control=none"), make_plan("control=none")) == CHANGES[override]


def test_which_model_is_a_and_which_is_b_is_in_no_key_before_matches(make_plan: MakePlan) -> None:
    one = make_plan("a=tiny_s0", "b=tiny_s1", "control=none")
    other = make_plan("a=tiny_s1", "b=tiny_s0", "control=none")
    assert differing(other, one) == {"matches", *SCORES}


def test_dictionaries_of_two_models_start_differently_and_of_one_model_alike(make_plan: MakePlan) -> None:
    two = make_plan("control=none")
    seeds = [task.seed for task in two.tasks if isinstance(task, TrainDictionaries)]
    assert len(seeds) == len(set(seeds)) == 2
    same = make_plan("a=tiny_s0", "b=tiny_s0", "control=none")
    assert stages(same) == {"tokens": 1, "models": 1, "dictionaries": 1, "latents": 1, "scores": 2}


def test_an_untrained_pair_has_no_control_and_is_the_control_of_its_trained_pair(make_plan: MakePlan) -> None:
    untrained = make_plan("a.untrained=true", "b.untrained=true")
    assert [report.job_type for report in untrained.reports] == ["comparison"]
    assert all(each.control is None for each in untrained.reports[0].reported)
    trained = make_plan()
    controls = {each.control.path for each in trained.reports[0].reported if each.control}
    assert controls == {each.scores.path for each in untrained.reports[0].reported}
    assert [report.job_type for report in make_plan("models=tiny_u2_u3").reports] == ["comparison"]


def test_cells_of_a_sweep_are_united_pair_by_pair() -> None:
    comparison = unite(cells("-m", "layers.a=0,1", "metrics=[cka],[raw_correlation]"))
    assert [(each.layer_a, each.layer_b) for each in comparison.wanted] == [
        *(((0,), (0,)), ((0,), (1,)), ((1,), (0,)), ((1,), (1,)))
    ]
    assert all({m.name for m in each.metrics} == {"cka", "raw_correlation"} for each in comparison.wanted)
