"""matches.parquet: the matches of every layer pair of a comparison, a row each, layer pair by layer pair."""

import os
import uuid
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from jaxtyping import Float, Shaped

if TYPE_CHECKING:
    from pandas import DataFrame

MATCHES = "matches.parquet"

_PLACE = {"layer_a": "string", "layer_b": "string", "alignment": "string", "condition": "string"}
MATCH_COLUMNS = {
    **{
        "latent_a": "int32",
        "latent_b": "int32",
        "r": "float32",
        "r_held_out": "float32",
        "r_null": "float32",
    },
    **{"rate_a": "float32", "rate_b": "float32", "similarity": "float32", "direction": "string"},
}


class WritesPair(Protocol):
    """Adds the matches of one layer pair to the file."""

    def __call__(
        self, place: Mapping[str, str], columns: Mapping[str, Shaped[np.ndarray, " matches"]]
    ) -> None:
        """`place` is layer_a, layer_b, alignment and condition; NaN is stored as nothing."""


@contextmanager
def writes_matches(folder: Path) -> Generator[WritesPair]:
    """A function that writes one layer pair at a time; the file is there once all are, or not at all.

    Raises:
        OSError: where the folder cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema({name: getattr(pa, kind)() for name, kind in (_PLACE | MATCH_COLUMNS).items()})
    new = folder / f".{MATCHES}-{uuid.uuid4().hex}"

    def write(place: Mapping[str, str], columns: Mapping[str, Shaped[np.ndarray, " matches"]]) -> None:
        n = len(columns["latent_a"])
        arrays = [pa.repeat(pa.scalar(place[name], pa.string()), n) for name in _PLACE]
        arrays += [_array(columns[name], schema.field(name).type) for name in MATCH_COLUMNS]
        if not n:
            return
        # A row group each: one layer pair is read without the others.
        file.write_table(pa.Table.from_arrays(arrays, schema=schema))

    try:
        with pq.ParquetWriter(new, schema, compression="zstd") as file:
            yield write
        os.replace(new, folder / MATCHES)
    finally:
        new.unlink(missing_ok=True)


def read_matches(folder: Path, layer_a: str, layer_b: str) -> "DataFrame | None":
    """The matches of a layer pair as they were written; None where there is no file, or nothing of the pair.

    `attrs` of the frame are the alignment that made them, and the condition of r.

    Raises:
        ValueError: the file is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not (folder / MATCHES).is_file():
        return None
    place: list[Any] = [("layer_a", "=", layer_a), ("layer_b", "=", layer_b)]
    try:
        frame = pq.read_table(folder / MATCHES, filters=place).to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise _damaged(folder, error) from error
    if frame.empty:
        return None
    found = frame[list(MATCH_COLUMNS)].reset_index(drop=True)
    found.attrs = {name: str(frame[name][0]) for name in ("alignment", "condition")}
    return found


def matched_pairs(folder: Path) -> Iterator[tuple[str, str, Mapping[str, Float[np.ndarray, " matches"]]]]:
    """Layers, `r_held_out` and `r_null` of every layer pair in turn, NaN where there is none.

    Nothing where there is no file.

    Raises:
        ValueError: the file is damaged.
    """
    yield from match_columns(folder, ("r_held_out", "r_null"))


def match_columns(
    folder: Path, names: Sequence[str]
) -> Iterator[tuple[str, str, Mapping[str, Shaped[np.ndarray, " matches"]]]]:
    """Layers and columns of numbers of every layer pair in turn, NaN where there is none.

    Nothing where there is no file.

    Raises:
        ValueError: the file is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not (folder / MATCHES).is_file():
        return
    try:
        with pq.ParquetFile(folder / MATCHES) as file:
            for number in range(file.num_row_groups):
                table = file.read_row_group(number)
                layer_a, layer_b = (str(table[name][0]) for name in ("layer_a", "layer_b"))
                yield layer_a, layer_b, {name: table[name].to_numpy() for name in names}
    except (pa.ArrowException, OSError) as error:
        raise _damaged(folder, error) from error


def _damaged(folder: Path, error: Exception) -> ValueError:
    return ValueError(f"{folder / MATCHES}: damaged ({error}). Write it again: saeuniv report {folder}")


def _array(column: Shaped[np.ndarray, " matches"], kind: Any) -> Any:
    import pyarrow as pa

    # Said here: pyarrow would import pandas to see what is missing.
    missing = np.isnan(column) if column.dtype.kind == "f" else None
    return pa.array(column.tolist() if column.dtype == object else column, kind, mask=missing)
