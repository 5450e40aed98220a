"""Layers and rows as the layer pairs need them, made once a process and kept within a bound of memory."""

from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import scipy.sparse as sp
from safetensors import safe_open

from saeuniv.compare import CompareSettings
from saeuniv.metrics.layer_pair import Draws, DrawSettings, make_draws
from saeuniv.numerics.dictionary_similarity import DictionaryParameters
from saeuniv.numerics.latents import PreparedLayer, prepare_layer
from saeuniv.numerics.rows import Half, make_halves
from saeuniv.stages.latents import read_latents, shard_cuts
from saeuniv.stages.scores import LayerQuality
from saeuniv.stages.task import LatentsReference
from saeuniv.stages.tokens import read_held_out
from saeuniv.store import Artifact, Store

Layer = tuple[LatentsReference, ...]
"""A layer, or a group of layers read as one."""


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


@lru_cache(maxsize=1)
def rows_of(
    store: Store, tokens: Artifact, skip_first: int, settings: DrawSettings
) -> tuple[tuple[Half, Half], Draws]:
    """The halves of a token set and the draws that all layer pairs on it share."""
    held_out = read_held_out(store, tokens)
    positions = held_out.ids.shape[1] - skip_first
    documents = np.repeat(held_out.documents, positions)
    halves = make_halves(documents, held_out.groups(skip_first), positions=positions)
    return halves, make_draws(halves, settings)


def prepared_layer(
    store: Store,
    layer: Layer,
    halves: tuple[Half, Half],
    skip_first: int,
    settings: CompareSettings,
    *,
    kept_bytes: int,
) -> tuple[PreparedLayer, LayerQuality]:
    """A layer's eligible latents, ready for every pair, and what is known of it.

    A layer of 256 latents on 124k rows holds 0.2 GiB with its spectra, of 32k latents on a million rows at
    32 active latents 0.5 GiB (8 bytes an entry, twice where it serves as B) and no spectra.
    """

    def make() -> tuple[PreparedLayer, LayerQuality]:
        held_out = read_held_out(store, layer[0].tokens)
        n_shards = len(shard_cuts(held_out.documents, held_out.ids.shape[1] - skip_first))
        parts = [read_latents(store, each, n_shards) for each in layer]
        latents = sp.csr_array(sp.hstack([part.latents for part in parts], format="csr"))
        decoder = np.concatenate([_tensor(store, each, "W_dec") for each in layer])
        parameters = _parameters(store, layer) if settings.alignment.reads == "dictionaries" else None
        prepared = prepare_layer(
            latents, halves, floors=settings.floors, decoder=decoder, parameters=parameters
        )
        chosen = prepared.eligibility
        quality = LayerQuality(
            d_sae=latents.shape[1],
            l0=sum(part.l0 for part in parts),
            fvu=sum(part.error for part in parts) / max(sum(part.variance for part in parts), 1e-300),
            n_alive=int(chosen.alive.sum()),
            n_eligible=int(chosen.eligible.sum()),
            eligible_mass=chosen.mass_share,
            context_share=chosen.context_share,
        )
        return prepared, quality

    paths = tuple(each.artifact.path for each in layer)
    key = (store.root, paths, skip_first, settings.floors, settings.alignment.reads)
    return _layers.get(key, make, kept_bytes=kept_bytes)


def _parameters(store: Store, layer: Layer) -> DictionaryParameters:
    """Encoder, biases and decoder of a layer's dictionaries; the model is the basis they are written in."""
    encoder, bias, decoder = (
        np.concatenate([_tensor(store, each, name) for each in layer])
        for name in ("encoder.weight", "encoder.bias", "W_dec")
    )
    return DictionaryParameters(encoder, bias, decoder, None, basis=layer[0].model.key)


def _tensor(store: Store, latents: LatentsReference, name: str) -> np.ndarray:
    """A tensor of a dictionary, read without loading it."""
    path = latents.dictionary.locate(store) / "sae.safetensors"
    with safe_open(path, framework="numpy") as tensors:
        return np.asarray(tensors.get_tensor(name), dtype=np.float32)
