"""Layers and rows as the layer pairs need them, made once a process and kept within a bound of memory."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from jaxtyping import Int

from saeuniv.compare import CompareSettings
from saeuniv.metrics.layer_pair import Draws, DrawSettings, make_draws
from saeuniv.numerics.dictionary_similarity import DictionaryParameters
from saeuniv.numerics.latents import PreparedLayer, prepare_halves
from saeuniv.numerics.rows import Half, make_halves, select_rows
from saeuniv.stages.latents import read_high_norm, read_rows, shard_cuts
from saeuniv.stages.scores import LayerQuality
from saeuniv.stages.stored_quality import StoredQuality, read_quality
from saeuniv.stages.task import LatentsReference
from saeuniv.stages.tokens import joint_groups, read_held_out
from saeuniv.store import Artifact, Store

Layer = tuple[LatentsReference, ...]
"""A layer, or a group of layers read as one."""


@dataclass(frozen=True)
class RowChoice:
    """Which of the rows that latents are stored of are compared on; part of the key of every score."""

    n_tokens: int | None
    """The first so many; None: all."""

    mask_high_norm: bool
    """Leave out rows whose residual norm is far above the median in either model."""


class _KeptLayers:
    """Prepared layers of this process, the ones used last, within a bound of memory."""

    def __init__(self) -> None:
        self._layers: OrderedDict[object, tuple[PreparedLayer, LayerQuality]] = OrderedDict()

    def get(
        self, key: object, make: Callable[[], tuple[PreparedLayer, LayerQuality]], *, kept_bytes: int
    ) -> tuple[PreparedLayer, LayerQuality]:
        """The layer under `key`; the least recently used ones go when memory is short."""
        if key not in self._layers:
            # What a layer holds grows while its pairs are computed: weighed now, before one more.
            while sum(layer.nbytes for layer, _ in self._layers.values()) > kept_bytes and self._layers:
                self._layers.popitem(last=False)
            self._layers[key] = make()
        self._layers.move_to_end(key)
        return self._layers[key]


_layers = _KeptLayers()


class ChosenRows(NamedTuple):
    """The rows that are compared on, in two halves."""

    rows: Int[np.ndarray, " kept"]
    """Among those that latents are stored of."""

    halves: tuple[Half, Half]


class ComparedRows(NamedTuple):
    """The rows that all layer pairs of two models share, and the draws on them."""

    key: object
    """Equal where rows and draws are."""

    rows: Int[np.ndarray, " kept"]
    """Among those that latents are stored of."""

    halves: tuple[Half, Half]
    draws: Draws


_rows: dict[object, ComparedRows] = {}


def rows_of(
    store: Store, a: LatentsReference, b: LatentsReference, choice: RowChoice, settings: DrawSettings
) -> ComparedRows:
    """The rows that latents of two models are compared on; equal for all layers of these models.

    Raises:
        ValueError: there are fewer rows than asked for.
    """
    key = (store.root, a.tokens, b.tokens, a.model.key, b.model.key, choice, settings)
    if key not in _rows:
        _rows.clear()
        _rows[key] = _compared_rows(store, a, b, choice, settings)._replace(key=key)
    return _rows[key]


def _compared_rows(
    store: Store, a: LatentsReference, b: LatentsReference, choice: RowChoice, settings: DrawSettings
) -> ComparedRows:
    chosen = choose_rows(store, (a.tokens, b.tokens), (a.artifact, b.artifact), choice)
    return ComparedRows(None, chosen.rows, chosen.halves, make_draws(chosen.halves, settings))


def choose_rows(
    store: Store, tokens: tuple[Artifact, Artifact], latents: tuple[Artifact, Artifact], choice: RowChoice
) -> ChosenRows:
    """The rows that latents of two models are compared on, without draws; `latents` are any of each model.

    Raises:
        ValueError: there are fewer rows than asked for.
    """
    held_out = read_held_out(store, tokens[0])
    groups = held_out.groups()
    if tokens[1] != tokens[0]:
        # Either model's current token is to be held fixed.
        groups = joint_groups(groups, read_held_out(store, tokens[1]).groups())
    masked = np.zeros(int(held_out.keep.sum()), dtype=bool)
    if choice.mask_high_norm:
        n_shards = len(shard_cuts(held_out))
        for side in latents:
            masked |= read_high_norm(store, side, n_shards)
    chosen = select_rows(held_out.keep, held_out.documents, masked, n_rows=choice.n_tokens)
    groups = {name: labels[chosen.rows] for name, labels in groups.items()}
    documents = held_out.row_documents[chosen.rows]
    return ChosenRows(chosen.rows, make_halves(documents, groups, positions=chosen.positions))


def prepared_layer(
    store: Store,
    layer: Layer,
    on: ComparedRows,
    settings: CompareSettings,
    *,
    kept_bytes: int,
    whole_dictionary: bool = False,
) -> tuple[PreparedLayer, LayerQuality]:
    """A layer's eligible latents, ready for every pair, and what is known of it.

    A layer of 256 latents on 124k rows holds 0.2 GiB with its spectra, of 32k latents on a million rows at
    32 active latents 0.5 GiB (8 bytes an entry, twice where it serves as B) and no spectra. Making it takes
    12 bytes an entry: one half after the other is read and turned. With `whole_dictionary` the parameters of
    all its latents are kept too, 8 bytes a latent and dimension.
    """

    def make() -> tuple[PreparedLayer, LayerQuality]:
        n_shards = len(shard_cuts(read_held_out(store, layer[0].tokens)))
        first, second = (_half_latents(store, layer, n_shards, on.rows[half.rows]) for half in on.halves)
        decoder = np.concatenate([each.dictionary.decoder(store) for each in layer])
        aligned = settings.alignment.reads == "dictionaries"
        dictionary = _parameters(store, layer) if aligned or whole_dictionary else None
        parameters = dictionary if aligned else None
        prepared = prepare_halves(
            (first, second), on.halves, floors=settings.floors, decoder=decoder, parameters=parameters
        )
        if whole_dictionary:
            prepared = replace(prepared, dictionary=dictionary)
        return prepared, _quality([read_quality(store, each, n_shards) for each in layer], prepared)

    paths = tuple(each.artifact.path for each in layer)
    key = (store.root, paths, on.key, settings.floors, settings.alignment.reads, whole_dictionary)
    return _layers.get(key, make, kept_bytes=kept_bytes)


def _half_latents(
    store: Store, layer: Layer, n_shards: int, rows: Int[np.ndarray, " chosen"]
) -> sp.csc_array:
    """The latents of a layer on the rows of one half, those of a group side by side."""
    parts = [read_rows(store, each, n_shards, rows) for each in layer]
    return sp.csc_array(parts[0] if len(parts) == 1 else sp.hstack(parts, format="csr"))


def _quality(stored: list[StoredQuality], prepared: PreparedLayer) -> LayerQuality:
    chosen = prepared.eligibility
    return LayerQuality(
        d_sae=len(chosen.alive),
        l0=sum(each.l0 for each in stored),
        fvu=sum(each.error for each in stored) / max(sum(each.variance for each in stored), 1e-300),
        fvu_high_norm=_mean(each.fvu_high_norm for each in stored),
        dead_fraction=1.0 - int(chosen.alive.sum()) / len(chosen.alive),
        loss_recovered=_mean(each.loss_recovered for each in stored),
        n_alive=int(chosen.alive.sum()),
        n_eligible=int(chosen.eligible.sum()),
        eligible_mass=chosen.mass_share,
        context_share=chosen.context_share,
    )


def _mean(values: Iterable[float | None]) -> float | None:
    """The mean of those that are known; a group of layers has several dictionaries."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _parameters(store: Store, layer: Layer) -> DictionaryParameters:
    """Encoder, biases, thresholds and decoder of a layer's dictionaries, in the basis of its model.

    Thresholds are there if all of them have some.
    """
    weights = [each.dictionary.weights(store) for each in layer]
    thresholds = [each.thresholds for each in weights if each.thresholds is not None]
    return DictionaryParameters(
        np.concatenate([each.encoder for each in weights]),
        np.concatenate([each.encoder_bias for each in weights]),
        np.concatenate([each.decoder for each in weights]),
        np.concatenate(thresholds) if len(thresholds) == len(weights) else None,
        basis=layer[0].model.key,
    )
