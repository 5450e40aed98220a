"""Writing and reading results folders, and what is left when writing is interrupted."""

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saeuniv.results import (
    Results,
    Row,
    columns,
    is_written,
    load,
    read_status,
    swap,
    write_results,
    write_status,
)
from saeuniv.results.table import read_table, write_table


def _write(folder, results: Results, figures=None, summary=None):
    return write_results(
        folder,
        rows=results.rows,
        null_rows=results.null_rows,
        layers_a=results.layers_a,
        layers_b=results.layers_b,
        summary=summary or {"seconds": {"encode": 1.5}},
        config=results.config,
        status={"state": "done", "seconds": 2.0},
        figures=figures,
    )


@pytest.fixture
def old(make_results):
    return make_results(lambda metric, i, j: 0.1 + 0.01 * i + 1e-17 * j, 2, 3, ("partial_correlation", "cka"))


@pytest.fixture
def new(make_results):
    return make_results(lambda metric, i, j: None if i == j else 1 / 3, 2, 3, ("partial_correlation",))


def test_what_is_written_is_read_back_equal(tmp_path, new):
    written = _write(tmp_path, new)
    assert written == tmp_path / "results"
    for folder in (tmp_path, written, str(tmp_path)):
        back = load(folder)
        assert (back.rows, back.null_rows, back.config) == (new.rows, new.null_rows, new.config)
        assert (back.layers_a, back.layers_b) == (new.layers_a, new.layers_b)
        assert back.summary["seconds"] == {"encode": 1.5}


# Python's csv before 3.13 does not quote a lone carriage return; no name of ours has one.
_TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r"))


@settings(max_examples=50, deadline=None)
@given(number=st.floats(allow_nan=False, allow_infinity=False), flags=_TEXTS)
def test_every_number_and_text_survives_the_table(tmp_path_factory, number, flags):
    path = tmp_path_factory.mktemp("table") / "layer_pairs.csv"
    texts = dict.fromkeys(columns(Row), "x") | {"direction": "both", "space": "tokens", "reason": ""}
    counts = {
        n: 2**53 + 1 for n in columns(Row) if n.startswith(("n_", "d_sae")) or n in ("seed", "null_draws")
    }
    kinds = {n: number for n in columns(Row) if Row.__annotations__[n] == float | None}
    row = Row(**{**texts, **counts, **kinds, "flags": flags, "fvu_a": None})
    write_table(path, [row], Row)
    assert read_table(path, Row) == [row]


def test_numpy_numbers_are_written_as_plain_ones(tmp_path, make_row):
    write_table(tmp_path / "t.csv", [make_row(value=np.float64(0.1))], Row)
    assert "np." not in (tmp_path / "t.csv").read_text()
    assert read_table(tmp_path / "t.csv", Row)[0].value == 0.1


def test_the_stored_matrices_are_those_of_the_rows(tmp_path, new):
    with np.load(_write(tmp_path, new) / "matrices.npz", allow_pickle=False) as stored:
        assert stored["layers_a"].tolist() == ["0", "1"]
        assert stored["layers_b"].dtype.kind == "U"
        for name, array in new.arrays().items():
            np.testing.assert_array_equal(stored[name], array)
            assert stored[name].dtype == array.dtype
        assert set(stored) == {*new.arrays(), "layers_a", "layers_b"}


def test_equal_results_give_equal_bytes(tmp_path, new):
    one, two = _write(tmp_path / "one", new), _write(tmp_path / "two", new)
    names = sorted(path.name for path in one.iterdir())
    expected = ["config.yaml", "layer_pairs.csv", "matrices.npz", "nulls.csv", "status.json", "summary.json"]
    assert names == expected
    for name in names:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name


def test_the_summary_names_the_reason_codes_and_counts_what_is_undefined(tmp_path, new):
    _write(tmp_path, new)
    summary = json.loads((tmp_path / "results" / "summary.json").read_text())
    assert summary["format_version"] == 1
    assert summary["reason_codes"]["too_few_matches"] == 4
    assert summary["undefined"] == {"partial_correlation": {"too_few_matches": 2}}


def test_a_summary_with_nan_is_refused_and_nothing_is_written(tmp_path, new):
    with pytest.raises(ValueError, match="JSON"):
        _write(tmp_path, new, summary={"value": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_figures_are_drawn_into_the_folder_before_it_is_published(tmp_path, new):
    def draw(results, folder):
        assert not (tmp_path / "results").exists()
        (folder / "heatmap.png").write_bytes(b"png of " + results.layers_a[1].encode())

    assert (_write(tmp_path, new, draw) / "heatmap.png").read_bytes() == b"png of 1"


def test_new_results_replace_old_ones_whole(tmp_path, old, new):
    _write(tmp_path, old, lambda results, folder: (folder / "heatmap_cka.png").touch())
    _write(tmp_path, new)
    assert load(tmp_path).metrics == ("partial_correlation",)
    assert not (tmp_path / "results" / "heatmap_cka.png").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_old_results_stay_when_drawing_fails(tmp_path, old, new):
    _write(tmp_path, old)

    def draw(results, folder):
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        _write(tmp_path, new, draw)
    assert load(tmp_path).rows == old.rows
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


@pytest.mark.parametrize("failing", [{1}, {2}, {2, 3}], ids=["set aside", "put in place", "and put back"])
def test_old_results_stay_readable_when_a_rename_fails(tmp_path, old, new, monkeypatch, failing):
    _write(tmp_path, old)
    replace, calls = os.replace, []

    def fail(source, target):
        calls.append(source)
        if len(calls) in failing:
            raise OSError(errno.EIO, "input/output error")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="input/output error"):
        _write(tmp_path, new)
    assert load(tmp_path).rows == old.rows
    assert (tmp_path / "results").is_dir() == (failing != {2, 3})
    monkeypatch.undo()
    _write(tmp_path, new)
    assert load(tmp_path).rows == new.rows
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_kill_between_renames_leaves_the_old_results_or_the_new(tmp_path, old, new, after):
    _write(tmp_path / "new", new)
    _write(tmp_path / "run", old)
    code = f"""
import os
from pathlib import Path
from saeuniv.results import load, write_results
r, done, replace = load({str(tmp_path / "new")!r}), [], os.replace
def killed(source, target):
    if len(done) == {after}: os._exit(9)
    done.append(replace(source, target))
os.replace = killed
fields = dict(rows=r.rows, null_rows=r.null_rows, layers_a=r.layers_a, layers_b=r.layers_b, config="")
write_results(Path({str(tmp_path / "run")!r}), **fields, summary=dict(), status=dict(), figures=None)
"""
    status = subprocess.run([sys.executable, "-c", code]).returncode
    assert status == (9 if after < 2 else 0)
    assert load(tmp_path / "run").rows == (old.rows if after < 2 else new.rows)
    write_status(tmp_path / "run", "running")
    assert (tmp_path / "run" / "results" / "layer_pairs.csv").is_file()
    assert load(tmp_path / "run").rows == (old.rows if after < 2 else new.rows)


def test_writers_at_the_same_time_leave_one_whole_result(tmp_path, old, new):
    faults = []

    def write(results):
        try:
            for _ in range(10):
                _write(tmp_path, results)
        except OSError as error:
            faults.append(error)

    threads = [threading.Thread(target=write, args=(results,)) for results in (old, new)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert load(tmp_path).rows in (old.rows, new.rows)


@pytest.mark.parametrize("code", [errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST])
def test_old_results_that_their_writer_takes_back_meanwhile_are_no_fault(tmp_path, monkeypatch, old, code):
    _write(tmp_path, old)
    (tmp_path / "results").rename(tmp_path / ".results-old-1")
    glob = Path.glob

    def with_one_that_vanished(self, pattern):
        return [*glob(self, pattern), self / ".results-old-0"]

    def taken(source, target):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "glob", with_one_that_vanished)
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", taken)
        swap.recover(tmp_path / "results")
    swap.recover(tmp_path / "results")
    assert load(tmp_path).rows == old.rows


def test_status_is_written_beside_earlier_results(tmp_path, old):
    _write(tmp_path, old)
    write_status(tmp_path, "failed", error="FVU above the bound", host="node1", seconds=3.5)
    status = json.loads((tmp_path / "results" / "status.json").read_text())
    assert status == {"state": "failed", "error": "FVU above the bound", "host": "node1", "seconds": 3.5}
    assert load(tmp_path).rows == old.rows


def test_results_are_written_by_the_task_that_the_status_names_and_no_other(tmp_path, old):
    write_status(tmp_path, "done", task="0123")
    assert not is_written(tmp_path, "0123")
    _write(tmp_path, old)
    assert not is_written(tmp_path, "0123")
    write_status(tmp_path, "done", task="0123")
    assert not is_written(tmp_path, "0123")  # there is no page yet
    (tmp_path / "results" / "report.html").touch()
    assert is_written(tmp_path, "0123")
    assert not is_written(tmp_path, "4567")
    (tmp_path / "results" / "nulls.csv").unlink()
    assert not is_written(tmp_path, "0123")


@pytest.mark.parametrize("state", ["running", "failed"])
def test_results_of_a_task_at_work_or_failed_are_not_written(tmp_path, old, state):
    _write(tmp_path, old)
    write_status(tmp_path, state, task="0123")
    assert not is_written(tmp_path, "0123")


@pytest.mark.parametrize("text", ["", "{", "[1]", None])
def test_a_status_that_cannot_be_read_says_nothing(tmp_path, old, text):
    path = _write(tmp_path, old) / "status.json"
    assert read_status(tmp_path) == {"state": "done", "seconds": 2.0}
    path.unlink()
    if text is not None:
        path.write_text(text)
    assert read_status(tmp_path) == {}
    assert not is_written(tmp_path, "0123")


def test_an_unknown_state_is_refused(tmp_path):
    with pytest.raises(ValueError, match="state='finished': expected one of running, done, failed"):
        write_status(tmp_path, "finished")


def test_loading_before_there_are_results_says_how_the_run_stands(tmp_path):
    write_status(tmp_path, "failed", error="no weights")
    with pytest.raises(
        ValueError, match=r"found no layer_pairs\.csv there \(the run is failed: no weights\)"
    ):
        load(tmp_path)


def test_loading_another_folder_says_what_is_expected(tmp_path):
    with pytest.raises(ValueError, match="expected the folder of a comparison or its results/"):
        load(tmp_path / "nothing")


@pytest.mark.parametrize("name", ["nulls.csv", "matrices.npz", "summary.json", "config.yaml"])
def test_a_missing_file_is_named(tmp_path, old, name):
    (_write(tmp_path, old) / name).unlink()
    with pytest.raises(ValueError, match=f"{name} missing. Run the comparison again"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["matrices.npz", "summary.json"])
def test_a_damaged_file_is_named(tmp_path, old, name):
    path = _write(tmp_path, old) / name
    path.write_bytes(path.read_bytes()[: len(path.read_bytes()) // 2])
    with pytest.raises(ValueError, match=f"{name}: damaged"):
        load(tmp_path)


def test_another_format_version_is_refused(tmp_path, old):
    path = _write(tmp_path, old) / "summary.json"
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(ValueError, match="expected format_version 1, got 2"):
        load(tmp_path)


def test_other_columns_are_named(tmp_path, old):
    path = _write(tmp_path, old) / "layer_pairs.csv"
    path.write_text(path.read_text().replace("z,", "zeta,", 1))
    with pytest.raises(ValueError, match="missing: z; unknown: zeta"):
        load(tmp_path)


def test_an_entry_of_another_type_is_named_with_its_line(tmp_path, old):
    path = _write(tmp_path, old) / "layer_pairs.csv"
    path.write_text(path.read_text().replace(",485,", ",many,", 1))
    with pytest.raises(ValueError, match=r"layer_pairs\.csv, line 2: .*'many'"):
        load(tmp_path)


def test_a_table_that_was_cut_off_is_named(tmp_path, old):
    path = _write(tmp_path, old) / "layer_pairs.csv"
    path.write_text(path.read_text()[:-40])
    with pytest.raises(ValueError, match=r"layer_pairs\.csv, line 13: .*is the file cut off"):
        load(tmp_path)
