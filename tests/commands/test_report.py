"""`saeuniv report`: figures and tables again, of a comparison and of a whole sweep, from results alone."""

import csv
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from saeuniv.commands import report
from saeuniv.config.config_yaml import control_config_text
from saeuniv.results import Results, load, write_results, write_status
from saeuniv.sweep.record import Record, write_record
from tests.commands.conftest import Call

CONFIG = """# Replay: saeuniv {}
a:
  untrained: false
b:
  untrained: false
control:
  kind: untrained
data: {}
"""

Write = Callable[..., Path]


@pytest.fixture
def write(here: Path, make_results: Callable[..., Results]) -> Write:
    """Results in multirun/s, with the config.yaml that a comparison or a control has."""

    def make(name: str, value: float, *, data: str = "x", line: str = "", **changes: object) -> Path:
        is_control = name.startswith("untrained")
        config = CONFIG.format(line, data)
        results = make_results(
            lambda metric, i, j: value, n_a=2, n_b=2, control=None if is_control else 0.05, **changes
        )
        folder = here / "multirun" / "s" / name
        write_results(
            folder,
            rows=results.rows,
            null_rows=results.null_rows,
            layers_a=results.layers_a,
            layers_b=results.layers_b,
            summary={
                "job_type": "control" if is_control else "comparison",
                "untrained": ["a", "b"] if is_control else [],
            },
            config=control_config_text(config) if is_control else config,
            status={"state": "done"},
            figures=None,
        )
        return folder

    return make


def drawn(folder: Path) -> bool:
    return (folder / "results" / "heatmap_partial_correlation.png").is_file()


def table(sweep: Path) -> list[tuple[str, str]]:
    with (sweep / "sweep.csv").open(encoding="utf-8", newline="") as file:
        return [(row["comparison"], row["state"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("named", ["{}", "{}/results", "multirun/s/one"])
def test_a_comparison_has_its_figures_and_its_table_with_the_control(
    named: str, call: Call, write: Write
) -> None:
    one, control = write("one", 0.3), write("untrained_one", 0.1)
    before = load(one)
    ended = call(report.main, named.format(one))
    assert (ended.code, ended.err) == (0, "")
    assert drawn(one) and not drawn(control)
    assert ".300" in ended.out and ".100" in ended.out
    assert "No untrained control." not in ended.out
    assert f"comparison: {named.format(one).removesuffix('/results')}/results\n" in ended.out
    assert load(one) == before and not (one.parent / "sweep.csv").exists()


def test_the_control_is_the_one_of_the_same_settings(call: Call, write: Write) -> None:
    """It may have been planned for another comparison first: the line that replays it is then another."""
    one = write("one", 0.3, data="y", line="data=y")
    write("untrained_other", 0.1, data="x")
    assert "No untrained control." in call(report.main, str(one)).out
    write("untrained_one", 0.2, data="y", line="a=other data=y")
    out = call(report.main, str(one)).out
    assert "No untrained control." not in out and ".200" in out and ".100" not in out


def test_a_control_can_be_reported_alone(call: Call, write: Write) -> None:
    control = write("untrained_one", 0.1)
    ended = call(report.main, str(control))
    assert ended.code == 0 and ".100" in ended.out and drawn(control)


def test_where_numbers_were_published_these_stand_beside_the_results(
    call: Call, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"model_a": "pythia-70m", "model_b": "pythia-160m-deduped"}
    # Layer pairs 0-0 to 1-1, of which 1-0 (.202) and 1-1 (.243) were published.
    one = write("one", 0.22, metrics=("published_svcca",), **names)
    files = [one / "results" / name for name in ("published.csv", "published.md")]
    ended = call(report.main, str(one))
    line = (
        "2 of 4 published values are within tolerance here: pc1_abs_corr 2 of 2, n_pairs 0 of 2. 116 more "
        "are of layer pairs that were not asked for."
    )
    assert (ended.code, ended.err) == (0, "")
    assert f"\n{line}\n" in ended.out
    assert "1-1 .220, .243" in " ".join(ended.out.split())
    assert files[1].read_text().splitlines()[0] == line
    assert files[0].read_text().count("\n") == 1 + 3 * 60
    before = [file.read_bytes() for file in files]
    kept = os.replace

    def fail(source: Path, target: Path) -> None:
        if Path(target).name.startswith("published"):
            raise OSError(28, "No space left on device", str(target))
        kept(source, target)

    monkeypatch.setattr(os, "replace", fail)
    assert call(report.main, str(one)).code == 1
    assert [file.read_bytes() for file in files] == before
    assert not list((one / "results").glob(".published*"))


def test_where_nothing_was_published_no_file_says_so(call: Call, write: Write) -> None:
    one = write("one", 0.3)
    assert "published" not in call(report.main, str(one)).out
    assert not list((one / "results").glob("published*"))


def test_a_sweep_has_its_table_and_all_figures(call: Call, write: Write, here: Path) -> None:
    folders = [write("one", 0.3, data="one"), write("two", 0.4, data="two", model_b="tiny_s2")]
    folders += [write(f"untrained_{name}", 0.1, data=name) for name in ("one", "two")]
    sweep = here / "multirun" / "s"
    write_status(sweep / "waiting", "running")
    (sweep / ".hydra").mkdir()
    ended = call(report.main, "multirun/s")
    assert (ended.code, ended.err) == (0, "")
    assert all(map(drawn, folders))
    # Controls stand beside their comparisons.
    assert ended.out.count("comparison: ") == 2 and "No untrained control." not in ended.out
    assert "given token, layer pairs of equal number" in ended.out
    assert ended.out.endswith("sweep: multirun/s/sweep.csv\npage: multirun/s/sweep.html\n")
    assert all((folder / "results" / "report.html").is_file() for folder in folders)
    assert (sweep / "sweep.html").is_file()
    names = ["one", "two", "untrained_one", "untrained_two", "waiting"]
    assert table(sweep) == [(name, "running" if name == "waiting" else "done") for name in names]
    assert call(report.main, "s").code == 0


def test_a_recorded_sweep_is_reported_in_its_order_also_where_it_was_moved_to(
    call: Call, write: Write, here: Path
) -> None:
    write("one", 0.3), write("two", 0.4)
    sweep = here / "multirun" / "s"
    names = ("two", "lost", "one")
    folders = tuple(f"/elsewhere/multirun/s/{name}" for name in names)
    write_record(sweep, Record("s", "/store", ("-m",), "/", folders, ()))
    assert call(report.main, "s").code == 0
    assert table(sweep) == [("two", "done"), ("lost", "none"), ("one", "done")]


def test_damaged_results_stop_no_others(call: Call, write: Write, here: Path) -> None:
    one, two = write("one", 0.3), write("two", 0.4)
    (one / "results" / "summary.json").write_text("{")
    ended = call(report.main, "s")
    assert ended.code == 1
    assert f"{one.relative_to(here)}/results/summary.json: damaged" in ended.err
    assert drawn(two) and table(here / "multirun" / "s") == [("one", "done"), ("two", "done")]
    assert call(report.main, str(one)).code == 1


def test_a_folder_without_results_is_refused(call: Call, here: Path) -> None:
    (here / "multirun" / "s" / "one" / "results").mkdir(parents=True)
    for folder in ("multirun/s", "s", "multirun/s/one", str(here)):
        ended = call(report.main, folder)
        assert (ended.code, ended.out) == (2, "")
        assert "found no results in it. Folders are multirun/<sweep>/<comparison>." in ended.err
    assert not (here / "multirun" / "s" / "sweep.csv").exists()


def test_a_folder_that_is_not_there_is_refused_with_the_sweeps_there_are(call: Call, here: Path) -> None:
    write_record(here / "multirun" / "mine", Record("mine", "/store", (), "/", (), ()))
    ended = call(report.main, "multirun/x")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        "multirun/x: expected the folder of a sweep or of a comparison, found no such folder. "
        f"Sweeps below {here}/multirun: mine.\n"
    )
    assert call(report.main).code == call(report.main, "s", "--bogus").code == 2
