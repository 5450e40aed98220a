"""A model with its dictionaries, loaded, that encodes and publishes latents shard by shard."""

import logging
import time
from collections.abc import Sequence

import numpy as np

from saeuniv.config import LatentKind
from saeuniv.hookpoints import Hookpoint
from saeuniv.stages.latents import ShardQuality, save_shard
from saeuniv.stages.task import LatentsReference, ModelReference
from saeuniv.stages.tokens import HeldOut
from saeuniv.store import Artifact, Store

_log = logging.getLogger(__name__)

# Sequences on which a dictionary's fit to its hookpoint is checked before anything is encoded.
_CHECKED_SEQUENCES = 64
# Of these, those on which the loss with the reconstruction spliced in is measured.
_SPLICED_SEQUENCES = 32

Place = tuple[Hookpoint, Artifact]
"""Where a dictionary is given activations, and the latents that it makes of them."""


class ShardEncoder:
    """Encodes sequences by the dictionaries of one model, which read latents in one way."""

    def __init__(
        self,
        store: Store,
        model: ModelReference,
        latents: Sequence[LatentsReference],
        held_out: HeldOut,
        *,
        device: str,
        batch_sequences: int,
    ) -> None:
        """Load all, and check every dictionary on its own input.

        Those that are given another activation on purpose are not checked.

        Raises:
            ValueError: a dictionary leaves more of its input unexplained than allowed (RefusedDictionary).
        """
        from saeuniv.adapters.language_model import load_language_model
        from saeuniv.adapters.quality import HIGH_NORM, row_norms

        self._store, self._batch_sequences = store, batch_sequences
        self._model = load_language_model(
            model.locate(store),
            revision=model.revision,
            device=device,
            dtype=model.dtype,
            backend=model.backend,
        )
        used, given_on = [each.dictionary for each in latents], str(self._model.given_on)
        self._dictionaries = {each.given: each.load(store, device=given_on) for each in used}
        # Half of all pre-activations are positive: a layer of them in memory is enough.
        self._is_dense = any(each.sae.latent_kind is LatentKind.pre_acts for each in used)
        step = max(len(held_out.ids) // _CHECKED_SEQUENCES, 1)
        self._checked = held_out.part(slice(None, _CHECKED_SEQUENCES * step, step))
        if not any(each.sae.hidden_state_off_by_one for each in used):
            self._check(min(each.sae.max_fvu for each in used), model.label)
        norms = row_norms(self._model, *self._checked.read)
        self._bound = HIGH_NORM * float(np.median(norms))

    def encode(self, held_out: HeldOut, cut: slice, missing: Sequence[Place], *, shard: int) -> None:
        """Encode these sequences and publish them as the shard of this number."""
        sequences = held_out.part(cut)
        for some in [[each] for each in missing] if self._is_dense else [missing]:
            self._encode(sequences, some, shard)

    def _check(self, max_fvu: float, label: str) -> None:
        from saeuniv.adapters.dictionary import check_fvu

        read = self._checked.read
        for warning in check_fvu(self._model, self._dictionaries, *read, max_fvu=max_fvu, label=label):
            _log.warning(warning)

    def _encode(self, sequences: HeldOut, missing: Sequence[Place], shard: int) -> None:
        from saeuniv.adapters.quality import encode_rows, splicing_losses

        started = time.monotonic()
        wanted = {hookpoint: self._dictionaries[hookpoint] for hookpoint, _ in missing}
        encoded = encode_rows(
            self._model,
            wanted,
            *sequences.read,
            bound=self._bound,
            batch_sequences=self._batch_sequences,
        )
        # Of the model on the whole token set: kept with the first shard.
        looked_at = self._checked.part(slice(_SPLICED_SEQUENCES))
        losses = splicing_losses(self._model, wanted, *looked_at.read) if shard == 0 else {}
        share = (time.monotonic() - started) / len(missing)
        for hookpoint, output in missing:
            each = encoded[hookpoint]
            quality = ShardQuality(each.fit, each.fit_high_norm, each.high_norm, losses.get(hookpoint))
            with self._store.publish(output, seconds=share) as folder:
                save_shard(folder, each.parts, quality, wanted[hookpoint].width)
