"""How much the store holds: counted from manifests, everything else from its files."""

import io
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from saeuniv.store import Kind, Store, artifact, manifest
from saeuniv.store.scan import scan
from saeuniv.store.usage import Usage, bytes_text, usage, usage_json, usage_table
from tests.store.samples import an_artifact, publish

# samples.write: 2,560 bytes and 4 bytes
CONTENT_BYTES = 2564


def held(found: Usage, kind: str) -> tuple[int, int]:
    return next((each.n, each.bytes) for each in found.held if each.kind == kind)


def files_below(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


@pytest.fixture
def full(store: Store) -> Store:
    """Two artifacts, one of them in two shards, and one thing of every other kind."""
    for what in (artifact(Kind.tokens, {"text": "a"}), an_artifact(0), an_artifact(1)):
        publish(store, what)
    (store.folder(an_artifact()) / ".00002.there.77.0123abcd.tmp").mkdir()
    for name, size in {
        "damaged/latents-0123456789abcdef-1700000000000000000/values.bin": 10,
        "jobs/0123456789abcdef.json": 20,
        "submitit/17/17_0_log.out": 30,
        "checkpoints/0123456789abcdef/state.pt": 40,
        ".scratch.there.77.0123abcd.tmp/part.bin": 50,
        "locks/tokens-0123456789abcdef.lock": 60,
        "notes/mine.txt": 70,
    }.items():
        (store.root / name).parent.mkdir(parents=True, exist_ok=True)
        (store.root / name).write_bytes(bytes(size))
    return store


def test_every_kind_is_counted_and_the_bytes_are_those_of_the_files(full: Store) -> None:
    found = usage(full.root)
    assert {each.kind: each.n for each in found.held if each.n} == {
        **{"tokens": 1, "latents": 1, "damaged": 1, "jobs": 1, "submitit": 1, "checkpoints": 1},
        **{"temporary": 3, "other": 1},
    }
    assert held(found, "temporary") == (3, 110)
    assert [held(found, kind)[1] for kind in ("damaged", "jobs", "submitit", "checkpoints", "other")] == [
        *(10, 20, 30, 40, 70)
    ]
    assert found.bytes == files_below(full.root)
    assert held(found, "latents")[1] > 2 * CONTENT_BYTES


def test_the_sizes_of_artifacts_come_from_their_manifests(full: Store) -> None:
    before = usage(full.root)
    (full.folder(an_artifact(0)) / "values.bin").write_bytes(bytes(9))
    assert usage(full.root).bytes == before.bytes


def test_times_are_those_of_publication(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = publish(store, artifact(Kind.tokens, {"text": "a"}))
    publish(store, artifact(Kind.tokens, {"text": "b"}))
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "created": "2024-02-03T04:05:06+00:00"}))
    (tokens,) = [each for each in usage(store.root).held if each.n]
    assert tokens.oldest == "2024-02-03T04:05:06+00:00"
    assert tokens.newest is not None and tokens.newest > "2026"


@pytest.mark.parametrize("content", [b"\xff{", b"[]", b"{}", b'{"files": {}, "created": 3, "parents": []}'])
def test_what_has_no_readable_manifest_is_one_thing_of_another_kind(store: Store, content: bytes) -> None:
    folder = publish(store, an_artifact())
    (folder / "manifest.json").write_bytes(content)
    assert [(each.kind, each.path) for each in scan(store.root)] == [("other", an_artifact().path)]
    assert usage(store.root).bytes == files_below(store.root)


def test_a_store_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"store=.*nowhere: expected a store, found no folder"):
        usage(tmp_path / "nowhere")


def test_what_disappears_while_it_is_looked_at_is_left_out(
    full: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., os.stat_result] = os.lstat

    def lstat(path: str) -> os.stat_result:
        if str(path).endswith("state.pt") or str(path).endswith("0123456789abcdef.json"):
            raise FileNotFoundError(path)
        return real(path)

    monkeypatch.setattr(os, "lstat", lstat)
    found = usage(full.root)
    assert held(found, "checkpoints") == (1, 0)
    assert held(found, "jobs") == (0, 0)


def test_the_table_and_the_json_say_the_same(full: Store) -> None:
    found = usage(full.root)
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(usage_table(found))
    text = console.export_text()
    assert "latents" in text and "scores" not in text and bytes_text(found.bytes) in text
    whole = json.loads(json.dumps(usage_json(found)))
    assert whole["held"]["jobs"] == {
        **{"n": 1, "bytes": 20},
        **{"oldest": whole["held"]["jobs"]["newest"], "newest": whole["held"]["jobs"]["newest"]},
    }
    assert whole["held"]["scores"] == {"n": 0, "bytes": 0, "oldest": None, "newest": None}
    assert whole["free_bytes"] > 0


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (123_456, "123 kB"),
        (999_700, "1.0 MB"),
        (1_250_000, "1.2 MB"),
    ],
)
def test_sizes_have_three_digits(size: int, text: str) -> None:
    assert bytes_text(size) == text


def test_a_thousand_artifacts_are_counted_in_a_moment(store: Store) -> None:
    folder = publish(store, artifact(Kind.scores, {"text": "a"}))
    content = (folder / manifest.MANIFEST).read_bytes()
    for number in range(1000):
        (store.root / "scores" / f"{number:016x}").mkdir()
        (store.root / "scores" / f"{number:016x}" / manifest.MANIFEST).write_bytes(content)
    started = time.monotonic()
    assert held(usage(store.root), "scores")[0] == 1001
    assert time.monotonic() - started < 10
