"""Whether p-values are what they say: how often they are small where nothing is shared, for every null."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from benchmarks.recovery_data import Streams, StreamSettings, make_streams
from saeuniv.compare import CompareSettings
from saeuniv.config import Bootstrap, Eligibility, Nulls
from saeuniv.matching import with_matches
from saeuniv.metrics import METRICS, MetricMethod
from saeuniv.metrics.base import DECOMPOSITIONS
from saeuniv.metrics.layer_pair import LayerPair, make_draws
from saeuniv.numerics.latents import prepare_layer
from saeuniv.numerics.rows import make_halves
from saeuniv.numerics.statistics import p_value

LEVEL = 0.05
HIGHEST_SHARE = 0.09
KS_BOUND = 0.01
ENOUGH = 200

UNRELATED, TOKENS, LONG, BROKEN = "unrelated", "token latents", "long documents", "sequences as documents"
MEANINGS = {
    UNRELATED: "Documents of 1 to 4 sequences switch latents on; what the nulls are made for.",
    TOKENS: "Half of the latents fire by token identity alone, on both sides: raw numbers see it, and must. "
    "Residuals of such latents lie on the same rows, a shift puts them on others: its null is too narrow.",
    LONG: "Documents of 1 to 16 sequences that switch latents on 20-fold: shifted ones straddle one another, "
    "which averages them: the null is somewhat too narrow.",
    BROKEN: "The same, each sequence taken for a document: halves share documents, shifts stay inside them.",
}

SETTINGS = CompareSettings(
    eligibility=Eligibility(min_firings=5),
    nulls=Nulls(draws=99, shuffle_draws=1),
    bootstrap=Bootstrap(draws=0),
)
SMALL = StreamSettings(
    rows=3600,
    latents=14,
    overlap=0.0,
    token_share=0.0,
    top_rate=0.2,
    misses=0.2,
    topics=14,
    vocabulary=6,
    positions=8,
    max_sequences=4,
)
_LONG = dataclasses.replace(SMALL, rows=4000, max_sequences=16, burst=20.0)
_HELD_OUT = ("partial_correlation", "raw_correlation", "matched_correlation")

_DECODER_SIZES = (4, 5)
_SAMPLED_ROWS = 500


class Calibration(NamedTuple):
    """One metric against one null over replicates in which nothing is shared."""

    streams: str
    metric: str
    null: str
    primary: bool
    """The null behind the metric's p-value"""

    replicates: int
    share: float
    """Of the replicates with p <= 0.05; about 0.05 where the null holds"""

    ks_p: float
    """Kolmogorov-Smirnov p of the randomised p-values against the uniform"""

    excess: float
    """Mean of value minus null mean; 0 where the null is centred right"""

    spread: float | None
    """Standard deviation of the values over that of the null's draws; 1 where the null is wide enough, None
    where it never varies"""

    @property
    def holds(self) -> bool | None:
        """Share at most .09, and not visibly other than uniform.

        None where replicates are few or the null never varies: nothing is rejected then, and nothing tested.
        """
        if self.replicates < ENOUGH or self.spread is None:
            return None
        return self.share <= HIGHEST_SHARE and self.ks_p > KS_BOUND


def calibrations(replicates: int) -> Iterator[Calibration]:
    """Every metric against each of its nulls; then a few where nulls reach their limits."""
    # The streams have no dictionaries: metrics that read them are calibrated in their own tests.
    every = tuple(_configured(metric) for metric in METRICS if metric.reads == "tokens")
    held_out = tuple(metric for metric in every if metric.name in _HELD_OUT)
    decoders = tuple(metric for metric in every if metric.name == "cka")
    for streams, settings, metrics in (
        (UNRELATED, SMALL, every),
        (TOKENS, dataclasses.replace(SMALL, token_share=0.5), (*held_out, *decoders)),
        (LONG, _LONG, held_out),
        (BROKEN, _LONG, held_out),
    ):
        seeds = [dataclasses.replace(settings, seed=seed) for seed in range(replicates)]
        yield from calibration(streams, seeds, metrics)


def calibration(
    streams: str, replicates: Sequence[StreamSettings], metrics: tuple[MetricMethod, ...]
) -> Iterator[Calibration]:
    """The p-values of all replicates, by metric and null."""
    from scipy.stats import kstest

    found: dict[tuple[str, str, bool], list[_Replicate]] = defaultdict(list)
    for settings in replicates:
        data = make_streams(settings)
        if streams == BROKEN:
            data = data._replace(documents=np.arange(len(data.documents)) // data.positions)
        for key, replicate in _replicate(data, metrics, seed=settings.seed):
            found[key].append(replicate)
    for (metric, null, primary), each in found.items():
        p, randomised, values, means, variances = np.array(each).T
        yield Calibration(
            streams,
            metric,
            null,
            primary,
            replicates=len(p),
            share=float((p <= LEVEL).mean()),
            ks_p=float(kstest(randomised, "uniform").pvalue),
            excess=float((values - means).mean()),
            spread=float((values - means).std() / np.sqrt(variances.mean())) if variances.any() else None,
        )


class _Replicate(NamedTuple):
    p: float
    randomised: float
    """(draws > value + u (1 + draws = value)) / (1 + draws), u uniform: exactly uniform where the null holds,
    whatever the ties and the number of draws"""

    value: float
    null_mean: float
    null_variance: float


def _replicate(
    data: Streams, metrics: tuple[MetricMethod, ...], *, seed: int
) -> Iterator[tuple[tuple[str, str, bool], _Replicate]]:
    """Each metric against each of its nulls, through matching, shifting and matching again."""
    pair = with_matches(_pair(data, seed), SETTINGS.alignment, metrics)
    rng = np.random.default_rng([seed, 10])
    for metric in metrics:
        measured = next(each for each in metric.measure(pair) if each.direction == "both")
        for name, null in measured.nulls.items():
            primary = name == metric.primary_null
            refused = primary and "p_value" in measured.empty
            if measured.value is None or name in DECOMPOSITIONS or not len(null) or refused:
                continue
            p, value = p_value(measured.value, null), measured.value
            above, equal = int((null > value).sum()), int((null == value).sum())
            randomised = (above + rng.random() * (1 + equal)) / (1 + len(null))
            replicate = _Replicate(p, randomised, value, float(null.mean()), float(null.var()))
            yield (metric.name, name, primary), replicate


def _pair(data: Streams, seed: int) -> LayerPair:
    halves = make_halves(data.documents, data.groups, positions=data.positions)
    rng = np.random.default_rng([seed, 9])
    a, b = (
        prepare_layer(side, halves, floors=SETTINGS.floors, decoder=_decoder(side, size, rng))
        for side, size in zip((data.a, data.b), _DECODER_SIZES, strict=True)
    )
    return LayerPair(a, b, make_draws(halves, SETTINGS.draws), SETTINGS.eligibility.min_df_share)


def _decoder(latents: sp.csr_array, size: int, rng: np.random.Generator) -> np.ndarray:
    """Directions that turn with the firing rate, in both models: what a permutation of pairs breaks.

    Matching prefers latents of like rate even where nothing is shared, so matched directions are alike.
    """
    firings = np.bincount(latents.indices, minlength=latents.shape[1])
    angle = np.pi * np.argsort(np.argsort(-firings)) / len(firings)
    directions = 0.5 * rng.standard_normal((len(firings), size))
    directions[:, 0] += np.cos(angle)
    directions[:, 1] += np.sin(angle)
    return directions


def _configured(metric: type[MetricMethod]) -> MetricMethod:
    """The metric, with the null that some leave out unless asked, on few tokens where it samples them."""
    options = {"null": True, "rows": _SAMPLED_ROWS}
    names = {field.name for field in dataclasses.fields(metric)}
    return metric(**{name: value for name, value in options.items() if name in names})
