"""Sparse latents of one layer: which are comparable, and what is computed once per layer and side.

Work that depends on one layer (moments, spectra) is done here, once; a layer pair only finishes it
(the split of netrep's partial_fit and finalize_fit): L_a + L_b preparations, not L_a x L_b.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from jaxtyping import Complex64, Float, Int

from saeuniv.numerics.dictionary_similarity import DictionaryParameters
from saeuniv.numerics.eligibility import Eligibility as Eligibility
from saeuniv.numerics.eligibility import Floors as Floors
from saeuniv.numerics.eligibility import eligibility_of
from saeuniv.numerics.group_sums import GroupSums, group_sums
from saeuniv.numerics.peaks import peak_rows
from saeuniv.numerics.residuals import unit_residuals
from saeuniv.numerics.rows import Half, united
from saeuniv.numerics.sparse_latents import binarised, require_latents

# Spectra of a layer are kept for its next pairs where all of them fit: 256 latents on 62k rows take 64 MiB.
_KEPT_SPECTRUM_BYTES = 1 << 28


class HalfLatents:
    """Eligible latents on one half, with the sums and spectra every pair reuses."""

    def __init__(self, matrix: sp.csc_array, half: Half) -> None:
        """Keep `matrix`: rows of the half x eligible latents, non-negative, rows sorted."""
        self.matrix = matrix
        self.half = half
        self._by_row: sp.csr_array | None = None
        self._binary: HalfLatents | None = None
        self._sums: dict[str, GroupSums] = {}
        self._peaks: dict[int, Int[np.ndarray, "latents n_peaks"]] = {}
        self._spectra: dict[tuple[str, int], Complex64[np.ndarray, "latents positions frequencies"]] = {}

    @property
    def n_latents(self) -> int:
        """Eligible latents."""
        return int(self.matrix.shape[1])

    @property
    def nbytes(self) -> int:
        """Memory held, what has been computed on demand included."""
        matrices = [self.matrix] if self._by_row is None else [self.matrix, self._by_row]
        arrays = [each for matrix in matrices for each in (matrix.data, matrix.indices)]
        kept = [*arrays, *self._sums.values(), *self._peaks.values(), *self._spectra.values()]
        return sum(each.nbytes for each in kept) + (self._binary.nbytes if self._binary else 0)

    @property
    def by_row(self) -> sp.csr_array:
        """The matrix row by row, as the partner of a correlation is read."""
        if self._by_row is None:
            self._by_row = sp.csr_array(self.matrix)
        return self._by_row

    @property
    def binary(self) -> "HalfLatents":
        """1 where a latent fires: what phi and Jaccard are taken of."""
        if self._binary is None:
            self._binary = HalfLatents(sp.csc_array(binarised(self.matrix)), self.half)
        return self._binary

    @property
    def mass(self) -> Float[np.ndarray, " latents"]:
        """Sum of each latent over the rows; 0 for one that does not fire here."""
        mass = np.zeros(self.n_latents)
        mass[np.diff(self.matrix.indptr) > 0] = self.sums("none").sums
        return mass

    def chosen(self, index: Int[np.ndarray, " chosen"]) -> "HalfLatents":
        """Some of the latents, in this order."""
        return HalfLatents(sp.csc_array(self.matrix[:, index]), self.half)

    def peaks(self, n_peaks: int) -> Int[np.ndarray, "latents n_peaks"]:
        """The rows of the half on which each latent is most active, made once; see `peak_rows`."""
        if n_peaks not in self._peaks:
            self._peaks[n_peaks] = peak_rows(self.matrix, n_peaks)
        return self._peaks[n_peaks]

    def permuted(self, order: Int[np.ndarray, " rows"]) -> "HalfLatents":
        """The same latents with row t taken from row order[t]: what is left when rows are shuffled."""
        matrix = sp.csc_array(self.by_row[order])
        matrix.sort_indices()
        return HalfLatents(matrix, self.half)

    def sums(self, condition: str) -> GroupSums:
        """Sums of each latent over the rows of each group, with W_ii; sparse, made once."""
        if condition not in self._sums:
            groups = self.half.groups[condition]
            self._sums[condition] = group_sums(self.matrix, groups.ids, groups.counts)
        return self._sums[condition]

    def norms(self, condition: str) -> Float[np.ndarray, " latents"]:
        """Root of the within-group sum of squares W_ii; 0 for a latent that its group determines."""
        return self.sums(condition).norms

    def residual_spectrum(
        self, condition: str, n_sequences: int, index: Int[np.ndarray, " chosen"]
    ) -> Complex64[np.ndarray, "chosen positions frequencies"]:
        """Fourier transform along sequences of unit residual columns, over the first `n_sequences`.

        Kept for all latents where that takes at most 256 MiB. complex64 suffices: its error is 1e-6 where
        the null's standard deviation is 3e-4.
        """
        rows = n_sequences * self.half.positions
        if 4 * rows * self.n_latents > _KEPT_SPECTRUM_BYTES:
            return self._spectrum_of(condition, rows, index)
        if (condition, n_sequences) not in self._spectra:
            self._spectra[condition, n_sequences] = self._spectrum_of(
                condition, rows, np.arange(self.n_latents)
            )
        return self._spectra[condition, n_sequences][index]

    def _spectrum_of(
        self, condition: str, rows: int, index: Int[np.ndarray, " chosen"]
    ) -> Complex64[np.ndarray, "chosen positions frequencies"]:
        import scipy.fft  # .2 s, which commands that compute nothing would wait for

        dense = unit_residuals(
            self.matrix, self.half, condition, sums=self.sums(condition), index=index, rows=rows
        )
        # Sequences side by side: the transform is four times as fast as across them.
        by_position = dense.reshape(len(index), -1, self.half.positions).transpose(0, 2, 1)
        return scipy.fft.rfft(np.ascontiguousarray(by_position), axis=2)


@dataclass(frozen=True)
class PreparedLayer:
    """One layer's latents, ready for every pair it enters."""

    eligibility: Eligibility
    halves: tuple[HalfLatents, HalfLatents]
    decoder: Float[np.ndarray, "eligible d_model"] | None
    """Unit-norm decoder directions of the eligible latents, where there is a decoder; float32."""

    parameters: DictionaryParameters | None = None
    """Parameters of the eligible latents, where an alignment reads them."""
    dictionary: DictionaryParameters | None = None
    """Parameters of all latents, where a metric reads them."""

    @property
    def n_eligible(self) -> int:
        """Latents compared."""
        return self.halves[0].n_latents

    @cached_property
    def whole(self) -> HalfLatents:
        """Both halves as one, made when first asked for: as much memory again as they take."""
        both = united((self.halves[0].half, self.halves[1].half))
        first, second = (_placed(each, both) for each in self.halves)
        matrix = sp.csc_array(first + second)
        matrix.sort_indices()
        return HalfLatents(matrix, both)

    @property
    def nbytes(self) -> int:
        """Memory held by the halves, by both as one where that was asked for, and by the dictionary."""
        made = [self.whole] if "whole" in vars(self) else []
        return sum(each.nbytes for each in (*self.halves, *made, *(self.dictionary or ())[:3]))


def _placed(latents: HalfLatents, both: Half) -> sp.csc_array:
    """The latents of a half on the rows of both."""
    matrix = latents.matrix
    rows = np.searchsorted(both.rows, latents.half.rows).astype(matrix.indices.dtype)
    placed = (matrix.data, rows[matrix.indices], matrix.indptr)
    return sp.csc_array(placed, shape=(len(both.rows), latents.n_latents))


def prepare_layer(
    latents: sp.csr_array,
    halves: tuple[Half, Half],
    *,
    floors: Floors,
    decoder: Float[np.ndarray, "latents d_model"] | None = None,
    parameters: DictionaryParameters | None = None,
) -> PreparedLayer:
    """Eligible latents of one layer on both halves; their group sums and spectra follow on demand.

    Args:
        latents: `rows x latents`, non-negative (an SAE's activations); float32 is kept as it is.
        halves: the two halves of these rows, with condition `token`.
        floors: eligibility floors; the set of condition `token` serves all conditions, so that all
            numbers of a table compare the same latents.
        decoder: decoder directions; normalised here, since saved ones are not of unit norm.
        parameters: of the dictionary, for alignments that read them.

    Raises:
        ValueError: a negative or non-finite latent, or a decoder of another width.
    """
    require_latents(latents, name="latents", layout="csr")
    first, second = (sp.csc_array(latents[half.rows]) for half in halves)
    return prepare_halves((first, second), halves, floors=floors, decoder=decoder, parameters=parameters)


def prepare_halves(
    split: tuple[sp.csc_array, sp.csc_array],
    halves: tuple[Half, Half],
    *,
    floors: Floors,
    decoder: Float[np.ndarray, "latents d_model"] | None = None,
    parameters: DictionaryParameters | None = None,
) -> PreparedLayer:
    """As `prepare_layer`, from the latents of each half, which are tidied in place.

    For layers whose copies must not add up in memory. Raises as `prepare_layer` does.
    """
    for name, rows in (("decoder", decoder), ("parameters", parameters and parameters.decoder)):
        if rows is not None and len(rows) != (width := split[0].shape[1]):
            raise ValueError(f"{name}: expected {width} rows, one a latent, got {len(rows)}.")
    for matrix in split:
        matrix.eliminate_zeros()
        matrix.sort_indices()
    eligibility = eligibility_of(split, halves, floors)
    chosen = np.flatnonzero(eligibility.eligible)
    first, second = (
        HalfLatents(sp.csc_array(matrix[:, chosen]), half) for matrix, half in zip(split, halves, strict=True)
    )
    if decoder is not None:
        decoder = decoder[chosen].astype(np.float32)
        lengths = np.linalg.norm(decoder, axis=1, keepdims=True)
        decoder = decoder / np.where(lengths > 0, lengths, 1.0)
    return PreparedLayer(eligibility, (first, second), decoder, parameters and parameters.chosen(chosen))
