"""What checkpoint files say of themselves without being loaded: JSON, safetensors headers, hashes."""

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, cast

from saeuniv.config import ConfigError, canonical_json

END_OF_TEXT = "<|endoftext|>"
_HASH_CHUNK = 1 << 22
# A header lists names, types and shapes; above this the file is no safetensors file (its own limit).
_MAX_HEADER_BYTES = 100_000_000
# How ids are cut, filled, wrapped in special tokens or turned back into text, not which ids a text has.
# Transformers 5 adds an empty post-processor when it saves, so copies of one tokenizer differ in it.
_NOT_IN_TOKEN_IDS = frozenset({"padding", "truncation", "post_processor", "decoder"})
_WEIGHTS = "*.safetensors"


class LocalFolder(NamedTuple):
    """A folder of checkpoint files on this machine."""

    path: Path
    where: str
    """The configuration key and value that named the folder, for messages."""

    @classmethod
    def at(cls, path: str, key: str) -> "LocalFolder":
        """The folder that a configuration key names; ConfigError if there is none."""
        folder = Path(path).expanduser()
        if not folder.is_dir():
            what = "a file" if folder.exists() else "nothing"
            raise ConfigError(f"{key}={path}: expected a folder, found {what} at {folder.resolve()}.")
        return cls(folder, f"{key}={path}")

    def json(self, name: str) -> dict[str, Any] | None:
        """The JSON object in a file, or None where there is no such file; ValueError if it is no JSON."""
        path = self.path / name
        return read_json(path) if path.is_file() else None

    def shapes(self, name: str) -> dict[str, tuple[int, ...]] | None:
        """The shapes of the tensors of a safetensors file, or None where there is no such file."""
        path = self.path / name
        return tensor_shapes(path) if path.is_file() else None

    @property
    def title(self) -> str:
        """The folder's own name."""
        return self.path.resolve().name

    def names(self) -> list[str]:
        """The files below the folder, relative to it; hidden ones left out."""
        found = (path.relative_to(self.path) for path in self.path.rglob("*") if path.is_file())
        return sorted(each.as_posix() for each in found if not any(part[0] == "." for part in each.parts))

    def cached(self, name: str) -> Path | None:
        """A file of this folder, or None where there is none."""
        path = self.path / name
        return path if path.is_file() else None

    def identity(self, folder: str, *names: str) -> dict[str, str]:
        """What names these files in a store key: the hash of their bytes."""
        return {"sha256": files_sha256([self.path / folder / name for name in names])}

    def loadable(self, folder: str) -> str:
        """What loading takes: the absolute path of a sub-folder."""
        return str((self.path / folder).resolve())

    def weights(self) -> list[str]:
        """The names of the safetensors files at the top of the folder."""
        return sorted(path.name for path in self.path.glob(_WEIGHTS))


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        ValueError: the file holds no JSON object.
    """
    try:
        value = json.loads(path.read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected a JSON object, got {error}.") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path}: expected a JSON object, got a {type(value).__name__}.")
    return cast(dict[str, Any], value)


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a safetensors file, from its header alone.

    Raises:
        ValueError: the file has no such header (for instance a Git LFS pointer in place of the file), or is
            not as long as its header says.
    """
    n_bytes = path.stat().st_size
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = file.read(size) if size <= _MAX_HEADER_BYTES else b""
    try:
        entries = cast(dict[str, dict[str, Any]], json.loads(header))
        entries.pop("__metadata__", None)
        shapes = {name: tuple(entry["shape"]) for name, entry in entries.items()}
        expected = 8 + size + max((int(entry["data_offsets"][1]) for entry in entries.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(
            f"{path}: expected a safetensors file, got no readable header. Fetch the file again "
            f"(a Git LFS pointer looks like this)."
        ) from error
    if n_bytes != expected:
        raise ValueError(
            f"{path}: expected {expected:,} bytes, as the file's header says, got {n_bytes:,}: it is damaged "
            f"or was cut off. Fetch or copy it again."
        )
    return shapes


def files_sha256(paths: list[Path]) -> str:
    """One hash over the names and bytes of several files, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        status = path.stat()
        digest.update(path.name.encode())
        digest.update(bytes.fromhex(_file_sha256(path.resolve(), status.st_size, status.st_mtime_ns)))
    return digest.hexdigest()


def tokenizer_hash(tokenizer: dict[str, Any]) -> str:
    """Sixteen hex digits that are equal for tokenizers giving equal ids (content of tokenizer.json)."""
    kept = {key: value for key, value in tokenizer.items() if key not in _NOT_IN_TOKEN_IDS}
    return hashlib.sha256(canonical_json(kept).encode()).hexdigest()[:16]


def byte_tokenizer_json() -> dict[str, Any]:
    """The embedded tokenizer as the content of tokenizer.json: 257 ids, end-of-text and one per byte.

    Byte-pair encoding without merges. The alphabet is GPT-2's: each byte is written as one printable
    character, printable bytes as themselves, the others from U+0100 on; ids follow the code points.
    """
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    n_other = 256 - len(printable)
    alphabet = sorted([*map(chr, printable), *(chr(256 + i) for i in range(n_other))])
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    special: dict[str, Any] = {"id": 0, "content": END_OF_TEXT, "special": True}
    special |= dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [special],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": {**byte_level, "add_prefix_space": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate([END_OF_TEXT, *alphabet])},
            "merges": [],
        },
    }


@lru_cache(maxsize=1024)
def _file_sha256(path: Path, size: int, mtime_ns: int) -> str:
    """Streamed; remembered by size and time because every cell of a sweep asks for the same files."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_HASH_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
