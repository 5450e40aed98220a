"""What a dictionary format is: how its files are found, what they say unread, and how they are read."""

import math
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from saeuniv.adapters.checkpoints import LocalFolder
from saeuniv.adapters.formats.weights import DictionaryWeights
from saeuniv.adapters.hub import HubFolder
from saeuniv.hookpoints import HookpointKind

Files = LocalFolder | HubFolder
"""A folder of this machine or a repository of a hub, as formats see it."""


class Entry(NamedTuple):
    """One dictionary, as the names of its files tell."""

    layer: int
    kind: HookpointKind | None
    """None where no name says it."""

    folder: str
    """Within the source; empty for the source itself."""

    files: tuple[str, ...]
    """What loading takes, relative to `folder`; the first lies at its top."""

    width: int | None = None
    """Number of latents, where a name says it."""

    l0: str | None = None
    """Mean number of active latents or a word for it, where there are several for one width."""

    def path(self, file: str) -> str:
        """A file's name within the source."""
        return f"{self.folder}/{file}" if self.folder else file


class Contents(NamedTuple):
    """What a dictionary's headers and JSON say."""

    d_in: int | None
    """None where that is inside a file that is not on this machine yet."""

    width: int
    k: int | None
    """Largest number of active latents per token, where the dictionary bounds it."""

    activation: str
    base_model: str | None = None
    """The model that it was trained on, where a file says so."""

    processing: str = "none"
    faults: tuple[str, ...] = ()
    """Why it cannot be used, as predicates."""


class Format(NamedTuple):
    """A format of dictionaries."""

    name: str
    find: Callable[[Files, Collection[str]], tuple[Entry, ...]]
    """The dictionaries among the names of files; only where names do not say it, JSON is read."""

    contents: Callable[[Files, Entry], Contents]
    """What one says of itself without being read."""

    read: Callable[[Path], DictionaryWeights]
    """The dictionary in a folder."""

    several: bool = False
    """Whether a layer has several, of which sae.l0 chooses."""


_TRANSFORMER_LENS = {
    "hook_resid_pre": HookpointKind.resid_pre,
    "hook_resid_mid": HookpointKind.resid_mid,
    "hook_resid_post": HookpointKind.resid_post,
    "hook_mlp_out": HookpointKind.mlp_out,
    "hook_attn_out": HookpointKind.attn_out,
    "mlp.hook_post": HookpointKind.neurons,
    # TransformerBridge's own names.
    "hook_in": HookpointKind.resid_pre,
    "hook_out": HookpointKind.resid_post,
    "mlp.hook_out": HookpointKind.mlp_out,
    "attn.hook_out": HookpointKind.attn_out,
}
_BLOCK = re.compile(r"blocks\.(\d+)\.((?:attn\.|mlp\.|ln2\.)?hook_[a-z_]*[a-z])")


def place_of(hook_name: str) -> tuple[int, HookpointKind | None] | None:
    """Layer and kind of TransformerLens' `blocks.3.hook_resid_post`; no kind where it is none of ours."""
    found = _BLOCK.match(hook_name)
    return None if found is None else (int(found[1]), _TRANSFORMER_LENS.get(found[2]))


def folders_with(names: Collection[str], *files: str) -> list[str]:
    """The folders (empty: the source itself) among these names that hold all of these files."""
    present = set(names)
    first = files[0]
    folders = {name.removesuffix(first).rstrip("/") for name in names if f"/{name}".endswith(f"/{first}")}
    return sorted(
        (
            folder
            for folder in folders
            if all((f"{folder}/{file}" if folder else file) in present for file in files)
        ),
        key=natural,
    )


def natural(text: str) -> list[tuple[int, str]]:
    """A key that sorts `layers.10` after `layers.9`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]


def latents_of(words: str) -> int:
    """`16k`, `65k`, `1m` as releases write powers of two: 16384, 65536, 1048576."""
    number = int(words[:-1]) * (1_000_000 if words[-1] == "m" else 1000)
    return 1 << round(math.log2(number))
