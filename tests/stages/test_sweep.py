"""The sweep's own table: a row for each metric of each comparison, and one for each without results."""

import csv
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from saeuniv.results import Results, write_results, write_status
from saeuniv.stages.headline import headline
from saeuniv.stages.sweep import TABLE, SummariseSweep, read_state

METRICS = ("partial_correlation", "cka")


@pytest.fixture
def write(tmp_path: Path, make_results: Callable[..., Results]) -> Callable[..., Path]:
    """Results of a comparison in a folder of the sweep, as a report writes them."""

    def make(
        name: str, value: float | None, *, state: str = "done", job_type: str = "comparison", **changes
    ) -> Path:
        results = make_results(
            lambda metric, i, j: (
                None if value is None or (metric == "cka" and i == 0) else value + i / 10 + j / 100
            ),
            n_a=2,
            n_b=3,
            metrics=METRICS,
            **{"comparison": name, "control": 0.05, **changes},
        )
        rows = [replace(row, alignment="hungarian" if row.metric == "cka" else "-") for row in results.rows]
        summary = {"job_type": job_type, "headline": {metric: headline(rows, metric) for metric in METRICS}}
        write_results(
            tmp_path / name,
            rows=rows,
            null_rows=results.null_rows,
            layers_a=results.layers_a,
            layers_b=results.layers_b,
            summary=summary,
            config="",
            status={"state": state},
            figures=None,
        )
        return tmp_path / name

    return make


def task(folder: Path, *comparisons: Path, reports: tuple[str, ...] = ("0" * 16,)) -> SummariseSweep:
    return SummariseSweep(folder / "store", (), (), 1.0, folder, comparisons, reports)


def done(each: SummariseSweep) -> list[dict[str, str]]:
    each(lambda done, total: None)
    with (each.folder / TABLE).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_each_metric_of_each_comparison_has_a_row(tmp_path: Path, write) -> None:
    folders = [write("one", 0.3), write("one_untrained", 0.1, job_type="control", control=None)]
    rows = done(task(tmp_path, *folders))
    assert [(row["comparison"], row["job_type"], row["metric"]) for row in rows] == [
        *(("one", "comparison", "partial_correlation"), ("one", "comparison", "cka")),
        *(("one_untrained", "control", "partial_correlation"), ("one_untrained", "control", "cka")),
    ]
    first, second = rows[:2]
    told = {"state": "done", "model_a": "tiny_s0", "model_b": "tiny_s1", "sae_a": "tiny", "sae_b": "tiny"}
    assert {name: first[name] for name in told} == told
    assert {row["alignment"] for row in rows} == {"hungarian"}
    # 0.3 + i / 10 + j / 100 over two by three layers; cka is undefined at the first layer of A.
    assert (first["layer_pairs"], second["layer_pairs"]) == ("6", "3")
    assert float(first["mean"]) == pytest.approx(0.36) and float(second["mean"]) == pytest.approx(0.41)
    assert float(first["max"]) == float(second["max"]) == 0.3 + 1 / 10 + 2 / 100
    assert (first["max_layer_a"], first["max_layer_b"]) == ("1", "2")
    assert float(first["control_mean"]) == pytest.approx(0.05) and rows[2]["control_mean"] == ""
    # Every p of a made row is 1 / 486.
    assert (first["rejected_bh"], second["rejected_bh"], first["rejected_by"]) == ("6", "3", "6")


def test_what_has_no_results_has_a_row_that_says_so(tmp_path: Path, write) -> None:
    write_status(tmp_path / "refused", "failed", error="no")
    write_status(tmp_path / "waiting", "running")
    damaged = write("damaged", 0.3)
    (damaged / "results" / "summary.json").write_text("{")
    folders = [tmp_path / "refused", tmp_path / "nowhere", damaged, tmp_path / "waiting", write("good", 0.2)]
    rows = done(task(tmp_path, *folders))
    assert [(row["comparison"], row["state"]) for row in rows] == [
        *(("refused", "failed"), ("nowhere", "none"), ("damaged", "done"), ("waiting", "running")),
        *[("good", "done")] * 2,
    ]
    assert all(not row["metric"] and not row["max"] for row in rows[:4])
    assert not (tmp_path / "nowhere").exists()


def test_results_of_an_earlier_run_are_told_with_the_state_of_the_last(tmp_path: Path, write) -> None:
    folder = write("one", 0.3)
    write_status(folder, "failed", error="this time")
    rows = done(task(tmp_path, folder))
    assert [(row["state"], row["metric"]) for row in rows] == [("failed", metric) for metric in METRICS]
    assert read_state(folder) == "failed"


def test_results_without_a_headline_have_a_row(tmp_path: Path, make_results) -> None:
    made = make_results(lambda metric, i, j: 0.3)
    write_results(
        tmp_path / "old",
        rows=made.rows,
        null_rows=(),
        layers_a=made.layers_a,
        layers_b=made.layers_b,
        summary={},
        config="",
        status={"state": "done"},
        figures=None,
    )
    (row,) = done(task(tmp_path, tmp_path / "old"))
    assert (row["comparison"], row["model_a"], row["metric"], row["job_type"]) == ("old", "tiny_s0", "", "")


def test_a_metric_that_is_defined_nowhere_has_a_row_without_numbers(tmp_path: Path, write) -> None:
    rows = done(task(tmp_path, write("one", None)))
    assert [(row["metric"], row["layer_pairs"], row["mean"]) for row in rows] == [
        (metric, "0", "") for metric in METRICS
    ]


def test_the_table_is_replaced_whole_and_equal_for_equal_results(tmp_path: Path, write) -> None:
    each = task(tmp_path, write("one", 0.3), write("two", 0.2))
    seen: list[tuple[int, int]] = []
    each(lambda done, total: seen.append((done, total)))
    first = (tmp_path / TABLE).read_bytes()
    assert seen == [(1, 2), (2, 2)]
    assert first.startswith(b"comparison,job_type,state,model_a,") and b"\r" not in first
    each(lambda done, total: None)
    assert (tmp_path / TABLE).read_bytes() == first
    done(task(tmp_path, write("two", 0.2)))
    assert len((tmp_path / TABLE).read_bytes()) < len(first)
    assert {path.name for path in tmp_path.iterdir()} == {"one", "two", TABLE, "sweep.html"}


def test_a_new_sweep_has_a_folder_once_it_has_a_table(tmp_path: Path) -> None:
    assert done(task(tmp_path / "multirun" / "new", tmp_path / "nowhere"))[0]["state"] == "none"


def test_a_table_is_done_until_a_report_is_newer(tmp_path: Path, write) -> None:
    one, two = write("one", 0.3), write("two", 0.2)
    each = task(tmp_path, one, two, tmp_path / "nowhere")
    assert not each.is_done()
    done(each)
    written = (tmp_path / TABLE).stat().st_mtime_ns
    status = two / "results" / "status.json"
    for age, expected in ((-1, True), (0, True), (1, False)):
        os.utime(one / "results" / "status.json", ns=(written, written - 10))
        os.utime(status, ns=(written, written + age))
        assert each.is_done() == expected, age
    status.unlink()
    assert each.is_done()
    (tmp_path / TABLE).unlink()
    assert not each.is_done()


def test_a_table_is_named_by_what_it_is_made_from(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    each = task(tmp_path, one, two)
    assert each.key == replace(each, seconds=9.0, root=tmp_path / "elsewhere").key
    assert each.key == task(tmp_path, two, one).key, "the same command in another order"
    others = [task(tmp_path, one), task(tmp_path / "x", one, two)]
    others += [task(tmp_path, one, two, reports=reports) for reports in ((), ("1" * 16,), ("0" * 16,) * 2)]
    assert len({other.key for other in (each, *others)}) == 6
    assert each.label == tmp_path.name


def test_the_table_is_made_whatever_became_of_the_reports() -> None:
    assert SummariseSweep.stage == "sweep" and not SummariseSweep.needs_all


def test_a_table_of_other_comparisons_is_made_again(tmp_path: Path, write) -> None:
    one, two = write("one", 0.3), write("two", 0.2)
    done(task(tmp_path, one))
    assert task(tmp_path, one).is_done()
    assert not task(tmp_path, one, two).is_done()
    assert not task(tmp_path, two).is_done()
