"""Which jobs make what a plan needs: those that live and are ours, whoever submitted them."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import pytest

from saeuniv.stages.task import Task
from saeuniv.sweep import claims, slurm
from saeuniv.sweep.attach import Attached, attach, submission_folder
from saeuniv.sweep.claims import Note
from saeuniv.sweep.slurm import JobState, QueueError
from tests.sweep.dummies import Dummy, dummy, made

NONE = Attached({}, {})


@dataclass(frozen=True)
class Report(Dummy):
    """Makes nothing that is in the store."""

    stage: ClassVar[str] = "report"
    needs_all: ClassVar[bool] = False


@dataclass(frozen=True)
class Sweep(Report):
    """Comes after all reports."""

    stage: ClassVar[str] = "sweep"


@dataclass
class Queue:
    """What SLURM says, and what it was asked."""

    cluster: str = "ci"
    jobs: dict[str, JobState] = field(default_factory=dict)
    comments: dict[str, str] = field(default_factory=dict)
    """Comment -> id of what was submitted with it."""

    failing: str = ""
    """The question that it does not answer."""

    asked: list[str] = field(default_factory=list)
    cancelled: set[str] = field(default_factory=set)

    def states(self, ids: Collection[str]) -> dict[str, JobState]:
        self._ask("states")
        return {each: self.jobs[each] for each in ids if each in self.jobs}

    def find(self, comment: str) -> str | None:
        self._ask("find")
        return self.comments.get(comment)

    def cluster_name(self) -> str:
        self._ask("cluster_name")
        return self.cluster

    def cancel(self, ids: Collection[str]) -> None:
        self._ask("cancel")
        self.cancelled |= set(ids)

    def _ask(self, question: str) -> None:
        self.asked.append(question)
        if question == self.failing:
            raise QueueError(f"{question} failed: no controller.")


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Queue:
    found = Queue()
    for name in ("states", "find", "cluster_name", "cancel"):
        monkeypatch.setattr(slurm, name, getattr(found, name))
    return found


def submitted(
    root: Path,
    *jobs: list[Task],
    token: str = "token",
    ids: tuple[str, ...] = ("28_0", "28_1"),
    cluster: str = "ci",
) -> None:
    """Claims of an array and their note."""
    claims.claim(root, jobs, token=token, sweep="s")
    claims.note(root, Note(token, cluster, ids[: len(jobs)], 0.0, "/logs"))


def claimed(root: Path) -> set[str]:
    return {each.label for each in claims.all_claims(root)}


@pytest.mark.parametrize(
    "state",
    [
        *(JobState("RUNNING", "", "token"), JobState("PENDING", "Dependency", "token")),
        *(JobState("PENDING", "Priority", "token"), JobState("COMPLETING", "", "token")),
        *(JobState("REQUEUED", "", "token"), JobState("SOMETHING_NEW", "", "token"), JobState("RUNNING")),
    ],
)
def test_a_job_that_lives_is_attached_to(tmp_path: Path, queue: Queue, state: JobState) -> None:
    a = dummy(tmp_path, "a")
    submitted(tmp_path, [a])
    queue.jobs["28_0"] = state
    assert attach(tmp_path, [a]) == Attached({made("a").path: "28_0"}, {a.key: "28_0"})
    assert claimed(tmp_path) == {"a"}


@pytest.mark.parametrize(
    "state",
    [
        *(JobState("COMPLETED", "", "token"), JobState("FAILED", "NonZeroExitCode", "token")),
        *(JobState("CANCELLED"), JobState("TIMEOUT", "", "token"), JobState("NODE_FAIL", "", "token"), None),
    ],
)
def test_the_claim_of_a_job_that_has_ended_is_given_back(
    tmp_path: Path, queue: Queue, state: JobState | None
) -> None:
    a, b = dummy(tmp_path, "a"), dummy(tmp_path, "b")
    submitted(tmp_path, [a], [b])
    queue.jobs = {"28_1": JobState("RUNNING", "", "token")} | ({"28_0": state} if state else {})
    assert attach(tmp_path, [a, b]) == Attached({made("b").path: "28_1"}, {b.key: "28_1"})
    assert claimed(tmp_path) == {"b"}
    assert "cancel" not in queue.asked
    submitted(tmp_path, [a], token="another")


@pytest.mark.parametrize(
    ("state", "reason"),
    [("PENDING", "JobHeldUser"), ("REQUEUE_HOLD", ""), ("PENDING", "DependencyNeverSatisfied")],
)
@pytest.mark.parametrize("of", [Dummy, Report])
def test_a_job_that_can_never_start_is_cancelled_and_its_claim_given_back(
    tmp_path: Path, queue: Queue, state: str, reason: str, of: type[Dummy], caplog: pytest.LogCaptureFixture
) -> None:
    a, b = of(tmp_path, (), (), 1.0, "a"), dummy(tmp_path, "b")
    submitted(tmp_path, [a], [b])
    queue.jobs = {"28_0": JobState(state, reason, "token"), "28_1": JobState("RUNNING", "", "token")}
    assert attach(tmp_path, [a, b]).tasks == {b.key: "28_1"}
    assert claimed(tmp_path) == {"b"}
    assert queue.cancelled == {"28_0"}
    assert "1 tasks whose jobs can never start are given to new ones." in caplog.text


def test_a_held_job_of_somebody_else_is_not_cancelled(tmp_path: Path, queue: Queue) -> None:
    a, b = dummy(tmp_path, "a"), dummy(tmp_path, "b")
    submitted(tmp_path, [a])
    submitted(tmp_path, [b], token="elsewhere", ids=("30",), cluster="elsewhere")
    queue.jobs = {"28_0": JobState("PENDING", "JobHeldUser", "of another")}
    queue.jobs["30"] = JobState("PENDING", "JobHeldUser", "elsewhere")
    assert attach(tmp_path, [a, b]) == NONE
    assert queue.cancelled == claimed(tmp_path) == set()


def chain(root: Path, queue: Queue) -> list[Dummy]:
    """a, then b, then c; the jobs of b and c wait for others, whoever they are."""
    tasks = [dummy(root, "a"), dummy(root, "b", "a"), dummy(root, "c", "b")]
    submitted(root, *([task] for task in tasks), ids=("28_0", "28_1", "28_2"))
    queue.jobs = {job: JobState("PENDING", "Dependency", "token") for job in ("28_1", "28_2")}
    return tasks


def test_jobs_that_wait_for_what_nobody_makes_are_cancelled_one_after_another(
    tmp_path: Path, queue: Queue
) -> None:
    tasks = chain(tmp_path, queue)
    queue.jobs["28_0"] = JobState("FAILED", "", "token")
    assert attach(tmp_path, tasks) == NONE
    assert claimed(tmp_path) == set()
    assert queue.cancelled == {"28_1", "28_2"}


def test_jobs_that_wait_for_what_is_made_are_attached_to(tmp_path: Path, queue: Queue) -> None:
    tasks = chain(tmp_path, queue)
    queue.jobs["28_0"] = JobState("RUNNING", "", "token")
    assert sorted(attach(tmp_path, tasks).tasks.values()) == ["28_0", "28_1", "28_2"]
    # What is in the store is no part of a plan: b waits for something else.
    del queue.jobs["28_0"]
    assert sorted(attach(tmp_path, tasks[1:]).tasks.values()) == ["28_1", "28_2"]
    assert queue.cancelled == set() and claimed(tmp_path) == {"a", "b", "c"}


def test_a_job_that_runs_has_what_it_needs(tmp_path: Path, queue: Queue) -> None:
    tasks = chain(tmp_path, queue)
    queue.jobs["28_1"] = JobState("RUNNING", "", "token")
    assert sorted(attach(tmp_path, tasks).tasks.values()) == ["28_1", "28_2"]
    assert queue.cancelled == set() and claimed(tmp_path) == {"b", "c"}


def test_a_report_of_less_than_is_asked_for_runs_but_is_asked_for_again(tmp_path: Path, queue: Queue) -> None:
    score, other = dummy(tmp_path, "a"), dummy(tmp_path, "b")
    report, summary = (
        Report(tmp_path, (made("a"), made("b")), (), 1.0, "r"),
        Sweep(tmp_path, (), (), 1.0, "s"),
    )
    submitted(tmp_path, [score], [other], [report], [summary], ids=("28_0", "28_1", "28_2", "28_3"))
    queue.jobs = {f"28_{place}": JobState("PENDING", "Dependency", "token") for place in (2, 3)}
    queue.jobs["28_0"] = queue.jobs["28_1"] = JobState("RUNNING", "", "token")
    everything = [score, other, report, summary]
    assert set(attach(tmp_path, everything).tasks) == {task.key for task in everything}
    del queue.jobs["28_1"]
    assert set(attach(tmp_path, everything).tasks) == {score.key}
    assert claimed(tmp_path) == {"a"} and queue.cancelled == set()


def test_a_summary_of_reports_that_all_live_is_attached_to(tmp_path: Path, queue: Queue) -> None:
    report, summary = Report(tmp_path, (), (), 1.0, "r"), Sweep(tmp_path, (), (), 1.0, "s")
    submitted(tmp_path, [report], [summary])
    queue.jobs = {f"28_{place}": JobState("PENDING", "Dependency", "token") for place in range(2)}
    assert attach(tmp_path, [report, summary]).tasks == {report.key: "28_0", summary.key: "28_1"}
    new = Report(tmp_path, (), (), 1.0, "new")
    new = replace(new, outputs=(made("new"),))
    assert attach(tmp_path, [report, new, summary]).tasks == {report.key: "28_0"}


def test_a_job_with_another_comment_is_another_job(tmp_path: Path, queue: Queue) -> None:
    a = dummy(tmp_path, "a")
    submitted(tmp_path, [a])
    # The cluster was set up anew, and counts from 1 again.
    queue.jobs["28_0"] = JobState("RUNNING", "", "saeuniv-of-someone-else")
    assert attach(tmp_path, [a]) == NONE
    assert claimed(tmp_path) == set()


def test_a_job_without_a_comment_is_not_ours_unless_only_the_accounting_knows_it(
    tmp_path: Path, queue: Queue
) -> None:
    a = dummy(tmp_path, "a")
    submitted(tmp_path, [a])
    queue.jobs["28_0"] = JobState("RUNNING", "", None)
    assert attach(tmp_path, [a]).tasks == {a.key: "28_0"}
    queue.jobs["28_0"] = JobState("RUNNING", "", "")
    assert attach(tmp_path, [a]) == NONE


def test_the_id_of_another_cluster_names_another_job(tmp_path: Path, queue: Queue) -> None:
    a = dummy(tmp_path, "a")
    submitted(tmp_path, [a], cluster="elsewhere")
    queue.jobs["28_0"] = JobState("RUNNING", "", "token")
    assert attach(tmp_path, [a]) == NONE
    assert claimed(tmp_path) == set()


def test_what_other_plans_need_is_left_alone(tmp_path: Path, queue: Queue) -> None:
    a, b, c = (dummy(tmp_path, name) for name in "abc")
    submitted(tmp_path, [a], [b])
    # Nothing of b is asked for: whether its job lives is nobody's question here.
    queue.jobs["28_0"] = JobState("FAILED", "", "token")
    assert attach(tmp_path, [a, c]) == NONE
    assert claimed(tmp_path) == {"b"}


def test_in_a_new_store_nothing_is_attached_to(tmp_path: Path, queue: Queue) -> None:
    assert attach(tmp_path / "new", [dummy(tmp_path, "a")]) == attach(tmp_path, []) == NONE
    assert not (tmp_path / "new").exists()


def test_a_job_that_makes_a_part_of_a_task_is_attached_to_by_what_it_makes(
    tmp_path: Path, queue: Queue
) -> None:
    narrow = replace(dummy(tmp_path, "a"), outputs=(made("a"), made("x")))
    wide = replace(dummy(tmp_path, "b"), outputs=(made("a"), made("b")))
    submitted(tmp_path, [narrow])
    queue.jobs["28_0"] = JobState("PENDING", "Priority", "token")
    found = attach(tmp_path, [wide])
    # Everything that the job makes: others of the plan may need it too.
    assert found.outputs == {made("a").path: "28_0", made("x").path: "28_0"}
    assert found.tasks == {narrow.key: "28_0"}


def test_the_tasks_of_one_job_and_of_several_arrays(tmp_path: Path, queue: Queue) -> None:
    a, b, c, d = (dummy(tmp_path, name) for name in "abcd")
    submitted(tmp_path, [a, b], [c])
    submitted(tmp_path, [d], token="other", ids=("32",))
    queue.jobs = {job: JobState("RUNNING", "", "token") for job in ("28_0", "28_1")}
    queue.jobs["32"] = JobState("PENDING", "Resources", "other")
    found = attach(tmp_path, iter([a, b, c, d]))
    assert found.tasks == {a.key: "28_0", b.key: "28_0", c.key: "28_1", d.key: "32"}
    assert found.outputs == {
        made(name).path: job for name, job in zip("abcd", ["28_0", "28_0", "28_1", "32"], strict=True)
    }
    assert queue.asked == ["cluster_name", "states"], "once, however many jobs there are"


def test_a_report_is_attached_to_by_its_name(tmp_path: Path, queue: Queue) -> None:
    report = Report(tmp_path, (made("a"),), (), 1.0, "r")
    submitted(tmp_path, [report])
    queue.jobs["28_0"] = JobState("PENDING", "Dependency", "token")
    assert attach(tmp_path, [report]) == Attached({}, {report.key: "28_0"})
    assert attach(tmp_path, [dummy(tmp_path, "a")]) == NONE


def laid_ready(root: Path, token: str, n_jobs: int) -> None:
    """What submission leaves before it asks SLURM: a file for each job."""
    folder = submission_folder(root) / token
    folder.mkdir(parents=True)
    for place in range(n_jobs):
        (folder / f"{place}.pkl").touch()
    (folder / "submission.sh").touch()
    (folder / "28_0_submitted.pkl").touch()


@pytest.mark.parametrize(("n_jobs", "ids"), [(1, ("28",)), (3, ("28_0", "28_1", "28_2"))])
def test_an_intent_whose_array_is_found_gets_its_note(
    tmp_path: Path, queue: Queue, n_jobs: int, ids: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    made_by = [[dummy(tmp_path, f"{place}"), dummy(tmp_path, f"{place} again")] for place in range(n_jobs)]
    claims.claim(tmp_path, made_by, token="token", sweep="s")
    laid_ready(tmp_path, "token", n_jobs)
    queue.comments = {"token": "28", "other": "29"}
    queue.jobs = {job: JobState("PENDING", "Priority", "token") for job in ids}
    wanted = made_by[-1][0]
    with caplog.at_level("INFO"):
        assert attach(tmp_path, [wanted]).tasks == {wanted.key: ids[-1]}
    assert f"{ids[0]} is taken over" in caplog.text
    note = claims.read_note(tmp_path, "token")
    assert note is not None and note.submitted > 0
    assert note == Note("token", "ci", ids, note.submitted, str(submission_folder(tmp_path)))
    # From now on it is known like any other.
    queue.comments, queue.asked = {}, []
    assert attach(tmp_path, [wanted]).tasks == {wanted.key: ids[-1]}
    assert "find" not in queue.asked


def test_an_intent_that_was_never_submitted_is_given_back(tmp_path: Path, queue: Queue) -> None:
    a = dummy(tmp_path, "a")
    claims.claim(tmp_path, [[a]], token="token", sweep="s")
    queue.comments = {"other": "28"}
    assert attach(tmp_path, [a]) == NONE
    assert claimed(tmp_path) == set()
    assert claims.read_note(tmp_path, "token") is None


def test_an_intent_whose_array_has_ended_is_given_back(tmp_path: Path, queue: Queue) -> None:
    a = dummy(tmp_path, "a")
    claims.claim(tmp_path, [[a]], token="token", sweep="s")
    laid_ready(tmp_path, "token", 1)
    queue.comments = {"token": "28"}
    queue.jobs = {"28": JobState("COMPLETED", "", "token")}
    assert attach(tmp_path, [a]) == NONE
    assert claimed(tmp_path) == set()


@pytest.mark.parametrize("failing", ["states", "find", "cluster_name"])
def test_a_queue_that_does_not_answer_says_nothing_of_any_job(
    tmp_path: Path, queue: Queue, failing: str
) -> None:
    a, b = dummy(tmp_path, "a"), dummy(tmp_path, "b")
    submitted(tmp_path, [a])
    claims.claim(tmp_path, [[b]], token="intent", sweep="s")
    queue.failing = failing
    with pytest.raises(QueueError, match=f"{failing} failed"):
        attach(tmp_path, [a, b])
    assert claimed(tmp_path) == {"a", "b"}


def test_a_note_that_lacks_the_job_gives_the_claim_back(tmp_path: Path, queue: Queue) -> None:
    a, b = dummy(tmp_path, "a"), dummy(tmp_path, "b")
    claims.claim(tmp_path, [[a], [b]], token="token", sweep="s")
    claims.note(tmp_path, Note("token", "ci", ("28",), 0.0, "/logs"))
    queue.jobs["28"] = JobState("RUNNING", "", "token")
    assert attach(tmp_path, [a, b]).tasks == {a.key: "28"}
    assert claimed(tmp_path) == {"a"}


def test_claims_of_another_version_are_left_alone(tmp_path: Path, queue: Queue) -> None:
    a = dummy(tmp_path, "a")
    submitted(tmp_path, [a])
    path = tmp_path / "jobs" / f"{a.key}.json"
    path.write_text(path.read_text().replace(f'"format": {claims.FORMAT}', '"format": 99'))
    assert attach(tmp_path, [a]) == NONE
    assert path.exists()
