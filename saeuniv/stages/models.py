"""Models made here: the embedded models, and the counterparts of any model that have learnt nothing."""

import logging
import shutil
from dataclasses import dataclass
from typing import ClassVar

from saeuniv.config import TinyModel
from saeuniv.stages.task import ModelReference, Progress, Task
from saeuniv.stages.tokens import read_stream
from saeuniv.store import Artifact

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainTinyModel(Task):
    """Trains an embedded model, or takes its initial weights where it is to stay untrained."""

    stage: ClassVar[str] = "models"

    spec: TinyModel
    training: Artifact | None
    """The training stream; None for an untrained model."""

    @property
    def label(self) -> str:
        """The model's name."""
        return self.spec.label

    def __call__(self, progress: Progress) -> None:
        """Initialise, train (where a killed training was), save as an ordinary Hugging Face folder."""
        from saeuniv.adapters import tiny

        (output,) = self.outputs
        checkpoint = self.store.checkpoint(self.key)
        with self.store.publish(output) as folder:
            model = tiny.initial_model(self.spec)
            if self.training is not None:
                stream = read_stream(self.store, self.training)
                tiny.train_model(model, stream, self.spec, progress, checkpoint=checkpoint)
            tiny.save(model, folder)
        shutil.rmtree(checkpoint, ignore_errors=True)
        _log.info("models: %s ready", self.label)


@dataclass(frozen=True)
class TakeInitialWeights(Task):
    """The untrained counterpart of a folder or hub model: its configuration with fresh weights."""

    stage: ClassVar[str] = "models"

    name: str
    folder: str
    revision: str | None
    seed: int

    @property
    def label(self) -> str:
        """The counterpart's name."""
        return self.name

    def __call__(self, progress: Progress) -> None:
        """Initialise and save."""
        from saeuniv.adapters.model_folders import save_initial_weights

        (output,) = self.outputs
        with self.store.publish(output) as folder:
            save_initial_weights(self.folder, folder, seed=self.seed, revision=self.revision)
        progress(1, 1)
        _log.info("models: %s ready", self.label)


@dataclass(frozen=True)
class Rerandomize(Task):
    """A model whose trained weights are drawn anew with their mean and spread."""

    stage: ClassVar[str] = "models"

    name: str
    original: ModelReference
    keep_embeddings: bool
    seed: int

    @property
    def label(self) -> str:
        """The counterpart's name."""
        return self.name

    def __call__(self, progress: Progress) -> None:
        """Load the trained model, draw, save."""
        from saeuniv.adapters.randomize import save_rerandomized

        (output,) = self.outputs
        with self.store.publish(output) as folder:
            save_rerandomized(
                self.original.locate(self.store),
                folder,
                seed=self.seed,
                keep_embeddings=self.keep_embeddings,
                revision=self.original.revision,
            )
        progress(1, 1)
        _log.info("models: %s ready", self.label)
