"""The numbers of the README: rendered from a run, written between its two markers, read back by tests."""

import re
import shutil
from pathlib import Path
from typing import NamedTuple

from benchmarks.cost import Cost
from benchmarks.demo import DemoRun
from benchmarks.machine import ROOT, Machine, machine
from saeuniv.report.console import NAMES, caption, summary_header, summary_rows
from saeuniv.report.meaning import meaning
from saeuniv.results import load

BEGIN, END = "<!-- demo:begin -->", "<!-- demo:end -->"
FIGURES = ("heatmap_partial_correlation.png", "heatmap_svcca.png")

METRICS = {name: metric for metric, name in NAMES.items()}
_FACTS = re.compile(
    r"Corpus sha256 `(?P<corpus_sha256>[0-9a-f]{64})`, Python (?P<python>\S+), torch (?P<torch>\S+), "
    r"commit `(?P<commit>[^`]+)`\."
)
_HARDWARE = re.compile(r"Measured on (?P<cores>\d+) cores \((?P<cpu>.+)\)")
_NUMBER = re.compile(r"-?\d*\.\d+|\d+")
_COLUMNS = 6


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
    results, control = load(run.comparison), load(run.control)
    here = machine()
    facts = (
        f"Corpus sha256 `{results.summary['corpus_sha256']}`, Python {results.summary['python']}, "
        f"torch {here.torch}, commit `{here.commit}`."
    )
    header = summary_header(results)
    rows = [cells for section in summary_rows(results, control) for cells in section]
    table = [_line(header), _line(("---",) * len(header)), *map(_line, rows)]
    words = " ".join(caption(results, control))
    return "\n\n".join((facts, "\n".join(table), words, meaning(results, control), _costs(run, here)))


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
        if len(texts) == _COLUMNS and texts[1].isdecimal():
            named = texts[0] or named
            cells[named, texts[1]] = tuple(texts[2:])
    return cells


def _costs(run: DemoRun, here: Machine) -> str:
    def line(name: str, cost: Cost) -> str:
        gib = f"{cost.peak_bytes / 2**30:.1f} GiB"
        return _line((name, f"{cost.wall_s:.0f} s", f"{cost.cpu_s:.0f} CPU-s", gib, f"{cost.load:.1f}"))

    header = ("run", "wall", "CPU", "memory, largest process", "load average before")
    table = (
        _line(header),
        _line(("---",) * len(header)),
        line("cold: empty store, everything is trained", run.cold),
        line("warm: everything is there", run.warm),
    )
    return "\n".join((f"Measured on {here.cores} cores ({here.cpu}):", "", *table))


def _line(texts: tuple[str, ...]) -> str:
    return f"| {' | '.join(texts)} |"
