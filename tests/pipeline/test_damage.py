"""Damaged artifacts are found by the next run, named, set aside and made again."""

import json
from pathlib import Path

import pytest

from tests.pipeline.conftest import Desk, Trained, contents

KINDS = ("models", "dictionaries", "latents", "matches", "scores")


def artifacts(store: Path, kind: str, split: str | None = None) -> list[Path]:
    """The published folders of a kind, by path; of token sets those of one split."""
    manifests = {path: json.loads(path.read_text()) for path in sorted((store / kind).rglob("manifest.json"))}
    return [path.parent for path, told in manifests.items() if split in (None, told["spec"].get("split"))]


def flip_a_byte(folder: Path) -> Path:
    """Changes one bit in the middle of the artifact's largest file; its size stays."""
    file = max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    # A new file: the old one is linked to the store that the other tests use.
    file.unlink()
    file.write_bytes(content)
    return file


def assert_found_and_made_again(desk: Desk, trained: Trained, damaged: dict[Path, str]) -> None:
    done = desk.launch("tracking=off", "resources.processes=2")
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stderr.splitlines() if "WARNING" in line or "damaged" in line]
    for folder, name in damaged.items():
        path = folder.relative_to(desk.store).as_posix()
        (named,) = (line for line in warnings if f"{path} in {desk.store} is damaged." in line)
        assert name in named
        assert any(f"{path}: set aside in {desk.store}/damaged/" in line for line in warnings)
    aside = [path for path in (desk.store / "damaged").iterdir()]
    assert len(aside) == len(damaged)
    made_again = {k: v for k, v in contents(desk.store).items() if not k.startswith("damaged/")}
    assert made_again == contents(trained.desk.store)
    for name, files in desk.results().items():
        theirs = trained.desk.results()[name]
        assert {file for file in files if files[file] != theirs[file]} == {"config.yaml"}
    assert len(desk.results()) == 2


# What is made in seconds with every change, what is trained with the presets.
@pytest.mark.parametrize("kinds", [KINDS[-2:], pytest.param(KINDS, marks=pytest.mark.presets)])
def test_a_flipped_byte_in_every_kind_is_found_and_the_artifact_made_again(
    kinds: tuple[str, ...], desk: Desk, trained: Trained
) -> None:
    folders = [artifacts(desk.store, kind)[-1] for kind in kinds]
    if kinds == KINDS:
        folders += artifacts(desk.store, "tokens", "training")
    assert_found_and_made_again(desk, trained, {each: flip_a_byte(each).name for each in folders})


@pytest.mark.presets
def test_a_damaged_token_set_and_a_damaged_manifest_are_found(desk: Desk, trained: Trained) -> None:
    (held_out,) = artifacts(desk.store, "tokens", "held_out")
    score = artifacts(desk.store, "scores")[0]
    told = (score / "manifest.json").read_text()
    (score / "manifest.json").unlink()
    (score / "manifest.json").write_text(told[:-40])
    damaged = {held_out: flip_a_byte(held_out).name, score: "manifest.json"}
    assert_found_and_made_again(desk, trained, damaged)
