"""Candidates by dense products on one device: the engine for a GPU, in plain torch.

Tokens come in chunks, which are densified, standardised and added up by `addmm_` into a block of the
correlation matrix: latents of A as the memory allows, with all latents of B. Each block gives its largest
entries both ways. What is kept of it is evaluated again from the sparse latents in float64, so that the
device's rounding decides only who is looked at, not what is reported.

Error of the dense pass: below 5e-6 in fp32, below 1e-3 in TF32, whose inputs have 10 bits of mantissa (its
rounding, emulated: 2e-4 on lognormal values, 8e-4 on latents that are 0 or 1). Latents are centred before
they are rounded: a latent that is always on, of mean 10 (100) standard deviations, then errs by 3e-5;
uncentred by 2e-3 (.2).
For sparse latents it makes no difference.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float32, Int

from saeuniv.numerics.candidates import Candidates
from saeuniv.numerics.sparse_latents import Moments, moments, require_latents, require_same_rows
from saeuniv.numerics.sparse_pairs import largest_exact

if TYPE_CHECKING:
    import torch

SLACK = 16
"""Partners beyond `top_m` that the dense pass hands to the exact one."""

_FLOAT_BYTES = 4
_KEPT_BYTES = 12
"""A value and an int64 index of each partner kept on the device"""


def top_correlations_dense(
    a: sp.csr_array, b: sp.csr_array, *, top_m: int, device: str, rows_per_chunk: int, max_bytes: int
) -> Candidates:
    """The `top_m` largest Pearson correlations of every latent of A and of B, negative ones included.

    As the sparse kernel: ties in ascending order of the partner; a latent without variance has no partner
    and is nobody's. Similarities are float64 and exact to about 1e-12. Partners are those of the exact
    correlations, except where more than `SLACK` others come within the dense pass's error (see above) of a
    latent's m-th largest: then one of these near-ties may stand for another, with its own exact r.
    The same on every device but for such near-ties.

    Cost: 2 rows n_a n_b flop on the device, and both sides' entries over the partners looked at in float64.

    Args:
        a: latents of A, non-negative, tokens in rows.
        b: latents of B on the same rows.
        top_m: partners kept of each latent.
        device: `cuda`, `cuda:1` or `cpu`. TF32 on CUDA, fp32 on the CPU.
        rows_per_chunk: tokens densified at once.
        max_bytes: memory on the device; A's latents are split into blocks that fit it.

    Raises:
        ValueError: unequal rows, negative or non-finite latents, indices that do not ascend, counts below
            1, a device that is not there, or memory that does not hold one latent of A beside a chunk of B.
    """
    for name, count in (("top_m", top_m), ("rows_per_chunk", rows_per_chunk)):
        if count < 1:
            raise ValueError(f"{name}={count}: expected at least 1, got {count}.")
    rows = require_same_rows(a, b)
    moments_a, moments_b = (_moments(matrix, name) for name, matrix in (("a", a), ("b", b)))
    place = _device(device)
    kept = top_m + SLACK
    width = block_width(
        a.shape[1], b.shape[1], kept=kept, rows_per_chunk=min(rows_per_chunk, rows), max_bytes=max_bytes
    )
    # Rounded here, to nearest: what hardware does with the bits that TF32 lacks differs.
    rounds = place.type == "cuda"
    sides = _side(a, moments_a, rounded=rounds), _side(b, moments_b, rounded=rounds)
    with _tf32_allowed():
        partners_a, partners_b = _partners(*sides, kept=kept, width=width, chunk=rows_per_chunk, device=place)
    columns_a, columns_b = sp.csc_array(a), sp.csc_array(b)
    return Candidates(
        *largest_exact(columns_a, columns_b, moments_a, moments_b, partners_a, top_m=top_m),
        *largest_exact(columns_b, columns_a, moments_b, moments_a, partners_b, top_m=top_m),
    )


def block_width(n_a: int, n_b: int, *, kept: int, rows_per_chunk: int, max_bytes: int) -> int:
    """How many latents of A are correlated at once, 1..n_a.

    A latent of A takes a row of the accumulator and a column of the chunk; B's chunk, as much again for
    searching the accumulator in strips, and the partners kept do not depend on it.

    Raises:
        ValueError: not even one fits.
    """
    fixed = 2 * _FLOAT_BYTES * rows_per_chunk * n_b + _KEPT_BYTES * kept * (n_a + 3 * n_b)
    each = _FLOAT_BYTES * (n_b + rows_per_chunk)
    if max_bytes < fixed + each:
        raise ValueError(
            f"max_bytes={max_bytes}: expected at least {fixed + each} for one latent of A beside "
            f"{rows_per_chunk} rows of {n_b} latents of B. Raise it or lower rows_per_chunk."
        )
    return max(1, min(n_a, (max_bytes - fixed) // each))


def tf32(values: Float32[np.ndarray, " entries"]) -> Float32[np.ndarray, " entries"]:
    """Values rounded to the nearest number with TF32's 10 bits of mantissa; relative error at most 2^-11."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    return ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)


class _Side(NamedTuple):
    """Latents of one model, standardised: columns of mean 0 and norm 1."""

    matrix: sp.csr_array
    """The entries, float32"""

    background: Float32[np.ndarray, " latents"]
    """What an entry that is not stored is: -mean / norm"""

    defined: Bool[np.ndarray, " latents"]
    """Whether the latent has variance"""


def _moments(matrix: sp.csr_array, name: str) -> Moments:
    arrays = require_latents(matrix, name=name, layout="csr")
    return moments(arrays, layout="csr", n_rows=matrix.shape[0], n_latents=matrix.shape[1])


def _side(matrix: sp.csr_array, found: Moments, *, rounded: bool) -> _Side:
    norms = np.sqrt(found.centred)
    scale = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    standard = (matrix.data - found.means[matrix.indices]) * scale[matrix.indices]
    values, background = standard.astype(np.float32), (-found.means * scale).astype(np.float32)
    if rounded:
        values, background = tf32(values), tf32(background)
    entries = sp.csr_array((values, matrix.indices, matrix.indptr), shape=matrix.shape)
    return _Side(entries, background, norms > 0)


def _partners(
    a: _Side, b: _Side, *, kept: int, width: int, chunk: int, device: "torch.device"
) -> tuple[Int[np.ndarray, "latents_a found_b"], Int[np.ndarray, "latents_b found_a"]]:
    """The `kept` most correlated latents both ways, unordered; those without variance are not left out."""
    import torch

    n_a, n_b = a.matrix.shape[1], b.matrix.shape[1]
    of_a = np.empty((n_a, min(kept, n_b)), np.int64)
    values_b = torch.empty((n_b, 0), device=device)
    index_b = torch.empty((n_b, 0), dtype=torch.int64, device=device)
    for start in range(0, n_a, width):
        stop = min(start + width, n_a)
        block = _block(a, b, slice(start, stop), chunk=chunk, device=device)
        of_a[start:stop] = _largest(block, kept, chunk)[1].cpu().numpy()
        values, index = _largest(block.T, kept, chunk)
        values, index = torch.cat([values_b, values], 1), torch.cat([index_b, index + start], 1)
        values_b, order = values.topk(min(kept, values.shape[1]), dim=1)
        index_b = index.gather(1, order)
    return of_a, index_b.cpu().numpy()


def _block(a: _Side, b: _Side, columns: slice, *, chunk: int, device: "torch.device") -> "torch.Tensor":
    """Correlations of some latents of A with all of B, -inf where a latent has no variance."""
    import torch

    part = a._replace(matrix=a.matrix[:, columns], background=a.background[columns])
    total = torch.zeros((part.matrix.shape[1], b.matrix.shape[1]), device=device)
    for start in range(0, a.matrix.shape[0], chunk):
        rows = slice(start, start + chunk)
        total.addmm_(_densified(part, rows, device).T, _densified(b, rows, device))
    total[torch.from_numpy(~a.defined[columns]).to(device)] = -torch.inf
    total[:, torch.from_numpy(~b.defined).to(device)] = -torch.inf
    return total


def _densified(side: _Side, rows: slice, device: "torch.device") -> "torch.Tensor":
    import torch

    indptr = side.matrix.indptr[rows.start : rows.stop + 1]
    entries = slice(int(indptr[0]), int(indptr[-1]))
    row = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    flat = row * side.matrix.shape[1] + side.matrix.indices[entries]
    dense = torch.from_numpy(side.background).to(device).repeat(len(indptr) - 1, 1)
    values = torch.from_numpy(side.matrix.data[entries]).to(device)
    dense.view(-1)[torch.from_numpy(flat).to(device)] = values
    return dense


def _largest(block: "torch.Tensor", kept: int, strip: int) -> "tuple[torch.Tensor, torch.Tensor]":
    """The largest entries of each row and where they are, strip by strip to bound what is copied."""
    import torch

    found = [part.contiguous().topk(min(kept, part.shape[1]), dim=1) for part in block.split(max(strip, 1))]
    return torch.cat([each.values for each in found]), torch.cat([each.indices for each in found])


@contextmanager
def _tf32_allowed() -> Generator[None]:
    """TF32 for the products inside; what was set before is set again."""
    import torch

    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    matmul.allow_tf32 = True
    try:
        yield
    finally:
        matmul.allow_tf32 = before


def _device(name: str) -> "torch.device":
    import torch

    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device={name}: expected cuda, cuda:<number> or cpu, got {name!r}.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={name}: this torch sees no GPU; choose device=cpu.")
    return device
