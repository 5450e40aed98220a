"""Results made by hand, for the tests of results, report and tracking."""

import dataclasses
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from saeuniv.preflight.composer import Composed, Composer
from saeuniv.results import NullRow, Results, Row

# Compiled once for all stores that tests make, and for the processes that they start.
os.environ.setdefault("NUMBA_CACHE_DIR", os.path.join(sys.prefix, "numba"))

_ROW = Row(
    comparison="tiny_s0-tiny_s1-hungarian-0123abcd",
    model_a="tiny_s0",
    model_b="tiny_s1",
    revision_a="",
    revision_b="step500",
    hookpoint_a="resid_post[0]",
    hookpoint_b="resid_post[0]",
    layer_a="0",
    layer_b="0",
    sae_a="tiny",
    sae_b="tiny",
    d_sae_a=256,
    d_sae_b=256,
    l0_a=8.0,
    l0_b=8.0,
    fvu_a=0.11,
    fvu_b=0.12,
    fvu_high_norm_a=None,
    fvu_high_norm_b=None,
    dead_fraction_a=0.3,
    dead_fraction_b=0.25,
    loss_recovered_a=0.98,
    loss_recovered_b=0.97,
    alignment="-",
    direction="both",
    metric="partial_correlation",
    space="tokens",
    value=0.3,
    null="document_shift",
    null_mean=0.001,
    null_std=0.0005,
    null_draws=485,
    control=None,
    calibrated=0.29,
    excess=0.299,
    z=598.0,
    diff_control=None,
    diff_ci_low=None,
    diff_ci_high=None,
    p_value=1 / 486,
    q_value=1 / 486,
    ci_low=0.29,
    ci_high=0.31,
    n_matches=150,
    n_eligible_a=150,
    n_eligible_b=160,
    n_alive_a=200,
    n_alive_b=210,
    eligible_mass_a=0.9,
    eligible_mass_b=0.91,
    context_share_a=0.3,
    context_share_b=0.31,
    n_tokens=124000,
    n_documents=140,
    seed=0,
    flags="",
    reason="",
)


def row(**changes: object) -> Row:
    """One complete row with the changes asked for; `value=None` needs a reason, as everywhere."""
    return dataclasses.replace(_ROW, **changes)  # type: ignore[arg-type]


@pytest.fixture
def make_row() -> Callable[..., Row]:
    return row


@pytest.fixture
def make_results(make_row) -> Callable[..., Results]:
    """Results over a grid: `values(metric, i, j)` gives the value (None: undefined) or changes of a row."""

    def make(
        values: Callable[[str, int, int], float | dict | None],
        n_a: int = 4,
        n_b: int = 4,
        metrics: tuple[str, ...] = ("partial_correlation",),
        **changes: object,
    ) -> Results:
        rows = []
        for metric, i, j in ((m, i, j) for m in metrics for i in range(n_a) for j in range(n_b)):
            made = values(metric, i, j)
            given = made if isinstance(made, dict) else {"value": made}
            if given["value"] is None:
                blank = ("excess", "z", "calibrated", "p_value", "q_value", "ci_low", "ci_high", "control")
                given = {"reason": "too_few_matches", **dict.fromkeys(blank), **given}
            place = {"metric": metric, "layer_a": str(i), "layer_b": str(j)}
            rows.append(make_row(**{**changes, **place, **given}))
        layers_a, layers_b = tuple(map(str, range(n_a))), tuple(map(str, range(n_b)))
        nulls = tuple(
            NullRow(
                *(row.comparison, row.layer_a, row.layer_b, row.metric, row.direction, row.null),
                *(True, row.null_mean, row.null_std, 0.002, row.null_draws, row.p_value, ""),
            )
            for row in rows
        )
        return Results(tuple(rows), nulls, layers_a, layers_b, {}, "a: tiny_s0\n")

    return make


@pytest.fixture(autouse=True, scope="session")
def composed_once() -> Iterator[None]:
    """What Hydra composed is kept for all tests of a process: .3 s for each of thousands of command lines."""
    compose = Composer._compose
    kept: dict[object, Composed] = {}

    def once(composer: Composer, lines: tuple[str, ...]) -> Composed:
        places = [each.path for each in composer._loader.get_search_path().get_path()]
        folders = [Path(each.removeprefix("file://")) for each in places if each.startswith("file://")]
        files = [file for folder in folders for file in sorted(folder.rglob("*.yaml"))]
        state = tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files)
        key = (composer._config_name, lines, tuple(places), state)
        if key not in kept:
            kept[key] = compose(composer, lines)
        return kept[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Composer, "_compose", once)
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole runs first: they take the longest, beside everything else in the other process."""
    items.sort(key=lambda item: _scope(item.nodeid) != _WHOLE_RUNS)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Processes share the tests by file; whole runs stay together with what they train."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _scope(nodeid)

    config.option.loadscopereorder = False
    return ByFile(config, log)


_WHOLE_RUNS = "tests/pipeline"


def _scope(nodeid: str) -> str:
    file = nodeid.partition("::")[0]
    return _WHOLE_RUNS if file.startswith(_WHOLE_RUNS) else file
