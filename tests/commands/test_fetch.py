"""`saeuniv fetch`: says how much is to be fetched, fetches it, and does nothing else."""

from pathlib import Path

import pytest

from saeuniv.adapters.downloads import HubFile
from saeuniv.commands import fetch
from saeuniv.stages.fetch import Fetch
from saeuniv.store import Store
from saeuniv.sweep import run
from tests.commands.conftest import Call
from tests.sweep.conftest import BASE


def test_where_nothing_comes_from_hubs_it_says_so(call: Call, here: Path, store: Store) -> None:
    ended = call(fetch.main, "-m", *BASE, "alignment=max_corr,hungarian")
    assert ended == (0, "nothing comes from hubs\n", "")
    assert list(here.iterdir()) == [] and not store.root.exists()


def test_it_says_how_much_and_fetches_only_what_is_missing(
    call: Call, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {name: (HubFile("model.safetensors", size),) for name, size in (("a", 3 * 10**9), ("b", 10**9))}
    planned = tuple(Fetch(store.root, (), (), 1.0, f"owner/{name}", "0" * 40, files[name]) for name in files)
    there = {"owner/b"}
    fetched: list[str] = []

    def download(self: Fetch, progress: object) -> None:
        fetched.append(self.repository)
        there.add(self.repository)

    monkeypatch.setattr(run, "fetches", lambda tasks: planned)
    monkeypatch.setattr(Fetch, "missing", lambda self: () if self.repository in there else self.files)
    monkeypatch.setattr(Fetch, "__call__", download)
    ended = call(fetch.main, *BASE)
    assert ended == (0, "1 repository, 1 file, 3.0 GB to fetch (1.0 GB cached)\n", "")
    assert fetched == ["owner/a"]
    assert call(fetch.main, *BASE) == (0, "nothing to fetch (4.0 GB cached)\n", "")
    assert fetched == ["owner/a"]
