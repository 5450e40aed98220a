"""What became of jobs: done is a file, failed is an end without one, and no answer is no answer."""

import json
import logging
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import pytest

from saeuniv.config.launcher import Launcher
from saeuniv.results import write_status
from saeuniv.stages.task import Task
from saeuniv.sweep import claims, slurm
from saeuniv.sweep import watch as watch_module
from saeuniv.sweep.claims import Note
from saeuniv.sweep.outcome import Outcome
from saeuniv.sweep.place import SweepPlace
from saeuniv.sweep.slurm import JobState, QueueError
from saeuniv.sweep.watch import error_of, log_of, watch
from tests.sweep.dummies import Dummy, dummy, made
from tests.sweep.dummy_reports import report

LAUNCHER = replace(Launcher(), poll_seconds=0.001)

RUNNING = JobState("RUNNING", "", "token")
PENDING = JobState("PENDING", "Priority", "token")
WAITING = JobState("PENDING", "Dependency", "token")
COMPLETED = JobState("COMPLETED", "", "token")
FAILED = JobState("FAILED", "NonZeroExitCode", "token")
CANCELLED = JobState("CANCELLED", "", "token")
HELD = JobState("PENDING", "JobHeldUser", "token")
NEVER = JobState("PENDING", "DependencyNeverSatisfied", "token")

Look = Mapping[str, JobState] | str | Callable[[], Mapping[str, JobState]]


@dataclass(frozen=True)
class Late(Dummy):
    """Runs whatever became of what it needs."""

    stage: ClassVar[str] = "sweep"
    needs_all: ClassVar[bool] = False


@dataclass
class Queue:
    """What SLURM says at each look; the last for ever, but not for long."""

    looks: Sequence[Look] = ()
    """States; what it says instead of an answer; or what happens before it answers."""

    n_looks: int = 0
    asked: list[set[str]] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    """What was shown: +a as a starts, -a as it ends."""

    def states(self, ids: Collection[str]) -> dict[str, JobState]:
        look = self.looks[min(self.n_looks, len(self.looks) - 1)]
        self.n_looks += 1
        assert self.n_looks < 40, "it watches for ever"
        self.asked.append(set(ids))
        if isinstance(look, str):
            raise QueueError(look)
        found = look() if callable(look) else look
        return {each: found[each] for each in ids if each in found}

    def started(self, task: Task) -> None:
        self.shown.append(f"+{task.label}")

    def advanced(self, task: Task, done: int, total: int) -> None:
        raise AssertionError("jobs do not tell")

    def ended(self, task: Task) -> None:
        self.shown.append(f"-{task.label}")

    def tick(self) -> None:
        pass


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Queue:
    found = Queue()

    @contextmanager
    def display(n_tasks: int) -> Generator[Queue]:
        yield found

    monkeypatch.setattr(slurm, "states", found.states)
    monkeypatch.setattr(watch_module, "display", display)
    return found


def watched(root: Path, queue: Queue, jobs: Mapping[Task, str], *looks: Look) -> Outcome:
    """What became of tasks, whose jobs are named by ids between blanks."""
    queue.looks = looks
    by_key = {task.key: set(ids.split()) for task, ids in jobs.items()}
    place = SweepPlace("s", root / "sweep", (), LAUNCHER)
    return watch([*jobs], by_key, place, root)


def publish(*tasks: Dummy) -> None:
    for task in tasks:
        task(lambda done, total: None)


def fails(task: Task, message: str, key: str = "") -> None:
    """Write down what a job says of a task that fails."""
    folder = task.root / "jobs"
    folder.mkdir(exist_ok=True)
    said = {"message": message, "job": "28_0", "host": "n1", "time": "now"}
    (folder / f"{key or task.key}.error.json").write_text(json.dumps(said))


def told(outcome: Outcome) -> dict[str, str]:
    return {failure.task.label: failure.message for failure in outcome.failures}


def labels(outcome: Outcome) -> list[str]:
    return [task.label for task in outcome.not_run]


def test_done_is_a_file_whatever_slurm_says(tmp_path: Path, queue: Queue) -> None:
    a, b, c = (dummy(tmp_path, name) for name in "abc")
    publish(a, b, c)
    # Failed after it had published; forgotten by SLURM; made by nobody.
    outcome = watched(tmp_path, queue, {a: "1", b: "2", c: ""}, {"1": FAILED})
    assert (outcome.failures, outcome.not_run, queue.n_looks) == ((), (), 1)
    assert queue.shown == ["-a", "-b", "-c"]
    assert queue.asked == [{"1", "2"}]


def test_nothing_to_watch_is_done(tmp_path: Path, queue: Queue) -> None:
    assert watched(tmp_path, queue, {}, {}) == Outcome((), ())


def test_a_file_that_shows_late_is_waited_for(tmp_path: Path, queue: Queue) -> None:
    a = dummy(tmp_path, "a")

    def shows() -> Mapping[str, JobState]:
        publish(a)
        return {"1": COMPLETED}

    outcome = watched(tmp_path, queue, {a: "1"}, {"1": COMPLETED}, {"1": COMPLETED}, shows)
    assert (outcome.failures, queue.n_looks) == ((), 3)


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ({"1": COMPLETED}, "ended without its results (job 1: COMPLETED)"),
        ({"1": FAILED}, "ended without its results (job 1: FAILED, NonZeroExitCode)"),
        ({}, "ended without its results (job 1: SLURM no longer knows it)"),
    ],
)
def test_an_end_without_files_is_a_failure_after_three_looks(
    tmp_path: Path, queue: Queue, states: dict[str, JobState], said: str
) -> None:
    a = dummy(tmp_path, "a")
    outcome = watched(tmp_path, queue, {a: "1"}, {"1": RUNNING}, states)
    assert told(outcome) == {"a": said}
    assert outcome.failures[0].task is a
    assert queue.n_looks == 1 + 3
    assert queue.shown == ["+a", "-a"]


def test_a_task_that_nobody_was_given_is_a_failure(tmp_path: Path, queue: Queue) -> None:
    outcome = watched(tmp_path, queue, {dummy(tmp_path, "a"): ""}, {})
    assert told(outcome) == {"a": "ended without its results (no job of its own)"}
    assert queue.asked == [set()] * 3


def test_what_the_job_wrote_down_is_told_at_once(tmp_path: Path, queue: Queue) -> None:
    a = dummy(tmp_path, "a")
    fails(a, "a: expected better work.")
    outcome = watched(tmp_path, queue, {a: "1"}, {"1": FAILED})
    assert told(outcome) == {"a": "a: expected better work. (job 1: FAILED, NonZeroExitCode)"}
    assert queue.n_looks == 1


def test_what_an_earlier_run_wrote_down_does_not_end_a_job_that_lives(tmp_path: Path, queue: Queue) -> None:
    a = dummy(tmp_path, "a")
    fails(a, "an old story")

    def shows() -> Mapping[str, JobState]:
        publish(a)
        return {"1": COMPLETED}

    assert watched(tmp_path, queue, {a: "1"}, {"1": PENDING}, {"1": RUNNING}, shows).failures == ()
    assert queue.n_looks == 3


@pytest.mark.parametrize("state", [HELD, NEVER, JobState("REQUEUE_HOLD", "", "token")])
def test_a_job_that_waits_for_ever_has_failed(tmp_path: Path, queue: Queue, state: JobState) -> None:
    a = dummy(tmp_path, "a")
    outcome = watched(tmp_path, queue, {a: "1"}, {"1": state})
    reason = f", {state.reason}" if state.reason else ""
    assert told(outcome) == {"a": f"ended without its results (job 1: {state.state}{reason})"}
    assert queue.n_looks == 1


def test_a_job_that_is_requeued_is_waited_for_again(tmp_path: Path, queue: Queue) -> None:
    a = dummy(tmp_path, "a")
    looks = [{"1": each} for each in (FAILED, FAILED, PENDING, RUNNING, FAILED)]
    assert list(told(watched(tmp_path, queue, {a: "1"}, *looks))) == ["a"]
    assert queue.n_looks == 4 + 3
    assert queue.shown == ["+a", "-a"]


def test_a_queue_that_does_not_answer_ends_nothing(
    tmp_path: Path, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = dummy(tmp_path, "a"), dummy(tmp_path, "b")

    def shows() -> Mapping[str, JobState]:
        publish(a)
        return {"1": COMPLETED, "2": COMPLETED}

    silent = ["squeue failed: no controller."] * 9
    looks = [{"1": RUNNING}, *silent, {"1": RUNNING}, *silent, "squeue failed: again.", shows]
    outcome = watched(tmp_path, queue, {a: "1", b: "2"}, *looks)
    assert list(told(outcome)) == ["b"]
    # Two looks at b before, one after: those without an answer are not counted.
    assert queue.n_looks == len(looks)
    warnings = [each.message for each in caplog.records if each.levelno == logging.WARNING]
    said = "SLURM does not answer, which says nothing of the jobs: squeue failed: "
    assert warnings == [f"{said}no controller.", f"{said}no controller.", f"{said}again."]


def test_what_needs_what_failed_is_not_run_and_the_rest_is(tmp_path: Path, queue: Queue) -> None:
    a, b, c = dummy(tmp_path, "a"), dummy(tmp_path, "b", "a"), dummy(tmp_path, "c", "b")
    good = dummy(tmp_path, "good")
    fails(a, "no")

    def shows() -> Mapping[str, JobState]:
        publish(good)
        return {"1": FAILED, "2": CANCELLED, "3": CANCELLED, "4": COMPLETED}

    waiting = {"1": FAILED, "2": WAITING, "3": WAITING, "4": RUNNING}
    outcome = watched(tmp_path, queue, {a: "1", b: "2", c: "3", good: "4"}, waiting, shows)
    assert list(told(outcome)) == ["a"]
    assert labels(outcome) == ["b", "c"]
    assert queue.n_looks == 1 + 3


def test_why_is_known_before_what_it_cancelled(tmp_path: Path, queue: Queue) -> None:
    """SLURM says of what needs it that it never comes, before it is sure that it has failed."""
    a, b, c = dummy(tmp_path, "a"), dummy(tmp_path, "b", "a"), dummy(tmp_path, "c", "b")
    killed = {"1": FAILED, "2": NEVER, "3": WAITING}
    outcome = watched(tmp_path, queue, {a: "1", b: "2", c: "3"}, killed)
    assert list(told(outcome)) == ["a"]
    assert labels(outcome) == ["b", "c"]
    assert queue.n_looks == 3


def test_what_waits_for_a_job_that_is_held_is_not_run(tmp_path: Path, queue: Queue) -> None:
    a, b, c = dummy(tmp_path, "a"), dummy(tmp_path, "b", "a"), dummy(tmp_path, "c", "b")
    outcome = watched(tmp_path, queue, {a: "1", b: "2", c: "3"}, {"1": HELD, "2": WAITING, "3": WAITING})
    assert told(outcome) == {"a": "ended without its results (job 1: PENDING, JobHeldUser)"}
    assert (labels(outcome), queue.n_looks) == (["b", "c"], 1)


def test_what_waits_in_vain_is_not_waited_for_while_the_rest_goes_on(tmp_path: Path, queue: Queue) -> None:
    held, slow = dummy(tmp_path, "held"), dummy(tmp_path, "slow")
    both, after = dummy(tmp_path, "both", "held", "slow"), dummy(tmp_path, "after", "both")

    def shows() -> Mapping[str, JobState]:
        publish(slow)
        return {"2": COMPLETED}

    waiting = {"1": HELD, "2": RUNNING, "3": WAITING, "4": WAITING}
    jobs = {held: "1", slow: "2", both: "3", after: "4"}
    outcome = watched(tmp_path, queue, jobs, waiting, shows)
    assert (list(told(outcome)), labels(outcome)) == (["held"], ["both", "after"])
    assert queue.shown == ["-held", "-both", "-after", "+slow", "-slow"]


def test_what_fails_by_itself_is_a_failure_whatever_became_of_what_it_needs(
    tmp_path: Path, queue: Queue
) -> None:
    a, b = dummy(tmp_path, "a"), dummy(tmp_path, "b", "a")
    fails(a, "no")
    fails(b, "a is damaged")
    outcome = watched(tmp_path, queue, {a: "1", b: "2"}, {"1": FAILED, "2": FAILED})
    assert list(told(outcome)) == ["a", "b"] and labels(outcome) == []


def test_what_runs_whatever_happened_has_failures_of_its_own(tmp_path: Path, queue: Queue) -> None:
    a = dummy(tmp_path, "a")
    late = Late(tmp_path, (made("a"),), (made("late"),), 1.0, "late")
    fails(a, "no")
    outcome = watched(tmp_path, queue, {a: "1", late: "2"}, {"1": FAILED, "2": FAILED})
    assert list(told(outcome)) == ["a", "late"] and labels(outcome) == []


@pytest.mark.parametrize("state", ["done", "failed"])
def test_a_report_with_gaps_or_without_its_tracking_is_no_failure_of_its_own(
    tmp_path: Path, queue: Queue, state: str
) -> None:
    a, written = dummy(tmp_path, "a"), report(tmp_path, tmp_path / "r", "a", "b")
    fails(a, "no")
    write_status(tmp_path / "r", state)
    outcome = watched(tmp_path, queue, {a: "1", written: "2"}, {"1": FAILED, "2": COMPLETED})
    assert list(told(outcome)) == ["a"] and labels(outcome) == []


def test_a_report_that_wrote_nothing_is_a_failure_of_its_own(tmp_path: Path, queue: Queue) -> None:
    a, unwritten = dummy(tmp_path, "a"), report(tmp_path, tmp_path / "r", "a")
    other = report(tmp_path, tmp_path / "other", "a")
    fails(a, "no")
    write_status(tmp_path / "r", "running")
    write_status(tmp_path / "other", "failed", error="nothing to report")
    fails(other, "nothing to report")
    states = {"1": FAILED, "2": CANCELLED, "3": FAILED}
    outcome = watched(tmp_path, queue, {a: "1", unwritten: "2", other: "3"}, states)
    assert told(outcome) == {
        "a": "no (job 1: FAILED, NonZeroExitCode)",
        "r": "ended without its results (job 2: CANCELLED)",
        "other": "nothing to report (job 3: FAILED, NonZeroExitCode)",
    }
    assert labels(outcome) == []


def test_a_task_that_several_jobs_make_has_ended_with_the_last(tmp_path: Path, queue: Queue) -> None:
    both = replace(dummy(tmp_path, "a"), outputs=(made("a"), made("b")))
    looks = [{"1": FAILED, "2": each} for each in (PENDING, PENDING, PENDING, RUNNING, COMPLETED)]
    outcome = watched(tmp_path, queue, {both: "1 2"}, *looks)
    said = "ended without its results (job 1: FAILED, NonZeroExitCode, job 2: COMPLETED)"
    assert told(outcome) == {"a": said}
    assert queue.n_looks == 4 + 3
    assert queue.asked[0] == {"1", "2"}


def test_only_open_tasks_are_asked_about(tmp_path: Path, queue: Queue) -> None:
    a, b = dummy(tmp_path, "a"), dummy(tmp_path, "b")
    publish(a)
    watched(tmp_path, queue, {a: "1", b: "2"}, {"1": COMPLETED, "2": RUNNING}, {"2": FAILED})
    assert queue.asked == [{"1", "2"}, *[{"2"}] * 3]


def test_a_part_of_a_task_is_told_of_under_its_own_name(tmp_path: Path, queue: Queue) -> None:
    whole = replace(dummy(tmp_path, "a"), outputs=(made("a"), made("b")))
    rest = replace(whole, outputs=(made("b"),))
    publish(dummy(tmp_path, "a"))
    claims.claim(tmp_path, [[rest]], token="token", sweep="s")
    claims.note(tmp_path, Note("token", "ci", ("28",), 0.0, str(tmp_path / "logs")))
    fails(whole, "an old story")
    fails(rest, "the rest failed")
    (tmp_path / "logs" / "token").mkdir(parents=True)
    (tmp_path / "logs" / "token" / "28_0_log.out").write_text("its last words\n")
    outcome = watched(tmp_path, queue, {whole: "28"}, {"28": FAILED})
    assert told(outcome)["a"].startswith("the rest failed (job 28: FAILED, NonZeroExitCode)\nlast lines of ")
    assert told(outcome)["a"].endswith("\n  its last words")


def test_the_last_lines_of_the_log_are_told(tmp_path: Path, queue: Queue) -> None:
    a, b = dummy(tmp_path, "a"), dummy(tmp_path, "b")
    claims.claim(tmp_path, [[dummy(tmp_path, "c")], [a, b]], token="token", sweep="s")
    folder = tmp_path / "logs" / "token"
    assert log_of(tmp_path, a.key) is None, "nobody has said under which id it runs"
    claims.note(tmp_path, Note("token", "ci", ("28_0", "28_1"), 0.0, str(folder.parent)))
    assert log_of(tmp_path, a.key) is None, "it has said nothing yet"
    folder.mkdir(parents=True)
    lines = [f"line {number}" for number in range(40)]
    (folder / "28_1_0_log.out").write_bytes("\n".join([*lines, "\ufffd"]).encode() + b"\xff\n")
    outcome = watched(tmp_path, queue, {a: "28_1"}, {"28_1": FAILED})
    path = log_of(tmp_path, b.key)
    assert path == folder / "28_1_0_log.out"
    head, said, *tail = told(outcome)["a"].splitlines()
    assert (head, said) == (
        "ended without its results (job 28_1: FAILED, NonZeroExitCode)",
        f"last lines of {path}:",
    )
    assert len(tail) == 15
    assert tail[0] == "  line 26" and tail[-1].startswith("  \ufffd")


def test_what_is_not_claimed_has_neither_log_nor_error(tmp_path: Path) -> None:
    assert log_of(tmp_path, "0" * 16) is None
    assert error_of(tmp_path, "0" * 16) == ""
    (claim,) = claims.claim(tmp_path, [[dummy(tmp_path, "a")]], token="token", sweep="s")
    claims.note(tmp_path, Note("token", "ci", (), 0.0, str(tmp_path)))
    assert log_of(tmp_path, claim.key) is None


def test_a_job_is_shown_to_run_once_and_to_end_once(tmp_path: Path, queue: Queue) -> None:
    a, b, quick = dummy(tmp_path, "a"), dummy(tmp_path, "b"), dummy(tmp_path, "quick")
    publish(quick)

    def shows() -> Mapping[str, JobState]:
        publish(a, b)
        return {}

    looks = [{"1": PENDING, "2": RUNNING}, {"1": RUNNING, "2": RUNNING}, {"1": RUNNING, "2": PENDING}, shows]
    watched(tmp_path, queue, {a: "1", b: "2", quick: "3"}, *looks)
    assert queue.shown == ["-quick", "+b", "+a", "-a", "-b"]


def test_failures_alike_are_logged_together(
    tmp_path: Path, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = {dummy(tmp_path, name): "1" for name in "abc"}
    tasks[dummy(tmp_path, "d", "a")] = "2"
    for task in tasks:
        if task.label != "d":
            fails(task, "the disk is full")
    watched(tmp_path, queue, tasks, {"1": FAILED, "2": CANCELLED})
    errors = [each.message for each in caplog.records if each.levelno == logging.ERROR]
    assert errors == [
        "dummy a (and 2 more) failed: the disk is full (job 1: FAILED, NonZeroExitCode)",
        "1 tasks that need what failed were not run.",
    ]


def test_the_table_of_a_sweep_waits_in_vain_for_a_report_that_is_held(tmp_path: Path, queue: Queue) -> None:
    held, late = report(tmp_path, tmp_path / "r", "a"), Late(tmp_path, (), (made("late"),), 1.0, "late")
    write_status(tmp_path / "r", "running")
    outcome = watched(tmp_path, queue, {held: "1", late: "2"}, {"1": HELD, "2": WAITING})
    assert (list(told(outcome)), labels(outcome), queue.n_looks) == (["r"], ["late"], 1)


def test_who_leaves_is_told_that_jobs_go_on(
    tmp_path: Path, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    def interrupted() -> Mapping[str, JobState]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watched(tmp_path, queue, {dummy(tmp_path, "a"): "1"}, interrupted)
    assert caplog.messages == ["The jobs go on; `saeuniv cancel s` ends them."]
