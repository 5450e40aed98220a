"""Safetensors files written part by part: what is written is never in memory twice."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

# By numpy's names, the last first in a file.
_NAMES = {"u2": "U16", "u4": "U32", "f4": "F32", "f8": "F64"}


class InParts(NamedTuple):
    """A tensor of one axis whose entries are those of its parts, one after another."""

    parts: Sequence[Shaped[np.ndarray, " some"]]
    dtype: type[np.generic]
    """What it is written as."""


def save_in_parts(tensors: Mapping[str, InParts], file: Path) -> None:
    """Write these tensors: the bytes that `safetensors.numpy.save_file` writes of the whole ones.

    Memory: that of one part.
    """
    ranks = list(_NAMES)
    order = sorted(tensors, key=lambda name: (-ranks.index(np.dtype(tensors[name].dtype).str[1:]), name))
    header: dict[str, object] = {}
    end = 0
    for name in order:
        dtype = np.dtype(tensors[name].dtype)
        n_entries = sum(map(len, tensors[name].parts))
        start, end = end, end + n_entries * dtype.itemsize
        header[name] = {"dtype": _NAMES[dtype.str[1:]], "shape": [n_entries], "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            little_endian = np.dtype(tensors[name].dtype).newbyteorder("<")
            for part in tensors[name].parts:
                out.write(np.ascontiguousarray(part, dtype=little_endian).data)
