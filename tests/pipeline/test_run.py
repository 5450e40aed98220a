"""What one command leaves behind: results, what is printed, and W&B runs that say the same."""

import csv
import math
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from saeuniv.preflight import preflight
from saeuniv.report.meaning import meaning
from saeuniv.results import REASONS
from saeuniv.stages.differences import differences, matched
from saeuniv.stages.stored import stored_comparison
from saeuniv.store import Store
from tests.pipeline.conftest import SECRET, SMALL, Desk, Trained, contents, read_status, recorded
from tests.tracking.conftest import OfflineRun

METRICS = (
    *("partial_correlation", "partial_correlation_bigram", "partial_correlation_trigram"),
    *("raw_correlation", "matched_correlation", "cka", "svcca"),
)

# The contract, as users have been promised it.
COLUMNS = (
    "comparison, model_a, model_b, revision_a, revision_b, hookpoint_a, hookpoint_b, layer_a, layer_b, "
    "sae_a, sae_b, d_sae_a, d_sae_b, l0_a, l0_b, fvu_a, fvu_b, "
    "fvu_high_norm_a, fvu_high_norm_b, dead_fraction_a, dead_fraction_b, loss_recovered_a, loss_recovered_b, "
    "alignment, direction, metric, space, "
    "value, null, null_mean, null_std, null_draws, control, calibrated, excess, z, diff_control, "
    "diff_ci_low, diff_ci_high, p_value, q_value, ci_low, ci_high, n_matches, n_eligible_a, n_eligible_b, "
    "n_alive_a, n_alive_b, eligible_mass_a, eligible_mass_b, context_share_a, context_share_b, n_tokens, "
    "n_documents, seed, flags, reason"
)
STATISTICS = {
    **{"": "value", "__null": "null_mean", "__excess": "excess", "__control": "control"},
    **{"__calibrated": "calibrated", "__p": "p_value", "__q": "q_value"},
}


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "results" / "layer_pairs.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_exits_with_0_and_writes_the_comparison_and_its_control(trained: Trained) -> None:
    assert trained.done.returncode == 0, trained.done.stderr
    assert [folder.name.partition("-hungarian-")[0] for folder in trained.folders] == [
        "tiny_d64l2_s0-tiny_d64l2_s1",
        "tiny_d64l2_s0_untrained-tiny_d64l2_s1_untrained",
    ]
    files = {"layer_pairs.csv", "nulls.csv", "matrices.npz", "summary.json", "config.yaml", "status.json"}
    for folder in trained.folders:
        found = {path.name for path in (folder / "results").iterdir()}
        drawn = {"matches.parquet", "contact_sheet.png", "report.html"}
        assert found == files | drawn | {f"heatmap_{metric}.png" for metric in METRICS}
        assert read_status(folder)["state"] == "done"


def test_layer_pairs_have_the_promised_columns_and_a_row_for_everything(trained: Trained) -> None:
    for folder in trained.folders:
        rows = table(folder)
        assert list(rows[0]) == COLUMNS.split(", ")
        assert {row["metric"] for row in rows} == set(METRICS)
        both = [row for row in rows if row["direction"] == "both"]
        assert len(both) == 4 * len(METRICS)
        assert {(row["layer_a"], row["layer_b"]) for row in both} == {
            (a, b) for a in ("0", "1") for b in ("0", "1")
        }


def test_the_headline_has_a_value_an_interval_a_null_and_a_p_everywhere(trained: Trained) -> None:
    for results in trained.results:
        for row in (row for row in results.rows if row.metric == "partial_correlation"):
            assert row.value is not None and row.ci_low is not None and row.ci_high is not None
            assert row.ci_low < row.value < row.ci_high
            assert row.null_draws and row.p_value is not None and 0 < row.p_value <= 1
            assert row.q_value is not None and row.p_value <= row.q_value
            assert row.reason == ""


def test_matrices_say_what_the_rows_say(trained: Trained) -> None:
    for folder in trained.folders:
        rows = {
            (row["metric"], row["direction"], row["layer_a"], row["layer_b"]): row for row in table(folder)
        }
        with np.load(folder / "results" / "matrices.npz") as stored:
            assert stored["layers_a"].tolist() == stored["layers_b"].tolist() == ["0", "1"]
            names = set(stored.files)
            for metric in METRICS:
                places = {(metric, name): column for name, column in STATISTICS.items()}
                for (_, name), column in places.items():
                    assert same(stored[f"{metric}{name}"], rows, metric, "both", column)
                for name, direction in (("__ab", "a_to_b"), ("__ba", "b_to_a")):
                    if f"{metric}{name}" in names:
                        assert same(stored[f"{metric}{name}"], rows, metric, direction, "value")
                reasons = stored[f"{metric}__reason"]
                np.testing.assert_array_equal(np.isnan(stored[metric]), reasons != 0)
                assert all(reason < len(REASONS) for reason in reasons.ravel())


def same(
    matrix: np.ndarray, rows: dict[tuple[str, ...], dict[str, str]], metric: str, direction: str, column: str
) -> bool:
    """Whether each number of a matrix is the text of its row, and empty text is NaN."""
    texts = (
        rows[metric, direction, str(i), str(j)][column]
        for i in range(matrix.shape[0])
        for j in range(matrix.shape[1])
    )
    pairs = zip(matrix.ravel().tolist(), texts, strict=True)
    return all(math.isnan(number) if text == "" else number == float(text) for number, text in pairs)


def test_the_control_beside_a_value_is_the_controls_own_value(trained: Trained) -> None:
    results, control = trained.results
    n_compared = 0
    for row in results.rows:
        own = control.row(row.metric, row.layer_a, row.layer_b, row.direction)
        assert own is not None
        assert row.control == own.value
        if row.value is None or own.value is None:
            assert row.diff_control is None
        else:
            assert row.diff_control == pytest.approx(row.value - own.value, abs=1e-15)
            n_compared += 1
        if row.diff_ci_low is not None and row.diff_ci_high is not None:
            assert row.diff_ci_low < row.diff_ci_high
    assert n_compared >= len(results.rows) // 2
    assert all(row.control is None for row in control.rows)
    headline = [row for row in results.rows if row.metric == "partial_correlation"]
    assert all(row.diff_ci_low is not None for row in headline)


def test_the_configuration_replays_the_comparison(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAEUNIV_STORE", str(trained.desk.store))
    for folder, results in zip(trained.folders, trained.results, strict=True):
        first, _, rest = results.config.partition("\n")
        program, *argv = shlex.split(first.removeprefix("# Replay: "))
        assert program == "saeuniv"
        checked = preflight(argv)
        assert checked.faults == ()
        assert checked.cells[0].comparison == folder.name
        told = yaml.safe_load(rest)
        assert (told["a"]["steps"], told["a"]["untrained"]) == (30, "untrained" in folder.name)
        assert (told["nulls"]["draws"], told["metrics"].keys()) == (19, set(METRICS))


def test_the_summary_records_what_the_results_rest_on(trained: Trained) -> None:
    store = Store(trained.desk.store)
    for folder, results in zip(trained.folders, trained.results, strict=True):
        summary = results.summary
        assert re.fullmatch("[0-9a-f]{64}", str(summary["corpus_sha256"]))
        kinds = {"tokens", "models", "dictionaries", "latents", "matches", "scores"}
        assert {path.partition("/")[0] for path in recorded(folder)} == kinds
        for told in (summary["seconds_by_stage"], summary["bytes_by_stage"]):
            assert isinstance(told, dict) and told.keys() == kinds
    everything = recorded(trained.folders[0]) | recorded(trained.folders[1])
    published = {path.parent for path in store.root.rglob("manifest.json")}
    assert published == {store.root / path for path in everything}


def test_results_go_to_standard_output_and_logs_to_standard_error(trained: Trained) -> None:
    printed = trained.done.stdout.splitlines()
    assert printed[0].startswith("Embedded experiment (experiment=tiny): ")
    assert any(line.startswith("tiny_d64l2_s0 (A) and tiny_d64l2_s1 (B)") for line in printed)
    assert any(line.split()[:2] == ["given", "token"] for line in printed)
    assert " ".join(meaning(*trained.results).split()) in " ".join(trained.done.stdout.split())
    for name, folder in zip(("comparison", "control"), trained.folders, strict=True):
        assert f"{name}: {folder / 'results'}" in printed
    assert re.fullmatch(r"\d+ s wall, \d+ CPU-s in tasks, .* 0 artifacts cached\.", printed[-2])
    swept = trained.folders[0].parent
    assert printed[-1] == f"W&B: 2 of 2 runs not uploaded; upload: saeuniv sync {swept}"
    said = trained.done.stderr.splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d (INFO|WARNING) ", line) for line in said), trained.done.stderr
    for stage in ("models: ", "tokens: ", "dictionaries: ", "latents: ", "report: ", "tracking: "):
        assert any(f"INFO {stage}" in line for line in said)
        assert not any(line.startswith(stage) for line in printed)


def test_tracked_runs_hold_every_matrix_and_no_secret(
    trained: Trained, read_back: Callable[[Path], OfflineRun]
) -> None:
    for folder, job_type in zip(trained.folders, ("comparison", "control"), strict=True):
        (run_folder,) = (folder / "wandb").glob("offline-run-*")
        run = read_back(run_folder)
        assert (run.run["job_type"], run.run["run_group"]) == (job_type, "single")
        assert run.exit_code == 0
        columns = {name: place for place, name in enumerate(run.table["columns"])}
        with np.load(folder / "results" / "matrices.npz") as stored:
            for name in set(stored.files) - {"layers_a", "layers_b"}:
                told = [row[columns[name]] for row in run.table["data"]]
                numbers = [math.nan if number is None else number for number in told]
                np.testing.assert_array_equal(numbers, stored[name].ravel())
        assert {path.name for path in (folder / "results").iterdir()} in run.artifacts.values()
        assert all(f"heatmap/{metric}._type" in run.history for metric in METRICS)
        for path in (path for path in folder.rglob("*") if path.is_file()):
            assert SECRET.encode() not in path.read_bytes(), path
            assert path.name != "wandb-metadata.json"


def test_a_warm_run_elsewhere_reports_only_and_gives_the_same_bytes(trained: Trained, desk: Desk) -> None:
    done = desk.launch("resources.processes=2")
    assert done.returncode == 0, done.stderr
    # On a slow machine a line in between says how far it is.
    stages = {word for line in done.stderr.splitlines() if (word := line.split()[2]).endswith(":")}
    assert stages == {"report:", "tracking:"}
    # Behind the table stand folders, times and how W&B is synchronised.
    tables = [each.stdout.partition("\ncomparison: ")[0] for each in (done, trained.done)]
    assert tables[0] == tables[1] and "given token" in tables[0]
    assert contents(desk.store) == contents(trained.desk.store)
    assert desk.results() == trained.desk.results()
    for folder in trained.folders:
        assert recorded(desk.here / folder.relative_to(trained.desk.here)) == recorded(folder)


@pytest.mark.parametrize("tracking", [pytest.param("off", marks=pytest.mark.presets), "failing"])
def test_tracking_changes_neither_results_nor_the_exit_code(
    tracking: str, trained: Trained, desk: Desk
) -> None:
    for folder in trained.folders:
        place = desk.here / folder.relative_to(trained.desk.here)
        place.mkdir(parents=True)
        # A file where W&B wants a folder: it cannot write there, whoever runs this.
        (place / "wandb").write_text("")
    argv = ["tracking=off"] if tracking == "off" else []
    done = desk.launch("resources.processes=2", *argv)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("W&B: not tracked") == (2 if tracking == "failing" else 0)
    assert done.stderr.count("W&B: off") == (2 if tracking == "off" else 0)
    assert "Traceback" not in done.stderr
    for folder in trained.folders:
        again = desk.here / folder.relative_to(trained.desk.here)
        ours, theirs = desk.results()[again.name], trained.desk.results()[folder.name]
        assert ours.keys() == theirs.keys()
        different = {name for name in ours if ours[name] != theirs[name]}
        # config.yaml says how it was tracked.
        assert different == ({"config.yaml"} if tracking == "off" else set())


def test_comparing_and_reporting_need_no_torch(encoded_desk: Desk) -> None:
    code = (
        "import sys\nfrom saeuniv.app import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0, end.code\n"
        "heavy = {'torch', 'transformers', 'sparsify', 'transformer_lens', 'wandb', 'datasets'}\n"
        "print('heavy:', sorted(heavy & set(sys.modules)))\n"
    )
    done = encoded_desk.python(
        "-c", code, *SMALL, "tracking=off", "resources.processes=1", "layers.a=0", "layers.b=0"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "heavy: []"


def test_a_comparison_against_its_control_has_the_intervals_that_its_table_has(trained: Trained) -> None:
    comparison, control = (stored_comparison(each, trained.desk.store) for each in trained.folders)
    found = differences(control, comparison)
    rows = {(r.metric, r.layer_a, r.layer_b): r for r in comparison.results.rows if r.direction == "both"}
    intervals = 0
    for each in found:
        row = rows[each.metric, each.layer_a, each.layer_b]
        assert (each.difference, each.ci_low, each.ci_high) == (
            pytest.approx(row.diff_control),
            pytest.approx(row.diff_ci_low),
            pytest.approx(row.diff_ci_high),
        )
        intervals += each.ci_low is not None
    assert intervals >= 16
    assert set(matched([control], [comparison]).differing) == {
        *("a.untrained", "b.untrained", "control.kind", "model_a", "model_b")
    }
