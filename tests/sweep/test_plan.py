"""What is planned: what is missing and nothing else; and what enters which key."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saeuniv.config import Cell, ConfigError
from saeuniv.preflight import preflight
from saeuniv.stages.compare import ComparePairs
from saeuniv.stages.dictionaries import TrainDictionaries
from saeuniv.stages.encode import Encode
from saeuniv.stages.models import Rerandomize, TrainTinyModel
from saeuniv.stages.report import Report
from saeuniv.stages.task import STAGES, Task
from saeuniv.store import Store
from saeuniv.sweep import devices, texts
from saeuniv.sweep.comparison import unite
from saeuniv.sweep.devices import Here
from saeuniv.sweep.plan import Plan, Request, plan
from saeuniv.sweep.sides import Sides
from tests.sweep.conftest import cells, pretend
from tests.test_preflight import safetensors, write_dictionaries, write_model, write_text

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


def test_one_dictionary_read_with_two_models_or_at_two_layers_has_latents_of_each(tmp_path: Path) -> None:
    one, other = write_model(tmp_path / "one"), write_model(tmp_path / "other")
    (other / "model.safetensors").write_bytes(safetensors(w=(9,)))
    saes = write_dictionaries(tmp_path / "saes", range(2))  # zeros at every layer: the files are equal
    write_text(tmp_path / "text")
    asked = (
        *("a=local", f"a.path={one}", "b=local", f"b.path={other}", "layers.a=[0,1]", "layers.b=[0,1]"),
        *("sae=local", f"sae.path={saes}", "width=published", "tracking=off", "control=none"),
        *("data=text", f"data.path={tmp_path / 'text'}"),
    )
    checked = preflight(asked)
    assert checked.faults == ()
    work = plan([Request(checked.cells, tmp_path / "c", "", "s")])
    assert stages(work)["latents"] == 2
    assert sum(len(task.outputs) for task in work.tasks if isinstance(task, Encode)) == 4


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


@pytest.fixture
def a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine with a GPU."""
    monkeypatch.setattr(devices, "here", lambda: Here("cuda", 1))


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


def test_dictionaries_are_trained_where_models_compute(make_plan: MakePlan, a_gpu: None) -> None:
    on_gpu, on_cpu = make_plan("resources.device=cuda", "a.dtype=float32"), make_plan("resources.device=cpu")
    for device, work in (("cuda", on_gpu), ("cpu", on_cpu)):
        trained = [task for task in work.tasks if isinstance(task, TrainDictionaries)]
        assert {(task.device, task.n_gpus) for task in trained} == {(device, int(device == "cuda"))}
    assert trained[0].on_gpus([3]).device == "cuda:3"
    assert paths(on_gpu, "dictionaries") == paths(on_cpu, "dictionaries")


def test_tasks_that_share_shards_come_before_the_one_that_checks_them_all(
    make_plan: MakePlan, store: Store
) -> None:
    whole = make_plan("control=none")
    shared = make_plan("control=none", "resources.encode_tasks=3")
    assert stages(shared) == {**stages(whole), "shards": 6}
    assert_sound(shared)
    for task in shared.tasks:
        if type(task) is Encode:
            parts = [each for each in shared.tasks if each.stage == "shards" and each.model == task.model]
            assert [each.part for each in parts] == [(0, 3), (1, 3), (2, 3)]
            made = {output.path for each in parts for output in each.outputs}
            assert made < {each.path for each in task.inputs} and len(made) == 3 * len(task.outputs)
            shards = sorted(shard for each in parts for shard in each._shards(8))
            assert shards == list(range(8))
            rest = task.without([task.outputs[0].path])
            assert rest and {each.path for each in rest.inputs if each.part} < made
    assert outputs(whole) == [path for path in outputs(shared) if "-of-" not in path]
    pretend(whole, store)
    assert make_plan("control=none", "resources.encode_tasks=3").tasks == ()


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
    "data.skip_first=5": {"tokens", "latents", "matches", *SCORES},
    "data.n_tokens=10k": {"matches", *SCORES},
    "data.mask_high_norm=false": {"matches", *SCORES},
    "a.seed=5": {"models", "dictionaries", "latents", "matches", *SCORES},
    "a.steps=29": {"models", "dictionaries", "latents", "matches", *SCORES},
    "b.learning_rate=0.001": {"models", "dictionaries", "latents", "matches", *SCORES},
    "a.untrained=true": {"models", "dictionaries", "latents", "matches", *SCORES},
    "a.weights=rerandomized": {"models", "dictionaries", "latents", "matches", *SCORES},
    "b.weights=rerandomized_all": {"models", "dictionaries", "latents", "matches", *SCORES},
    "a.dtype=bfloat16": {"latents", "matches", *SCORES},
    "a.dtype=float32": set(),
    "b.backend=hf": set(),
    "resources.device=cpu": set(),
    "sae.k=4": {"dictionaries", "latents", "matches", *SCORES},
    "sae.seed=1": {"dictionaries", "latents", "matches", *SCORES},
    "sae.exclude_special=true": {"dictionaries", "latents", "matches", *SCORES},
    "sae.trainer=l1": {"dictionaries", "latents", "matches", *SCORES},
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
def test_a_setting_changes_what_rests_on_it_and_nothing_above(
    override: str, make_plan: MakePlan, a_gpu: None
) -> None:
    assert differing(make_plan(override, "control=none"), make_plan("control=none")) == CHANGES[override]


def test_auto_is_the_type_of_the_checkpoint_on_a_gpu_and_float32_on_the_cpu(
    tmp_path: Path, a_gpu: None
) -> None:
    model = write_model(tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "dtype": "bfloat16"}))
    saes = write_dictionaries(tmp_path / "saes", range(2))
    write_text(tmp_path / "text")
    asked = (
        *("a=local", f"a.path={model}", "b=local", f"b.path={model}", "b.dtype=float32", "tracking=off"),
        *("sae=local", f"sae.path={saes}", "width=published", "control=none", "layers.a=0", "layers.b=0"),
        *("data=text", f"data.path={tmp_path / 'text'}"),
    )
    found: dict[str, list[tuple[object, str]]] = {}
    for device in ("cpu", "cuda"):
        work = plan([Request(preflight([*asked, f"resources.device={device}"]).cells, tmp_path, "", "s")])
        encodes = [task for task in work.tasks if isinstance(task, Encode)]
        assert {task.device for task in encodes} == {device}
        latents = sorted(
            (each for task in encodes for each in task.latents), key=lambda each: each.model.dtype
        )
        found[device] = [(each.artifact.spec["dtype"], each.model.dtype) for each in latents]
    assert found["cpu"] == [("float32", "float32")], "the same for both sides"
    assert found["cuda"] == [("bfloat16", "bfloat16"), ("float32", "float32")]


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


def test_a_sweep_over_dictionary_seeds_shares_models_and_tokens_and_nothing_below(
    make_plan: MakePlan,
) -> None:
    """The control for what a dictionary's seed does: other dictionaries of the same networks."""
    work = make_plan("-m", "sae.seed=0,1,2")
    # Of each seed: dictionaries and latents of two networks and of their untrained counterparts.
    assert stages(work) == {"tokens": 1, "models": 4, "dictionaries": 12, "latents": 12, "scores": 12}
    comparisons = [report for report in work.reports if report.job_type == "comparison"]
    made = [{each.path for each in report.made_from} for report in comparisons]
    assert len({report.outputs or report.key for report in comparisons}) == len(made) == 3
    shared = set.intersection(*made)
    assert {path.split("/")[0] for path in shared} == {"tokens", "models"}
    assert all(other <= shared for one, two in ((0, 1), (0, 2), (1, 2)) for other in [made[one] & made[two]])
    trainings = [task for task in work.tasks if isinstance(task, TrainDictionaries)]
    assert len({task.seed for task in trainings}) == 12, "no two start alike"


def test_one_network_is_compared_with_itself_through_dictionaries_of_two_seeds(make_plan: MakePlan) -> None:
    work = make_plan("a=tiny_s0", "b=tiny_s0", "sae_b=tiny", "sae_b.seed=1", "control=none")
    assert stages(work) == {"tokens": 1, "models": 1, "dictionaries": 2, "latents": 2, "scores": 2}


def test_an_untrained_pair_has_no_control_and_is_the_control_of_its_trained_pair(make_plan: MakePlan) -> None:
    untrained = make_plan("a.untrained=true", "b.untrained=true")
    assert [report.job_type for report in untrained.reports] == ["comparison"]
    assert all(each.control is None for each in untrained.reports[0].reported)
    trained = make_plan()
    controls = {each.control.path for each in trained.reports[0].reported if each.control}
    assert controls == {each.scores.path for each in untrained.reports[0].reported}
    assert [report.job_type for report in make_plan("models=tiny_u2_u3").reports] == ["comparison"]


@pytest.mark.parametrize("kind", ["rerandomized", "rerandomized_all"])
def test_a_rerandomised_control_is_drawn_from_the_models_that_are_compared(kind, make_plan: MakePlan) -> None:
    work = make_plan(f"control={kind}")
    redrawn = [task for task in work.tasks if isinstance(task, Rerandomize)]
    trained = [task for task in work.tasks if isinstance(task, TrainTinyModel)]
    assert stages(work) == {"tokens": 1, "models": 4, "dictionaries": 4, "latents": 4, "scores": 4}
    assert [task.inputs for task in redrawn] == [task.outputs for task in trained]
    assert {task.keep_embeddings for task in redrawn} == {kind == "rerandomized"}
    assert [report.untrained for report in work.reports] == [(), ("a", "b")]
    assert {task.label for task in redrawn} == {f"tiny_d64l2_s{seed}_{kind}" for seed in (0, 1)}
    alone = make_plan(f"a.weights={kind}", f"b.weights={kind}", "control=none")
    assert stages(alone)["models"] == 4, "what is drawn from is trained all the same"
    assert [each.control for each in work.reports[0].reported] == [
        each.scores for each in alone.reports[0].reported
    ]


def test_what_is_drawn_from_is_not_made_again_where_the_draw_is_there(
    make_plan: MakePlan, store: Store
) -> None:
    asked = ("a.weights=rerandomized", "b.weights=rerandomized", "control=none")
    pretend(make_plan(*asked), store)
    assert make_plan(*asked).tasks == ()
    assert stages(make_plan(*asked, "sae.k=4")).keys() == {"dictionaries", "latents", "scores"}


def test_cells_of_a_sweep_are_united_pair_by_pair() -> None:
    comparison = unite(cells("-m", "layers.a=0,1", "metrics=[cka],[raw_correlation]"), Sides())
    assert [(each.layer_a, each.layer_b) for each in comparison.wanted] == [
        *(((0,), (0,)), ((0,), (1,)), ((1,), (0,)), ((1,), (1,)))
    ]
    assert all({m.name for m in each.metrics} == {"cka", "raw_correlation"} for each in comparison.wanted)


def requests(folder: Path, *chosen: Cell) -> list[Request]:
    """The comparisons that cells belong to, in the order of the cells."""
    by_name: dict[str, list[Cell]] = {}
    for cell in chosen:
        by_name.setdefault(cell.comparison, []).append(cell)
    config = "# Replay: saeuniv \na: {}\n"
    return [Request(tuple(each), folder / name, config, "s") for name, each in by_name.items()]


def outputs(work: Plan) -> list[str]:
    return [output.path for task in work.tasks for output in task.outputs]


def assert_sound(work: Plan) -> None:
    """Everything is made once, before it is needed, and each side in one pass."""
    assert work.refused == ()
    assert len({task.key for task in work.tasks}) == len(work.tasks)
    assert len({task.group for task in work.tasks}) == len(work.tasks)
    assert_ordered(work)
    so_far: set[str] = set()
    for task in (*work.tasks, *work.reports):
        assert {each.path for each in task.inputs} <= so_far, task
        so_far |= {each.path for each in task.outputs}


def assert_ordered(work: Plan) -> None:
    """Nothing is made twice, stages come one after another, and each folder is written by one report."""
    made = Counter(outputs(work))
    assert set(made.values()) == {1}
    order = [STAGES.index(task.stage) for task in work.tasks]
    assert all(one <= two for one, two in pairwise(order))
    folders = [report.folder for report in work.reports]
    assert len(folders) == len(set(folders))


def test_alignments_share_everything_but_what_is_aligned(make_plan: MakePlan) -> None:
    work = make_plan("-m", "alignment=hungarian,max_corr,mutual_nn")
    alone = {name: make_plan(f"alignment={name}") for name in ("hungarian", "max_corr", "mutual_nn")}
    assert_sound(work)
    assert stages(work) == {"tokens": 1, "models": 4, "dictionaries": 4, "latents": 4, "scores": 12}
    assert set(outputs(work)) == {path for each in alone.values() for path in outputs(each)}
    for metric in SCORES:
        made = [
            score.path
            for task in work.tasks
            if isinstance(task, ComparePairs)
            for pair in task.pairs
            for each, score in pair.scores
            if each.name == metric
        ]
        # Two by two layers, of the comparison and its control; aligned ones for each alignment.
        assert len(made) == 2 * 4 * (3 if metric in ALIGNED else 1), metric
    assert [report.job_type for report in work.reports] == ["comparison", "control"] * 3
    assert [report.key for report in work.reports] == [
        report.key for each in alone.values() for report in each.reports
    ]
    assert work.n_pairs == sum(each.n_pairs for each in alone.values()) == 3 * 2 * 4


@pytest.mark.parametrize(
    "swept",
    [
        ("layers.a=0,1", "layers.b=0,1"),
        ("layers.a=1,0", "layers.b=range(0,2)"),
        ("layers.a=0,1",),
        ("metrics=[raw_correlation],[cka,matched_correlation]", "layers.a=[0],[0,1]"),
    ],
)
def test_sweeping_layers_and_metrics_is_asking_for_lists_of_them(
    swept: tuple[str, ...], make_plan: MakePlan
) -> None:
    metrics = "metrics=[raw_correlation,cka,matched_correlation]"
    whole = make_plan(metrics) if swept[0].startswith("metrics") else make_plan()
    work = make_plan("-m", *swept)
    assert_sound(work)
    assert (work.tasks, work.n_pairs) == (whole.tasks, whole.n_pairs)
    assert [task.key for task in work.tasks] == [task.key for task in whole.tasks]
    assert [report.key for report in work.reports] == [report.key for report in whole.reports]


def test_comparisons_that_share_a_model_make_its_layers_in_one_pass(tmp_path: Path) -> None:
    asked = [("b=tiny_s1", "layers.a=1", "layers.b=0"), ("b=tiny_s2", "layers.a=0", "layers.b=1")]
    chosen = [cells(*each, "control=none")[0] for each in asked]
    work = plan(requests(tmp_path, *chosen))
    assert_sound(work)
    assert stages(work) == {"tokens": 1, "models": 3, "dictionaries": 3, "latents": 3, "scores": 2}
    for kind in (TrainDictionaries, Encode):
        layers = {
            task.model.label: [output.path for output in task.outputs]
            for task in work.tasks
            if isinstance(task, kind)
        }
        assert [len(layers[f"tiny_d64l2_s{seed}"]) for seed in range(3)] == [2, 1, 1], kind
        # By depth, whichever was asked for first.
        alone = [plan(requests(tmp_path, cell)) for cell in reversed(chosen)]
        firsts = [next(t for t in each.tasks if isinstance(t, kind)).outputs[0].path for each in alone]
        assert layers["tiny_d64l2_s0"] == firsts


def test_the_layers_of_dictionaries_from_elsewhere_are_encoded_in_one_pass(tmp_path: Path) -> None:
    model, saes = write_model(tmp_path / "model"), write_dictionaries(tmp_path / "saes", range(4))
    for layer in range(4):
        shapes = {"encoder.weight": (256, 64), "W_dec": (256, 64), "encoder.bias": (256,), "b_dec": (64,)}
        content = safetensors(**shapes, **{f"layer.{layer}": (1,)})
        (saes / f"layers.{layer}" / "sae.safetensors").write_bytes(content)
    write_text(tmp_path / "text")
    both = ("a=local", f"a.path={model}", "b=local", f"b.path={model}", "sae=local", f"sae.path={saes}")
    text = ("data=text", f"data.path={tmp_path / 'text'}", "tracking=off", "control=none")
    chosen: list[Cell] = []
    for layers, alignment in (("[0,2]", "hungarian"), ("[1]", "max_corr")):
        asked = (f"layers.a={layers}", "layers.b=[3]", f"alignment={alignment}", "width=published")
        checked = preflight([*both, *text, *asked])
        assert checked.faults == ()
        chosen += checked.cells
    work = plan(requests(tmp_path, *chosen))
    assert_sound(work)
    (encode,) = (task for task in work.tasks if isinstance(task, Encode))
    assert [each.dictionary.hookpoint.layer for each in encode.latents] == [0, 1, 2, 3]


def test_widths_are_encoded_apart_and_their_models_made_once(make_plan: MakePlan) -> None:
    work = make_plan("-m", "width=32,64")
    assert_sound(work)
    assert stages(work) == {"tokens": 1, "models": 4, "dictionaries": 8, "latents": 8, "scores": 8}
    for task in work.tasks:
        if isinstance(task, Encode):
            assert len({each.dictionary.width for each in task.latents}) == 1
        if isinstance(task, TrainDictionaries):
            assert len({each.width for each in task.dictionaries}) == 1


def test_comparisons_share_what_their_controls_are_made_of(make_plan: MakePlan) -> None:
    work = make_plan("-m", "a.steps=29,30")
    assert_sound(work)
    assert stages(work) == {"tokens": 1, "models": 5, "dictionaries": 5, "latents": 5, "scores": 6}
    one, control, two, other = work.reports
    assert [report.job_type for report in work.reports] == ["comparison", "control"] * 2
    assert [each.control for each in one.reported] == [each.scores for each in control.reported]
    assert [each.control for each in two.reported] == [each.scores for each in other.reported]
    assert [each.control for each in one.reported] == [each.control for each in two.reported]


def test_a_control_that_is_asked_for_itself_is_reported_once(tmp_path: Path) -> None:
    trained, untrained = cells(), cells("a.untrained=true", "b.untrained=true", "control=none")
    alone = plan(requests(tmp_path, *trained))
    for chosen, types in (
        ((*trained, *untrained), ["comparison", "control"]),
        ((*untrained, *trained), ["comparison"] * 2),
    ):
        work = plan(requests(tmp_path, *chosen))
        assert_sound(work)
        assert set(outputs(work)) == set(outputs(alone))
        assert {report.folder for report in work.reports} == {report.folder for report in alone.reports}
        assert [report.job_type for report in work.reports] == types


def test_a_comparison_that_is_refused_stops_no_other(tmp_path: Path) -> None:
    bad = [cells(f"nulls.draws={draws}", "alignment=max_corr")[0] for draws in (19, 29)]
    good = cells()
    alone = plan(requests(tmp_path, *good))
    for chosen, place in (((*bad, *good), 0), ((*good, *bad), 1)):
        asked = requests(tmp_path, *chosen)
        work = plan(asked)
        ((request, error),) = work.refused
        assert request is asked[place]
        assert isinstance(error, ConfigError) and "expected the same nulls in all cells" in str(error)
        assert (work.tasks, work.n_pairs) == (alone.tasks, alone.n_pairs)
        assert [report.key for report in work.reports] == [report.key for report in alone.reports]


def test_a_metric_with_two_sets_of_options_in_one_comparison_is_refused(tmp_path: Path) -> None:
    """They would fill one matrix, and the last one would win."""
    swept = cells("-m", "metrics=[svcca]", "metrics.svcca.variance_kept=0.9,0.99")
    work = plan(requests(tmp_path, *swept))
    ((_, error),) = work.refused
    assert work.tasks == () and "metrics.svcca: expected the same options in all cells" in str(error)
    apart = plan(requests(tmp_path, *cells("-m", "metrics=[svcca],[cka]")))
    assert apart.refused == () and apart.tasks


def test_where_all_are_refused_nothing_is_planned(tmp_path: Path) -> None:
    work = plan(requests(tmp_path, *cells("nulls.draws=19"), *cells("nulls.draws=29")))
    assert (work.tasks, work.reports, work.n_pairs, len(work.refused)) == ((), (), 0, 1)


def test_a_sweep_has_one_store(tmp_path: Path) -> None:
    chosen = [cells(f"store={tmp_path / name}", f"width={32 * len(name)}")[0] for name in ("x", "yy")]
    with pytest.raises(ConfigError, match=r"store: expected one for the whole sweep, got .*/x, .*/yy\."):
        plan(requests(tmp_path, *chosen))
    assert not (tmp_path / "x").exists()


def test_what_some_of_a_sweep_has_made_is_not_made_again(make_plan: MakePlan, store: Store) -> None:
    pretend(make_plan("alignment=max_corr"), store)
    work = make_plan("-m", "alignment=hungarian,max_corr", "width=64,32")
    assert_ordered(work)
    assert stages(work) == {"dictionaries": 4, "latents": 4, "scores": 12}
    assert [len(report.reported) for report in work.reports] == [4 * len(SCORES)] * 8
    new = missing(work.tasks, store)
    assert Counter(path.partition("/")[0] for path in new) == {
        **{"dictionaries": 8, "latents": 8},
        # Aligned by hungarian at the width that was there; all of both alignments at the other.
        "scores": 2 * 4 * (len(ALIGNED) + len(SCORES) + len(ALIGNED)),
    }


# Parts of a sweep: cells that share some of what they rest on.
PARTS = (
    *("", "layers.a=0", "layers.a=1 layers.b=0", "layers.a=[[0,1]]", "metrics=[svcca,raw_correlation]"),
    *("alignment=max_corr", "alignment=max_corr metrics=[svcca]", "width=32", "sae.k=4"),
    *("b=tiny_s2", "a=tiny_s1 b=tiny_s0", "a=tiny_s1 layers.a=0", "control=none", "a.untrained=true"),
    *("a.untrained=true b.untrained=true", "a.steps=29 layers.b=1", "sae.max_fvu=0.4 layers.a=0"),
    *("data.skip_first=5 layers.b=1", "bootstrap.draws=200", "data.max_sequences_per_document=3"),
)


class Parts:
    """The cells of each part, and what is made for one of them alone."""

    def __init__(self) -> None:
        few = "metrics=[cka,raw_correlation]"
        asked = [each.split() + ([] if "metrics" in each else [few]) for each in PARTS]
        self.cells = tuple(cell for each in asked for cell in cells(*each))
        self._known: dict[int, set[str]] = {}

    def alone(self, place: int) -> set[str]:
        if place not in self._known:
            self._known[place] = set(outputs(plan(requests(Path("sweep"), self.cells[place]))))
        return self._known[place]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAEUNIV_STORE", str(tmp_path_factory.mktemp("parts")))
        patch.setattr(texts, "fingerprint", lambda data: "0" * 64)
        yield Parts()


@given(chosen=st.lists(st.integers(0, len(PARTS) - 1), min_size=2, max_size=4, unique=True))
@settings(max_examples=25, deadline=None)
def test_a_sweep_makes_what_its_parts_need_and_each_of_it_once(parts: Parts, chosen: list[int]) -> None:
    asked = requests(Path("sweep"), *(parts.cells[place] for place in chosen))
    work, again = plan(asked), plan(asked[::-1])
    assert_sound(work)
    assert set(outputs(again)) == set(outputs(work)) == set().union(*map(parts.alone, chosen))
    # A control that comparisons share is reported for the first of them.
    reported = [
        {each.folder: each.key for each in both.reports if not each.untrained} for both in (work, again)
    ]
    assert reported[0] == reported[1]
    assert {request.folder for request in asked} <= {report.folder for report in work.reports}


def test_a_report_is_due_until_it_is_done_and_when_what_it_reads_is_made_again(
    make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = make_plan("-m", "alignment=max_corr,hungarian", "metrics=[matched_correlation]", "control=none")
    first, second = work.reports
    assert work.due_reports(()) == [first, second]
    monkeypatch.setattr(Report, "is_done", lambda report: True)
    assert work.due_reports(()) == []
    assert work.due_reports({second.reported[0].scores.path}) == [second]
