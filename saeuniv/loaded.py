"""The results of a comparison as they are looked at in a notebook: `r = saeuniv.load(folder)`.

No model runs, and torch is not imported: matches and contexts come from the store that the results rest on.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int8

from saeuniv import results
from saeuniv.results import Results, find_results, read_matches
from saeuniv.results.table import columns
from saeuniv.stages.shown_contexts import Contexts

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from saeuniv.stages.pair_details import PairDetails

_MINUS = {None: "value", "null": "excess", "control": "diff_control"}


@dataclass(frozen=True)
class Loaded:
    """What one comparison found."""

    results: Results
    """The rows and matrices as they are on disk."""

    folder: Path
    store: Path | None = None
    """Where its artifacts are; None: where config.yaml says, else SAEUNIV_STORE."""

    @property
    def comparison(self) -> str:
        """Its name, which every row has."""
        return self.results.rows[0].comparison if self.results.rows else str(self.summary.get("comparison"))

    @property
    def summary(self) -> dict[str, object]:
        """summary.json."""
        return dict(self.results.summary)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics."""
        return self.results.metrics

    @property
    def layers_a(self) -> tuple[str, ...]:
        """Rows of every matrix."""
        return self.results.layers_a

    @property
    def layers_b(self) -> tuple[str, ...]:
        """Columns of every matrix."""
        return self.results.layers_b

    def matrix(
        self, metric: str, statistic: str = "value", direction: str = "both", *, minus: str | None = None
    ) -> Float[np.ndarray, "layers_a layers_b"]:
        """One number a layer pair, `layers_a x layers_b` (numpy); NaN where it is undefined.

        `minus="null"` is the value less the mean of its null, `minus="control"` less that of the untrained
        control. Without it, any statistic or column of numbers that `Results.matrix` knows.

        Raises:
            ValueError: an unknown metric, statistic, direction or `minus`, or `minus` with a statistic.
        """
        if minus not in _MINUS:
            raise ValueError(
                f"minus={minus!r}: expected null, control or None, got another. Choose of these."
            )
        if minus is not None and statistic != "value":
            raise ValueError(
                f"minus={minus!r}: expected statistic='value', got {statistic!r}. Leave one of them out."
            )
        return self.results.matrix(metric, statistic if minus is None else _MINUS[minus], direction)

    def reasons(self, metric: str) -> Int8[np.ndarray, "layers_a layers_b"]:
        """Why `matrix(metric)` is NaN, as indices into `saeuniv.results.REASONS`; 0 where it is defined.

        Raises:
            ValueError: an unknown metric.
        """
        return self.results.reasons(metric)

    @cached_property
    def table(self) -> "DataFrame":
        """The rows of layer_pairs.csv; what is undefined is missing (NaN or None)."""
        from pandas import DataFrame

        rows = self.results.rows
        names = columns(results.Row)
        return DataFrame({name: [getattr(row, name) for row in rows] for name in names})

    def matches(self, layer_a: int | str, layer_b: int | str) -> "DataFrame":
        """The matches of a layer pair, one a row, the largest correlation on the match half first.

        Layers by number or name (`"0+1"`). Columns are those of matches.parquet: latent_a, latent_b, r (on
        the half they were chosen on), r_held_out, r_null (held out, B shifted by documents), rate_a, rate_b,
        similarity (as the alignment saw it), direction. Where no metric asked for an alignment, the best
        partners of every latent; `attrs` says which, and the condition of r.

        Raises:
            ValueError: a layer that is not among these results, or a pair that was not compared.
            ArtifactError: results without the file, of which the store lacks what is needed.
        """
        from pandas import DataFrame

        labels = self._details.stored.layers(layer_a, layer_b)
        found = read_matches(find_results(self.folder), *labels)
        if found is not None:
            return found
        # Results without the file, or of a pair without matches: the store says why.
        one = self._details.matches(*labels)
        frame = DataFrame({name: each for name, each in self._details.columns(*labels).items()})
        frame.attrs = {"alignment": one.alignment, "condition": one.condition}
        return frame

    def contexts(
        self,
        layer_a: int | str,
        layer_b: int | str,
        match: int,
        *,
        n: int = 5,
        before: int = 8,
        after: int = 8,
    ) -> Contexts:
        """Text at the `n` highest peaks of both latents of a match (its row in `matches`), one a document.

        Raises:
            IndexError: there are not so many matches.
            ValueError, ArtifactError: as `matches`.
        """
        from saeuniv.stages.contexts import Window

        found = self._details.contexts(layer_a, layer_b, match, n_contexts=n, window=Window(before, after))
        one = self._details.matches(layer_a, layer_b)
        title = (
            f"match {match} of layer pair ({layer_a}, {layer_b}): latent {one.latent_a[match]} of A, "
            f"{one.latent_b[match]} of B, held-out r {one.r_held_out[match]:.3f}"
        )
        return Contexts(title, found)

    def heatmap(self, metric: str | None = None) -> "Figure":
        """The heatmap of a metric, by default the primary one, as drawn in the results folder.

        Raises:
            ValueError: an unknown metric.
        """
        from saeuniv.report.figures import heatmap

        chosen = metric or str(self.summary.get("primary_metric") or self.metrics[0])
        return heatmap(self.results, chosen)

    def __repr__(self) -> str:
        """Its name, layers and metrics."""
        return (
            f"{self.comparison}: {len(self.layers_a)} x {len(self.layers_b)} layers, "
            f"metrics {', '.join(self.metrics)}"
        )

    @cached_property
    def _details(self) -> "PairDetails":
        from saeuniv.stages.pair_details import PairDetails
        from saeuniv.stages.stored import stored_comparison

        return PairDetails(stored_comparison(self.folder, self.store))


def load(folder: str | Path, *, store: str | Path | None = None) -> Loaded:
    """The results in a comparison folder, or in its `results/`; nothing heavy is imported until it is needed.

    `store` is where its artifacts are, for matches and contexts; without it, where the run had them, else
    SAEUNIV_STORE.

    Raises:
        ValueError: where files are missing, damaged, or of another format version.
    """
    path = Path(folder).expanduser()
    return Loaded(results.load(path), path, None if store is None else Path(store).expanduser())
