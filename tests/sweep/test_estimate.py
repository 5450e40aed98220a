"""What a plan is expected to take: medians of what was made before, and guesses that are called so."""

import io
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
from rich.console import Console

from saeuniv.config.launcher import Launcher, StageResources
from saeuniv.stages.task import Task
from saeuniv.store import Artifact, Kind, Store, artifact
from saeuniv.sweep.estimate import (
    Estimate,
    duration_text,
    estimate,
    estimate_json,
    estimate_table,
)
from saeuniv.sweep.plan import Plan
from saeuniv.sweep.rates import Rates, Taken, learn, method_of
from tests.sweep.dummies import Dummy

HELD_OUT = artifact(Kind.tokens, {"text": "t", "split": "held_out", "context_length": 9, "skip_first": 4})
SEQUENCES = 50
ROWS = SEQUENCES * (9 - 4)
TEXT = json.dumps({"rows": ROWS})


@dataclass(frozen=True)
class Encoding(Dummy):
    stage: ClassVar[str] = "latents"


@dataclass(frozen=True)
class Comparing(Dummy):
    stage: ClassVar[str] = "scores"


def task(of: type[Dummy], *outputs: Artifact, seconds: float = 5.0) -> Task:
    return of(Path("store"), (), outputs, seconds, "name")


def latents(dictionary: str, tokens: Artifact = HELD_OUT) -> Artifact:
    spec = {"dictionary": dictionary, "tokens": tokens.key, "kind": "topk", "dtype": "f"}
    return artifact(Kind.latents, spec)


def score(metric: str, a: str, b: str = "b", **more: object) -> Artifact:
    return artifact(Kind.scores, {"a": [a], "b": [b], "method": {"metric": {"name": metric}, **more}})


def matches(a: str, null: str | None) -> Artifact:
    named = null and {"name": null, "draws": 9}
    method = {"alignment": {"type": "Hungarian"}, "null": named}
    return artifact(Kind.matches, {"a": [a], "b": ["b"], "method": method})


def dictionary(
    model: str, width: int = 64, n_tokens: int = 1000, hookpoint: str = "resid_post[0]"
) -> Artifact:
    spec = {"model": model, "width": width, "n_tokens": n_tokens, "hookpoint": hookpoint}
    return artifact(Kind.dictionaries, spec)


def model(**spec: object) -> Artifact:
    return artifact(Kind.models, spec)


def put(store: Store, what: Artifact, seconds: float, **files: int | str) -> None:
    """Publish files of these sizes, or with these texts, as if it had taken so long."""
    with store.publish(what) as folder:
        for name, content in files.items():
            data = bytes(content) if isinstance(content, int) else content.encode()
            (folder / name.replace("__", ".")).write_bytes(data)
    path = store.folder(what) / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "seconds": seconds}))


def put_tokens(store: Store) -> None:
    put(store, HELD_OUT, 0.001, tokens__safetensors=SEQUENCES * (4 * 10 + 9) + 30, text__json=TEXT)


def put_latents(store: Store, of: Artifact, *shards: tuple[int, float, int]) -> None:
    for number, (rows, seconds, size) in enumerate(shards):
        shard = replace(of, shard=number)
        put(store, shard, seconds, latents__safetensors=size, quality__json=json.dumps({"rows": rows}))


def of_one(store: Store, *made: Artifact, of: type[Dummy] = Encoding) -> tuple[float, int, int]:
    """Seconds, bytes and guessed tasks of one task that makes these."""
    (stage,) = estimate([task(of, *made)], learn(store.root)).stages
    return stage.seconds, stage.bytes, stage.guessed


def test_an_empty_store_gives_the_guesses_of_the_tasks_and_says_so(tmp_path: Path) -> None:
    tasks = [task(Encoding, latents("d"), seconds=7.0), task(Encoding, latents("e"), seconds=8.0)]
    found = estimate([*tasks, task(Comparing, score("cka", "a"))], learn(tmp_path / "nowhere"))
    assert [(each.stage, each.tasks, each.seconds, each.guessed) for each in found.stages] == [
        *(("latents", 2, 15.0, 2), ("scores", 1, 5.0, 1))
    ]
    assert {each.basis for each in found.stages} == {"guesses: the store has no record of any alike"}
    assert found.bytes > 0
    assert estimate([], learn(tmp_path)) == Estimate(())


def test_latents_take_so_long_per_row(store: Store) -> None:
    put_tokens(store)
    quality = len(json.dumps({"rows": 100}))
    put_latents(store, latents("other"), (100, 2.0, 1000 - quality), (100, 99.0, 10_000))
    assert of_one(store, latents("new")) == (pytest.approx(ROWS * 0.02), ROWS * 10, 0)
    assert of_one(store, latents("new"), latents("newer")) == (pytest.approx(ROWS * 0.04), ROWS * 20, 0)


def test_pre_activations_take_room_by_the_width_and_not_as_latents_do(store: Store) -> None:
    put_tokens(store)
    put_latents(store, latents("other"), (100, 2.0, 1000))

    def pre_acts(dictionary: str, width: int) -> Artifact:
        spec = {"dictionary": dictionary, "tokens": HELD_OUT.key, "kind": "pre_acts", "width": width}
        return artifact(Kind.latents, {**spec, "dtype": "f"})

    # Half of them positive, 6 bytes each: 3 GB for 32,768 of 30,000 rows.
    assert of_one(store, pre_acts("new", 32_768)) == (5.0, ROWS * 32_768 * 3, 1)
    # Learned: 4 bytes and 1 ms for each latent of a row.
    put_latents(store, pre_acts("made", 50), (100, 5.0, 20_000 - len(json.dumps({"rows": 100}))))
    assert of_one(store, pre_acts("new", 500)) == (pytest.approx(ROWS * 0.5), ROWS * 500 * 4, 0)
    assert of_one(store, latents("new"))[0] == pytest.approx(ROWS * 0.02)


def test_latents_on_tokens_that_are_not_there_yet_are_guessed(store: Store) -> None:
    put_latents(store, latents("other"), (100, 2.0, 1000))
    assert of_one(store, latents("new"))[::2] == (5.0, 1)


def test_the_most_alike_decides(store: Store) -> None:
    put_tokens(store)
    foreign = artifact(Kind.tokens, {"split": "held_out", "context_length": 9, "text": "foreign"})
    put_latents(store, latents("d"), (100, 1.0, 10))
    put_latents(store, latents("d", foreign), (100, 1.0, 10))
    put_latents(store, latents("e"), (100, 3.0, 10))
    put_latents(store, latents("f", foreign), (100, 9.0, 10))
    assert of_one(store, latents("d"))[0] == pytest.approx(ROWS * 0.01)  # of the same dictionary
    assert of_one(store, latents("e"))[0] == pytest.approx(ROWS * 0.03)
    assert of_one(store, latents("new"))[0] == pytest.approx(ROWS * 0.02)  # of the same tokens: 1 and 3


def test_the_rate_is_the_median(store: Store) -> None:
    for number, seconds in enumerate((0.1, 0.2, 50.0)):
        put(store, score("cka", f"a{number}"), seconds, arrays__safetensors=100)
    assert of_one(store, score("cka", "new"), of=Comparing) == (pytest.approx(0.2), 100, 0)


def test_metrics_have_rates_of_their_own(store: Store) -> None:
    put(store, score("cka", "a"), 1.0)
    put(store, score("svcca", "a"), 10.0)
    put(store, score("svcca", "b"), 30.0)
    assert of_one(store, score("cka", "new"), score("svcca", "new"), of=Comparing)[0] == 21.0
    assert of_one(store, score("svcca", "b", "new"), of=Comparing)[0] == 30.0  # the same layer of A
    assert of_one(store, score("cka", "new"), score("rsa", "new"), of=Comparing)[::2] == (5.0, 1)


def test_matches_on_the_way_to_scores_count_once_for_each_layer_pair(store: Store) -> None:
    put(store, score("svcca", "a"), 1.0, arrays=100)
    put(store, matches("a", None), 0.5, arrays=10)
    put(store, matches("a", "shift"), 2.0, arrays=20)
    aligned = {"alignment": {"type": "Hungarian"}}
    pair = (score("svcca", "x", **aligned), score("svcca", "x", bootstrap=1, **aligned))
    assert of_one(store, *pair, of=Comparing) == (2 * 1.0 + 2.5, 2 * 100 + 30, 0)
    other = score("svcca", "x", "c", **aligned)
    assert of_one(store, *pair, other, of=Comparing)[0] == 3 * 1.0 + 2 * 2.5
    assert of_one(store, *pair, matches("x", None), of=Comparing)[0] == 2 * 1.0 + 0.5  # named among outputs


def test_dictionaries_take_so_long_per_training_token_and_so_much_per_latent(store: Store) -> None:
    put(store, dictionary("m", n_tokens=1000), 4.0, sae__safetensors=640)
    new = dictionary("other", width=64, n_tokens=5000, hookpoint="resid_post[1]")
    assert of_one(store, new) == (pytest.approx(20.0), 640, 0)
    assert of_one(store, dictionary("m", width=128))[::2] == (5.0, 1)


def test_models_take_so_long_per_token_or_none_where_they_are_not_trained(store: Store) -> None:
    tiny = {"d_model": 64, "n_layers": 4, "context_length": 10, "batch_sequences": 2}
    put(store, model(**tiny, steps=100), 20.0, model=500)
    put(store, model(**tiny, steps=0), 0.5, model=500)
    put(store, model(initial_weights_of={"commit": "c"}, seed=1), 3.0, model=900)
    assert of_one(store, model(**tiny, steps=300))[:2] == (pytest.approx(60.0), 500)
    assert of_one(store, model(**tiny, steps=0, seed=1))[:2] == (0.5, 500)
    assert of_one(store, model(initial_weights_of={"commit": "d"}, seed=1))[:2] == (3.0, 900)


def test_making_tokens_is_guessed_as_its_time_is_not_recorded(store: Store) -> None:
    put_tokens(store)
    new = artifact(Kind.tokens, {"split": "held_out", "context_length": 9, "text": "new"})
    assert of_one(store, new) == (5.0, SEQUENCES * 49 + 30 + len(TEXT), 1)


def test_what_is_damaged_or_of_another_version_teaches_nothing(store: Store) -> None:
    put(store, score("cka", "a"), 1.0)
    put(store, artifact(Kind.scores, {"words": "others"}), 9.0)
    put(store, artifact(Kind.scores, {"metric": "cka", "a": 3}), 9.0)
    put(store, score("cka", "b"), 9.0)
    (store.folder(score("cka", "b")) / "manifest.json").write_bytes(b"\xff")
    (store.root / "scores" / ".x.tmp").mkdir()
    (store.root / "scores" / "stray").touch()
    rates = learn(store.root)
    assert rates.learned_from == {Kind.scores: 1}
    assert of_one(store, score("cka", "new"), of=Comparing)[0] == 1.0
    assert of_one(store, artifact(Kind.scores, {"words": "planned"}), of=Comparing)[::2] == (5.0, 1)


def a_launcher(**stages: StageResources) -> Launcher:
    return Launcher(**stages)  # type: ignore[arg-type]


def test_gpu_hours_are_hours_of_work_times_gpus(store: Store) -> None:
    put(store, score("cka", "a"), 3600.0)
    tasks = [task(Comparing, score("cka", f"x{n}"), score("cka", f"y{n}")) for n in range(3)]
    found = estimate([*tasks, task(Encoding, latents("d"), seconds=1800.0)], learn(store.root))
    assert found.seconds == 6 * 3600 + 1800
    assert found.gpu_hours(Launcher()) == 0.0
    assert found.gpu_hours(a_launcher(scores=StageResources(gpus=2))) == 12.0
    assert found.gpu_hours(a_launcher(default=StageResources(gpus=1))) == 6.5
    assert found.gpu_hours(a_launcher(scores=StageResources(gpus=2), latents=StageResources(gpus=4))) == 14.0


def test_the_table_and_the_json_say_what_was_learned(store: Store) -> None:
    put(store, score("cka", "a"), 1800.0, arrays=1000)
    tasks = [task(Comparing, score("cka", "x")), task(Comparing, score("rsa", "x")), task(Dummy, seconds=2.0)]
    found = estimate(tasks, learn(store.root))
    launcher = a_launcher(scores=StageResources(gpus=2))
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(estimate_table(found, launcher))
    text = console.export_text()
    assert "learned from 1 manifests; 1 tasks guessed" in text
    assert "guesses: the store has no record of any alike" in text
    whole = json.loads(json.dumps(estimate_json(found, launcher)))
    assert whole["stages"]["scores"] == {
        **{"tasks": 2, "seconds": 1805.0, "bytes": found.stages[0].bytes},
        **{"gpu_hours": 1.0028, "guessed_tasks": 1, "learned_from": 1},
    }
    assert (whole["tasks"], whole["seconds"]) == (3, 1807.0)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (5900, "98 min"), (7200.0, "2.0 h")]
)
def test_durations_have_two_digits(seconds: float | int, text: str) -> None:
    assert duration_text(seconds) == text


def test_a_large_store_is_sampled_and_a_large_plan_is_added_up_in_a_moment(store: Store) -> None:
    put(store, score("cka", "a"), 1.0)
    content = (store.folder(score("cka", "a")) / "manifest.json").read_bytes()
    for number in range(2000):
        (store.root / "scores" / f"{number:016x}").mkdir()
        (store.root / "scores" / f"{number:016x}" / "manifest.json").write_bytes(content)
    outputs = tuple(score("cka", f"a{number % 24}", str(number)) for number in range(5000))
    started = time.monotonic()
    rates = learn(store.root)
    assert 300 < rates.learned_from[Kind.scores] < 400
    assert estimate([task(Comparing, *outputs)], rates).seconds == 5000
    assert time.monotonic() - started < 10


def test_everything_that_a_plan_makes_is_told_apart(make_plan: Callable[..., Plan], store: Store) -> None:
    """The words of the specs, which are read here and written elsewhere."""
    planned = make_plan()
    made = [output for each in planned.tasks for output in each.outputs]
    assert {each.kind for each in made} == set(Kind) - {Kind.matches}
    for each in made:
        spec: Mapping[str, object] = each.spec
        if each.kind is not Kind.latents:
            size = SEQUENCES * (4 * 129 + 128)
            put(store, artifact(each.kind, dict(spec)), 2.0, tokens__safetensors=size, text__json=TEXT)
    for each in made:
        if each.kind is Kind.latents:
            put_latents(store, each, (100, 2.0, 10))
        elif each.kind is Kind.scores and "alignment" in method_of(each.spec):
            aligned = {"alignment": method_of(each.spec)["alignment"], "null": None}
            put(store, artifact(Kind.matches, {"method": aligned}), 1.0)
    found = estimate(planned.tasks, learn(store.root))
    assert {stage.stage: stage.guessed for stage in found.stages if stage.guessed} == {
        "tokens": sum(each.stage == "tokens" for each in planned.tasks)
    }


def test_an_embedded_model_is_not_guessed_to_be_as_large_as_others() -> None:
    unknown = Rates({}, {}, {}, {})
    spec = {"d_model": 64, "n_layers": 4, "steps": 500, "context_length": 128}
    embedded = unknown.of(artifact(Kind.models, spec))
    assert embedded == Taken(None, pytest.approx(4 * 12 * 4 * 64**2))
    assert unknown.of(artifact(Kind.models, {"initial_weights_of": "x"})).bytes > 1e8
