"""Layers read from stored latents, each once for all its layer pairs, within a bound of memory."""

from collections import OrderedDict
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from saeuniv.numerics.latents import Floors, HalfLatents, prepare_layer
from saeuniv.stages.latents import read_columns, shard_cuts
from saeuniv.stages.prepared import ChosenRows, choose_rows
from saeuniv.stages.stored import StoredComparison, StoredPair
from saeuniv.stages.tokens import HeldOut, read_held_out
from saeuniv.store import Artifact


class KeptLayer(NamedTuple):
    """The latents of a layer that were compared."""

    numbers: Int[np.ndarray, " eligible"]
    """Of the latents in the dictionary; of a group of layers, numbered on."""

    columns: sp.csc_array
    """`rows x eligible`, on all rows that are stored; those compared on are among them."""

    halves: tuple[HalfLatents, HalfLatents]
    """The same on the rows compared on."""

    @property
    def nbytes(self) -> int:
        """Memory held."""
        stored = self.columns.data.nbytes + self.columns.indices.nbytes
        return stored + sum(half.nbytes for half in self.halves)

    @property
    def rates(self) -> Float[np.ndarray, " eligible"]:
        """Share of the rows compared on that each fires on."""
        first, second = self.halves
        firings = np.diff(first.matrix.indptr) + np.diff(second.matrix.indptr)
        return firings / (len(first.half.rows) + len(second.half.rows))


class KeptLayers:
    """The layers of one comparison, the ones used last kept; 16 bytes for each activation of a layer."""

    def __init__(self, stored: StoredComparison, *, kept_bytes: int) -> None:
        """Read from `stored`, and forget the layers not used for longest beyond `kept_bytes`."""
        self.stored = stored
        self._kept_bytes = kept_bytes
        self._layers: OrderedDict[object, KeptLayer] = OrderedDict()
        self._rows: dict[object, ChosenRows] = {}
        self._held_out: dict[str, HeldOut] = {}

    def of(self, pair: StoredPair) -> tuple[KeptLayer, KeptLayer]:
        """Both layers of a pair.

        Raises:
            ArtifactError: the store lacks latents, or they are damaged.
        """
        rows = self.rows(pair)
        return self._layer(pair.a, rows, pair.floors), self._layer(pair.b, rows, pair.floors)

    def rows(self, pair: StoredPair) -> ChosenRows:
        """The rows that the layers of a pair were compared on; those of all pairs of two models are equal."""
        tokens = (self.stored.tokens(pair.a), self.stored.tokens(pair.b))
        key = (*tokens, pair.rows)
        if key not in self._rows:
            self._rows[key] = choose_rows(self.stored.store, tokens, (pair.a[0], pair.b[0]), pair.rows)
        return self._rows[key]

    def held_out(self, layer: tuple[Artifact, ...]) -> HeldOut:
        """The sequences of a layer's token set."""
        tokens = self.stored.tokens(layer)
        if tokens.path not in self._held_out:
            self._held_out[tokens.path] = read_held_out(self.stored.store, tokens)
        return self._held_out[tokens.path]

    def columns(self, layer: tuple[Artifact, ...], latents: Int[np.ndarray, " latents"]) -> sp.csc_array:
        """Any latents of a layer on all stored rows, `rows x latents`; nothing is kept of them."""
        return read_columns(self.stored.store, layer, len(shard_cuts(self.held_out(layer))), latents)

    def _layer(self, layer: tuple[Artifact, ...], rows: ChosenRows, floors: Floors) -> KeptLayer:
        # Named by the object, which is kept: rows hold arrays.
        key = (tuple(each.path for each in layer), id(rows), floors)
        if key not in self._layers:
            while self._layers and sum(each.nbytes for each in self._layers.values()) > self._kept_bytes:
                self._layers.popitem(last=False)
            self._layers[key] = self._read(layer, rows, floors)
        self._layers.move_to_end(key)
        return self._layers[key]

    def _read(self, layer: tuple[Artifact, ...], rows: ChosenRows, floors: Floors) -> KeptLayer:
        n_shards = len(shard_cuts(self.held_out(layer)))
        columns = read_columns(self.stored.store, layer, n_shards)
        compared = sp.csr_array(sp.csr_array(columns)[rows.rows])
        prepared = prepare_layer(compared, rows.halves, floors=floors)
        numbers = np.flatnonzero(prepared.eligibility.eligible)
        return KeptLayer(numbers, sp.csc_array(columns[:, numbers]), prepared.halves)
