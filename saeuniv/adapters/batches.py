"""Batches that become smaller where the device's memory is."""

import gc
import logging
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from saeuniv.adapters.devices import free_memory

_log = logging.getLogger(__name__)

Made = TypeVar("Made")


class Batches:
    """How many sequences of a model fit at once, as far as is known."""

    def __init__(self) -> None:
        self.limit: int | None = None
        """Sequences in a batch; None until one did not fit."""

    def of(self, n_sequences: int, size: int, work: Callable[[slice], Made]) -> Iterator[Made]:
        """What `work` makes of each batch of at most `size` sequences, in order.

        Where memory does not suffice the batch is halved and done again, and so are all that follow.

        Raises:
            ValueError: a single sequence does not fit.
        """
        start = 0
        while start < n_sequences:
            batch = slice(start, min(start + min(size, self.limit or size), n_sequences))
            try:
                made = work(batch)
            except torch.OutOfMemoryError as error:
                self._halve(batch.stop - batch.start, error)
            else:
                yield made
                start = batch.stop
                continue
            # Beyond the except block, whose traceback holds on to the tensors of the attempt.
            gc.collect()
            free_memory()

    def _halve(self, n_sequences: int, error: torch.OutOfMemoryError) -> None:
        if n_sequences == 1:
            raise ValueError(
                f"expected memory for one sequence, got too little on this device ({error}). Choose "
                f"a.dtype=bfloat16, fewer layers at once, a smaller data.context_length, "
                f"resources.n_devices=2, or resources.device=cpu."
            ) from error
        self.limit = n_sequences // 2
        _log.warning(
            "latents: %d sequences do not fit in the device's memory; going on with %d at a time "
            "(resources.encode_batch_sequences)",
            n_sequences,
            self.limit,
        )
