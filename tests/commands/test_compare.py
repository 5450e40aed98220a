"""`saeuniv compare`: what is written of two sweeps, and what is said where there is nothing to compare."""

import csv
import dataclasses
import sys
from pathlib import Path

import pytest

from saeuniv.commands import compare
from saeuniv.stages.differences import differences
from tests.commands.conftest import Call
from tests.commands.test_figure import Write
from tests.commands.test_figure import write as write


def test_two_comparisons_have_a_table_maps_and_a_page(call: Call, write: Write, here: Path) -> None:
    one, other = write("one"), write("other", trained_on=6, values=lambda m, i, j: 0.5)
    ended = call(compare.main, str(one), str(other))
    assert (ended.code, ended.err) == (0, "")
    out = here / "multirun" / "one-other"
    assert {path.name for path in out.iterdir()} == {
        *("differences.csv", "differences.html", "difference_partial_correlation.png")
    }
    with (out / "differences.csv").open(encoding="utf-8", newline="") as file:
        rows = {(row["layer_a"], row["layer_b"]): row for row in csv.DictReader(file)}
    assert len(rows) == 9 and abs(float(rows["0", "1"]["difference"]) - 0.4) < 1e-9
    assert "<td>sae.n_tokens</td><td>5</td><td>6</td>" in (out / "differences.html").read_text()


def test_what_cannot_be_compared_is_said_and_nothing_is_written(call: Call, write: Write, here: Path) -> None:
    one, other = write("one"), write("two", trained_on=6)
    assert call(compare.main, "nowhere", str(one)).code == 2
    ended = call(compare.main, "s", str(other))
    assert ended.code == 2 and "differ in sae.n_tokens only" in ended.err
    assert not list(here.glob("multirun/*-*"))


def test_only_layer_pairs_with_an_interval_are_counted_in_whose_it_excludes_zero(
    call: Call, write: Write, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = write("one"), write("other", trained_on=6, values=lambda m, i, j: 0.5)
    intervals = {("0", "0"): (0.1, 0.9), ("0", "1"): (-0.1, 0.9)}

    def given(*stored):
        for each in differences(*stored):
            low, high = intervals.get((each.layer_a, each.layer_b), (None, None))
            yield dataclasses.replace(each, ci_low=low, ci_high=high)

    monkeypatch.setattr(compare, "differences", lambda *stored: list(given(*stored)))
    assert call(compare.main, str(one), str(other)).code == 0
    page = (here / "multirun" / "one-other" / "differences.html").read_text()
    assert ">1 of 2</td>" in page


def test_a_report_that_cannot_be_saved_is_refused_before_any_work(
    call: Call, write: Write, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = write("one"), write("other", trained_on=6)
    monkeypatch.setenv("HOME", str(here))
    for name in ("WANDB_API_KEY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    ended = call(compare.main, str(one), str(other), "--wandb")
    assert ended.code == 2 and "expected an API key of W&B, found none" in ended.err
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    ended = call(compare.main, str(one), str(other), "--wandb")
    assert ended.code == 1 and 'Install it: pip install "saeuniv[workspace]"' in ended.err
    assert not list(here.glob("multirun/*-*"))
