"""The sweep's own table: one row for each metric of each comparison, made after all reports."""

import csv
import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast
from urllib.parse import quote

from saeuniv.config import canonical_json
from saeuniv.report.page import REPORT, SWEEP, Compared, sweep_page
from saeuniv.results import Results, load, read_status
from saeuniv.stages.task import Progress, Task
from saeuniv.store.text import write_text

TABLE = "sweep.csv"

_COLUMNS = (
    *(
        "comparison",
        "job_type",
        "state",
        "model_a",
        "model_b",
        "sae_a",
        "sae_b",
        "alignment",
        "n_tokens",
        "metric",
    ),
    *("layer_pairs", "mean", "max", "max_layer_a", "max_layer_b", "control_mean"),
    *("rejected_bh", "rejected_by"),
)


@dataclass(frozen=True)
class SummariseSweep(Task):
    """Writes `sweep.csv` and `sweep.html` from results of the comparisons; reads nothing but these."""

    stage: ClassVar[str] = "sweep"
    needs_all: ClassVar[bool] = False

    folder: Path
    """Of the sweep."""

    comparisons: tuple[Path, ...]
    """Folders of the comparisons and of their controls."""

    reports: tuple[str, ...]
    """Keys of the reports that it is made from."""

    @property
    def label(self) -> str:
        """The sweep."""
        return self.folder.name

    @property
    def key(self) -> str:
        """16 hexadecimal digits that change with the reports."""
        comparisons = sorted(map(str, self.comparisons))
        named = canonical_json([str(self.folder), *comparisons, *sorted(self.reports)])
        return hashlib.sha256(named.encode()).hexdigest()[:16]

    def is_done(self) -> bool:
        """True if the table is of these comparisons, and newer than every report."""
        table = self.folder / TABLE
        if not table.is_file():
            return False
        with table.open(encoding="utf-8", newline="") as file:
            listed = {row["comparison"] for row in csv.DictReader(file)}
        if listed != {folder.name for folder in self.comparisons}:
            return False
        written = table.stat().st_mtime_ns
        reports = (folder / "results" / "status.json" for folder in self.comparisons)
        return all(report.stat().st_mtime_ns <= written for report in reports if report.is_file())

    def __call__(self, progress: Progress) -> None:
        """Read every summary, write a table and a page; what has no results yet has a row that says so."""
        text = io.StringIO()
        table = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
        table.writeheader()
        compared: list[Compared] = []
        for done, folder in enumerate(self.comparisons):
            each = _compared(folder, self.folder)
            table.writerows(_rows(each))
            compared.append(each)
            progress(done + 1, len(self.comparisons))
        self.folder.mkdir(parents=True, exist_ok=True)
        # Before the table, whose age says whether all this is done.
        write_text(self.folder / SWEEP, sweep_page(compared, self.folder.name))
        write_text(self.folder / TABLE, text.getvalue())


def _compared(folder: Path, sweep: Path) -> Compared:
    page = folder / "results" / REPORT
    link = quote(Path(os.path.relpath(page, sweep)).as_posix()) if page.is_file() else ""
    return Compared(folder.name, read_state(folder), _results(folder), link)


def _results(folder: Path) -> Results | None:
    try:
        return load(folder)
    except ValueError:
        return None


def _rows(each: Compared) -> list[dict[str, object]]:
    results = each.results
    if results is None:
        return [{"comparison": each.name, "state": each.state}]
    row = results.rows[0]
    about: dict[str, object] = {
        "comparison": each.name,
        "job_type": results.summary.get("job_type"),
        "state": each.state,
        **{name: getattr(row, name) for name in ("model_a", "model_b", "sae_a", "sae_b")},
        # Of several data.n_tokens, the sweep's table is every score against tokens.
        "n_tokens": row.n_tokens,
        "alignment": next((each.alignment for each in results.rows if each.alignment != "-"), "-"),
    }
    headline = cast(dict[str, dict[str, Any]], results.summary.get("headline", {}))
    found: list[dict[str, object]] = []
    for metric, values in headline.items():
        place = values.get("max_at") or (None, None)
        numbers = {name: values.get(name) for name in _COLUMNS if name in values}
        found.append(about | {"metric": metric, "max_layer_a": place[0], "max_layer_b": place[1]} | numbers)
    return found or [about]


def read_state(folder: Path) -> str:
    """What status.json of a comparison says: running, done, failed; `none` where there is none."""
    return str(read_status(folder).get("state", "none"))
