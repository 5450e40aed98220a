"""Safetensors files written part by part."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from saeuniv.stages.tensor_file import InParts, save_in_parts


@pytest.mark.parametrize("small", [np.uint16, np.uint32])
def test_the_bytes_are_those_of_safetensors(tmp_path: Path, small: type[np.unsignedinteger]) -> None:
    rng = np.random.default_rng(0)
    whole = {
        "values": rng.random(33).astype(np.float32),
        "counts": rng.integers(0, 9, 7).astype(np.uint16),
        "indices": rng.integers(0, 9, 33).astype(small),
        "total": rng.random(5),
        "nothing": np.zeros(0, np.uint32),
    }
    # Parts may be of other types, as dictionaries give them.
    wider = {"counts": np.int32, "indices": np.int32}
    parts = {
        name: InParts(
            [each.astype(wider.get(name, each.dtype)) for each in np.split(all_of_it, [2, 3])],
            all_of_it.dtype.type,
        )
        for name, all_of_it in whole.items()
    }
    save_file(whole, tmp_path / "whole")
    save_in_parts(parts, tmp_path / "parts")
    assert (tmp_path / "parts").read_bytes() == (tmp_path / "whole").read_bytes()
    read = load_file(tmp_path / "parts")
    assert all(np.array_equal(read[name], each) for name, each in whole.items())
