"""What a job of `saeuniv doctor --job` does on its node: look around, and answer through the store."""

import dataclasses
import hashlib
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import saeuniv
from saeuniv.store.manifest import git_commit
from saeuniv.store.processes import host
from saeuniv.store.scan import PROBE
from saeuniv.store.text import write_text
from saeuniv.sweep.doctor import SmiFacts, TorchFacts, hub_cache, numba, smi_facts, torch_facts
from saeuniv.sweep.storage import clock_skew

NOT_SHARED = "expected the store of the submitting machine"
"""What a job says that does not see the store."""

_POLL_S = 1.0


@dataclass(frozen=True)
class Answer:
    """What a machine says of itself."""

    host: str
    python: str
    version: str
    """Of saeuniv."""

    commit: str | None
    code: str
    """Hash of saeuniv's modules: equal where the same code runs."""

    hub: str
    """Hash of the names in the cache of Hugging Face's hub: equal where the same one is seen."""

    skew: float
    """Seconds by which the store's clock is ahead of the machine's."""

    torch: TorchFacts | str | None
    """None where nobody asked, else what it says, or why it says nothing."""

    smi: SmiFacts | None
    numba: str | None
    """What is wrong with the folder for compiled kernels; None if nothing is, or there are none."""


@dataclass(frozen=True)
class RunProbe:
    """Answers the question with this name in the store; small, so that it is pickled for a job."""

    root: Path
    """The store."""

    nonce: str
    gpus: int
    minutes: int
    """The time limit of the job."""

    patience_s: float
    """How long a file may take to be seen by another machine."""

    def __call__(self) -> None:
        """Look around and write the answer.

        Raises:
            FileNotFoundError: the question is not seen here: that the store is not shared is the answer.
            OSError: the answer cannot be written, as where the store can only be read.
        """
        until = time.monotonic() + self.patience_s
        while not question(self.root, self.nonce).is_file():
            if time.monotonic() >= until:
                raise FileNotFoundError(
                    f"store={self.root}: {NOT_SHARED}, found nothing of it on {host()}. Jobs need a store on "
                    f"a file system that all nodes share: set store=... or SAEUNIV_STORE."
                )
            time.sleep(_POLL_S)
        found = look_around(self.root, ask_torch=self.gpus > 0)
        path = answer(self.root, self.nonce)
        write_text(path, json.dumps(dataclasses.asdict(found)))


def question(root: Path, nonce: str) -> Path:
    """The file that a job must see."""
    return root / PROBE / f"{nonce}.json"


def answer(root: Path, nonce: str) -> Path:
    """The file that it writes."""
    return root / PROBE / f"{nonce}.answer.json"


def look_around(root: Path, *, ask_torch: bool) -> Answer:
    """What this machine says of itself.

    Raises:
        OSError: the store cannot be written to.
    """
    wrong = [check.said for check in numba(root) if check.ok is False]
    return Answer(
        host=host(),
        python=platform.python_version(),
        version=importlib.metadata.version("saeuniv"),
        commit=git_commit(),
        code=_code(),
        hub=_hash(name for name in _listed(hub_cache()) if name.startswith("models--")),
        skew=clock_skew(root / PROBE),
        torch=torch_facts() if ask_torch else None,
        smi=smi_facts(),
        numba=wrong[0] if wrong else None,
    )


def read_answer(root: Path, nonce: str) -> Answer | None:
    """What a job answered; None where it has not, yet."""
    try:
        values = cast(dict[str, Any], json.loads(answer(root, nonce).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError):
        return None
    if isinstance(torch := values["torch"], list):
        version, cuda, names = cast(list[Any], torch)
        values["torch"] = TorchFacts(version, cuda, tuple(names))
    if smi := values["smi"]:
        values["smi"] = SmiFacts(smi[0], tuple(smi[1]))
    return Answer(**values)


def _code() -> str:
    """Not the commit alone: what was changed since it, or was installed without git, has none."""
    package = Path(saeuniv.__file__).parent
    modules = sorted(package.rglob("*.py"))
    return _hash(f"{module.relative_to(package)} {module.read_text('utf-8')}" for module in modules)


def _listed(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _hash(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
