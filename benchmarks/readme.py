"""The numbers of the README: rendered from a run, written between its two markers, read back by tests."""

import re
import shutil
from pathlib import Path
from typing import NamedTuple

import saeuniv
from benchmarks.cost import Cost
from benchmarks.demo import DemoRun
from benchmarks.machine import ROOT, Machine, machine
from saeuniv.report.layer_pairs import equal_depth, row_at
from saeuniv.report.meaning import HEADLINE, meaning
from saeuniv.report.numbers import number
from saeuniv.results import Results, Row

BEGIN, END = "<!-- demo:begin -->", "<!-- demo:end -->"
FIGURES = ("heatmap_partial_correlation.png", "heatmap_svcca.png")

METRICS = {
    "given token: `partial_correlation`": HEADLINE,
    "given bigram: `partial_correlation_bigram`": "partial_correlation_bigram",
    "given trigram: `partial_correlation_trigram`": "partial_correlation_trigram",
    "`raw_correlation` (cautionary)": "raw_correlation",
}
FVU, ELIGIBLE = "FVU of A / B", "eligible of alive latents, A / B"
_HEADER = ("", "layer", "trained [interval]", "untrained [interval]", "null mean", "p")
_FACTS = re.compile(
    r"Corpus sha256 `(?P<corpus_sha256>[0-9a-f]{64})`, Python (?P<python>\S+), torch (?P<torch>\S+), "
    r"commit `(?P<commit>[^`]+)`\."
)
_HARDWARE = re.compile(r"Measured on (?P<cores>\d+) cores \((?P<cpu>.+)\)")
_NUMBER = re.compile(r"-?\d*\.\d+|\d+")


class Block(NamedTuple):
    """The demo block as read from Markdown."""

    corpus_sha256: str
    python: str
    torch: str
    commit: str
    cpu: str
    cells: dict[tuple[str, str], tuple[str, ...]]
    """(trained, untrained, null mean, p) as written, by name of the row and layer."""

    meaning: str

    def numbers(self) -> dict[tuple[str, str], tuple[float, ...]]:
        """The numbers of each row: values, ends of intervals, counts, null mean and p, in order."""
        return {
            key: tuple(float(each) for text in texts for each in _NUMBER.findall(text))
            for key, texts in self.cells.items()
        }


def demo_block(run: DemoRun) -> str:
    """The block in Markdown, without its markers and without a date."""
    results, control = saeuniv.load(run.comparison), saeuniv.load(run.control)
    here = machine()
    facts = (
        f"Corpus sha256 `{results.summary['corpus_sha256']}`, Python {results.summary['python']}, "
        f"torch {here.torch}, commit `{here.commit}`."
    )
    table = [_line(_HEADER), _line(("---",) * len(_HEADER)), *_rows(results, control)]
    return "\n\n".join(
        (facts, "\n".join(table), _remark(results), meaning(results, control), _costs(run, here))
    )


def parse_block(markdown: str) -> Block:
    """The block between the markers of a Markdown text.

    Raises:
        ValueError: markers are missing, or what is between them is not such a block.
    """
    inside = between_markers(markdown)
    facts, hardware = _FACTS.search(inside), _HARDWARE.search(inside)
    paragraphs = [each.strip() for each in inside.split("\n\n")]
    sentence = next((each for each in paragraphs if each.startswith("Given ")), "")
    if not (facts and hardware and sentence):
        raise ValueError(
            f"the demo block: expected a line of facts, what the numbers mean and the machine, got:\n"
            f"{inside}\nRun `python -m benchmarks readme`."
        )
    return Block(**facts.groupdict(), cpu=hardware["cpu"], cells=_cells(inside), meaning=sentence)


def between_markers(markdown: str) -> str:
    """What stands between the markers.

    Raises:
        ValueError: not exactly one of each, in order.
    """
    before, begin, rest = markdown.partition(BEGIN)
    inside, end, after = rest.partition(END)
    if not (begin and end) or any(mark in before + after for mark in (BEGIN, END)):
        raise ValueError(f"README: expected one line {BEGIN} and, below it, one line {END}. Put them there.")
    return inside


def replaced(markdown: str, block: str) -> str:
    """The text with `block` between its markers.

    Raises:
        ValueError: not exactly one of each marker, in order.
    """
    between_markers(markdown)
    before, _, rest = markdown.partition(BEGIN)
    return f"{before}{BEGIN}\n{block}\n{END}{rest.partition(END)[2]}"


def write(run: DemoRun, root: Path = ROOT) -> tuple[Path, ...]:
    """Rewrite the block in README.md and copy the run's figures to docs/; returns what was written.

    Raises:
        ValueError: README.md lacks the markers.
    """
    readme, docs = root / "README.md", root / "docs"
    text = replaced(readme.read_text(encoding="utf-8"), demo_block(run))
    readme.write_text(text, encoding="utf-8")
    docs.mkdir(exist_ok=True)
    copied = [shutil.copyfile(run.comparison / "results" / name, docs / name) for name in FIGURES]
    return (readme, *copied)


def _cells(inside: str) -> dict[tuple[str, str], tuple[str, ...]]:
    """Rows of the table by name and layer; a name stands at the first of its layers."""
    cells: dict[tuple[str, str], tuple[str, ...]] = {}
    named = ""
    for line in inside.splitlines():
        texts = [text.strip() for text in line.removeprefix("|").removesuffix("|").split("|")]
        if len(texts) == len(_HEADER) and texts[1].isdecimal():
            named = texts[0] or named
            cells[named, texts[1]] = tuple(texts[2:])
    return cells


def _rows(results: Results, control: Results) -> list[str]:
    pairs = equal_depth(results, HEADLINE)
    lines: list[str] = []
    for name, metric in METRICS.items():
        for place, pair in enumerate(pairs):
            trained, untrained = (row_at(each, metric, pair) for each in (results, control))
            texts = (value_text(trained), value_text(untrained), *_null(trained))
            lines.append(_line(("" if place else name, str(pair), *texts)))
    for name, text in ((FVU, _fvu), (ELIGIBLE, _counts)):
        for place, pair in enumerate(pairs):
            texts = [text(row_at(each, HEADLINE, pair)) for each in (results, control)]
            lines.append(_line(("" if place else name, str(pair), *texts, "", "")))
    return lines


def value_text(row: Row | None) -> str:
    """`.294 [.286, .298]`; what is undefined with its reason."""
    if row is None or row.value is None:
        return "-" if row is None else f"- ({row.value_reason.replace('_', ' ')})"
    if row.ci_low is None or row.ci_high is None:
        return number(row.value, 3)
    return f"{number(row.value, 3)} [{number(row.ci_low, 3)}, {number(row.ci_high, 3)}]"


def _null(row: Row | None) -> tuple[str, str]:
    mean, p = (row.null_mean, row.p_value) if row else (None, None)
    return "-" if mean is None else number(mean, 3), "-" if p is None else number(p, 4)


def _fvu(row: Row | None) -> str:
    return "-" if row is None else " / ".join(_or_dash(each) for each in (row.fvu_a, row.fvu_b))


def _or_dash(value: float | None) -> str:
    return "-" if value is None else number(value, 3)


def _counts(row: Row | None) -> str:
    if row is None:
        return "-"
    return f"{row.n_eligible_a} of {row.n_alive_a} / {row.n_eligible_b} of {row.n_alive_b}"


def _remark(results: Results) -> str:
    row = next(row for row in results.rows if row.metric == HEADLINE and row.direction == "both")
    least = number(1 / (1 + row.null_draws), 4) if row.null_draws else "-"
    return (
        f"{row.model_a} (A) and {row.model_b} (B), layers of equal number. Intervals: bootstrap over "
        f"documents, for these models and dictionaries. Null: {row.null.replace('_', ' ')} of B "
        f"({row.null_draws} draws, smallest possible p {least}); not requested for bigrams and trigrams."
    )


def _costs(run: DemoRun, here: Machine) -> str:
    def line(name: str, cost: Cost) -> str:
        gib = f"{cost.peak_bytes / 2**30:.1f} GiB"
        return _line((name, f"{cost.wall_s:.0f} s", f"{cost.cpu_s:.0f} CPU-s", gib, f"{cost.load:.1f}"))

    header = ("run", "wall", "CPU", "memory, largest process", "load average before")
    table = (
        _line(header),
        _line(("---",) * len(header)),
        line("cold: empty store, everything is trained", run.cold),
        line("warm: everything but the report is in the store", run.warm),
    )
    return "\n".join((f"Measured on {here.cores} cores ({here.cpu}):", "", *table))


def _line(texts: tuple[str, ...]) -> str:
    return f"| {' | '.join(texts)} |"
