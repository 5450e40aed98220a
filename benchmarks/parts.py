"""The parts of the report, by name; what a process imports that runs one of them."""

import importlib
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.section import Section


def section_alone(name: str) -> "Section":
    """The same, of a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(section_of, name).result()


def section_of(name: str) -> "Section":
    """What a part found, by its name."""
    if name == "readme":
        return _readme()
    if name == "correlation_large":
        return importlib.import_module("benchmarks.correlation").large_section()
    module = importlib.import_module(f"benchmarks.{name}")
    if name != "demo":
        return module.section()
    with tempfile.TemporaryDirectory() as folder:
        return module.section(module.run_demo(Path(folder)))


def _readme() -> "Section":
    from benchmarks import demo, readme

    with tempfile.TemporaryDirectory() as folder:
        run = demo.run_demo(Path(folder))
        section = demo.section(run)
        # Numbers that do not hold are not written down.
        written = () if section.faults else readme.write(run)
        names = ", ".join(str(path.relative_to(readme.ROOT)) for path in written) or "nothing"
        return section._replace(body=(*section.body, f"written: {names}"))


NUMERICS = ("correlation", "correlation_large", "assignment", "similarity", "rsa", "shifts", "gpu")
"""The kernels, each against the dense formulation and the machine's floor: `make bench`."""

WHOLE = ("demo", "encoding", "drawing", "disk", "startup", "compare", "planning", "slurm")
"""What users wait for."""
