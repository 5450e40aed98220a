"""A report of what the store holds: whole, with holes, and not at all."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from saeuniv.alignments import Hungarian
from saeuniv.config import Eligibility, Tracking, TrackingMode
from saeuniv.metrics import Measurement, PartialCorrelation, RawCorrelation
from saeuniv.metrics.base import DOCUMENT_SHIFT
from saeuniv.report.meaning import meaning
from saeuniv.results import load, read_status
from saeuniv.stages import report as report_module
from saeuniv.stages.described import Described, SideDescription
from saeuniv.stages.report import Report
from saeuniv.stages.reported import ReportedScores
from saeuniv.stages.scores import LayerQuality, Scores, save_scores
from saeuniv.stages.serial import read_task, task_json
from saeuniv.store import Artifact, Kind, Store, artifact
from saeuniv.tracking import TrackingOutcome

SIDE = SideDescription("model", "", "resid_post", "trained")
QUALITY = LayerQuality(256, 8.0, 0.1, 200, 100, 0.8, 0.3, 0.4, 0.25, None)
TOKENS = artifact(Kind.tokens, {"text": "some"})
METRICS = (PartialCorrelation(), RawCorrelation())


def score(metric: str, a: str, b: str, *, untrained: bool = False) -> Artifact:
    return artifact(Kind.scores, {"metric": metric, "layers": [a, b], "untrained": untrained})


def publish(store: Store, scores: Artifact, value: float) -> None:
    draws = 0.1 * np.random.default_rng(7).standard_normal(99)
    measured = tuple(
        Measurement(direction, value, nulls={DOCUMENT_SHIFT: draws}, bootstrap=value + draws)
        for direction in ("a_to_b", "b_to_a", "both")
    )
    with store.publish(scores) as folder:
        save_scores(folder, Scores(measured, QUALITY, QUALITY, n_tokens=1000, n_documents=50))


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Report:
    """Two metrics of two by two layer pairs with a control, all in the store; heatmaps are blank files."""

    def draw(results, folder, store, control):
        (tmp_path / "sentences.txt").write_text(meaning(results, control))
        for name in (*(f"heatmap_{metric}.png" for metric in results.metrics), "report.html"):
            (folder / name).touch()

    monkeypatch.setattr("saeuniv.stages.drawn.draw", draw)
    store = Store(tmp_path / "store")
    with store.publish(TOKENS) as folder:
        (folder / "text.json").write_text(json.dumps({"sha256": "0" * 64}))
    reported = tuple(
        ReportedScores(a, b, metric, score(metric.name, a, b), score(metric.name, a, b, untrained=True))
        for a in "01"
        for b in "01"
        for metric in METRICS
    )
    for number, each in enumerate(reported):
        publish(store, each.scores, 0.5 + 0.01 * number)
        publish(store, each.control, 0.2)
    return Report(
        store.root,
        inputs=(),
        outputs=(),
        seconds=5.0,
        folder=tmp_path / "sweep" / "one-two",
        described=Described("one-two", SIDE, SIDE._replace(model="other"), Hungarian(), 0.95, 0),
        layers_a=("0", "1"),
        layers_b=("0", "1"),
        reported=reported,
        primary_metric="partial_correlation",
        token_unit="byte",
        untrained=(),
        control="rerandomized",
        absent=(("b 7", "no folder layers.7"),),
        max_fvu=(0.5, 0.5),
        eligibility=Eligibility(min_firings=10),
        tokens=(TOKENS, TOKENS),
        made_from=(TOKENS, *(each.scores for each in reported)),
        config="a: {}\n",
        tracking=Tracking(mode=TrackingMode.off),
        sweep="s",
        job_type="comparison",
    )


def write(report: Report) -> None:
    report(lambda done, total: None)


def remove(report: Report, scores: Artifact) -> None:
    report.store.folder(scores).rename(report.root / scores.key)


def put_back(report: Report, scores: Artifact) -> None:
    (report.root / scores.key).rename(report.store.folder(scores))


def test_scores_of_dictionaries_that_are_refused_now_count_as_not_computed(report: Report) -> None:
    with pytest.raises(ValueError, match="nothing to report"):
        write(replace(report, max_fvu=(0.5, 0.0)))
    assert replace(report, max_fvu=(0.5, 0.0)).key != report.key


def test_what_is_written_down_for_another_machine_names_artifacts_only(report: Report) -> None:
    portable = report.portable()
    assert portable == report and portable.key == report.key
    assert all(not each.spec and not each.parents for each in (*portable.made_from, *portable.tokens))
    again = read_task(task_json(report))
    assert isinstance(again, Report) and again.made_from[1].spec == {}


def test_a_report_is_done_when_everything_is_written(report: Report) -> None:
    assert not report.is_done()
    write(report)
    assert report.is_done()
    status = read_status(report.folder)
    assert (status["state"], status["task"]) == ("done", report.key)
    summary = load(report.folder).summary
    assert summary["headline"]["partial_correlation"]["layer_pairs"] == 4
    assert (summary["control"], summary["layers_left_out"]) == ("rerandomized", {"b 7": "no folder layers.7"})
    (report.folder / "results" / "layer_pairs.csv").unlink()
    assert not report.is_done()


def test_a_missing_score_leaves_its_rows_empty_and_the_others_as_they_are(report: Report, caplog) -> None:
    write(report)
    whole = load(report.folder)
    lost = report.reported[2]
    assert (lost.layer_a, lost.layer_b, lost.metric.name) == ("0", "1", "partial_correlation")
    remove(report, lost.scores)
    write(report)
    results = load(report.folder)
    assert len(results.rows) == len(whole.rows) == 24
    for ours, theirs in zip(results.rows, whole.rows, strict=True):
        if (ours.layer_a, ours.layer_b, ours.metric) == ("0", "1", "partial_correlation"):
            assert (ours.value, ours.reason, ours.control) == (None, "not_computed", 0.2)
            assert (ours.d_sae_a, ours.fvu_b, ours.n_tokens) == (256, 0.1, 1000)
        else:
            # Fewer members of the family: with equal p, q stays.
            assert ours == theirs
    summary = results.summary
    assert summary["undefined"] == {"partial_correlation": {"not_computed": 1}, "raw_correlation": {}}
    assert summary["headline"]["partial_correlation"]["layer_pairs"] == summary["family_size"] == 3
    assert lost.scores.path not in summary["artifacts"]
    assert len(summary["artifacts"]) == 8
    status = read_status(report.folder)
    assert status["state"] == "failed"
    assert status["error"] == "1 of 8 scores were not computed; the same command goes on."
    assert "task" not in status and not report.is_done()
    assert "one-two: 1 of 8 scores were not computed" in caplog.text
    assert (report.folder / "results" / "heatmap_partial_correlation.png").is_file()


def test_the_same_report_goes_on_when_the_score_is_there(report: Report) -> None:
    write(report)
    files = {path.name: path.read_bytes() for path in (report.folder / "results").iterdir()}
    remove(report, report.reported[0].scores)
    write(report)
    put_back(report, report.reported[0].scores)
    write(report)
    assert report.is_done()
    for path in (report.folder / "results").iterdir():
        assert path.name == "status.json" or path.read_bytes() == files[path.name], path.name


def test_the_page_knows_the_intervals_of_the_control_before_it_is_reported(report: Report) -> None:
    write(report)
    said = (report.root.parent / "sentences.txt").read_text()
    assert "2.8 times as much" in said and "given the current byte above at layer 1" in said
    for each in report.reported:
        assert each.control
        remove(report, each.control)
    write(report)
    said = (report.root.parent / "sentences.txt").read_text()
    assert "Without an untrained control" in said


def test_a_missing_control_leaves_its_columns_empty(report: Report) -> None:
    lost = report.reported[0]
    assert lost.control
    remove(report, lost.control)
    write(report)
    results = load(report.folder)
    row = results.row("partial_correlation", "0", "0")
    assert (row.value, row.control, row.diff_control, row.flags) == (0.5, None, None, "control_not_computed")
    other = results.row("partial_correlation", "1", "0")
    assert (other.control, other.flags) == (0.2, "")
    status = read_status(report.folder)
    assert (status["state"], "task" in status) == ("failed", False)
    assert status["error"] == "1 of 8 scores of the control were not computed; the same command goes on."


def test_both_kinds_of_missing_scores_are_counted(report: Report) -> None:
    remove(report, report.reported[0].scores)
    for each in report.reported[:3]:
        assert each.control
        remove(report, each.control)
    write(report)
    error = read_status(report.folder)["error"]
    assert error == (
        "1 of 8 scores and 3 of 8 scores of the control were not computed; the same command goes on."
    )


def test_a_control_of_another_version_is_told_as_a_mixture(report: Report, monkeypatch, caplog) -> None:
    lost = report.reported[0].control
    assert lost
    remove(report, lost)
    monkeypatch.setattr("saeuniv.store.manifest._versions", lambda: {"torch": "0.1"})
    publish(report.store, lost, 0.2)
    write(report)
    summary = load(report.folder).summary
    assert list(summary["mixtures"]) == ["torch"] and "0.1" in summary["mixtures"]["torch"]
    assert caplog.text.count("expected one version behind all artifacts") == 1
    assert report.is_done()


def damage(report: Report, scores: Artifact) -> None:
    path = report.store.folder(scores) / "scores.json"
    text = path.read_text()
    path.unlink()
    path.write_text(text.replace("0.5", "0.9"))


def test_a_damaged_score_counts_as_not_computed_with_a_warning(report: Report, caplog) -> None:
    hit = report.reported[0]
    damage(report, hit.scores)
    write(report)
    results = load(report.folder)
    assert results.row("partial_correlation", "0", "0").reason == "not_computed"
    assert hit.scores.path not in results.summary["artifacts"]
    assert not report.is_done()
    (told,) = (each for each in caplog.records if "counted as not computed" in each.getMessage())
    assert told.levelno == logging.WARNING
    assert hit.scores.path in told.getMessage() and "expected sha256" in told.getMessage()


def test_scores_without_their_files_count_as_not_computed(report: Report, caplog) -> None:
    other = replace(report.reported[0], scores=artifact(Kind.scores, {"made": "by something else"}))
    with report.store.publish(other.scores) as folder:
        (folder / "name.txt").write_text("no scores")
    write(replace(report, reported=(other, *report.reported[1:])))
    assert "counted as not computed" in caplog.text
    assert load(report.folder).row("partial_correlation", "0", "0").reason == "not_computed"


def test_a_report_of_nothing_fails_and_says_so(report: Report) -> None:
    for each in report.reported:
        remove(report, each.scores)
    with pytest.raises(ValueError, match=r"one-two: nothing to report\. 8 of 8 scores were not"):
        write(report)
    status = read_status(report.folder)
    assert (status["state"], status["error"]) == (
        "failed",
        "8 of 8 scores were not computed; the same command goes on.",
    )
    assert [path.name for path in (report.folder / "results").iterdir()] == ["status.json"]


def test_earlier_results_stay_where_there_is_nothing_to_report(report: Report) -> None:
    write(report)
    for each in report.reported:
        remove(report, each.scores)
    with pytest.raises(ValueError, match="nothing to report"):
        write(report)
    assert load(report.folder).row("partial_correlation", "0", "0").value == 0.5
    assert not report.is_done()


def test_tokens_that_are_gone_do_not_suppress_the_report(report: Report) -> None:
    remove(report, TOKENS)
    write(report)
    assert load(report.folder).summary["corpus_sha256"] is None


@pytest.mark.parametrize(("mode", "done"), [("failed", False), ("offline", True), ("off", True)])
def test_a_report_whose_tracking_failed_is_not_done(
    report: Report, monkeypatch, mode: str, done: bool
) -> None:
    def track(results, **settings):
        # What is tracked has been published, and is not yet called done.
        assert read_status(results.parent)["state"] == "done"
        assert not report.is_done()
        return TrackingOutcome(mode, None, None, "W&B")

    monkeypatch.setattr("saeuniv.tracking.track", track)
    write(report)
    assert report.is_done() == done
    assert read_status(report.folder)["state"] == "done"


def test_the_key_changes_with_everything_that_is_written(report: Report) -> None:
    first, *others = report.reported
    described = report.described
    changes = {
        "score": {"reported": (replace(first, scores=score("other", "0", "0")), *others)},
        "control": {"reported": (replace(first, control=None), *others)},
        "fewer": {"reported": tuple(others)},
        "config": {"config": "b: {}\n"},
        "tracking": {"tracking": Tracking(mode=TrackingMode.offline)},
        "sweep": {"sweep": "t"},
        "job type": {"job_type": "control"},
        "folder": {"folder": report.folder.with_name("two-one")},
        "label": {"described": described._replace(a=SIDE._replace(revision="step3"))},
        "confidence": {"described": described._replace(confidence=0.9)},
        "made from": {"made_from": report.made_from[:-1]},
        "primary metric": {"primary_metric": "raw_correlation"},
    }
    keys = {name: replace(report, **changed).key for name, changed in changes.items()}
    assert len({report.key, *keys.values()}) == 1 + len(keys)
    assert len(report.key) == 16


def test_the_key_does_not_change_with_the_guessed_cost_or_the_order_of_what_it_rests_on(
    report: Report,
) -> None:
    assert replace(report, seconds=9.0, inputs=(TOKENS,)).key == report.key
    assert replace(report, made_from=report.made_from[::-1]).key == report.key


def test_another_version_writes_its_own_report(report: Report, monkeypatch) -> None:
    write(report)
    monkeypatch.setattr(report_module.importlib.metadata, "version", lambda package: "99")
    assert not report.is_done()


def test_a_report_that_was_written_down_is_the_same_report(report: Report) -> None:
    again = read_task(task_json(report))
    assert again.key == report.key
    write(again)
    assert report.is_done()
