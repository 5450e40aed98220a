"""What a task is, and what tasks pass to one another."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jaxtyping import Float32

from saeuniv.config import CustomSae, ModelBackend, NoSae, Sae, canonical_json
from saeuniv.hookpoints import Hookpoint
from saeuniv.store import Artifact, Store

if TYPE_CHECKING:
    from saeuniv.adapters.formats import DictionaryWeights

STAGES = ("fetch", "tokens", "models", "dictionaries", "shards", "latents", "scores", "report", "sweep")
"""Every stage, in an order in which each comes after what it needs."""

Progress = Callable[[int, int], None]
"""Told how many steps are done, of how many."""


@dataclass(frozen=True)
class Task(ABC):
    """A unit of work: idempotent, checks its inputs, publishes as it goes, raises on failure.

    Plain values only, so that a task can be pickled to any machine that sees the store.
    """

    stage: ClassVar[str]
    """The name that progress, failures and summaries go by."""

    needs_all: ClassVar[bool] = True
    """False: runs as soon as whatever makes its inputs has ended, well or not."""

    root: Path
    """The store."""

    inputs: tuple[Artifact, ...]
    """What must have been published before this task can run."""

    outputs: tuple[Artifact, ...]
    """What is published when it has run."""

    seconds: float
    """A rough guess of its cost; dearer tasks start first."""

    @property
    def store(self) -> Store:
        """Where inputs are and outputs go."""
        return Store(self.root)

    @property
    def key(self) -> str:
        """16 hexadecimal digits that name the task: equal for the same stage and outputs."""
        named = canonical_json([self.stage, sorted(output.path for output in self.outputs)])
        return hashlib.sha256(named.encode()).hexdigest()[:16]

    @property
    @abstractmethod
    def label(self) -> str:
        """What it works on, for people."""

    @property
    def n_gpus(self) -> int:
        """How many GPUs it has to itself while it runs."""
        return 0

    def on_gpus(self, numbers: Sequence[int]) -> "Task":
        """The task with the GPUs of these numbers, as many as it asked for."""
        return self

    @property
    def group(self) -> Hashable:
        """Tasks of one group are made in one pass: equal groups can be `united`."""
        return (self.stage, self.key)

    @abstractmethod
    def __call__(self, progress: Progress) -> None:
        """Do the work. Raises whatever went wrong."""

    def is_done(self) -> bool:
        """True if everything it publishes is in the store."""
        return all(self.store.exists(output) for output in self.outputs)

    def united(self, other: Any) -> "Task":
        """One task that makes what this one and `other`, of the same group, make."""
        return self

    def without(self, paths: Collection[str]) -> "Task | None":
        """The task less the outputs with these paths; None if nothing is left to do."""
        return None if all(output.path in paths for output in self.outputs) else self

    def portable(self) -> "Task":
        """The task as it is written down for another machine; smaller where it can be."""
        return self


@dataclass(frozen=True)
class ModelReference:
    """A language model that a task can load."""

    label: str
    architecture: str
    """Hugging Face's model_type."""

    n_layers: int
    key: str
    """What names the model in the keys of all that is made from it."""

    artifact: Artifact | None
    """In the store, for models trained or re-randomised here."""

    folder: str
    """A folder or a hub repository, for all others."""

    revision: str | None
    """The hub commit, where the folder is a repository."""

    dtype: str = "float32"
    """What it computes in."""

    backend: ModelBackend = ModelBackend.auto

    def locate(self, store: Store) -> str:
        """The folder or repository to load from; a stored model is verified first."""
        return str(store.open(self.artifact)) if self.artifact else self.folder


@dataclass(frozen=True)
class DictionaryReference:
    """A dictionary that a task can load."""

    hookpoint: Hookpoint
    sae: Sae
    width: int
    key: str
    """What names the dictionary in the keys of all that is made from it."""

    artifact: Artifact | None
    """In the store, for dictionaries trained here."""

    folder: str
    """The dictionary's folder, or its folder within `repository`; what made it where there are no files."""

    repository: str | None = None
    revision: str | None = None
    files: tuple[str, ...] = ()
    """What of the folder is read, relative to it; empty for those in the store."""

    form: str | None = None
    """The name of its format; None: its files tell."""

    centred: bool = False
    """It reads activations less the mean over their dimensions."""

    @property
    def given(self) -> Hookpoint:
        """Where the activations that it is given are read: at its hookpoint, unless on purpose elsewhere."""
        return Hookpoint(self.sae.given, self.hookpoint.layer)

    @property
    def place(self) -> str:
        """`resid_post[3]`; `resid_post[3]<-resid_pre[3]` where it is given another activation."""
        return str(self.hookpoint) if self.given == self.hookpoint else f"{self.hookpoint}<-{self.given}"

    @property
    def source(self) -> str:
        """Where it comes from, in a word."""
        return "trained" if self.artifact else self.repository or self.folder

    @property
    def file_names(self) -> tuple[str, ...]:
        """Its files within the repository."""
        return tuple(f"{self.folder}/{file}" if self.folder else file for file in self.files)

    def locate(self, store: Store) -> Path:
        """The folder to load from, verified or fetched."""
        if self.artifact:
            return store.open(self.artifact)
        if self.repository is None:
            return Path(self.folder)
        from saeuniv.adapters.hub import local_folder

        return local_folder(self.repository, self.revision, self.folder, self.files)

    def weights(self, store: Store) -> "DictionaryWeights":
        """Its parameters, without torch where its format needs none.

        Raises:
            ValueError: its files are damaged, would have to be unpickled, or it is an object without any.
        """
        from saeuniv.adapters import formats

        if isinstance(self.sae, NoSae):
            return formats.both_signs(self.width // 2)
        if isinstance(self.sae, CustomSae):
            raise ValueError(
                f"{self.source}: expected a dictionary with parameters, got an object with encode and "
                f"decode. Choose an alignment that reads tokens (alignment=hungarian)."
            )
        return formats.read(self.locate(store), form=self.form)._replace(centred=self.centred)

    def decoder(self, store: Store) -> Float32[np.ndarray, "latents d_in"]:
        """Its decoder directions as stored. Raises ValueError as `weights` does."""
        if isinstance(self.sae, CustomSae):
            return self.load(store).decoder
        return np.asarray(self.weights(store).decoder)

    def load(self, store: Store, *, device: str = "cpu") -> Any:
        """The dictionary (adapters.encoding.Dictionary, or one like it), ready to encode.

        Raises:
            ValueError: its files are damaged, or would have to be unpickled.
        """
        from saeuniv.adapters.custom_encoding import load_custom
        from saeuniv.adapters.encoding import Dictionary

        if isinstance(self.sae, CustomSae):
            return load_custom(self.sae, self.hookpoint, width=self.width, device=device)
        return Dictionary(self.weights(store), device=device, kind=self.sae.latent_kind)


@dataclass(frozen=True)
class LatentsReference:
    """The latents of one hookpoint on one token set."""

    artifact: Artifact
    """Names the folder; what is published are its shards."""

    tokens: Artifact
    dictionary: DictionaryReference
    model: ModelReference
