"""What `import saeuniv` gives, and what it does not drag in."""

import subprocess
import sys
from importlib.metadata import version

import pytest

import saeuniv
from saeuniv.loaded import load

_HEAVY = ("torch", "pandas", "wandb", "matplotlib", "transformers", "hydra")


def _imported_by(code: str) -> set[str]:
    report = f"{code}; import sys; print(*[m for m in {_HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_load_of_the_package_is_what_notebooks_look_at():
    assert saeuniv.load is load


def test_version_is_that_of_the_installed_distribution():
    assert saeuniv.__version__ == version("saeuniv")


def test_an_unknown_name_is_answered_with_the_names_there_are():
    with pytest.raises(AttributeError, match=r"no attribute 'lod'\. It has: compare_latents, load"):
        _ = saeuniv.lod


def test_the_public_names_are_listed():
    assert {"load", "compare_latents", "__version__"} <= set(dir(saeuniv))


def test_loading_results_imports_nothing_heavy(tmp_path, make_results):
    from saeuniv.results import write_results

    made = make_results(lambda metric, i, j: 0.1, 2, 2)
    fields = {"rows": made.rows, "null_rows": (), "layers_a": made.layers_a, "layers_b": made.layers_b}
    write_results(tmp_path, **fields, summary={}, config="", status={"state": "done"}, figures=None)
    code = (
        f"import saeuniv; r = saeuniv.load({str(tmp_path)!r}); assert r.matrix('partial_correlation').sum()"
    )
    assert _imported_by(code) == set()


def test_the_check_for_heavy_imports_can_fail():
    assert _imported_by("import matplotlib") == {"matplotlib"}
