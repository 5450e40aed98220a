from pathlib import Path

import pytest

from saeuniv.store import (
    FORMAT,
    Kind,
    artifact,
    artifact_key,
)
from tests.store.samples import SPEC, an_artifact


def test_a_key_is_sixteen_hexadecimal_digits_and_does_not_depend_on_order() -> None:
    key = artifact_key(Kind.latents, SPEC)
    assert len(key) == 16
    assert int(key, 16) >= 0
    assert artifact_key(Kind.latents, dict(reversed(SPEC.items()))) == key


@pytest.mark.parametrize(
    "changed",
    [{"model": "gpt2"}, {"layer": 4}, {"layer": "3"}, {"widths": [2, 1]}, {"rate": 0.25}, {"more": None}],
)
def test_a_key_changes_with_every_value(changed: dict[str, object]) -> None:
    assert artifact_key(Kind.latents, SPEC | changed) != artifact_key(Kind.latents, SPEC)


def test_a_key_changes_with_the_kind_and_its_format(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {artifact_key(kind, SPEC) for kind in Kind}
    assert len(keys) == len(Kind) == len(FORMAT)
    monkeypatch.setitem(FORMAT, Kind.latents, FORMAT[Kind.latents] + 1)
    assert artifact_key(Kind.latents, SPEC) not in keys


def test_a_key_does_not_depend_on_parents_or_shards() -> None:
    assert an_artifact(shard=3) != an_artifact()
    assert an_artifact(shard=3).key == an_artifact().key
    assert artifact(Kind.latents, SPEC) == an_artifact()
    assert an_artifact(shard=3).path == f"{an_artifact().path}/00003"


@pytest.mark.parametrize("broken", [Path("x"), float("nan")])
def test_values_that_are_not_json_are_refused(broken: object) -> None:
    with pytest.raises((TypeError, ValueError), match="JSON"):
        artifact_key(Kind.latents, {"value": broken})
