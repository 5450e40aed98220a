"""Sparse latents of one layer: which are comparable, and what is computed once per layer and side.

Work that depends on one layer (moments, spectra) is done here, once; a layer pair only finishes it
(the split of netrep's partial_fit and finalize_fit): L_a + L_b preparations, not L_a x L_b.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.fft
import scipy.sparse as sp
from jaxtyping import Bool, Complex64, Float

from saeuniv.numerics.rows import Half


class Floors(NamedTuple):
    """What a latent must reach in EACH half to be compared (docs/statistics.md B)."""

    min_firings: int
    """Firings inside token types seen at least twice."""

    max_rate: float
    """Firing rate at most."""

    min_within_share: float
    """Share of the latent's variance within token types, at least."""


class Eligibility(NamedTuple):
    """The latents compared, and what share of the dictionary they are."""

    eligible: Bool[np.ndarray, " latents"]
    """Passes every floor in both halves."""

    alive: Bool[np.ndarray, " latents"]
    """Fires at all."""

    mass_share: float
    """Share of the activation mass that lies on eligible latents, 0..1."""

    context_share: float | None
    """Mean over eligible latents of within-type variance / variance; None without eligible latents."""


class HalfLatents:
    """Eligible latents on one half, with the moments and spectra every pair reuses."""

    def __init__(self, matrix: sp.csc_array, half: Half) -> None:
        """Keep `matrix` (rows of the half x eligible latents, float64, non-negative)."""
        self.matrix = matrix
        self.half = half
        self._sums: dict[str, Float[np.ndarray, "groups latents"]] = {}
        self._norms: dict[str, Float[np.ndarray, " latents"]] = {}
        self._spectra: dict[tuple[str, int], Complex64[np.ndarray, "latents frequencies positions"]] = {}
        self._document_squares: dict[str, Float[np.ndarray, "documents latents"]] = {}

    @property
    def n_latents(self) -> int:
        """Eligible latents."""
        return int(self.matrix.shape[1])

    @property
    def nbytes(self) -> int:
        """Memory held, what has been computed on demand included."""
        kept = [*self._sums.values(), *self._spectra.values(), *self._document_squares.values()]
        return sum(each.nbytes for each in (self.matrix.data, self.matrix.indices, *kept))

    def sums(self, condition: str) -> Float[np.ndarray, "groups latents"]:
        """Sum of each latent over the rows of each group."""
        if condition not in self._sums:
            self._sums[condition] = group_sums(self.matrix, self.half, condition)
        return self._sums[condition]

    def means(self, condition: str) -> Float[np.ndarray, "groups latents"]:
        """Mean of each latent over the rows of each group."""
        return self.sums(condition) / self.half.groups[condition].counts[:, None]

    def norms(self, condition: str) -> Float[np.ndarray, " latents"]:
        """Root of the within-group sum of squares W_ii; 0 for a latent that its group determines."""
        if condition not in self._norms:
            sums, counts = self.sums(condition), self.half.groups[condition].counts
            squares = np.asarray(self.matrix.multiply(self.matrix).sum(axis=0)).ravel()
            within = squares - (sums * sums / counts[:, None]).sum(axis=0)
            # Rounding of the difference leaves about 1e-13 of the total where the truth is zero.
            self._norms[condition] = np.sqrt(np.where(within > 1e-12 * squares, within, 0.0))
        return self._norms[condition]

    def residual_spectrum(
        self, condition: str, n_sequences: int
    ) -> Complex64[np.ndarray, "latents frequencies positions"]:
        """Fourier transform along sequences of the unit residual columns of the first `n_sequences`.

        complex64 suffices: its error is 1e-6 where the null's standard deviation is 3e-4.
        """
        if (condition, n_sequences) not in self._spectra:
            groups, norms = self.half.groups[condition], self.norms(condition)
            rows = n_sequences * self.half.positions
            dense = self.matrix[:rows].toarray() - self.means(condition)[groups.ids[:rows]]
            dense *= np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
            self._spectra[condition, n_sequences] = sequence_spectrum(dense, self.half.positions)
        return self._spectra[condition, n_sequences]

    def spectrum(self) -> Complex64[np.ndarray, "latents frequencies positions"]:
        """Fourier transform along sequences of the latents themselves."""
        if ("", 0) not in self._spectra:
            self._spectra["", 0] = sequence_spectrum(self.matrix.toarray(), self.half.positions)
        return self._spectra["", 0]

    def document_squares(self, condition: str) -> Float[np.ndarray, "documents latents"]:
        """Sum of squared residuals of each latent over each document; adds up to `norms ** 2`."""
        if condition not in self._document_squares:
            sums, means = self.document_group_products(condition)
            squares = by_document(sp.csc_array(self.matrix.multiply(self.matrix)), self.half)
            counts = self.half.counts_by_document(condition)
            self._document_squares[condition] = squares - 2 * sums + counts @ (means * means)
        return self._document_squares[condition]

    def document_group_products(
        self, condition: str
    ) -> tuple[Float[np.ndarray, "documents latents"], Float[np.ndarray, "groups latents"]]:
        """Sums over each document of the latent times its own group mean, and these means."""
        means = self.means(condition)
        weighted = self.matrix.copy()
        columns = np.repeat(np.arange(self.n_latents), np.diff(weighted.indptr))
        weighted.data = weighted.data * means[self.half.groups[condition].ids[weighted.indices], columns]
        return by_document(weighted, self.half), means


@dataclass(frozen=True)
class PreparedLayer:
    """One layer's latents, ready for every pair it enters."""

    eligibility: Eligibility
    halves: tuple[HalfLatents, HalfLatents]
    decoder: Float[np.ndarray, "eligible d_model"] | None
    """Unit-norm decoder directions of the eligible latents, where there is a decoder."""

    @property
    def n_eligible(self) -> int:
        """Latents compared."""
        return self.halves[0].n_latents

    @property
    def nbytes(self) -> int:
        """Memory held by both halves."""
        return sum(half.nbytes for half in self.halves)


def prepare_layer(
    latents: sp.csr_array,
    halves: tuple[Half, Half],
    *,
    floors: Floors,
    decoder: Float[np.ndarray, "latents d_model"] | None = None,
) -> PreparedLayer:
    """Eligible latents of one layer on both halves; their group sums and spectra follow on demand.

    Args:
        latents: `rows x latents`, non-negative (an SAE's activations).
        halves: the two halves of these rows, with condition `token`.
        floors: eligibility floors; the set of condition `token` serves all conditions, so that all
            numbers of a table compare the same latents.
        decoder: decoder directions; normalised here, since saved ones are not of unit norm.

    Raises:
        ValueError: a negative or non-finite latent, or a decoder of another width.
    """
    if latents.nnz and not (np.isfinite(latents.data).all() and latents.data.min() >= 0):
        raise ValueError(
            "latents: expected finite non-negative activations, got a negative or non-finite one."
        )
    if decoder is not None and len(decoder) != latents.shape[1]:
        raise ValueError(f"decoder: expected {latents.shape[1]} rows, one a latent, got {len(decoder)}.")
    split = [sp.csc_array(latents[half.rows]).astype(np.float64) for half in halves]
    for matrix in split:
        matrix.eliminate_zeros()
    eligibility = _eligibility(split, halves, floors)
    first, second = (
        HalfLatents(sp.csc_array(matrix[:, np.flatnonzero(eligibility.eligible)]), half)
        for matrix, half in zip(split, halves, strict=True)
    )
    if decoder is not None:
        decoder = decoder[eligibility.eligible].astype(np.float64)
        lengths = np.linalg.norm(decoder, axis=1, keepdims=True)
        decoder = decoder / np.where(lengths > 0, lengths, 1.0)
    return PreparedLayer(eligibility, (first, second), decoder)


def group_sums(matrix: sp.csc_array, half: Half, condition: str) -> Float[np.ndarray, "groups latents"]:
    """Sum of each latent over the rows of each group, float64."""
    groups = half.groups[condition]
    return _bin_rows(matrix, groups.ids, len(groups.counts))


def by_document(matrix: sp.csc_array, half: Half) -> Float[np.ndarray, "documents columns"]:
    """Sum of each column over the rows of each document."""
    return _bin_rows(matrix, half.documents, len(half.rows_per_document))


def sequence_spectrum(
    dense: Float[np.ndarray, "rows latents"], positions: int
) -> Complex64[np.ndarray, "latents frequencies positions"]:
    """Real Fourier transform along the sequence axis, one contiguous block a latent."""
    by_latent = np.ascontiguousarray(dense.T, dtype=np.float32).reshape(dense.shape[1], -1, positions)
    return scipy.fft.rfft(by_latent, axis=1)


def _bin_rows(matrix: sp.csc_array, bins: np.ndarray, n_bins: int) -> Float[np.ndarray, "bins columns"]:
    n_columns = int(matrix.shape[1])
    columns = np.repeat(np.arange(n_columns), np.diff(matrix.indptr))
    flat = bins[matrix.indices] * n_columns + columns
    return np.bincount(flat, weights=matrix.data, minlength=n_bins * n_columns).reshape(n_bins, n_columns)


def _eligibility(split: list[sp.csc_array], halves: tuple[Half, Half], floors: Floors) -> Eligibility:
    eligible = np.ones(split[0].shape[1], bool)
    within_total, variance_total = np.zeros((2, len(eligible)))
    for matrix, half in zip(split, halves, strict=True):
        groups = half.groups["token"]
        n_rows = len(half.rows)
        repeated = groups.counts[groups.ids] >= 2
        columns = np.repeat(np.arange(len(eligible)), np.diff(matrix.indptr))
        firings = np.bincount(columns[repeated[matrix.indices]], minlength=len(eligible))
        everything = HalfLatents(matrix, half)
        within, variance = everything.norms("token") ** 2, everything.norms("none") ** 2
        eligible &= (firings >= floors.min_firings) & (np.diff(matrix.indptr) <= floors.max_rate * n_rows)
        eligible &= within >= floors.min_within_share * np.maximum(variance, 1e-300)
        within_total += within
        variance_total += variance
    mass = np.add(*(np.asarray(matrix.sum(axis=0)).ravel() for matrix in split))
    shares = within_total[eligible] / variance_total[eligible]
    return Eligibility(
        eligible=eligible,
        alive=mass > 0,
        mass_share=float(np.sum(mass[eligible]) / max(float(np.sum(mass)), 1e-300)),
        context_share=float(shares.mean()) if eligible.any() else None,
    )
