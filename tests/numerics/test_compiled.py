"""Compiled kernels are kept where jobs share them, and never outlive the sources they were made from."""

import subprocess
import sys
from pathlib import Path

from saeuniv.numerics import compiled

CODE = """
import numpy as np, scipy.sparse as sp
from saeuniv.numerics.top_correlations import top_correlations
x = sp.csc_array(np.eye(4, dtype=np.float32))
print(top_correlations(x, sp.csr_array(x), top_m=1).index_a.ravel().tolist())
"""


def test_kernels_are_kept_in_the_store_unless_numba_is_told_otherwise(monkeypatch, tmp_path):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("SAEUNIV_STORE", str(tmp_path))
    assert compiled.kept_in().parent == tmp_path / "numba"
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "own"))
    assert compiled.kept_in().parent == tmp_path / "own"


def test_a_change_of_any_kernel_source_has_a_folder_of_its_own(monkeypatch, tmp_path):
    for name in ("one.py", "two.py"):
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(compiled, "_HERE", tmp_path)
    before = compiled.kept_in()
    assert compiled.kept_in() == before
    (tmp_path / "two.py").write_text("other")
    assert compiled.kept_in().name != before.name


def test_without_a_folder_to_write_to_kernels_are_compiled_anew(monkeypatch, tmp_path):
    def refused(**options):
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(compiled.numba, "njit", refused)
    assert compiled.compiled(len) is len


def test_a_second_process_compiles_nothing(tmp_path: Path) -> None:
    environment = {"NUMBA_CACHE_DIR": str(tmp_path), "PATH": ""}

    def run() -> set[tuple[Path, int]]:
        done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, "[0, 1, 2, 3]\n"), done.stderr
        return {(file, file.stat().st_mtime_ns) for file in (tmp_path).rglob("*.nb?")}

    first = run()
    assert first and run() == first
