"""The benchmarks' own arithmetic and wording; no benchmark of any length is run here."""

import json
import os
import sys
from pathlib import Path

import pytest

from benchmarks import compare, long_text, machine, planning, readme, slurm
from benchmarks.__main__ import report
from benchmarks.cost import Cost, measure
from benchmarks.demo import DemoRun, environment, faults
from benchmarks.disk import store_shard
from benchmarks.parts import section_alone
from benchmarks.section import Section
from saeuniv.compare import CompareSettings
from saeuniv.config import Bootstrap
from saeuniv.preflight import preflight
from saeuniv.results import write_results

COST = Cost(wall_s=92.4, cpu_s=178.6, peak_bytes=2 << 30, load=0.3)
METRICS = tuple(readme.METRICS.values())
SHA256 = "ab" * 32


@pytest.fixture
def run(tmp_path, make_results) -> DemoRun:
    """Results made by hand: trained .3 + layer / 100, untrained .1, raw the other way round."""

    def write(name: str, value: float, *, raw: float) -> Path:
        def entry(metric, i, j):
            base = raw if metric == "raw_correlation" else value + i / 100
            fine = metric.endswith("gram")
            unasked = {"null_mean": None, "p_value": None, "null_draws": None, "reason": "not_requested"}
            return {"value": base, "ci_low": base - 0.01, "ci_high": base + 0.01, **(unasked if fine else {})}

        made = make_results(entry, 3, 3, METRICS)
        write_results(
            tmp_path / name,
            rows=made.rows,
            null_rows=(),
            layers_a=made.layers_a,
            layers_b=made.layers_b,
            summary={"corpus_sha256": SHA256, "python": "3.11.7", "token_unit": "byte"},
            config="",
            status={"state": "done"},
            figures=lambda _, folder: [(folder / each).write_bytes(b"png") for each in readme.FIGURES],
        )
        return tmp_path / name

    warm = COST._replace(wall_s=8.0, cpu_s=7.0)
    return DemoRun(COST, warm, write("trained", 0.3, raw=0.6), write("untrained", 0.1, raw=0.7), "")


def test_the_cost_of_a_command_includes_its_children(tmp_path):
    busy = "import time\nwhile time.process_time() < .3: pass\nkept = bytearray(150_000_000)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy!r}]); print('said')"
    measured = measure([sys.executable, "-c", code], cwd=tmp_path, env=dict(os.environ))
    assert measured.stdout == "said\n"
    assert measured.cost.cpu_s > 0.3
    assert measured.cost.wall_s > 0.3
    assert measured.cost.peak_bytes > 150_000_000
    assert list(tmp_path.iterdir()) == []


def test_a_command_that_fails_is_quoted(tmp_path):
    with pytest.raises(RuntimeError, match=r"expected exit code 0, got 3\.\nthe reason"):
        measure(
            [sys.executable, "-c", "import sys; sys.stderr.write('the reason'); sys.exit(3)"],
            cwd=tmp_path,
            env=dict(os.environ),
        )


def test_a_command_that_never_ends_is_ended(tmp_path):
    with pytest.raises(RuntimeError, match="got -9"):
        measure(["sleep", "60"], cwd=tmp_path, env=dict(os.environ), limit_s=0.2)


def test_the_demo_inherits_nothing_that_changes_it(monkeypatch):
    for name in ("SAEUNIV_STORE", "SAEUNIV_FAULT", "WANDB_MODE", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    assert not {"SAEUNIV_STORE", "SAEUNIV_FAULT", "WANDB_MODE", "OMP_NUM_THREADS"} & environment().keys()
    assert "PATH" in environment()


def test_stored_latents_are_small_and_exact(tmp_path):
    stored = store_shard(tmp_path, rows=3000, latents=32_768, k=32)
    assert stored.exact
    assert stored.dense_bytes == 3000 * 32_768 * 4
    assert stored.bytes == sum(each.stat().st_size for each in tmp_path.rglob("*") if each.is_file())
    assert stored.ratio > 500


def test_the_dense_arrays_give_the_headline():
    data = compare.synthetic(documents=30, positions=20, latents=40)
    settings = CompareSettings(
        metrics=(compare.ValueAlone(),), eligibility=compare.FLOORS, bootstrap=Bootstrap(draws=0)
    )
    value = data.compare(settings, None)
    assert value > 0.2
    assert compare.dense_value(data) == pytest.approx(value, abs=1e-12)
    unrelated = data._replace(b=data.b[::-1].tocsr())
    assert abs(compare.dense_value(unrelated)) < 0.05


def test_the_machine_is_described():
    here = machine.machine()
    assert here.cores >= 1
    assert here.cpu
    assert here.commit == "unknown" or len(here.commit.split()[0]) == 12
    assert here.python in "\n".join(here.lines())


def test_a_bound_that_does_not_hold_ends_the_report_with_1(monkeypatch, capsys):
    monkeypatch.setattr("benchmarks.__main__.corpus_sha256", lambda: SHA256)
    sound, broken = Section("one", ("a line",)), Section("two", (), ("at least 500x, got 3x",))
    with pytest.raises(SystemExit) as ended:
        report([lambda: sound])
    assert ended.value.code == 0
    with pytest.raises(SystemExit) as ended:
        report([lambda: sound, lambda: broken])
    assert ended.value.code == 1
    assert "FAULT at least 500x, got 3x" in capsys.readouterr().out


def test_slow_runs_and_wrong_results_are_faults(run):
    assert faults(run) == ()
    slow = run._replace(cold=COST._replace(cpu_s=1651.0), warm=COST._replace(cpu_s=11.0))
    assert [fault.split(",")[0] for fault in faults(slow)] == [
        "cold: at most 1650 CPU-s",
        "warm: under 10 CPU-s",
    ]
    swapped = faults(run._replace(comparison=run.control, control=run.comparison))
    assert len(swapped) == 3
    assert all(fault.startswith("not so: ") for fault in swapped)


def test_the_block_of_the_readme_reads_back_as_written(run):
    block = readme.parse_block(f"# x\n{readme.BEGIN}\n{readme.demo_block(run)}\n{readme.END}\nafter")
    assert (block.corpus_sha256, block.python) == (SHA256, "3.11.7")
    assert (block.torch, block.cpu) == (machine.machine().torch, machine.machine().cpu)
    assert len(block.cells) == 8 * 3
    headline, bigram, *_ = readme.METRICS
    assert block.cells[headline, "2"] == (".320 [.310, .330]", ".120 [.110, .130]", ".001", ".0021")
    assert block.cells[bigram, "0"][2:] == ("-", "-")
    assert block.cells["FVU", "1"] == (".110, .120",) * 2 + ("", "")
    assert block.cells["eligible/alive/all", "1"][0] == "150/200/256, 160/210/256"
    assert block.numbers()[headline, "2"] == (0.32, 0.31, 0.33, 0.12, 0.11, 0.13, 0.001, 0.0021)
    assert block.numbers()["eligible/alive/all", "1"] == (150, 200, 256, 160, 210, 256) * 2
    assert block.meaning.startswith("Given the current byte, the latents of the trained pair correlate")
    assert block.meaning.endswith("not a claim about other seeds.")


def test_the_block_has_the_costs_and_no_folder_of_this_machine(run, tmp_path):
    text = readme.demo_block(run)
    assert "| 92 s | 179 CPU-s | 2.0 GiB | 0.3 |" in text
    assert "| 8 s | 7 CPU-s |" in text
    assert str(tmp_path) not in text


def test_only_the_block_of_the_readme_is_rewritten(run, tmp_path):
    before, after = "# saeuniv\n\ntext\n", "\nmore | text\n"
    (tmp_path / "README.md").write_text(f"{before}{readme.BEGIN}\nold\n{readme.END}{after}")
    written = readme.write(run, tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert text.startswith(before) and text.endswith(after) and "\nold\n" not in text
    assert [path.relative_to(tmp_path).as_posix() for path in written] == [
        "README.md",
        *(f"docs/{name}" for name in readme.FIGURES),
    ]
    assert (tmp_path / "docs" / readme.FIGURES[0]).read_bytes() == b"png"
    readme.write(run, tmp_path)
    assert (tmp_path / "README.md").read_text() == text


@pytest.mark.parametrize(
    "text",
    ["", readme.BEGIN, f"{readme.END}\n{readme.BEGIN}", f"{readme.BEGIN}\n{readme.END}\n{readme.END}"],
)
def test_a_readme_without_its_markers_is_refused(text):
    with pytest.raises(ValueError, match="expected one line <!-- demo:begin -->"):
        readme.replaced(text, "block")


def test_a_block_that_is_none_is_refused():
    with pytest.raises(ValueError, match="Run `python -m benchmarks readme`"):
        readme.parse_block(f"{readme.BEGIN}\nnothing\n{readme.END}")


def test_a_part_is_run_in_a_process_of_its_own_and_its_tables_come_back():
    section = section_alone("disk")
    assert section.title.startswith("disk: ") and section.body and section.faults == ()


def test_a_plan_beyond_its_bounds_is_a_fault():
    assert planning._faults(COST._replace(cpu_s=9.9, peak_bytes=999_999_999), 1999, 10.0) == []
    dear = COST._replace(cpu_s=10.0, peak_bytes=1_000_000_000)
    assert [fault.partition(":")[0] for fault in planning._faults(dear, 2000, 10.0)] == [
        "planning",
        "planning",
        "pickle of a task",
    ]


def test_what_is_pickled_for_a_job_is_small():
    assert planning.pickle_bytes() < 300


def test_the_benchmarked_plan_has_a_thousand_cells_of_72_layer_pairs(monkeypatch, tmp_path):
    monkeypatch.setenv("SAEUNIV_STORE", str(tmp_path))
    cells = preflight(planning.SWEEP).cells
    assert len(cells) == planning.CELLS
    assert {each.a.model.n_layers * each.b.model.n_layers for each in cells} == {planning.PAIRS}


def test_without_a_slurm_nothing_is_claimed_of_it(monkeypatch):
    monkeypatch.delenv("SLURM_CONF", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert slurm.section().body == ("not measured: needs SLURM_CONF, or root to start a private SLURM",)


def test_the_long_text_has_documents_of_equal_length_that_hold_ten_million_tokens(tmp_path):
    long_text.write_text(tmp_path / "text.jsonl")
    records = [json.loads(line) for line in (tmp_path / "text.jsonl").read_text().splitlines()]
    # Some distributions have fewer sources; then the benchmark says so.
    assert len({record["text"] for record in records}) == len(records) <= 1072
    assert all(len(record["text"]) == 14_000 and record["domain"] for record in records)
    # Of each document 109 sequences of 124 rows are whole.
    assert round(0.72 * 1072) * 109 * 124 > 10_000_000
