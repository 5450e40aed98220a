"""`python -m benchmarks.recovery [--out DIR] [--quick]`: are known partners found, do p-values hold?

Prints precision and recall of every alignment that reads tokens, against overlap, tokens and firing rate, and
how often p <= 0.05 where nothing is shared. With --out also writes recovery.png, recovery.csv and
calibration.csv. --quick: small streams and few replicates, to see that it runs.
"""

import argparse
import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rich.table import Table

    from benchmarks.recovery_calibration import Calibration
    from benchmarks.recovery_scores import Score

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
RATE_EDGES = (8e-4, 1.5e-3, 3e-3, 8e-3, 2.5e-2, 0.11)
_SWEEPS = {"overlap": "overlap", "tokens": "tokens", "rate": "firing rate"}


class Size(NamedTuple):
    """How much is run."""

    latents: int
    rows: int
    """Of the sweeps over overlap and rate."""

    overlaps: tuple[float, ...]
    tokens: tuple[int, ...]
    seeds: int
    replicates: int
    """Of the calibration."""


FULL = Size(1000, 100_000, (0.0, 0.25, 0.5, 0.75, 1.0), (10_000, 30_000, 100_000, 300_000), 2, 200)
QUICK = Size(120, 10_000, (0.0, 0.5, 1.0), (3_000, 10_000), 1, 4)


def main() -> None:
    """Run, print, and write what was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.recovery",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, help="folder for the figure and the numbers")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    # Before numpy is imported, which every part does in its function.
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    run(QUICK if arguments.quick else FULL, arguments.out)


def run(size: Size, out: Path | None) -> None:
    """Print the tables; write figure and numbers into `out`."""
    from benchmarks.recovery_calibration import MEANINGS, calibrations
    from saeuniv.report.console import console

    scores = list(recovery(size))
    for sweep in _SWEEPS:
        console().print(score_table(scores, sweep))
    console().print(_NOTES, style="dim")
    calibrated = list(calibrations(size.replicates))
    for streams, meaning in MEANINGS.items():
        rows = [row for row in calibrated if row.streams == streams]
        console().print(calibration_table(rows, title=f"p where nothing is shared: {streams}. {meaning}"))
    console().print(_NULL_NOTES, style="dim")
    if out is not None:
        from benchmarks.recovery_figure import draw

        out.mkdir(parents=True, exist_ok=True)
        draw(scores, out / "recovery.png", title=_title(size))
        _write(out / "recovery.csv", scores, ("precision", "recall", "fooled"))
        _write(out / "calibration.csv", calibrated, ("holds",))
        console().print(f"written: recovery.png, recovery.csv, calibration.csv in {out}")


def recovery(size: Size) -> "Iterator[Score]":
    """The scores of all sweeps and seeds."""
    from benchmarks.recovery_data import StreamSettings
    from benchmarks.recovery_scores import overlap_scores, token_scores

    for seed in range(size.seeds):
        base = StreamSettings(rows=size.rows, latents=size.latents, seed=seed)
        yield from overlap_scores(base, size.overlaps, RATE_EDGES)
        yield from token_scores(base, size.tokens)


_NOTES = (
    "Precision: pairs that are planted partners; 0 by definition where none are planted. Recall: planted "
    "partners found, latents too rare to be compared counted as missed. max_corr and the one-to-one methods "
    "that pair every latent cannot be more precise than the share of latents that have a partner. "
    "Fooled: token latents paired with one of the same token, which is no partner."
)


def score_table(scores: "Sequence[Score]", sweep: str) -> "Table":
    """Precision, recall and fooled of each alignment and condition, mean over seeds."""
    from rich.table import Table

    from benchmarks.recovery_figure import means

    curves = {key[1:]: curve for key, curve in means(scores).items() if key[0] == sweep}
    columns = sorted({each.at for each in scores if each.sweep == sweep})
    table = Table(title=f"planted partners against {_SWEEPS[sweep]}", title_justify="left")
    for name in ("number", "alignment", "given"):
        table.add_column(name)
    for at in columns:
        table.add_column(f"{at:,.0f}" if sweep == "tokens" else f"{at:.2g}", justify="right")
    methods = list(dict.fromkeys((each.alignment, each.condition) for each in scores))
    for number in ("precision", "recall", "fooled"):
        for alignment, condition in methods:
            curve = curves.get((number, alignment, condition), {})
            cells = [f"{curve[at]:.2f}" if at in curve else "-" for at in columns]
            table.add_row(
                number, alignment, condition, *cells, end_section=(alignment, condition) == methods[-1]
            )
    return table


_NULL_NOTES = (
    "holds: p <= .05 in at most .09 of the replicates and Kolmogorov-Smirnov p (of p-values randomised among "
    "ties) above .01; asked of 200 replicates or more. excess: mean of value minus null mean. spread: "
    "deviation of the values over that of the null's draws; above 1 the null is too narrow. (second): not "
    "the null behind the p-value."
)


def calibration_table(rows: "Sequence[Calibration]", *, title: str) -> "Table":
    """How often p is small where nothing is shared, by metric and null."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for name in ("metric", "null"):
        table.add_column(name, no_wrap=True)
    for name in ("replicates", "p <= .05", "KS p", "excess", "spread", "holds"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            row.metric,
            f"{row.null}{'' if row.primary else ' (second)'}",
            str(row.replicates),
            f"{row.share:.3f}",
            f"{row.ks_p:.2g}",
            f"{row.excess:+.4f}",
            "-" if row.spread is None else f"{row.spread:.2f}",
            {True: "yes", False: "NO", None: "-"}[row.holds],
        )
    return table


def _title(size: Size) -> str:
    return (
        f"planted partners among {size.latents} latents a side; {size.rows:,} tokens and overlap .5 unless "
        f"varied; mean of {size.seeds} seed{'s' if size.seeds > 1 else ''}"
    )


def _write(path: Path, rows: "Sequence[Score] | Sequence[Calibration]", derived: tuple[str, ...]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*rows[0]._fields, *derived])
        # An undefined number is an empty field.
        writer.writerows([*row, *(getattr(row, name) for name in derived)] for row in rows)


if __name__ == "__main__":
    main()
