"""Ten million tokens in one run of `launch.py`, from text to results, and what that takes (20 minutes)."""

import json
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from benchmarks.cost import measure
from benchmarks.demo import environment
from benchmarks.machine import ROOT
from benchmarks.section import Section
from saeuniv.results import load

# 72 % of 1,072 documents are compared on.
_CHARACTERS, _DOCUMENTS, _HELD_OUT = 14_000, 1_072, 0.72
_LEAST_TOKENS, _MOST_BYTES, _LIMIT_S = 10_000_000, 8e9, 7200.0

OVERRIDES = (
    *("data=text", "data.path=text.jsonl", f"data.held_out={_HELD_OUT}", "allow_mixed=true"),
    *("data.max_sequences_per_document=200", "layers.a=2", "layers.b=2"),
    *("metrics=[raw_correlation]", "control=none", "tracking=off"),
)
"""Two embedded models, a dictionary of each, one layer pair; trained on the rest of the text."""


def section() -> Section:
    """Cost of the whole run, its largest process, and what it leaves on disk."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_text(folder / "text.jsonl")
        command = [sys.executable, str(ROOT / "launch.py"), *OVERRIDES]
        env = {**environment(), "SAEUNIV_STORE": str(folder / "store")}
        cost = measure(command, cwd=folder, env=env, limit_s=_LIMIT_S).cost
        stored = sum(file.stat().st_size for file in (folder / "store").rglob("*") if file.is_file())
        (found,) = folder.glob("multirun/single/*/results")
        row = load(found).rows[0]
    body = (
        f"{row.n_tokens} tokens of {row.n_documents} documents compared on: {cost}",
        f"store: {stored / 1e9:.2f} GB",
        f"python launch.py {' '.join(OVERRIDES)}",
    )
    bounds = (
        (row.n_tokens >= _LEAST_TOKENS, f"at least {_LEAST_TOKENS} tokens, got {row.n_tokens}"),
        (cost.peak_bytes <= _MOST_BYTES, f"at most 8 GB a process, got {cost.peak_bytes / 1e9:.1f} GB"),
    )
    return Section("long_text: ten million tokens", body, tuple(said for holds, said in bounds if not holds))


def write_text(path: Path) -> None:
    """Sources of the standard library as records, cut into documents of equal length."""
    with path.open("w", encoding="utf-8") as file:
        for domain, text in islice(_documents(), _DOCUMENTS):
            file.write(json.dumps({"text": text, "domain": domain}) + "\n")


def _documents() -> Iterator[tuple[str, str]]:
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        if "site-packages" in path.parts:
            continue
        # Some of the standard library's own tests are not UTF-8.
        text = path.read_text(encoding="utf-8", errors="ignore")
        for start in range(0, len(text) - _CHARACTERS + 1, _CHARACTERS):
            yield path.parent.name, text[start : start + _CHARACTERS]
