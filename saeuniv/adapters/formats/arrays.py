"""Arrays of files as float32, whatever type they are stored in; nothing is unpickled."""

import json
import zipfile
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float32
from numpy.lib import format as npy

from saeuniv.adapters.checkpoints import tensor_shapes

Arrays = dict[str, Float32[np.ndarray, "..."]]

_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def safetensors_arrays(path: Path) -> Arrays:
    """Every tensor of a safetensors file. float32 is mapped, not read, until it is used.

    Not by the library: its numpy framework has no bfloat16.

    Raises:
        ValueError: no such file format, truncated, or a type that is no float of 16 bits or more.
    """
    tensor_shapes(path)  # Says what is wrong with the header.
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = cast(dict[str, dict[str, Any]], json.loads(file.read(size)))
    content = np.memmap(path, dtype=np.uint8, mode="r", offset=0)
    arrays: Arrays = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        start, end = (8 + size + int(each) for each in entry["data_offsets"])
        shape = tuple(entry["shape"])
        kind = _TYPES.get(entry["dtype"])
        if kind is None:
            continue  # Counters and masks; a tensor that is needed is then missing.
        if end > len(content) or end - start != np.dtype(kind).itemsize * int(np.prod(shape)):
            raise ValueError(
                f"{path}: expected {end} bytes for its tensor {name}, got {len(content)}: it is truncated or "
                f"damaged. Fetch the file again."
            )
        values = np.frombuffer(content[start:end], dtype=kind).reshape(shape)
        if entry["dtype"] == "BF16":
            values = (values.astype(np.uint32) << 16).view(np.float32)
        arrays[name] = values.astype(np.float32, copy=False)
    return arrays


def npz_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every array of an npz file, from their headers alone.

    Raises:
        ValueError: it is no npz file, or one of its arrays is a pickle.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                with archive.open(member) as file:
                    version = npy.read_magic(file)
                    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
                    shape, _, dtype = read(file)
                if dtype.hasobject:
                    raise ValueError(_pickled(path, member))
                shapes[member.removesuffix(".npy")] = shape
    except (zipfile.BadZipFile, OSError) as error:
        raise ValueError(f"{path}: expected an npz file, got {error}. Fetch the file again.") from error
    return shapes


def npz_arrays(path: Path) -> Arrays:
    """Every array of an npz file.

    Raises:
        ValueError: it is no npz file, is damaged, or one of its arrays is a pickle.
    """
    npz_shapes(path)
    try:
        with np.load(path, allow_pickle=False) as content:
            return {name: np.asarray(content[name], dtype=np.float32) for name in content.files}
    except (zipfile.BadZipFile, ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path}: expected an npz file, got {error}. Fetch the file again.") from error


def required(arrays: Arrays, path: Path, *names: str) -> list[Float32[np.ndarray, "..."]]:
    """The arrays of these names.

    Raises:
        ValueError: one is missing; the message lists those there are.
    """
    if absent := [name for name in names if name not in arrays]:
        raise ValueError(
            f"{path}: expected {', '.join(names)}, got no {', '.join(absent)} among "
            f"{', '.join(sorted(arrays)) or 'none'}. Choose another format (sae.format=...) or dictionary."
        )
    return [arrays[name] for name in names]


def _pickled(path: Path, member: str) -> str:
    return (
        f"{path}: expected arrays of numbers, got {member}, which would be unpickled and can run code. "
        f"Choose another file."
    )
