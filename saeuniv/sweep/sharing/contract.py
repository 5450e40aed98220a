"""export.json: every file of an export with its hash, what made it, and what was left out; written last."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

from saeuniv.config import ConfigError, canonical_json


def part_of(name: str) -> str:
    """What a file is called until it is whole; a kill can leave it."""
    return f".{name}.part"


EXPORT = "export.json"
UNFINISHED = part_of(EXPORT)
"""In a folder that an export is being written to, or was when it was killed; becomes export.json."""

FORMAT = 1
"""Of the whole folder; raised when a file changes its meaning."""

DICTIONARIES, LATENTS, RESULTS, CARD = "dictionaries", "latents", "results", "card"
KINDS = (DICTIONARIES, LATENTS, RESULTS)
"""What can be exported."""

# Whatever else there is may be code, or becomes code where it is read.
_ENDINGS = (".json", ".safetensors", ".csv", ".npz", ".yaml", ".parquet", ".png", ".html", ".md", ".txt", "")
PICKLES = (".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy")
_LONGEST = 1000
_DRIVE = re.compile(r"[A-Za-z]:")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class FileOf(NamedTuple):
    """What is known of one file of an export."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Contract:
    """The content of export.json."""

    name: str
    """Of the sweep: results are imported below multirun/ under it."""

    kinds: tuple[str, ...]
    """Of `KINDS`, those that were asked for."""

    with_text: bool
    license: str
    created: str
    """ISO 8601, UTC."""

    versions: Mapping[str, str]
    """Python and packages that exported; manifests say what made each artifact."""

    git_commit: str | None
    files: Mapping[str, FileOf]
    """By path relative to the folder; all but export.json."""

    artifacts: Mapping[str, str]
    """Folders of the export by the path of the artifact in the store."""

    published: tuple[Mapping[str, object], ...]
    """Dictionaries of others, which are named and not copied."""

    left_out: tuple[Mapping[str, str], ...]
    """`what` is not here, and `why`."""

    remarks: tuple[str, ...]
    """What else is to be known of artifacts."""

    def text(self) -> str:
        """As it is written; `sha256` is that of the canonical JSON of all else."""
        values = asdict(self) | {"files": {path: file._asdict() for path, file in self.files.items()}}
        whole: dict[str, object] = {"format": FORMAT, **json.loads(json.dumps(values))}
        return json.dumps({**whole, "sha256": _digest(whole)}, indent=1, sort_keys=True) + "\n"


def read_contract(folder: Path) -> Contract:
    """What the export in a folder holds; its files are not looked at.

    Raises:
        ConfigError: no export, an unfinished one, a damaged one, one of another format, or one that names
            files outside its folder, links or files that run code when they are read: all faults at once.
    """
    path = folder / EXPORT
    if not folder.is_dir() or path.is_symlink() or not path.is_file():
        what = f"no {EXPORT} in it" if folder.is_dir() else "no folder"
        if (folder / UNFINISHED).exists():
            what += " (its export was killed, or runs still: the same saeuniv export again continues it)"
        raise ConfigError(f"{folder}: expected the folder that saeuniv export wrote, found {what}.")
    try:
        values = cast(dict[str, Any], json.loads(path.read_text("utf-8")))
        written, digest = values.pop("format"), values.pop("sha256")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"{path}: expected what an export holds, got something else ({error!r})."
        ) from error
    if written != FORMAT:
        raise ConfigError(
            f"{path}: expected an export of format {FORMAT}, got {written!r}. Read it with the version of "
            f"saeuniv that wrote it, or export it again with this one."
        )
    if digest != _digest({"format": written, **values}):
        raise ConfigError(f"{path}: expected sha256 {digest}, got another: it is damaged. Fetch it again.")
    try:
        files = {str(name): FileOf(**about) for name, about in values.pop("files").items()}
        lists = {key: tuple(values.pop(key)) for key in ("kinds", "published", "left_out", "remarks")}
        contract = Contract(files=files, **lists, **values)
        faults = list(_faults(contract))
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path}: expected what an export holds, got something else ({error!r})."
        ) from error
    if faults:
        raise ConfigError(*(f"{path}: {fault}" for fault in faults))
    return contract


def unsafe(name: object) -> bool:
    """Whether a name is anything but a plain path below the folder."""
    if not isinstance(name, str) or not name or len(name) > _LONGEST or not name.isprintable():
        return True
    parts = name.split("/")
    plain = all(part not in ("", ".", "..") for part in parts)
    return not plain or "\\" in name or bool(_DRIVE.match(name))


def _faults(contract: Contract) -> Iterator[str]:
    named = [*contract.files, *contract.artifacts, *contract.artifacts.values()]
    for name in dict.fromkeys(each for each in named if unsafe(each)):
        yield f"expected paths below its folder, got {name!r}. Nothing of it can be trusted."
    if unsafe(contract.name) or "/" in contract.name or contract.name.startswith("."):
        yield f"expected the name of a sweep, got {contract.name!r}. Nothing of it can be trusted."
    for name, about in contract.files.items():
        ending = Path(name).suffix.lower()
        if ending in PICKLES:
            yield f"expected files that are safe to read, got {name}, which would be unpickled."
        elif ending not in _ENDINGS:
            yield f"expected files of {' '.join(filter(None, _ENDINGS))}, got {name}."
        if not _SHA256.fullmatch(about.sha256) or about.bytes < 0:
            yield f"expected sha256 and bytes of {name}, got {about.sha256!r} and {about.bytes!r}."
    if unknown := [each for each in contract.kinds if each not in KINDS]:
        yield f"expected kinds among {', '.join(KINDS)}, got {', '.join(map(str, unknown))}."


def _digest(values: Mapping[str, object]) -> str:
    return hashlib.sha256(canonical_json(dict(values)).encode()).hexdigest()
