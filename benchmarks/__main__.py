"""`python -m benchmarks [part]`: all parts but readme and long_text, the numerics, or one of them."""

import argparse
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from rich.text import Text

from benchmarks.machine import corpus_sha256, machine
from benchmarks.parts import NUMERICS, WHOLE, section_alone, section_of

if TYPE_CHECKING:
    from benchmarks.section import Section

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def main() -> None:
    """Run the parts asked for and print one report.

    Raises:
        SystemExit: 1 where a bound does not hold.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    choices = [*NUMERICS, *WHOLE, "long_text", "numerics", "readme"]
    parser.add_argument(
        "part", nargs="?", choices=choices, help="one part; unset: all but readme and long_text"
    )
    part = parser.parse_args().part
    # Before numpy is imported, which every part does in its function: one thread, as in saeuniv's workers.
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    names = {"numerics": NUMERICS, None: (*WHOLE, *NUMERICS)}.get(part, (part,))
    # A process each: what one has held counts as the memory of the next, and of those that it starts.
    report([partial(section_alone if len(names) > 1 else section_of, name) for name in names])


def report(runs: "list[Callable[[], Section]]") -> None:
    """Print the machine, then each part as it ends.

    Raises:
        SystemExit: 1 where a bound does not hold.
    """
    from saeuniv.report.console import console

    for line in (*machine().lines(), f"corpus  sha256 {corpus_sha256()}"):
        console().print(Text(line))
    faults = [fault for run in runs for fault in _printed(run())]
    raise SystemExit(1 if faults else 0)


def _printed(section: "Section") -> tuple[str, ...]:
    from saeuniv.report.console import console

    out = console()
    out.print()
    out.print(Text(section.title, style="bold"))
    for item in section.body:
        out.print(Text(item) if isinstance(item, str) else item)
    for fault in section.faults:
        out.print(Text(f"FAULT {fault}"))
    return section.faults


if __name__ == "__main__":
    main()
