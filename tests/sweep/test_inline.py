"""Execution: what is ready runs, failures stop nobody but who needs them, dead workers are replaced."""

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from saeuniv.adapters.hub import HubFolder
from saeuniv.adapters.offline import OFFLINE
from saeuniv.stages.task import Task
from saeuniv.store import Store
from saeuniv.sweep.inline import execute
from saeuniv.sweep.outcome import Outcome
from saeuniv.sweep.plan import Plan
from saeuniv.sweep.pool import Pool
from saeuniv.sweep.progress import display
from tests.fake_hub import serving
from tests.sweep.dummies import LAST_WORDS, Dummy, dummy, made


@pytest.fixture
def alone() -> Pool:
    return Pool(1)


@pytest.fixture(scope="module")
def two_workers() -> Iterator[Pool]:
    """Workers that are shared by the tests, as they are by the comparisons of a sweep."""
    pool = Pool(2)
    yield pool
    pool.close()


def run(workers: Pool, *tasks: Task) -> Outcome:
    return execute(Plan(Path(), tasks, ()), workers)


def done(root: Path, *names: str) -> list[str]:
    return [name for name in names if Store(root).exists(made(name))]


@pytest.mark.parametrize("n_workers", [1, 2])
def test_tasks_run_after_what_they_need(
    n_workers: int, tmp_path: Path, alone: Pool, two_workers: Pool
) -> None:
    tasks = [dummy(tmp_path, "c", "b"), dummy(tmp_path, "b", "a"), dummy(tmp_path, "a"), dummy(tmp_path, "d")]
    outcome = run({1: alone, 2: two_workers}[n_workers], *tasks)
    assert (outcome.failures, outcome.not_run) == ((), ())
    assert done(tmp_path, *"abcd") == list("abcd")
    assert outcome.cpu_seconds >= 0 and outcome.peak_bytes > 1 << 20


@pytest.mark.parametrize("n_workers", [1, 2])
def test_no_task_can_ask_a_hub_and_whoever_started_it_can_again(
    n_workers: int, tmp_path: Path, alone: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in OFFLINE:
        monkeypatch.delenv(name, raising=False)
    with serving(tmp_path, monkeypatch) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.setenv("HF_HUB_CACHE", str(hub.cache))
        hub.add("owner/model", {"config.json": b"{}"})
        workers = alone if n_workers == 1 else Pool(2)
        ((_, message),) = run(workers, dummy(tmp_path, "a", end="asks a hub")).failures
        workers.close()
        assert message.startswith("a: config.json of owner/model") and "HF_HUB_OFFLINE is set" in message
        assert hub.requests == [] and not {*OFFLINE} & {*os.environ}
        assert HubFolder("owner/model", "main", "a").json("config.json") == {}


@pytest.mark.parametrize("n_workers", [1, 2])
def test_a_failure_stops_nobody_but_who_needs_it(
    n_workers: int, tmp_path: Path, alone: Pool, two_workers: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = dummy(tmp_path, "bad", end="wrong", seconds=9)
    tasks = [bad, dummy(tmp_path, "next", "bad"), dummy(tmp_path, "last", "next"), dummy(tmp_path, "good")]
    outcome = run({1: alone, 2: two_workers}[n_workers], *tasks)
    ((task, message),) = outcome.failures
    assert (task, message) == (bad, "bad: expected better work. Choose another.")
    assert [each.label for each in outcome.not_run] == ["next", "last"]
    assert done(tmp_path, "bad", "next", "last", "good") == ["good"]
    assert "Traceback" not in capsys.readouterr().err


def test_a_bug_shows_its_traceback(tmp_path: Path, alone: Pool, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run(alone, dummy(tmp_path, "bad", end="bug"), dummy(tmp_path, "good"))
    assert [failure.message for failure in outcome.failures] == ["'no such thing'"]
    said = capsys.readouterr().err
    assert "ERROR dummy bad" in said and "Traceback" in said and "KeyError: 'no such thing'" in said
    assert done(tmp_path, "good") == ["good"]


def test_the_dearest_task_that_is_ready_starts_first(
    tmp_path: Path, alone: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = [dummy(tmp_path, name, seconds=cost) for name, cost in (("cheap", 1), ("dear", 9), ("fair", 5))]
    run(alone, *tasks)
    words = [line.split()[-2] for line in capsys.readouterr().err.splitlines()]
    assert words == ["dear", "fair", "cheap"]


def test_what_workers_log_is_heard_to_the_last_word(
    tmp_path: Path, two_workers: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    run(two_workers, dummy(tmp_path, "one", end="talkative"), dummy(tmp_path, "two", end="wrong"))
    said = capsys.readouterr().err
    assert "INFO one begins" in said and "INFO two begins" in said
    assert len(said) > LAST_WORDS


def test_a_dead_worker_fails_its_task_and_is_replaced(
    tmp_path: Path, two_workers: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    dying = dummy(tmp_path, "dying", end="dead", seconds=9)
    after = [dummy(tmp_path, f"good{n}", "first", seconds=1) for n in range(3)]
    outcome = run(two_workers, dying, dummy(tmp_path, "needs", "dying"), dummy(tmp_path, "first"), *after)
    failed = {failure.task.label: failure.message for failure in outcome.failures}
    assert "dying" in failed
    assert all("a worker process died (killed, or out of memory)" in each for each in failed.values())
    assert "needs" in [each.label for each in outcome.not_run]
    # A task at work beside the dead one may have gone with it; all others have run.
    assert len(failed) <= 2
    assert "Traceback" not in capsys.readouterr().err
    again = run(two_workers, dummy(tmp_path, "later"))
    assert (again.failures, done(tmp_path, "later")) == ((), ["later"])


def test_an_interruption_ends_the_run_at_once(tmp_path: Path, alone: Pool) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(alone, dummy(tmp_path, "stop", end="interrupted", seconds=9), dummy(tmp_path, "good"))
    assert done(tmp_path, "good") == []


def test_a_plain_line_every_30_seconds_says_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    first, second = dummy(tmp_path, "first"), dummy(tmp_path, "second")
    with display(2) as shown:
        shown.started(first)
        for seconds in (10, 19.5, 1, 20, 11):
            clock[0] += seconds
            shown.tick()
            if seconds == 1:
                shown.ended(first)
                shown.started(second)
                shown.advanced(second, 3, 7)
    lines = [line.partition("INFO ")[2] for line in capsys.readouterr().err.splitlines()]
    assert lines == [
        "0 of 2 tasks done; at work: dummy first",
        "1 of 2 tasks done; at work: dummy second 3/7",
    ]


def test_bars_end_with_tasks_that_were_not_run(
    tmp_path: Path, alone: Pool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    bad, needs = dummy(tmp_path, "bad", end="wrong", seconds=9), dummy(tmp_path, "needs", "bad")
    outcome = run(alone, bad, needs, dummy(tmp_path, "good"))
    assert (len(outcome.failures), outcome.not_run) == (1, (needs,))
    assert "tasks" in capsys.readouterr().err and done(tmp_path, "good") == ["good"]


def test_the_log_is_as_it_was_when_the_display_ends(tmp_path: Path) -> None:
    log = logging.getLogger("saeuniv")
    before = (list(log.handlers), log.level, log.propagate)
    with pytest.raises(ZeroDivisionError), display(1):
        raise ZeroDivisionError
    assert (list(log.handlers), log.level, log.propagate) == before


def test_a_task_is_pickled_with_plain_values(tmp_path: Path) -> None:
    import pickle

    task = dummy(tmp_path, "a", "b")
    again = pickle.loads(pickle.dumps(task))
    assert isinstance(again, Dummy) and again == task
