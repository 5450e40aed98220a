"""Dictionaries trained here: one training run makes those of all hookpoints of a model."""

import logging
import shutil
import time
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from saeuniv.config import Bos, TrainedSae, canonical_json, plain
from saeuniv.stages.task import DictionaryReference, ModelReference, Progress, Task
from saeuniv.stages.tokens import read_stream, template_begins
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
    bos: Bos = Bos.auto
    """What each sequence begins with, as those do that are compared on."""

    device: str = "cpu"
    """Where it is trained, in float32 anywhere; in no key."""

    @property
    def label(self) -> str:
        """The model and how many of its hookpoints."""
        return f"{self.model.label} x {len(self.dictionaries)}"

    @property
    def group(self) -> Hashable:
        """One training run makes the dictionaries of all hookpoints: the model, the text and the trainer."""
        recipe = (canonical_json(plain(self.sae)), self.dictionaries[0].width, self.seed)
        sequences = (self.training.path, self.context_length, self.bos.value)
        return (self.stage, self.model.key, *sequences, recipe)

    @property
    def n_gpus(self) -> int:
        """One, or none on the CPU."""
        return int(self.device.startswith("cuda"))

    def on_gpus(self, numbers: Sequence[int]) -> "TrainDictionaries":
        """On this GPU."""
        return replace(self, device=f"cuda:{numbers[0]}")

    def united(self, other: Any) -> "TrainDictionaries":
        """The dictionaries of both."""
        return self._training({each.key: each for each in (*self.dictionaries, *other.dictionaries)}.values())

    def without(self, paths: Collection[str]) -> "TrainDictionaries | None":
        """Less the dictionaries with these paths."""
        kept = [each for each in self.dictionaries if each.artifact and each.artifact.path not in paths]
        return self._training(kept) if kept else None

    def _training(self, dictionaries: Iterable[DictionaryReference]) -> "TrainDictionaries":
        chosen = tuple(sorted(dictionaries, key=lambda each: each.hookpoint.layer))
        outputs = tuple(each.artifact for each in chosen if each.artifact)
        return replace(self, dictionaries=chosen, outputs=outputs)

    def __call__(self, progress: Progress) -> None:
        """Train beside the store, then publish each dictionary alone.

        A training that was killed goes on where it was, if the same dictionaries are missing.
        """
        from saeuniv.adapters.training import train_dictionaries

        rest = self.without([output.path for output in self.outputs if self.store.exists(output)])
        if rest is None:
            return
        missing = {each.hookpoint: each.artifact for each in rest.dictionaries if each.artifact}
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
                bos=self.bos,
                template_begins=template_begins(self.store, self.training),
                device=self.device,
                checkpoint=self.store.checkpoint(rest.key),
            )
            share = (time.monotonic() - started) / len(missing)
            for hookpoint, output in missing.items():
                with self.store.publish(output, seconds=share) as folder:
                    trained = scratch / hookpoint.dictionary_folder(self.model.architecture)
                    for file in sorted(trained.iterdir()):
                        shutil.copyfile(file, folder / file.name)
        for key in {rest.key, self.key}:  # the latter's may be left of a kill between two publications
            shutil.rmtree(self.store.checkpoint(key), ignore_errors=True)
        _log.info("dictionaries: %s trained", self.label)
