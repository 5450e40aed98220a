"""A run from comparisons to its exit code: what is refused, fetched, executed, and said at the end."""

import dataclasses
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from saeuniv.adapters.downloads import HubFile
from saeuniv.config import Cluster, ConfigError, Launcher
from saeuniv.config.launcher import StageResources
from saeuniv.report.console import console
from saeuniv.results import Results, load, read_status, write_results
from saeuniv.stages.fetch import Fetch
from saeuniv.stages.report import Report
from saeuniv.store import Store
from saeuniv.sweep import drive, slurm, submit
from saeuniv.sweep import run as running
from saeuniv.sweep.outcome import Failure, Outcome
from saeuniv.sweep.place import SweepPlace
from saeuniv.sweep.plan import Plan, Request
from saeuniv.sweep.record import read_record
from saeuniv.sweep.run import run, show_pairs
from tests.sweep.conftest import cells

Execute = Callable[[Plan, object], Outcome]
SLURM = Launcher(cluster=Cluster.slurm)
ONE = ("layers.a=0", "layers.b=0", "metrics=[cka]")


@pytest.fixture(autouse=True)
def _fresh_console() -> Iterator[None]:
    console.cache_clear()
    yield
    console.cache_clear()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of the sweep, below where the user stands."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "multirun" / "s"


def requests(folder: Path, *argv: str) -> list[Request]:
    """The comparisons of small models on one layer."""
    by_name: dict[str, list] = {}
    for cell in cells("-m", *ONE, *argv):
        by_name.setdefault(cell.comparison, []).append(cell)
    config = "# Replay: saeuniv \na: {}\n"
    return [Request(tuple(each), folder / name, config, "s") for name, each in by_name.items()]


def place(folder: Path, launcher: Launcher | None = None) -> SweepPlace:
    return SweepPlace("s", folder, ("-m", "sweep.name=s"), launcher or Launcher())


@pytest.fixture
def write(make_results: Callable[..., Results]) -> Callable[[Path, float], None]:
    """Results of a comparison whose every value is the same, as a report writes them."""

    def make(folder: Path, value: float) -> None:
        made = make_results(lambda metric, i, j: value, n_a=1, n_b=1)
        write_results(
            folder,
            rows=made.rows,
            null_rows=made.null_rows,
            layers_a=made.layers_a,
            layers_b=made.layers_b,
            summary={},
            config="",
            status={"state": "done"},
            figures=None,
        )

    return make


@pytest.fixture
def executed(
    monkeypatch: pytest.MonkeyPatch, write: Callable[[Path, float], None]
) -> Callable[..., list[Plan]]:
    """Stands in for the work: all goes well, but for what fails with a message."""

    def instead(fails: Callable[[Plan], list[tuple[object, str]]] = lambda work: []) -> list[Plan]:
        plans: list[Plan] = []

        def execute(work: Plan, workers: object) -> Outcome:
            plans.append(work)
            failures = fails(work)
            for report in work.reports:
                assert read_status(report.folder)["state"] == "running"
                if not any(report is task for task, _ in failures):
                    write(report.folder, 0.1 if report.job_type == "control" else 0.3)
            return Outcome(tuple(Failure(task, said) for task, said in failures), (), 7.0, 2**31)

        monkeypatch.setattr(running, "execute", execute)
        monkeypatch.setattr(running, "pool", lambda processes: None)
        return plans

    return instead


def states(folder: Path) -> dict[str, object]:
    """Name of each comparison and control -> its state."""
    return {each.parent.name: read_status(each.parent)["state"] for each in sorted(folder.glob("*/results"))}


def test_a_sweep_ends_with_its_tables_its_record_and_where_they_are(
    executed: Callable[..., list[Plan]], folder: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    plans = executed()
    assert run(requests(folder, "alignment=max_corr,hungarian"), place(folder)) == 0
    (work,) = plans
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("Embedded experiment (experiment=tiny)")
    assert out.count("comparison: ") == 2 and out.count("control: ") == 2
    assert ".300" in out and ".100" in out
    assert out.endswith(
        f"sweep s: {folder}/sweep.csv\n0 s wall, 7 CPU-s in tasks, 2.00 GiB peak a process, "
        "0 artifacts cached.\n"
    )
    record = read_record(folder)
    assert record is not None
    assert (record.command, record.stood) == (("-m", "sweep.name=s"), str(Path.cwd()))
    assert (record.store, record.tasks) == (str(store.root), ())
    assert record.comparisons == tuple(str(report.folder) for report in work.reports)
    lines = (folder / "sweep.csv").read_text().splitlines()
    assert len(lines) == 5 and all("done" in line for line in lines[1:])


def test_a_single_run_is_no_sweep(
    executed: Callable[..., list[Plan]], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    executed()
    assert run(requests(folder), None) == 0
    assert "sweep s:" not in capsys.readouterr().out
    assert {path.name for path in folder.iterdir()} == set(states(folder))


def test_a_task_that_failed_is_exit_code_1_and_the_rest_is_told(
    executed: Callable[..., list[Plan]], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    executed(lambda work: [(work.tasks[-1], "out of memory")])
    assert run(requests(folder), place(folder)) == 1
    assert "comparison: " in capsys.readouterr().out
    assert (folder / "sweep.csv").is_file()


def broken(work: Plan, name: str) -> Report:
    """The report of the comparison of this alignment."""
    return next(each for each in work.reports if each.job_type == "comparison" and name in each.folder.name)


def test_reports_that_raised_tell_the_first_cause_and_show_no_results_of_earlier(
    executed: Callable[..., list[Plan]],
    write: Callable[[Path, float], None],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = requests(folder, "alignment=max_corr,hungarian")
    for each in asked:
        write(each.folder, 0.777)
    executed(
        lambda work: [
            (broken(work, "max_corr"), "nothing to report."),
            (work.tasks[0], "the text is gone."),
            (work.tasks[1], "another fault."),
        ]
    )
    assert run(asked, place(folder)) == 1
    status = read_status(asked[0].folder)
    assert (status["state"], status["error"]) == ("failed", "the text is gone.")
    assert status["seconds"] == pytest.approx(0, abs=60)
    assert load(asked[0].folder).rows[0].value == 0.777
    out = capsys.readouterr().out
    assert ".777" not in out
    assert out.count("comparison: ") == 1 and f"{asked[1].folder}/results" in out.replace("\n", "")
    assert sorted(states(folder).values()) == ["done", "done", "done", "failed"]


def test_a_report_that_alone_raised_tells_its_own_fault(
    executed: Callable[..., list[Plan]], folder: Path
) -> None:
    asked = requests(folder)
    executed(lambda work: [(work.reports[0], "the disk is full.")])
    assert run(asked, None) == 1
    assert read_status(asked[0].folder)["error"] == "the disk is full."


def test_a_refused_comparison_stops_no_other_and_is_exit_code_1(
    executed: Callable[..., list[Plan]],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    (good,) = requests(folder, "alignment=hungarian")
    (bad,) = requests(folder, "alignment=max_corr")
    other = requests(folder, "alignment=max_corr", "nulls.draws=19")[0]
    bad = bad._replace(cells=(*bad.cells, *other.cells))
    plans = executed()
    assert run([bad, good], place(folder)) == 1
    assert [each.request for each in plans[0].refused] == [bad]
    status = read_status(bad.folder)
    assert status["state"] == "failed" and "expected the same nulls" in str(status["error"])
    assert f"{bad.folder.name}: " in caplog.text and "expected the same nulls" in caplog.text
    assert read_status(good.folder)["state"] == "done"
    assert "comparison: " in capsys.readouterr().out
    assert f"{bad.folder.name},,failed" in (folder / "sweep.csv").read_text()


def test_of_many_comparisons_only_the_table_is_named(
    executed: Callable[..., list[Plan]], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    executed()
    asked = requests(folder, "alignment=max_corr,hungarian,mutual_nn", "data.skip_first=2,3,4")
    assert run(asked, place(folder)) == 0
    out = capsys.readouterr().out
    assert "comparison: " not in out and f"sweep s: {folder}/sweep.csv\n" in out


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, store: Store) -> list[str]:
    """What was done with the one repository that is needed, step by step."""
    steps: list[str] = []
    files = (HubFile("config.json", 10), HubFile("model.safetensors", 2 * 10**9))
    needed = Fetch(store.root, (), (), 1.0, "owner/a", "0" * 40, files)

    def download(self: Fetch, progress: object) -> None:
        steps.append(f"fetched {self.repository}")

    monkeypatch.setattr(running, "fetches", lambda tasks: (needed,) if tasks else ())
    monkeypatch.setattr(Fetch, "missing", lambda self: self.files if not steps else ())
    monkeypatch.setattr(Fetch, "__call__", download)
    return steps


def test_it_says_how_much_is_to_be_fetched_and_fetches_before_all_else(
    hub: list[str],
    executed: Callable[..., list[Plan]],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    said: list[str] = []
    executed(lambda work: (hub.append("executed"), said.append(capsys.readouterr().out), [])[2])
    assert run(requests(folder), place(folder)) == 0
    assert hub == ["fetched owner/a", "executed"]
    assert said[0].endswith("\n1 repository, 2 files, 2.0 GB to fetch (0 B cached)\n")
    # The second time there is nothing to say.
    assert run(requests(folder), place(folder)) == 0
    assert "fetch" not in said[1]


def test_a_hub_that_gives_no_access_leaves_nothing_run(
    executed: Callable[..., list[Plan]], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(tasks: object) -> tuple[Fetch, ...]:
        raise ConfigError("a.name=owner/a: no access.")

    monkeypatch.setattr(running, "fetches", closed)
    plans = executed()
    with pytest.raises(ConfigError, match="no access"):
        run(requests(folder), place(folder))
    assert plans == [] and not folder.exists()


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A SLURM that takes every job, but for stages with something said here; submitting is a fault."""
    refused: dict[str, str] = {}

    def test(resources: StageResources, *, name: str, n: int, folder: Path) -> str | None:
        return refused.get(name)

    def submit_nothing(*args: object, **kwargs: object) -> None:
        pytest.fail("something was submitted")

    monkeypatch.setattr(slurm, "available", lambda: None)
    monkeypatch.setattr(submit, "test", test)
    monkeypatch.setattr(submit, "submit", submit_nothing)
    return refused


def test_a_plan_that_is_too_dear_is_refused_before_anything_is_submitted(
    cluster: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drive, "drive", lambda *args, **kwargs: pytest.fail("it was driven"))
    dear = dataclasses.replace(SLURM, default=StageResources(gpus=4))
    asked = requests(folder, "sweep.max_gpu_hours=0.001")
    message = (
        r"sweep\.max_gpu_hours=0\.001: the plan is expected to take \d+\.\d GPU hours\. Raise it, .*"
        r"`saeuniv plan` shows the parts\."
    )
    with pytest.raises(ConfigError, match=message):
        run(asked, place(folder, dear))
    assert not folder.exists()


def test_everything_that_slurm_refuses_is_said_at_once(cluster: dict[str, str], folder: Path) -> None:
    cluster |= {"scores": "Invalid partition", "report": "Invalid account"}
    dear = dataclasses.replace(SLURM, default=StageResources(gpus=4))
    with pytest.raises(ConfigError) as refused:
        run(requests(folder, "sweep.max_gpu_hours=0.001"), place(folder, dear))
    first, *others = refused.value.faults
    assert first.startswith("sweep.max_gpu_hours=0.001: ")
    assert others == [
        "hydra.launcher.scores: SLURM refuses such jobs: Invalid partition",
        "hydra.launcher.report: SLURM refuses such jobs: Invalid account",
    ]


def test_without_slurm_nothing_is_driven(
    cluster: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "available", lambda: "no sbatch here.")
    with pytest.raises(ConfigError, match="hydra/launcher=slurm: no sbatch here"):
        run(requests(folder), place(folder, SLURM))
    assert not folder.exists()


def test_a_sweep_of_another_format_is_not_driven(cluster: dict[str, str], folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "sweep.json").write_text(json.dumps({"format": 99}))
    for launcher in (SLURM, Launcher()):
        with pytest.raises(ConfigError, match="expected a sweep of format"):
            run(requests(folder), place(folder, launcher))
    assert [path.name for path in folder.iterdir()] == ["sweep.json"]


@pytest.mark.parametrize(
    ("ends", "code"), [(None, 0), (Outcome((), ()), 0), ("failure", 1)], ids=["detached", "well", "failed"]
)
def test_a_sweep_on_slurm_ends_as_its_jobs_do(
    ends: Outcome | str | None,
    code: int,
    cluster: dict[str, str],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    driven: list[bool] = []

    def stand_in(work: Plan, summary: object, sweep: SweepPlace, *, detach: bool) -> Outcome | None:
        driven.append(detach)
        return Outcome((Failure(work.tasks[0], "killed"),), ()) if ends == "failure" else ends  # type: ignore[return-value]

    monkeypatch.setattr(drive, "drive", stand_in)
    detach = ends is None
    asked = requests(folder, "hydra/launcher=slurm", f"sweep.detach={str(detach).lower()}")
    assert run(asked, place(folder, SLURM)) == code
    assert driven == [detach]
    # Nobody watches a detached sweep: there is nothing to say at its end.
    assert ("s wall" in capsys.readouterr().out) == (not detach)


def test_a_detached_sweep_with_a_refused_comparison_is_exit_code_1(
    cluster: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    monkeypatch.setattr(drive, "drive", lambda *args, **kwargs: None)
    (good,) = requests(folder, "alignment=hungarian")
    (bad,) = requests(folder, "alignment=max_corr")
    other = requests(folder, "alignment=max_corr", "nulls.draws=19")[0]
    assert run([bad._replace(cells=(*bad.cells, *other.cells)), good], place(folder, SLURM)) == 1


def test_a_sweep_over_pairs_of_models_ends_with_all_pairs_side_by_side(
    tmp_path: Path, make_results: Callable[..., Results], capsys: pytest.CaptureFixture[str]
) -> None:
    found: list[Results] = []
    for name, value in (("s", 0.3), ("t", 0.4), ("u", 0.1), ("v", 0.2)):
        models = {"model_a": f"{name}0", "model_b": f"{name}1"}
        made = make_results(lambda metric, i, j, value=value: value, **models)
        write_results(
            tmp_path / name,
            rows=made.rows,
            null_rows=made.null_rows,
            layers_a=made.layers_a,
            layers_b=made.layers_b,
            summary={"untrained": ["a", "b"] if name in "uv" else []},
            config="",
            status={"state": "done"},
            figures=None,
        )
        found.append(load(tmp_path / name))
    console.cache_clear()
    show_pairs(found)
    out = " ".join(capsys.readouterr().out.split())
    assert "trained s0 and s1 .300" in out and "untrained v0 and v1 .200" in out
    assert (
        "the lowest of 2 trained pairs lies above the highest of 2 untrained pairs at layers 0 (.300" in out
    )
    for too_few in (found[:1], found[2:], []):
        show_pairs(too_few)
        assert capsys.readouterr().out == ""
    console.cache_clear()


def test_the_table_of_an_extended_sweep_has_what_it_was_asked_for_before(
    executed: Callable[..., list[Plan]], folder: Path
) -> None:
    executed()
    assert run(requests(folder, "alignment=max_corr"), place(folder)) == 0
    first = (folder / "sweep.csv").read_text().splitlines()
    assert run(requests(folder, "alignment=hungarian"), place(folder)) == 0
    both = (folder / "sweep.csv").read_text().splitlines()
    assert both[: len(first)] == first and len(both) == 2 * len(first) - 1


def test_what_is_reported_already_is_not_written_again_but_for_damaged_results(
    executed: Callable[..., list[Plan]],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, plans = requests(folder, "alignment=max_corr,hungarian", "control=none"), executed()
    assert run(asked, place(folder)) == 0
    # The scores are there, as those that stand in for the work do not leave them.
    monkeypatch.setattr(running, "plan", lambda *_: dataclasses.replace(plans[0], tasks=()))
    monkeypatch.setattr(Report, "is_done", lambda report: True)
    capsys.readouterr()
    assert run(asked, place(folder)) == 0
    assert plans[1].reports == () and capsys.readouterr().out.count("comparison: ") == 2
    damaged = plans[0].reports[1]
    (damaged.folder / "results" / "layer_pairs.csv").write_text("no table")
    assert run(asked, place(folder)) == 0
    assert plans[2].reports == (damaged,)
