"""Which engine searches correlations on a device."""

import numpy as np
import scipy.sparse as sp

from saeuniv.numerics.candidates import Candidates
from saeuniv.numerics.correlation import CandidateSearch, Evidence, candidates
from saeuniv.numerics.latents import HalfLatents

# Tokens that are densified at once, and memory of the device for them and for a block of correlations.
_ROWS_PER_CHUNK = 8192
_DEVICE_BYTES = 16 << 30


def search_on(device: str) -> CandidateSearch:
    """The search of candidates on `device`: the sparse kernel for cpu, dense products for a GPU.

    Within groups, and for jaccard, every device is served by the kernel.
    """
    if device == "cpu":
        return candidates

    def search(
        a: HalfLatents, b: HalfLatents, evidence: Evidence, *, top_m: int, shift: int = 0
    ) -> Candidates:
        if evidence.condition != "none" or evidence.kind == "jaccard":
            return candidates(a, b, evidence, top_m=top_m, shift=shift)
        from saeuniv.adapters.dense_correlation import top_correlations_dense

        if evidence.kind == "phi":
            a, b = a.binary, b.binary
        by_row = b.by_row
        if shift:
            rows = np.roll(np.arange(by_row.shape[0]), -shift * a.half.positions)
            by_row = sp.csr_array(by_row[rows])
        return top_correlations_dense(
            a.by_row,
            by_row,
            top_m=top_m,
            device=device,
            rows_per_chunk=_ROWS_PER_CHUNK,
            max_bytes=_DEVICE_BYTES,
        )

    return search
