"""Dictionaries trained here: one training run makes those of all hookpoints of a model."""

import logging
import shutil
import time
from dataclasses import dataclass
from typing import ClassVar

from saeuniv.config import TrainedSae
from saeuniv.stages.task import DictionaryReference, ModelReference, Progress, Task
from saeuniv.stages.tokens import read_stream
from saeuniv.store import Artifact

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainDictionaries(Task):
    """Trains the dictionaries of one model that are missing, in one pass over the training stream."""

    stage: ClassVar[str] = "dictionaries"

    model: ModelReference
    training: Artifact
    sae: TrainedSae
    dictionaries: tuple[DictionaryReference, ...]
    seed: int
    context_length: int

    @property
    def label(self) -> str:
        """The model and how many of its hookpoints."""
        return f"{self.model.label} x {len(self.dictionaries)}"

    def __call__(self, progress: Progress) -> None:
        """Train beside the store, then publish each dictionary alone."""
        from saeuniv.adapters.training import train_dictionaries

        missing = {
            each.hookpoint: each.artifact
            for each in self.dictionaries
            if each.artifact and not self.store.exists(each.artifact)
        }
        if not missing:
            return
        started = time.monotonic()
        with self.store.scratch() as scratch:
            train_dictionaries(
                self.model.locate(self.store),
                read_stream(self.store, self.training),
                tuple(missing),
                self.sae,
                width=self.dictionaries[0].width,
                seed=self.seed,
                context_length=self.context_length,
                out=scratch,
                progress=progress,
                revision=self.model.revision,
            )
            share = (time.monotonic() - started) / len(missing)
            for hookpoint, output in missing.items():
                with self.store.publish(output, seconds=share) as folder:
                    trained = scratch / hookpoint.sparsify(self.model.architecture)
                    for file in sorted(trained.iterdir()):
                        shutil.copyfile(file, folder / file.name)
        _log.info("dictionaries: %s trained", self.label)
