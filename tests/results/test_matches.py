"""The file of matches: one row group a layer pair, read alone, whole or not at all."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from saeuniv.results import MATCH_COLUMNS, matched_pairs, read_matches, writes_matches


def _columns(n: int, start: float = 0.0) -> dict[str, np.ndarray]:
    numbers = start + np.arange(n) / 8
    given = {name: numbers for name in MATCH_COLUMNS if name.startswith(("r", "s"))}
    latents = {"latent_a": np.arange(n), "latent_b": np.arange(n)[::-1]}
    return {**given, **latents, "direction": np.array(["both"] * n, object)}


def _place(layer_a: str, layer_b: str) -> dict[str, str]:
    return {"layer_a": layer_a, "layer_b": layer_b, "alignment": "hungarian", "condition": "token"}


@pytest.fixture
def folder(tmp_path):
    with writes_matches(tmp_path) as write:
        write(_place("0", "3+4"), _columns(3))
        write(_place("1", "3+4"), _columns(0))
        write(_place("2", "3+4"), {**_columns(2, 0.5), "r_null": np.full(2, np.nan)})
    return tmp_path


def test_a_layer_pair_is_read_as_it_was_written_and_alone(folder):
    frame = read_matches(folder, "0", "3+4")
    assert list(frame) == list(MATCH_COLUMNS) and len(frame) == 3
    assert frame.latent_b.tolist() == [2, 1, 0] and frame.r.tolist() == [0.0, 0.125, 0.25]
    assert frame.attrs == {"alignment": "hungarian", "condition": "token"}
    assert pq.ParquetFile(folder / "matches.parquet").num_row_groups == 2


def test_what_is_unknown_is_empty_and_never_nan(folder):
    assert read_matches(folder, "2", "3+4").r_null.isna().all()
    stored = pq.read_table(folder / "matches.parquet").column("r_null")
    assert stored.null_count == 2 and not any(each != each for each in stored.to_pylist())


def test_a_pair_without_matches_and_a_folder_without_the_file_have_none(folder, tmp_path_factory):
    assert read_matches(folder, "1", "3+4") is None
    assert read_matches(folder, "9", "9") is None
    elsewhere = tmp_path_factory.mktemp("empty")
    assert read_matches(elsewhere, "0", "0") is None and list(matched_pairs(elsewhere)) == []


def test_all_pairs_come_in_the_order_they_were_written(folder):
    (first, second) = matched_pairs(folder)
    assert (first[:2], second[:2]) == (("0", "3+4"), ("2", "3+4"))
    assert first[2]["r_held_out"].tolist() == [0.0, 0.125, 0.25] and np.isnan(second[2]["r_null"]).all()


def test_a_fault_leaves_what_was_there(folder):
    before = (folder / "matches.parquet").read_bytes()
    with pytest.raises(RuntimeError), writes_matches(folder) as write:
        write(_place("0", "0"), _columns(1))
        raise RuntimeError
    assert (folder / "matches.parquet").read_bytes() == before
    assert [path.name for path in folder.iterdir()] == ["matches.parquet"]


def test_a_damaged_file_is_named_with_what_writes_it_again(folder):
    (folder / "matches.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(ValueError, match=r"matches.parquet: damaged .* saeuniv report "):
        read_matches(folder, "0", "3+4")
    with pytest.raises(ValueError, match="damaged"):
        list(matched_pairs(folder))
