"""`saeuniv status`, `logs`, `cancel`, `retry`: sweeps by name or folder, and what SLURM says of them."""

import dataclasses
import json
import os
import sys
from collections.abc import Collection
from pathlib import Path

import pytest

from saeuniv.commands import cancel, logs, retry, status
from saeuniv.results import write_status
from saeuniv.stages.task import Task
from saeuniv.store import Store
from saeuniv.sweep import claims, slurm
from saeuniv.sweep.attach import submission_folder
from saeuniv.sweep.claims import Note
from saeuniv.sweep.record import FILE, FORMAT, Record, write_record
from saeuniv.sweep.slurm import JobState, QueueError
from saeuniv.sweep.submit import log_path
from tests.commands.conftest import Call
from tests.sweep.dummies import Latents, Scores, made

COMMAND = ("-m", "alignment=max_corr,hungarian", "sweep.name=mine")


@dataclasses.dataclass
class Queue:
    """What SLURM says, and what it was told to cancel."""

    states: dict[str, JobState] = dataclasses.field(default_factory=dict)
    silent: bool = False
    cancelled: list[str] = dataclasses.field(default_factory=list)

    def ask(self, ids: Collection[str]) -> dict[str, JobState]:
        return {each: self.states[each] for each in ids if each in self.states}

    def cluster_name(self) -> str:
        if self.silent:
            raise QueueError("scontrol failed: no contact.")
        return "ci"


@pytest.fixture(autouse=True)
def queue(monkeypatch: pytest.MonkeyPatch) -> Queue:
    found = Queue()
    monkeypatch.setenv("SAEUNIV_TASK_MODULES", "tests.sweep.dummies")
    monkeypatch.setattr(slurm, "states", found.ask)
    monkeypatch.setattr(slurm, "cluster_name", found.cluster_name)
    monkeypatch.setattr(slurm, "find", lambda comment: None)
    monkeypatch.setattr(slurm, "cancel", lambda ids: found.cancelled.extend(sorted(ids)))
    return found


def latents(root: Path, name: str) -> Task:
    return Latents(root, (), (made(name),), 1.0, name)


def scores(root: Path, name: str, *needs: str) -> Task:
    return Scores(root, tuple(map(made, needs)), (made(name),), 1.0, name)


def give(store: Store, job: str, *tasks: Task, said: str = "") -> None:
    """Claim tasks for one job, which has said something."""
    token = f"saeuniv-{job}"
    claims.claim(store.root, [tasks], token=token, sweep="mine")
    folder = submission_folder(store.root)
    claims.note(store.root, Note(token, "ci", (job,), 0.0, str(folder)))
    if said:
        log = log_path(folder, token, job)
        log.parent.mkdir(parents=True)
        log.write_text(said)


def record(store: Store, here: Path, *tasks: Task, name: str = "mine", **changes: object) -> Path:
    folder = here / "multirun" / name
    keys = tuple(task.key for task in tasks)
    whole = Record(name, str(store.root), COMMAND, str(here), (str(folder / "one"),), keys)
    write_record(folder, dataclasses.replace(whole, **changes))  # type: ignore[arg-type]
    return folder


@pytest.fixture
def sweep(store: Store, here: Path, queue: Queue) -> Path:
    """Done, running with another that waits its turn, waiting, failed, and held."""
    tasks = [latents(store.root, name) for name in ("done", "runs", "next", "dead", "held")]
    tasks.append(scores(store.root, "waits", "runs"))
    done, runs, following, dead, held, waits = tasks
    give(store, "1", done, said="one\ntwo\n")
    give(store, "2", runs, following, said="".join(f"line {number}\n" for number in range(30)))
    give(store, "3", dead, said="out of memory\n")
    give(store, "4", held)
    give(store, "5", waits)
    done(lambda done, total: None)
    comment = {job: f"saeuniv-{job}" for job in "12345"}
    queue.states = {
        "1": JobState("COMPLETED", "", comment["1"]),
        "2": JobState("RUNNING", "", comment["2"]),
        "3": JobState("FAILED", "NonZeroExitCode", comment["3"]),
        "4": JobState("PENDING", "JobHeldUser", comment["4"]),
        "5": JobState("PENDING", "Dependency", comment["5"]),
    }
    folder = record(store, here, *tasks)
    write_status(folder / "one", "running")
    return folder


STATES = {
    "done": "done",
    "runs": "running",
    "next": "running",
    "dead": "failed",
    "held": "stuck",
    "waits": "waiting",
}


@pytest.mark.parametrize("named", ["mine", "multirun/mine", "absolute"])
def test_a_sweep_is_found_by_its_name_and_by_its_folder(named: str, call: Call, sweep: Path) -> None:
    ended = call(status.main, "--json", str(sweep) if named == "absolute" else named)
    assert (ended.code, ended.err) == (0, "")
    found = json.loads(ended.out)
    assert found.keys() == {"name", "folder", "store", "command", "tasks", "comparisons", "unanswered"}
    assert (found["name"], found["command"], found["unanswered"]) == ("mine", list(COMMAND), "")
    assert {task["label"]: task["state"] for task in found["tasks"]} == STATES
    assert found["tasks"][0].keys() == {"key", "stage", "label", "state", "job", "said", "log"}
    assert found["comparisons"] == {"one": "running"}


def test_the_status_counts_tasks_and_says_what_failed(call: Call, sweep: Path, store: Store) -> None:
    ended = call(status.main, "mine")
    assert (ended.code, ended.err) == (0, "")
    lines = [" ".join(line.split()) for line in ended.out.splitlines()]
    assert lines[0] == "sweep mine: -m alignment=max_corr,hungarian sweep.name=mine"
    assert "stage done running waiting stuck failed unknown" in lines
    assert "latents 1 2 - 1 1 -" in lines and "scores - - 1 - - -" in lines
    assert "running one" in lines
    assert "failed latents dead (job 3): FAILED NonZeroExitCode" in lines
    assert "stuck latents held (job 4): JobHeldUser" in lines
    assert str(log_path(submission_folder(store.root), "saeuniv-3", "3")) in lines


def test_a_slurm_that_does_not_answer_is_said(call: Call, sweep: Path, queue: Queue) -> None:
    queue.silent = True
    ended = call(status.main, "mine")
    assert ended.code == 0 and "SLURM did not answer: scontrol failed: no contact.\n" in ended.out
    found = {
        task["label"]: task["state"] for task in json.loads(call(status.main, "mine", "--json").out)["tasks"]
    }
    assert found == dict.fromkeys(STATES, "unknown") | {"done": "done"}
    ended = call(cancel.main, "mine")
    assert ended == (1, "", "nothing was cancelled: scontrol failed: no contact.\n")
    assert queue.cancelled == []


def test_without_a_name_the_sweeps_are_listed_with_their_commands(
    call: Call, sweep: Path, store: Store, here: Path
) -> None:
    record(store, here, name="0a1b2c3d", command=("-m", "a=local", "a.path=my model"))
    (here / "multirun" / "single").mkdir()
    later = here / "multirun" / "later"
    later.mkdir()
    (later / FILE).write_text(json.dumps({"format": FORMAT + 1}))
    ended = call(status.main)
    assert ended.code == 0
    assert ended.out == (
        "0a1b2c3d  -m a=local 'a.path=my model'\nmine  -m alignment=max_corr,hungarian sweep.name=mine\n"
    )
    assert ended.err.startswith(
        f"multirun/later/{FILE}: expected a sweep of format {FORMAT}, got {FORMAT + 1}."
    )
    listed = json.loads(call(status.main, "--json").out)
    assert [each["name"] for each in listed] == ["0a1b2c3d", "mine"]
    assert listed[1] == {"name": "mine", "folder": "multirun/mine", "command": list(COMMAND)}


def test_where_there_are_no_sweeps_it_says_so(call: Call, here: Path) -> None:
    assert call(status.main) == (
        0,
        f"No sweeps below {here}/multirun. Name the folder of one that is elsewhere.\n",
        "",
    )
    assert json.loads(call(status.main, "--json").out) == []
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("command", [status, logs, cancel, retry])
def test_what_is_no_sweep_is_refused_with_those_there_are(
    command, call: Call, sweep: Path, here: Path
) -> None:
    (here / "folder").mkdir()
    for wrong in ("mime", "folder", str(here)):
        ended = call(command.main, wrong)
        assert (ended.code, ended.out) == (2, "")
        assert ended.err.startswith(
            f"{wrong}: expected the name of a sweep or its folder, found no {FILE} in it"
        )
        assert ended.err.endswith(f"Sweeps below {here}/multirun: mine.\n")


@pytest.mark.parametrize("command", [status, logs, cancel, retry])
def test_a_sweep_of_another_format_is_refused(
    command, call: Call, sweep: Path, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "launch", lambda: pytest.fail("it was asked for"))
    text = (sweep / FILE).read_text().replace(f'"format": {FORMAT}', f'"format": {FORMAT + 1}')
    (sweep / FILE).write_text(text)
    ended = call(command.main, "mine")
    assert (ended.code, ended.out) == (2, "")
    assert f"expected a sweep of format {FORMAT}, got {FORMAT + 1}." in ended.err
    assert queue.cancelled == [] and (sweep / FILE).read_text() == text


@pytest.mark.parametrize("command", [status, logs, cancel, retry])
def test_unknown_flags_are_refused(command, call: Call, sweep: Path) -> None:
    ended = call(command.main, "mine", "--bogus")
    name = command.__name__.rpartition(".")[2]
    assert (ended.code, ended.out) == (2, "")
    assert f"saeuniv {name}: error: unrecognized arguments: --bogus" in ended.err


@pytest.mark.parametrize("command", [logs, cancel, retry])
def test_a_command_about_a_sweep_needs_one(command, call: Call) -> None:
    ended = call(command.main)
    assert ended.code == 2 and "the following arguments are required: sweep" in ended.err


def test_logs_are_shown_by_job_with_their_paths(call: Call, sweep: Path, store: Store) -> None:
    ended = call(logs.main, "mine")
    assert (ended.code, ended.err) == (0, "")
    paths = {job: log_path(submission_folder(store.root), f"saeuniv-{job}", job) for job in "123"}
    assert ended.out == "".join(
        [
            f"== latents done (job 1, done) {paths['1']}\none\ntwo\n",
            f"== latents runs (job 2, running) {paths['2']}\n",
            f"== latents next (job 2, running) {paths['2']}\n",
            *(f"line {number}\n" for number in range(10, 30)),
            f"== latents dead (job 3, failed) {paths['3']}\nout of memory\n",
        ]
    )


def test_logs_can_be_chosen(call: Call, sweep: Path) -> None:
    out = call(logs.main, "mine", "--failed").out
    assert out.startswith("== latents dead (job 3, failed)") and out.count("== ") == 1
    assert call(logs.main, "mine", "--stage", "latents", "--lines", "1").out.count("\nline ") == 1
    assert call(logs.main, "mine", "--stage", "scores").out == "No job has said anything: of 1 such tasks.\n"
    assert call(logs.main, "mine", "--stage", "report").out == "There are no such tasks.\n"


def test_wrong_choices_of_logs_are_refused(call: Call, sweep: Path) -> None:
    ended = call(logs.main, "mine", "--stage", "score")
    assert ended.code == 2 and "invalid choice: 'score'" in ended.err and "'scores'" in ended.err
    for lines in ("0", "-3"):
        ended = call(logs.main, "mine", "--lines", lines)
        assert ended == (2, "", f"--lines {lines}: expected a number of lines, 1 or more.\n")


def test_only_jobs_that_live_are_cancelled_each_once(call: Call, sweep: Path, queue: Queue) -> None:
    ended = call(cancel.main, "mine")
    assert ended == (0, "3 jobs cancelled. `saeuniv retry mine` goes on.\n", "")
    assert queue.cancelled == ["2", "4", "5"]
    queue.cancelled.clear()
    queue.states = {job: JobState("CANCELLED", "", f"saeuniv-{job}") for job in "12345"}
    assert call(cancel.main, "mine").out == "0 jobs cancelled: nothing of mine waits or runs.\n"
    assert queue.cancelled == []


def test_a_sweep_on_one_machine_has_no_jobs(call: Call, store: Store, here: Path, queue: Queue) -> None:
    queue.silent = True
    folder = record(store, here)
    write_status(folder / "one", "done")
    ended = call(status.main, "mine")
    assert ended.code == 0 and "SLURM" not in ended.out
    assert "It has no jobs: it runs where its command does; log: multirun/mine/saeuniv.log\n" in ended.out
    assert "done     one\n" in ended.out
    assert json.loads(call(status.main, "mine", "--json").out)["unanswered"] == ""
    assert "multirun/mine/saeuniv.log" in call(logs.main, "mine").out
    assert call(cancel.main, "mine").out.startswith("0 jobs cancelled: mine has none.")
    assert queue.cancelled == []


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], str, str]]:
    """Arguments, folder and store of what was asked for."""
    found: list[tuple[list[str], str, str]] = []

    def launch() -> None:
        found.append((sys.argv[1:], os.getcwd(), os.environ["SAEUNIV_STORE"]))
        raise SystemExit(1)

    monkeypatch.setattr(retry, "launch", launch)
    monkeypatch.setattr(sys, "argv", ["saeuniv", "retry", "mine"])
    return found


def test_retry_asks_for_the_recorded_command_in_the_recorded_folder_and_store(
    asked: list[tuple[list[str], str, str]],
    call: Call,
    sweep: Path,
    store: Store,
    here: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAEUNIV_STORE", "/another")
    # Its exit code is that of the command.
    assert call(retry.main, str(sweep)).code == 1
    assert asked == [(list(COMMAND), str(here), str(store.root))]
    assert os.environ["SAEUNIV_STORE"] == "/another"
    monkeypatch.delenv("SAEUNIV_STORE")
    assert call(retry.main, str(sweep)).code == 1
    assert asked[1] == asked[0] and "SAEUNIV_STORE" not in os.environ


def test_retry_needs_the_folder_where_the_sweep_was_asked_for(
    asked: list[tuple[list[str], str, str]], call: Call, store: Store, here: Path
) -> None:
    record(store, here, stood=str(here / "gone"))
    ended = call(retry.main, "mine")
    assert (ended.code, ended.out, asked) == (2, "", [])
    assert f"expected the folder in which the sweep was asked for, {here}/gone, but" in ended.err
    assert " ".join(COMMAND) in ended.err


def test_more_failures_than_can_be_read_are_counted(
    call: Call, store: Store, here: Path, queue: Queue
) -> None:
    tasks = [latents(store.root, f"t{number}") for number in range(23)]
    give(store, "7", *tasks)
    record(store, here, *tasks)
    ended = call(status.main, "mine")
    assert ended.out.count("failed latents t") == 20 and "and 3 more; --json has all.\n" in ended.out
    assert len(json.loads(call(status.main, "mine", "--json").out)["tasks"]) == 23
