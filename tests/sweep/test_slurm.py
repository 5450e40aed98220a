"""What SLURM's programs say, read right; the programs are scripts that say what the tests need."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from saeuniv.config.launcher import StageResources
from saeuniv.sweep import slurm, submit
from saeuniv.sweep.job import RunJob
from saeuniv.sweep.slurm import JobState, QueueError

RESOURCES = StageResources(gpus=0, cpus=2, memory_gb=1.5, minutes=30)


@pytest.fixture(autouse=True)
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Makes a program of shell lines; srun is there."""
    monkeypatch.setattr(slurm, "_no_accounting", set())
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def make(name: str, lines: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{lines}\n")
        (folder / name).chmod(0o755)

    make("srun", "")
    make("sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    return make


def test_states_are_those_of_squeue_for_jobs_and_elements_of_arrays(program) -> None:
    program(
        "squeue",
        "cat <<'END'\n"
        "28|0|RUNNING|None|token|with|bars\n"
        "28|1|PENDING|job requeued in held state|token|with|bars\n"
        "32|N/A|FAILED|NonZeroExitCode|(null)\n"
        "END",
    )
    assert slurm.states(["28_1", "28_0", "32", "33"]) == {
        "28_1": JobState("PENDING", "job_requeued_in_held_state", "token|with|bars"),
        "28_0": JobState("RUNNING", "", "token|with|bars"),
        "32": JobState("FAILED", "NonZeroExitCode", ""),
    }


def test_nothing_is_asked_about_no_jobs(program) -> None:
    program("squeue", "exit 1")
    assert slurm.states([]) == {}


def test_a_failing_squeue_is_never_an_empty_queue(program) -> None:
    program("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(
        QueueError, match=r"^squeue failed: slurm_load_jobs error: Unable to contact slurm controller\.$"
    ):
        slurm.states(["28_0"])
    with pytest.raises(QueueError, match="squeue failed"):
        slurm.find("token")


def test_a_hanging_squeue_is_never_an_empty_queue(program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "_TIMEOUT_S", 0.2)
    program("squeue", "exec sleep 30")
    with pytest.raises(QueueError, match="squeue: expected an answer within 0 s, got none"):
        slurm.states(["28_0"])


def test_an_unknown_job_hides_no_other(program) -> None:
    program(
        "squeue",
        "for ids; do :; done\n"
        'case ",$ids," in *,7,*) echo "error: Invalid job id specified" >&2; exit 1;; esac\n'
        'for id in $(echo $ids | tr , " "); do echo "$id|N/A|RUNNING|None|(null)"; done',
    )
    known = [str(number) for number in range(1, 500) if number != 7]
    assert set(slurm.states([*known, "7"])) == set(known)


def test_the_accounting_is_asked_for_what_the_queue_has_forgotten(program) -> None:
    program("squeue", "echo '28|0|RUNNING|None|token'")
    program(
        "sacct",
        "cat <<'END'\n"
        "28_0|COMPLETED|0:0\n28_1|CANCELLED by 0|0:0\n28_2|FAILED|0:9\n28_[3-5]|PENDING|0:0\n"
        "END",
    )
    assert slurm.states(["28_0", "28_1", "28_2", "28_3"]) == {
        "28_0": JobState("RUNNING", "", "token"),
        "28_1": JobState("CANCELLED"),
        "28_2": JobState("FAILED", "ExitCode_0:9"),
    }


def test_disabled_accounting_is_asked_once(program, tmp_path: Path) -> None:
    program("squeue", "")
    asked = tmp_path / "asked"
    program("sacct", f"echo >> '{asked}'; echo 'Slurm accounting storage is disabled' >&2; exit 1")
    assert slurm.states(["28_0"]) == slurm.states(["28_0"]) == {}
    assert asked.read_text() == "\n"


def test_broken_accounting_is_logged_and_asked_again(program, caplog: pytest.LogCaptureFixture) -> None:
    program("squeue", "")
    program("sacct", "echo 'sacct: error: Connection refused' >&2; exit 1")
    assert slurm.states(["28_0"]) == {}
    assert "no state: Connection refused" in caplog.text
    program("sacct", "echo '28_0|COMPLETED|0:0'")
    assert slurm.states(["28_0"]) == {"28_0": JobState("COMPLETED")}


@pytest.mark.parametrize(
    ("state", "reason", "live", "stuck"),
    [
        ("PENDING", "Resources", True, False),
        ("PENDING", "Dependency", True, False),
        ("PENDING", "BeginTime", True, False),
        ("PENDING", "AssocGrpCpuLimit", True, False),
        ("PENDING", "DependencyNeverSatisfied", True, True),
        ("PENDING", "JobHeldUser", True, True),
        ("PENDING", "launch_failed_requeued_held", True, True),
        ("PENDING", "QOSMaxMemoryPerJob", True, True),
        ("PENDING", "AssocMaxWallDurationPerJobLimit", True, True),
        ("SPECIAL_EXIT", "job_requeued_in_held_state", True, True),
        ("RUNNING", "JobHeldUser", True, False),
        ("COMPLETING", "", True, False),
        ("REQUEUED", "", True, False),
        ("A_STATE_OF_TOMORROW", "", True, False),
        ("COMPLETED", "", False, False),
        ("TIMEOUT", "TimeLimit", False, False),
        ("OUT_OF_MEMORY", "", False, False),
        ("PREEMPTED", "", False, False),
        ("CANCELLED", "DependencyNeverSatisfied", False, False),
    ],
)
def test_what_may_still_run_is_live_and_what_waits_for_ever_is_stuck(
    state: str, reason: str, live: bool, stuck: bool
) -> None:
    found = JobState(state, reason)
    assert (found.live, found.stuck) == (live, stuck)


def test_an_array_is_found_by_its_comment_alone(program) -> None:
    program("squeue", "printf '27|token-2\\n28|token\\n29|(null)\\n'")
    assert slurm.find("token") == "28"
    assert slurm.find("tok") is None


def test_cancelling_what_has_ended_is_no_error(program, tmp_path: Path) -> None:
    told = tmp_path / "told"
    ended = "scancel: error: Kill job error on job id 9: Invalid job id specified"
    program("scancel", f"echo \"$@\" >> '{told}'; echo '{ended}' >&2; exit 1")
    slurm.cancel(["9", "28_3"])
    slurm.cancel([])
    assert told.read_text() == "28_3 9\n"
    program("scancel", f"echo '{ended}' >&2; echo 'scancel: error: Access/permission denied' >&2; exit 1")
    with pytest.raises(QueueError, match="Access/permission denied"):
        slurm.cancel(["9", "28_3"])


def test_the_cluster_says_its_name_and_the_largest_array(program) -> None:
    program("scontrol", "printf 'ClusterName             = ci\\nMaxArraySize            = 1001\\n'")
    assert (slurm.cluster_name(), slurm.max_array_size()) == ("ci", 1001)
    program("scontrol", "echo 'slurm_load_ctl_conf error: Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(QueueError, match=r"scontrol failed: .*Unable to contact"):
        slurm.max_array_size()


def test_why_jobs_cannot_be_submitted_is_said(program, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    for name in ("sbatch", "squeue", "scancel"):
        program(name, "")
    program("scontrol", "echo 'ClusterName = ci'")
    assert slurm.available() is None
    program("scontrol", "echo 'Unable to contact slurm controller' >&2; exit 1")
    assert (said := slurm.available()) and "Unable to contact" in said and "hydra/launcher=local" in said
    (tmp_path / "bin" / "sbatch").unlink()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert (said := slurm.available()) and said.startswith(
        "expected SLURM's programs, found no sbatch. Run it where sbatch works"
    )


def test_programs_see_nothing_of_a_job_around_them(program, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ID", "SBATCH_PARTITION", "SQUEUE_USERS", "SRUN_DEBUG", "SUBMITIT_FOLDER"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("SLURM_CONF", "/etc/our.conf")
    program("squeue", "env | grep -E '^(S[A-Z]+_|MINE)' | sed 's/^/1|/'")
    monkeypatch.setenv("MINE", "y")
    seen = slurm.ask(["squeue"]).stdout.split()
    assert "1|MINE=y" in seen and "1|SLURM_CONF=/etc/our.conf" in seen
    assert [each for each in seen if each.endswith("=x")] == []


def array(root: Path, n: int = 3) -> list[RunJob]:
    return [RunJob(root, (f"{place:016d}",), gpus=0, minutes=30, stage="scores") for place in range(n)]


def send(folder: Path, n: int = 3, dependency: str | None = None, resources=RESOURCES) -> list[str]:
    return submit.submit(
        array(folder / "store", n),
        name="scores x",
        resources=resources,
        dependency=dependency,
        comment="token",
        folder=folder,
        array_parallelism=2,
    )


def test_everything_asked_for_is_in_the_script(program, tmp_path: Path) -> None:
    program("sbatch", "echo '28;ci'")
    resources = StageResources(
        **{
            "gpus": 2,
            "cpus": 3,
            "memory_gb": 1.5,
            "minutes": 30,
            "partition": "p",
            "account": "a",
            "qos": "q",
        },
        **{"constraint": "a100|h100", "setup": ["module load cuda"], "python": "apptainer exec i.sif python"},
        sbatch={"mail-user": "me@here", "exclusive": True, "contiguous": False},
    )
    assert send(tmp_path, dependency="afterok:7:8_1", resources=resources) == ["28_0", "28_1", "28_2"]
    lines = (tmp_path / "token" / "submission.sh").read_text().splitlines()
    options = dict(
        each.removeprefix("#SBATCH --").split("=", 1) for each in lines if "#SBATCH" in each and "=" in each
    )
    expected = {
        **{"job-name": "'scores x'", "comment": "token", "array": "0-2%2", "dependency": "afterok:7:8_1"},
        **{"kill-on-invalid-dep": "yes", "gpus-per-node": "2", "cpus-per-task": "3", "mem": "1536M"},
        **{"time": "30", "partition": "p", "account": "a", "qos": "q", "constraint": "'a100|h100'"},
        **{"mail-user": "me@here", "open-mode": "append", "signal": "USR2@90"},
    }
    assert options.items() >= expected.items()
    assert "#SBATCH --requeue" in lines and "#SBATCH --exclusive" in lines
    assert not {"contiguous", "wckey", "gres"} & options.keys()
    assert lines.index("module load cuda") < next(
        i for i, each in enumerate(lines) if each.startswith("srun")
    )
    assert f"apptainer exec i.sif python -u -m submitit.core._submit {tmp_path}/token" in lines[-1]


def test_gpus_named_by_gres_are_not_asked_for_twice(program, tmp_path: Path) -> None:
    program("sbatch", "echo 28")
    send(
        tmp_path, resources=StageResources(gpus=1, cpus=1, memory_gb=1.0, minutes=9, gres="tmp:5,gpu:a100:1")
    )
    text = (tmp_path / "token" / "submission.sh").read_text()
    assert "--gres=tmp:5,gpu:a100:1" in text and "--gpus" not in text


def test_a_single_job_is_no_array(program, tmp_path: Path) -> None:
    program("sbatch", "echo 32")
    assert send(tmp_path, n=1) == ["32"]
    assert "--array" not in (tmp_path / "token" / "submission.sh").read_text()


def test_what_jobs_run_is_small_and_there_before_sbatch_is_called(program, tmp_path: Path) -> None:
    program("sbatch", f"ls '{tmp_path}/token' > '{tmp_path}/seen'; echo 28")
    send(tmp_path)
    assert (tmp_path / "seen").read_text().split() == ["0.pkl", "1.pkl", "2.pkl", "submission.sh"]
    many = RunJob(
        Path("/a/store/on/some/cluster"), tuple("0123456789abcdef" for _ in range(20)), 1, 60, "scores"
    )
    submit._lay_ready(many, tmp_path / "many.pkl")
    assert (tmp_path / "many.pkl").stat().st_size < 2000
    found = pickle.loads((tmp_path / "many.pkl").read_bytes())
    assert found.function == many and b"__main__" not in (tmp_path / "many.pkl").read_bytes()


def test_a_refusal_is_said_in_the_words_of_sbatch_and_leaves_nothing(program, tmp_path: Path) -> None:
    said = "sbatch: error: Batch job submission failed: Invalid qos specification"
    program("sbatch", f"echo '{said}' >&2; exit 1")
    program("squeue", "")
    with pytest.raises(ValueError, match=r"says: Batch job submission failed: Invalid qos specification\.$"):
        send(tmp_path)
    assert not (tmp_path / "token").exists()
    assert submit.test(RESOURCES, name="x", n=3, folder=tmp_path) == said.removeprefix("sbatch: error: ")
    assert list(tmp_path.glob("*/*.pkl")) == []


def test_jobs_whose_acknowledgement_was_lost_are_found(
    program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("squeue", "echo '28|token'")
    program("sbatch", "echo 'sbatch: error: Socket timed out on send/recv operation' >&2; exit 1")
    assert send(tmp_path) == ["28_0", "28_1", "28_2"]
    monkeypatch.setattr(slurm, "_TIMEOUT_S", 1.0)
    program("sbatch", "exec sleep 30")
    assert send(tmp_path / "again") == ["28_0", "28_1", "28_2"]


def test_jobs_that_may_yet_be_queued_keep_what_they_run(
    program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "_TIMEOUT_S", 0.5)
    program("squeue", "")
    program("sbatch", "exec sleep 30")
    with pytest.raises(QueueError, match="sbatch: expected an answer"):
        send(tmp_path)
    assert len(list((tmp_path / "token").glob("*.pkl"))) == 3


def test_a_comment_names_one_submission(program, tmp_path: Path) -> None:
    program("sbatch", "echo 28")
    send(tmp_path)
    with pytest.raises(FileExistsError):
        send(tmp_path)
