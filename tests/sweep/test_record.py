"""sweep.json: what was asked for is kept when a sweep is extended, and what is not ours is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from saeuniv.config import ConfigError
from saeuniv.sweep.record import FILE, FORMAT, Record, read_record, write_record

RECORD = Record(
    name="mine",
    store="/store",
    command=("-m", "width=1,2"),
    stood="/home",
    comparisons=("/sweep/a", "/sweep/b"),
    tasks=("1" * 16, "2" * 16),
)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    folder = tmp_path / "multirun" / "mine"
    assert read_record(folder) is None
    assert not folder.exists()
    write_record(folder, RECORD)
    assert read_record(folder) == RECORD
    write_record(folder, RECORD)
    assert read_record(folder) == RECORD
    assert [path.name for path in folder.iterdir()] == [FILE]


def test_an_extended_sweep_keeps_what_it_had_and_takes_the_latest_command(tmp_path: Path) -> None:
    write_record(tmp_path, RECORD)
    later = Record(
        name="mine",
        store="/other",
        command=("-m", "width=2,3"),
        stood="/elsewhere",
        comparisons=("/sweep/b", "/sweep/c"),
        tasks=("3" * 16, "2" * 16),
    )
    write_record(tmp_path, later)
    assert read_record(tmp_path) == replace(
        later, comparisons=("/sweep/a", "/sweep/b", "/sweep/c"), tasks=("1" * 16, "2" * 16, "3" * 16)
    )


def test_a_sweep_of_another_format_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    text = json.dumps({"format": FORMAT + 1, "name": "mine", "parts": []})
    (tmp_path / FILE).write_text(text)
    message = rf"sweep\.json: expected a sweep of format {FORMAT}, got {FORMAT + 1}\. .* another sweep\.name"
    with pytest.raises(ConfigError, match=message):
        read_record(tmp_path)
    with pytest.raises(ConfigError, match=message):
        write_record(tmp_path, RECORD)
    assert (tmp_path / FILE).read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def written(**changes: object) -> str:
    whole = {"format": FORMAT, "name": "n", "store": "s", "command": [], "stood": "x", "comparisons": []}
    return json.dumps({**whole, "tasks": [], **changes})


def test_the_smallest_record_can_be_read(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(written())
    assert read_record(tmp_path) == Record("n", "s", (), "x", (), ())


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "3", '"x"', "null", "{}", '{"name": "x"}', f'{{"format": {FORMAT}}}'),
        *(written(more=1), written(tasks=3), written(command=None)),
        *(written().replace('"stood"', '"sat"'), written().replace('"tasks"', '"tusks"')),
    ],
)
def test_a_damaged_record_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(ConfigError, match=r"sweep\.json: expected the record of a sweep, got something else"):
        read_record(tmp_path)


def test_a_record_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="expected the record of a sweep"):
        read_record(tmp_path)


def test_a_kill_while_writing_leaves_the_earlier_record(tmp_path: Path, monkeypatch) -> None:
    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    write_record(tmp_path, RECORD)
    monkeypatch.setattr("os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_record(tmp_path, replace(RECORD, tasks=("3" * 16,)))
    assert read_record(tmp_path) == RECORD
