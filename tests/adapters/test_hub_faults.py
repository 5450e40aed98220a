"""Downloads that go wrong on the way: said in words, nothing kept, and the same command works later."""

import hashlib
import time

import pytest

from saeuniv.adapters import folders
from saeuniv.adapters.downloads import HubFile, Parts, needed
from saeuniv.adapters.hub import HubFolder, local_folder
from saeuniv.adapters.hub_download import damage
from saeuniv.adapters.hub_errors import HubUnreachable
from saeuniv.config import ConfigError, HubModel
from saeuniv.stages.fetch import Fetch
from tests.adapters.test_hub import CONFIG, FILES, MODEL, SINGLE
from tests.fake_hub import serving
from tests.test_preflight import safetensors

NAME = "model.safetensors"
SAID = {
    "truncated": r"\(peer closed connection without sending complete message body",
    "stalled": r"\(timed out\)",
    "silent": r"\(timed out\)",
    "corrupted": r"\(what came has the checksum \w+, the hub says \w+; it was removed from the cache\)",
}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    from huggingface_hub import constants

    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.01)))
    for name in ("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"):
        monkeypatch.setattr(constants, name, 0.2)
    with serving(tmp_path, monkeypatch) as running:
        yield running


def _fetch(root, commit: str, *names: str) -> Fetch:
    files = tuple(HubFile(name, len(SINGLE.get(name, b""))) for name in names)
    return Fetch(root, (), (), 1.0, MODEL, commit, files)


def _run(task: Fetch) -> None:
    task(lambda done, total: None)


def _kept(hub) -> list[str]:
    """Content and names of files in the cache, whole or not; locks and marks are none."""
    folders_of_content = {"blobs", "snapshots"}
    return [
        path.name
        for path in hub.cache.rglob("*")
        if not path.is_dir() and folders_of_content & {*path.relative_to(hub.cache).parts}
    ]


@pytest.mark.parametrize("fault", SAID)
def test_what_breaks_on_the_way_is_said_leaves_nothing_and_is_fetched_later(hub, tmp_path, fault):
    commit = hub.add(MODEL, SINGLE)
    task = _fetch(tmp_path, commit, "config.json", NAME)
    hub.faults[NAME] = fault
    started = time.monotonic()
    with pytest.raises(HubUnreachable, match=SAID[fault]) as error:
        _run(task)
    assert time.monotonic() - started < 8
    (said,) = error.value.faults
    assert said.startswith(f"{MODEL}: {NAME} of {MODEL} at revision {commit} did not come whole")
    assert f"`hf download {MODEL} --revision {commit}`" in said and "the same command again" in said
    assert "HF_HUB_DOWNLOAD_TIMEOUT=60" in said
    assert sorted(_kept(hub)) == sorted(["config.json", hashlib.sha256(CONFIG).hexdigest()])
    assert [file.name for file in task.missing()] == [NAME] and not task.is_done()
    hub.faults.clear()
    _run(task)
    assert task.is_done()
    path = HubFolder(MODEL, commit, MODEL).file(NAME)
    assert path is not None and path.read_bytes() == SINGLE[NAME]


def test_content_that_always_breaks_off_where_the_hub_starts_again_at_the_first_byte_is_given_up(
    hub, tmp_path, monkeypatch
):
    """Each attempt brings something, so that the client alone would go on for ever."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 16)
    commit = hub.add(MODEL, SINGLE)
    hub.faults[NAME] = "truncated"
    with pytest.raises(HubUnreachable, match=r"it broke off 4 times before all of it had come"):
        _run(_fetch(tmp_path, commit, NAME))
    assert _kept(hub) == []


@pytest.mark.parametrize("status", [500, 503])
def test_a_hub_in_trouble_is_said(hub, tmp_path, status):
    commit = hub.add(MODEL, SINGLE)
    hub.faults[NAME] = status
    with pytest.raises(HubUnreachable, match=rf"nor to be had from the hub \(.*{status}"):
        _run(_fetch(tmp_path, commit, NAME))
    hub.faults.clear()
    _run(_fetch(tmp_path, commit, NAME))


@pytest.mark.parametrize("fault", ["truncated", "silent", "corrupted"])
def test_a_configuration_that_does_not_come_whole_is_a_fault_of_the_command_until_it_does(hub, fault):
    hub.add(MODEL, SINGLE)
    hub.faults["config.json"] = fault
    with pytest.raises(ConfigError, match=rf"^a\.name={MODEL}: config\.json of {MODEL} at revision main"):
        folders.model_facts(HubModel(name=MODEL), key="a")
    assert _kept(hub) == []
    hub.faults.clear()
    assert folders.model_facts(HubModel(name=MODEL), key="a").n_layers == 2


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"\xff" * 8 + SINGLE[NAME][8:], "got no readable header"),
        (SINGLE[NAME][:12] + b"\0" * 12 + SINGLE[NAME][24:], "got no readable header"),
        (SINGLE[NAME][:-4], "as the file's header says, got"),
        (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer looks like this"),
    ],
    ids=["length", "header", "short", "pointer"],
)
def test_tensors_that_are_damaged_where_they_were_published_are_not_kept(hub, tmp_path, content, got):
    commit = hub.add(MODEL, {**SINGLE, NAME: content})
    task = _fetch(tmp_path, commit, NAME)
    for _ in range(2):
        with pytest.raises(ConfigError, match="damaged where it was published") as error:
            _run(task)
        assert got in str(error.value)
    assert _kept(hub) == [] and not task.is_done()


def test_a_dictionary_with_a_broken_header_is_refused_and_not_kept(hub):
    broken = safetensors(w=(2,))[:9] + b"\0" + safetensors(w=(2,))[10:]
    commit = hub.add("owner/saes", {"layers.0/cfg.json": b"{}", "layers.0/sae.safetensors": broken})
    with pytest.raises(ConfigError, match=r"layers\.0/sae\.safetensors of owner/saes"):
        local_folder("owner/saes", commit, "layers.0", FILES)
    assert "cfg.json" in _kept(hub) and "sae.safetensors" not in _kept(hub)


def test_tensors_that_another_program_damaged_in_the_cache_are_named_with_the_command_to_fetch_them(hub):
    commit = hub.add(MODEL, SINGLE)
    for file in needed(MODEL, commit, Parts(weights=True)):
        path = HubFolder(MODEL, commit, MODEL).file(file.name)
    path = HubFolder(MODEL, commit, MODEL).cached(NAME)
    assert path is not None and damage(path) is None
    path.resolve().write_bytes(SINGLE[NAME][:-1])
    with pytest.raises(ConfigError, match=rf"{NAME} at {commit} is damaged in the cache") as error:
        needed(MODEL, commit, Parts(weights=True))
    assert f"`hf download {MODEL} {NAME} --revision {commit} --force-download`" in str(error.value)


@pytest.mark.parametrize("checksum", ["sha256", "git"])
def test_content_is_checked_against_either_checksum_of_the_hub(tmp_path, checksum):
    content = b"some text"
    git = hashlib.sha1(b"blob %d\0%s" % (len(content), content)).hexdigest()
    path = tmp_path / {"sha256": hashlib.sha256(content).hexdigest(), "git": git}[checksum]
    path.write_bytes(content)
    assert damage(path) is None
    path.write_bytes(content[::-1])
    assert damage(path).startswith("what came has the checksum")
    other = tmp_path / "no-checksum"
    other.write_bytes(content)
    assert damage(other) is None
