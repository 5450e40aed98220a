"""What tasks are called, which are made in one pass, and what is left of one when part of it is made."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from saeuniv.stages.compare import ComparePairs
from saeuniv.stages.dictionaries import TrainDictionaries
from saeuniv.stages.encode import Encode
from saeuniv.stages.latents import shards
from saeuniv.stages.task import STAGES
from saeuniv.stages.text import MakeTokens
from saeuniv.store import Artifact, Kind, Store
from saeuniv.sweep import texts
from saeuniv.sweep.plan import Plan
from tests.sweep.conftest import planned, pretend
from tests.sweep.dummies import Dummy, dummy, made

Planned = Callable[..., Plan]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """An empty store that plans are made for, and a text whose fingerprint costs nothing."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAEUNIV_STORE", str(folder))
        patch.setattr(texts, "fingerprint", lambda data: "0" * 64)
        yield Store(folder)


@pytest.fixture(scope="module")
def make_plan(store: Store) -> Planned:
    """The plan of a command line without controls, each made once."""
    known: dict[tuple[str, ...], Plan] = {}

    def make(*argv: str) -> Plan:
        if argv not in known:
            known[argv] = planned(store.root / "sweep", *argv, "control=none")
        return known[argv]

    return make


def only(work: Plan, of: type, place: int = 0) -> Any:
    """The task of a class, of the first model or layer of A."""
    return [task for task in work.tasks if isinstance(task, of)][place]


def paths(*artifacts: Artifact) -> list[str]:
    return [each.path for each in artifacts]


def test_a_task_is_named_by_its_stage_and_what_it_makes_in_any_order(tmp_path: Path) -> None:
    task = replace(dummy(tmp_path, "a"), outputs=(made("a"), made("b")))
    alike = replace(task, outputs=(made("b"), made("a")), seconds=9.0, inputs=(made("c"),), name="other")
    assert len(task.key) == 16 and int(task.key, 16) >= 0
    assert alike.key == task.key
    assert replace(alike, root=tmp_path / "elsewhere").key == task.key
    others = {dummy(tmp_path, "a").key, replace(task, outputs=(made("a"), made("c"))).key}
    others.add(Later(tmp_path, (), task.outputs, 1.0, "a").key)
    assert len(others | {task.key}) == 4


class Later(Dummy):
    """A dummy of another stage."""

    stage = "report"
    needs_all = False


def test_every_task_of_a_plan_has_a_name_and_a_stage_of_its_own(make_plan: Planned) -> None:
    work = make_plan()
    tasks = (*work.tasks, *work.reports)
    assert len({task.key for task in tasks}) == len(tasks)
    assert {task.stage for task in tasks} < set(STAGES)


def test_a_task_is_done_when_all_it_makes_is_there(tmp_path: Path) -> None:
    both = replace(dummy(tmp_path, "a"), outputs=(made("a"), made("b")))
    assert not both.is_done()
    dummy(tmp_path, "a")(lambda done, total: None)
    assert dummy(tmp_path, "a").is_done() and not both.is_done()
    dummy(tmp_path, "b")(lambda done, total: None)
    assert both.is_done()


def test_a_task_that_cannot_be_divided_is_left_whole_or_not_at_all(tmp_path: Path) -> None:
    task = replace(dummy(tmp_path, "a"), outputs=(made("a"), made("b")))
    assert task.without([]) is task.without(paths(made("a"))) is task.without(["x"]) is task
    assert task.without(paths(made("a"), made("b"), made("c"))) is None
    assert task.united(replace(task, seconds=9.0)) is task
    assert task.group == replace(task, seconds=9.0).group != dummy(tmp_path, "a").group
    assert task.portable() is task


@pytest.mark.parametrize("of", [MakeTokens, TrainDictionaries, Encode, ComparePairs])
def test_what_is_left_and_what_was_taken_are_the_whole_task(of: type, make_plan: Planned) -> None:
    whole = only(make_plan(), of)
    assert whole.without([]) == whole == whole.united(whole)
    assert whole.without(paths(*whole.outputs)) is None
    for output in whole.outputs:
        rest = whole.without([output.path])
        alone = whole.without(set(paths(*whole.outputs)) - {output.path})
        assert alone.outputs == (output,)
        assert output not in rest.outputs
        assert Counter((*rest.outputs, *alone.outputs)) == Counter(whole.outputs)
        # The order of pairs is that of asking, and no part of the name.
        for again in (rest.united(alone), alone.united(rest)):
            assert set(again.outputs) == set(whole.outputs) and again.key == whole.key
            assert set(again.inputs) == set(whole.inputs) and again.seconds == pytest.approx(whole.seconds)
        assert rest.group == alone.group == whole.group
        assert set(rest.inputs) <= set(whole.inputs)
        assert len({whole.key, rest.key, alone.key}) == 3


def test_the_training_stream_and_the_held_out_text_are_read_in_one_pass(make_plan: Planned) -> None:
    both = only(make_plan(), MakeTokens)
    assert both.training and both.held_out and both.outputs == (both.training, both.held_out)
    training, held_out = both.without([both.held_out.path]), both.without([both.training.path])
    assert (training.training, training.held_out) == (both.training, None)
    assert (held_out.training, held_out.held_out) == (None, both.held_out)
    assert training.united(held_out) == held_out.united(training) == both


def test_another_text_or_tokenizer_is_read_apart(make_plan: Planned) -> None:
    one = only(make_plan(), MakeTokens)
    assert only(make_plan("data.held_out=0.2"), MakeTokens).group != one.group
    assert replace(one, tokenizer="elsewhere").group != one.group
    assert replace(one, revision="0" * 40).group != one.group
    assert only(make_plan("sae.k=4", "a.seed=7"), MakeTokens).group == one.group


@pytest.mark.parametrize("of", [TrainDictionaries, Encode])
def test_all_layers_of_a_model_are_made_in_one_pass_by_depth(of: type, make_plan: Planned) -> None:
    first, second = (only(make_plan(f"layers.a={layer}"), of) for layer in (0, 1))
    whole = only(make_plan(), of)
    assert first.group == second.group == whole.group
    assert first.united(second) == second.united(first) == first.united(whole) == whole
    assert first.key != second.key != whole.key
    assert whole.label.endswith(" x 2") and first.label.endswith(" x 1")


@pytest.mark.parametrize("of", [TrainDictionaries, Encode])
@pytest.mark.parametrize(
    "change", ["width=32", "sae.k=4", "sae.hookpoint=mlp_out", "a.seed=7", "data.held_out=0.2"]
)
def test_what_cannot_be_made_in_one_pass_is_in_another_group(
    of: type, change: str, make_plan: Planned
) -> None:
    assert only(make_plan(change), of).group != only(make_plan(), of).group


def test_a_dictionary_that_another_trains_is_not_waited_for_twice(make_plan: Planned) -> None:
    whole = only(make_plan(), Encode)
    first, second = whole.latents
    rest = whole.without([first.artifact.path])
    assert rest.latents == (second,)
    assert [each for each in rest.inputs if each.kind is Kind.dictionaries] == [second.dictionary.artifact]
    others = [each for each in whole.inputs if each.kind is not Kind.dictionaries]
    assert [each for each in rest.inputs if each.kind is not Kind.dictionaries] == others


def test_latents_are_done_when_every_shard_is_there_and_fits(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SAEUNIV_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(texts, "fingerprint", lambda data: "0" * 64)
    work, store = planned(tmp_path, "control=none"), Store(tmp_path / "store")
    encode = only(work, Encode)
    assert not encode.is_done(), "without tokens it is not known how many shards there are"
    pretend(work, store)
    assert encode.is_done()
    # As recorded: an error of 1 in 10.
    sae = replace(encode.latents[1].dictionary.sae, max_fvu=0.0999)
    stricter = replace(encode.latents[1], dictionary=replace(encode.latents[1].dictionary, sae=sae))
    assert not replace(encode, latents=(encode.latents[0], stricter)).is_done()
    last = store.folder(shards(encode.latents[1], 2)[1])
    (last / "manifest.json").unlink()
    assert not encode.is_done()
    assert encode.without(paths(encode.latents[1].artifact)).is_done()


def test_layer_pairs_are_united_with_the_metrics_of_both(make_plan: Planned) -> None:
    one = only(make_plan("layers.b=0", "metrics=[raw_correlation]"), ComparePairs)
    two = only(make_plan("metrics=[matched_correlation]"), ComparePairs)
    both = one.united(two)
    assert one.group == two.group == both.group
    assert [[metric.name for metric, _ in pair.scores] for pair in both.pairs] == [
        ["raw_correlation", "matched_correlation"],
        ["matched_correlation"],
    ]
    assert [pair.matches for pair in one.pairs] == [None]
    assert [pair.matches for pair in both.pairs] == [pair.matches for pair in two.pairs]
    assert [pair.null_matches for pair in both.pairs] == [pair.null_matches for pair in two.pairs]
    assert set(both.inputs) == {*one.inputs, *two.inputs}
    assert both.outputs == tuple(score for pair in both.pairs for _, score in pair.scores)
    assert set(both.outputs) == {*one.outputs, *two.outputs}
    whole = only(make_plan("metrics=[raw_correlation,matched_correlation]"), ComparePairs)
    assert set(both.without(paths(*two.outputs)).outputs) == set(one.outputs)
    assert set(both.outputs) < set(whole.outputs)


def test_a_layer_pair_less_counts_less_and_waits_for_less(make_plan: Planned) -> None:
    row = only(make_plan(), ComparePairs)
    first, second = row.pairs
    rest = row.without(paths(*(score for _, score in first.scores)))
    assert rest.pairs == (second,)
    assert rest.seconds == pytest.approx(row.seconds / 2)
    alone = only(make_plan("layers.b=1"), ComparePairs)
    assert (rest.key, set(rest.inputs), rest.seconds) == (alone.key, set(alone.inputs), alone.seconds)
    assert rest.label.endswith(" x 1 of tiny_d64l2_s1")


def test_matches_that_no_score_is_left_to_need_are_not_made(make_plan: Planned) -> None:
    row = only(make_plan(), ComparePairs)
    aligned = [score for pair in row.pairs for metric, score in pair.scores if metric.aligned]
    assert 0 < len(aligned) < len(row.outputs)
    rest = row.without(paths(*aligned))
    assert [(pair.matches, pair.null_matches) for pair in rest.pairs] == [(None, ())] * 2
    others = row.without(paths(*(each for each in row.outputs if each not in aligned)))
    assert [(each.matches, each.null_matches) for each in others.pairs] == [
        (each.matches, each.null_matches) for each in row.pairs
    ]
    for metric, score in row.pairs[0].scores:
        alone = row.without({*paths(*row.outputs)} - {score.path})
        assert {name for name, _ in alone.pairs[0].null_matches} == set(metric.needs_nulls)


@pytest.mark.parametrize(
    "change", ["alignment=max_corr", "nulls.draws=25", "bootstrap.draws=200", "eligibility.max_rate=0.4"]
)
def test_another_way_to_compare_is_another_group(change: str, make_plan: Planned) -> None:
    assert only(make_plan(change), ComparePairs).group != only(make_plan(), ComparePairs).group


def test_rows_of_other_layers_are_other_groups(make_plan: Planned) -> None:
    work = make_plan()
    rows = [task for task in work.tasks if isinstance(task, ComparePairs)]
    assert len({row.group for row in rows}) == len(rows) == 2
    together = only(make_plan("layers.a=[[0,1]]"), ComparePairs)
    assert together.group not in {row.group for row in rows}


def test_layer_pairs_whose_matches_were_damaged_are_not_done(make_plan: Planned, store: Store) -> None:
    pair = only(make_plan(), ComparePairs)
    matches = next(each.matches for each in pair.pairs if each.matches)
    for output in pair.outputs:
        with store.publish(output) as folder:
            (folder / "x").touch()
    try:
        assert not pair.is_done()
        every = [
            *(each.matches for each in pair.pairs),
            *(a for each in pair.pairs for _, a in each.null_matches),
        ]
        for output in filter(None, every):
            with store.publish(output) as folder:
                (folder / "x").touch()
        assert pair.is_done()
        shutil.rmtree(store.folder(matches))
        assert not pair.is_done()
    finally:
        shutil.rmtree(store.root)
