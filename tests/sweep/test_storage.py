"""What a file system must do to hold a store, and what is said of one that does not."""

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from saeuniv.store import Store
from saeuniv.sweep import storage
from saeuniv.sweep.check import Check


def by_name(checks: tuple[Check, ...] | list[Check]) -> dict[str, Check]:
    return {each.name: each for each in checks}


def found(store: Store, *, on_cluster: bool = False) -> dict[str, Check]:
    return by_name(storage.storage(store.root, on_cluster=on_cluster))


def test_a_sound_store_is_left_as_it_was(store: Store) -> None:
    store.root.mkdir()
    checks = found(store)
    assert all(checks[name].ok for name in ("store", "store semantics", "clock"))
    assert list(store.root.iterdir()) == []


def test_a_store_that_cannot_be_written_to_is_one_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (check,) = storage.storage(tmp_path / "file" / "store", on_cluster=True)
    assert check.ok is False and "is not a folder" in check.said and "SAEUNIV_STORE" in check.remedy


def test_a_file_system_without_what_the_store_relies_on_is_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert found(store)["store semantics"].said.endswith(
        "no hard links (jobs cannot be claimed): Operation not permitted"
    )
    monkeypatch.setattr(os, "link", lambda *_: None)
    assert "linked over another" in found(store)["store semantics"].said
    monkeypatch.undo()
    real = Path.rename

    def overwrite(self: Path, target: Path) -> None:
        if target.is_dir():
            (target / "file").unlink()
        real(self, target)

    monkeypatch.setattr(Path, "rename", overwrite)
    assert "renamed over another" in found(store)["store semantics"].said
    monkeypatch.undo()
    monkeypatch.setattr(os, "fsync", refuse)
    assert "synchronised" in found(store)["store semantics"].said
    monkeypatch.undo()
    monkeypatch.setattr(Path, "mkdir", refuse)
    assert found(store)["store semantics"].ok is False


@pytest.mark.parametrize(("seconds", "ok"), [(0.0, True), (-5.0, None), (5.0, None), (300.0, False)])
def test_a_clock_that_differs_is_told(
    store: Store, monkeypatch: pytest.MonkeyPatch, seconds: float, ok: bool | None
) -> None:
    real = time.time
    monkeypatch.setattr(storage.time, "time", lambda: real() - seconds)
    check = found(store)["clock"]
    assert check.ok is ok
    if seconds:
        assert f"{abs(seconds):.1f} s {'ahead of' if seconds > 0 else 'behind'}" in check.said


@pytest.mark.parametrize(
    ("free", "files", "ok"),
    [(1e12, 1e9, True), (1e10, 1e9, None), (1e8, 1e9, False), (1e12, 5, None), (1e12, 0, True)],
)
def test_room_is_for_bytes_and_files(
    store: Store, monkeypatch: pytest.MonkeyPatch, free: float, files: float, ok: bool | None
) -> None:
    sizes = {"f_bavail": int(free), "f_frsize": 1, "f_files": int(files), "f_favail": int(files)}
    monkeypatch.setattr(storage.os, "statvfs", lambda path: type("Disk", (), sizes))
    assert found(store)["disk"].ok is ok


@pytest.mark.parametrize(
    ("kind", "on_cluster", "ok"),
    [
        *[("nfs4", True, True), ("lustre", True, True), ("ext4", False, True), ("ext4", True, None)],
        *[("tmpfs", False, None), ("tmpfs", True, None)],
    ],
)
def test_file_systems_that_nodes_may_not_share_are_remarked_on(
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    kind: str,
    on_cluster: bool,
    ok: bool | None,
) -> None:
    mounts = tmp_path / "mountinfo"
    root = str(store.root).replace(" ", "\\040")
    mounts.write_text(
        "21 1 8:1 / / rw - rootfs none rw\n"
        f"22 21 0:5 / {tmp_path} rw shared:1 - xfs /dev/sda rw\n"
        f"23 22 0:6 / {root} rw - overlay none rw\n24 22 0:7 / {root} rw - {kind} server:/x rw\n"
    )
    monkeypatch.setattr(storage, "_MOUNTS", mounts)
    store.root.mkdir()
    monkeypatch.setattr(Path, "is_relative_to", _not_below_tmp(Path.is_relative_to))
    check = found(store, on_cluster=on_cluster)["file system"]
    assert (check.ok, check.said.split(":")[0].split(",")[0]) == (ok, kind)
    monkeypatch.setattr(storage, "_MOUNTS", tmp_path / "nowhere")
    assert found(store)["file system"].ok is None


def _not_below_tmp(real: Callable[..., bool]) -> Callable[..., bool]:
    """The folders of the tests are below /tmp, which has a remark of its own."""
    return lambda self, other: str(other) != "/tmp" and real(self, other)


def test_a_store_below_tmp_is_remarked_on_where_there_is_slurm(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "resolve", lambda self: Path("/tmp/store"))
    monkeypatch.setattr(storage, "file_system", lambda path: "ext4")
    assert "below /tmp" in found(store, on_cluster=True)["file system"].said
    assert found(store)["file system"].ok
