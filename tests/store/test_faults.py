import os
import subprocess
import sys
from pathlib import Path

import pytest

from saeuniv.store import (
    FAULT_POINTS,
    Kind,
    Store,
    artifact,
)
from tests.store.samples import content


def publish_in_a_process(store: Store, fault: str, *, times: int = 1) -> int:
    lines = [
        "from pathlib import Path",
        "from saeuniv.store import Kind, Store, artifact",
        f"for n in range({times}):",
        "    spec = {'n': n}",
        f"    with Store(Path({str(store.root)!r})).publish(artifact(Kind.latents, spec)) as folder:",
        "        (folder / 'values.bin').write_bytes(bytes(range(256)))",
    ]
    environment = os.environ | {"SAEUNIV_FAULT": fault}
    run = subprocess.run([sys.executable, "-c", "\n".join(lines)], env=environment, capture_output=True)
    assert run.returncode in (0, 137), run.stderr.decode()
    return run.returncode


@pytest.mark.parametrize("point", FAULT_POINTS)
def test_a_writer_killed_at_any_point_is_repaired_by_the_next(
    store: Store, tmp_path: Path, point: str
) -> None:
    what, whole = artifact(Kind.latents, {"n": 0}), Store(tmp_path / "whole")
    assert publish_in_a_process(whole, "") == 0
    assert publish_in_a_process(store, point) == 137
    assert store.exists(what) == (point == "after_rename")
    if not store.valid(what):
        assert publish_in_a_process(store, "") == 0
    assert store.valid(what)
    assert content(store.folder(what)) == content(whole.folder(what))
    assert store.digest(what) == whole.digest(what)
    assert [each.name for each in store.folder(what).parent.iterdir()] == [what.key]


def test_the_fault_hook_leaves_other_kinds_alone(store: Store) -> None:
    assert publish_in_a_process(store, "before_rename:scores", times=2) == 0


def test_the_fault_hook_counts_the_artifacts_of_its_kind(store: Store) -> None:
    assert publish_in_a_process(store, "before_publish:latents:3", times=4) == 137
    assert [store.exists(artifact(Kind.latents, {"n": n})) for n in range(4)] == [True, True, False, False]


@pytest.mark.parametrize(
    "asked", ["befor_publish", "before_publish:latent", "before_publish:latents:0", "a:b:c:d"]
)
def test_a_misspelt_fault_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    monkeypatch.setenv("SAEUNIV_FAULT", asked)
    message = rf"expected <point>.*got {asked}.*before_publish, .*latents"
    with pytest.raises(ValueError, match=message), store.publish(artifact(Kind.latents, {})):
        pytest.fail("the body ran")
