import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from saeuniv.store import (
    ArtifactError,
    Kind,
    Store,
    artifact,
    check_writable,
    folders,
    manifest,
    writable,
)
from tests.store.samples import an_artifact, publish, write


def forget() -> None:
    """Verify as the next process would."""
    folders._verified.clear()


def test_what_is_published_is_what_is_opened(store: Store) -> None:
    what = an_artifact()
    assert not store.exists(what)
    folder = publish(store, what)
    assert folder == store.root / what.path
    assert store.exists(what)
    forget()
    assert store.open(what) == folder
    assert set(manifest.file_names(folder)) == {"values.bin", "nested/names.txt"}
    assert [each.name for each in folder.parent.iterdir()] == [what.key]


def test_equal_content_has_equal_digests_and_other_content_has_not(store: Store, tmp_path: Path) -> None:
    what, elsewhere = an_artifact(), Store(tmp_path / "elsewhere")
    publish(store, what)
    publish(elsewhere, what)
    with store.publish(an_artifact(layer=9)) as folder:
        (folder / "values.bin").write_bytes(b"other")
    assert store.digest(what) == elsewhere.digest(what)
    assert store.digest(what) != store.digest(an_artifact(layer=9))


def test_a_body_that_fails_leaves_nothing(store: Store) -> None:
    what = an_artifact()
    with pytest.raises(RuntimeError, match="half way"), store.publish(what) as folder:
        write(folder)
        raise RuntimeError("half way")
    assert not store.exists(what)
    assert list((store.root / "latents").iterdir()) == []


def test_shards_are_published_alone(store: Store) -> None:
    publish(store, an_artifact(shard=0))
    assert store.exists(an_artifact(shard=0))
    assert not store.exists(an_artifact(shard=1))
    assert not store.exists(an_artifact())
    publish(store, an_artifact(shard=1))
    assert store.valid(an_artifact(shard=1))


def test_a_file_named_as_the_manifest_is_refused(store: Store) -> None:
    with (
        pytest.raises(ValueError, match=r"expected files of the artifact only, got manifest\.json"),
        store.publish(an_artifact()) as folder,
    ):
        (folder / "manifest.json").write_text("{}")


def test_what_does_not_exist_cannot_be_opened(store: Store) -> None:
    with pytest.raises(
        ArtifactError, match=r"latents/\w{16}: expected a published artifact in .*, found none"
    ):
        store.open(an_artifact())
    assert not store.valid(an_artifact())
    with pytest.raises(ArtifactError, match="expected a published artifact, found none"):
        store.digest(an_artifact())


def test_two_writers_at_once_end_with_one_valid_artifact(store: Store) -> None:
    what, together = an_artifact(), threading.Barrier(2)

    def work() -> None:
        with store.publish(what) as folder:
            write(folder)
            together.wait(timeout=10)

    writers = [threading.Thread(target=work) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    forget()
    assert store.valid(what)
    assert [each.name for each in store.folder(what).parent.iterdir()] == [what.key]


def test_the_later_writer_uses_the_earlier_artifact(store: Store) -> None:
    what = an_artifact()
    with store.publish(what) as folder:
        write(folder)
        publish(store, what)
        created = manifest.read_manifest(store.folder(what))
    assert manifest.read_manifest(store.folder(what)) == created


def test_a_writer_replaces_a_damaged_artifact_that_stands_in_its_way(store: Store) -> None:
    what = an_artifact()
    with store.publish(what) as folder:
        write(folder)
        (publish(store, what) / "values.bin").write_bytes(b"broken")
    forget()
    assert store.valid(what)
    assert len(list((store.root / "damaged").iterdir())) == 1


def test_two_processes_race_for_many_artifacts_and_all_are_valid(store: Store) -> None:
    script = f"""
from pathlib import Path
from saeuniv.store import Kind, Store, artifact
for n in range(40):
    with Store(Path({str(store.root)!r})).publish(artifact(Kind.latents, {{"n": n}})) as folder:
        (folder / "values.bin").write_bytes(bytes(range(256)))
"""
    writers = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(2)]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    assert all(store.valid(artifact(Kind.latents, {"n": n})) for n in range(40))
    assert len(list((store.root / "latents").iterdir())) == 40


def test_folders_of_living_writers_and_other_machines_are_left_alone(store: Store) -> None:
    parent = store.root / "latents"
    living = parent / f".x.{folders.host()}.{os.getpid()}.ab.tmp"
    elsewhere = parent / ".x.another.machine.1.ab.tmp"
    dead = parent / f".x.{folders.host()}.{a_dead_process()}.ab.tmp"
    for folder in (living, elsewhere, dead):
        folder.mkdir(parents=True)
    publish(store, an_artifact())
    assert (living.exists(), elsewhere.exists(), dead.exists()) == (True, True, False)


def a_dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_store_that_can_be_made_is_not_made_by_asking(tmp_path: Path) -> None:
    assert check_writable(tmp_path / "a" / "b") is None
    assert check_writable(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["", "store", "deep/store"])
def test_a_file_in_the_way_of_the_store_is_named(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    fault = check_writable(tmp_path / "file" / below)
    assert fault is not None
    assert fault.startswith(f"store={tmp_path / 'file' / below}: expected a folder that exists or can be")
    assert f"but {tmp_path / 'file'} is not a folder. Choose another folder" in fault


def test_a_broken_link_in_the_way_of_the_store_is_named(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert "link is not a folder" in (check_writable(tmp_path / "link" / "store") or "")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def refuse(*, dir: Path) -> None:
        asked.append(dir)
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(writable.tempfile, "TemporaryFile", refuse)
    fault = check_writable(tmp_path / "a" / "b")
    assert asked == [tmp_path]
    assert fault is not None
    assert f"but {tmp_path} is not writable (Permission denied)" in fault


def test_a_file_system_that_takes_no_files_is_named_and_a_good_folder_is_left_empty(tmp_path: Path) -> None:
    assert "but /proc is not writable" in (check_writable(Path("/proc/saeuniv/store")) or "")
    assert check_writable(tmp_path / "store") is None
    assert not list(tmp_path.iterdir())
