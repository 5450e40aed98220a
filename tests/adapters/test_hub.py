"""Hub repositories from a hub on loopback: one commit, only the needed files, access said in words."""

import json
import logging
import traceback

import pytest

from saeuniv.adapters import downloads, folders
from saeuniv.adapters.dictionary_facts import dictionary_facts
from saeuniv.adapters.downloads import Parts, needed
from saeuniv.adapters.hub import HubFolder, local_folder
from saeuniv.adapters.hub_errors import HubUnreachable
from saeuniv.config import ConfigError, HubModel, HubSae, Width
from tests.fake_hub import TOKEN, serving
from tests.test_preflight import safetensors

MODEL = "owner/model"
CONFIG = json.dumps(
    {"model_type": "gpt_neox", "num_hidden_layers": 2, "hidden_size": 4, "vocab_size": 3}
).encode()
# No two alike: equal files are fetched once.
SMALL = {"config.json": CONFIG, "tokenizer.json": b'{"model": {}}', "tokenizer_config.json": b"{}"}
SINGLE = {**SMALL, "generation_config.json": b"{ }", "model.safetensors": safetensors(w=(250,))}
INDEX = json.dumps({"weight_map": {"a": "model-2.safetensors", "b": "model-1.safetensors"}}).encode()
SHARDS = {"model-1.safetensors": safetensors(x=(75,)), "model-2.safetensors": safetensors(y=(50,))}
SHARDED = {**SMALL, "model.safetensors.index.json": INDEX, **SHARDS}
DICTIONARY = safetensors(w=(1,))
UNNEEDED = {
    "README.md": b"r",
    "pytorch_model.bin": b"p" * 5000,
    "onnx/model.safetensors": b"o",
    "consolidated.safetensors": b"c" * 900,
    "vocab.json": b"{}",
}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with serving(tmp_path, monkeypatch) as running:
        yield running


FILES = ("cfg.json", "sae.safetensors")


def _files(*folders: str) -> frozenset[str]:
    return frozenset(f"{folder}/{name}" for folder in folders for name in FILES)


def _fetch(repository: str, commit: str, parts: Parts) -> list[str]:
    files = needed(repository, commit, parts)
    for file in files:
        downloads.download(repository, commit, file.name)
    return [file.name for file in files]


def _fault(call, *args, **kwargs) -> str:
    with pytest.raises(ConfigError) as error:
        call(*args, **kwargs)
    assert len(error.value.faults) == 1
    assert TOKEN not in "".join(traceback.format_exception(error.value))
    return error.value.faults[0]


def _offline(monkeypatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def test_a_branch_that_moves_between_two_files_is_not_followed(hub):
    first = hub.add(MODEL, SINGLE)
    source = HubFolder(MODEL, "main", "a.name")
    assert source.json("config.json")
    hub.add(MODEL, {**SINGLE, "tokenizer.json": b'{"model": {"moved": 1}}'})
    assert source.json("tokenizer.json") == {"model": {}}
    assert source.identity("") == {"repository": MODEL, "commit": first}
    assert hub.fetched()[1:] == [f"{first} tokenizer.json"]


def test_of_a_model_the_configuration_tokenizer_and_safetensors_are_fetched_and_nothing_else(hub):
    commit = hub.add(MODEL, {**UNNEEDED, **SINGLE})
    hub.add(MODEL, {"config.json": b"later"})
    names = _fetch(MODEL, commit, Parts(weights=True))
    assert sorted(names) == sorted(SINGLE) and names[-1] == "model.safetensors"
    assert hub.fetched() == [f"{commit} {name}" for name in names]
    assert sum(file.n_bytes for file in needed(MODEL, commit, Parts(weights=True))) == sum(
        len(SINGLE[name]) for name in names if name != "generation_config.json"
    )
    assert hub.requests == [], "everything is in the cache"


def test_sizes_are_known_before_anything_is_fetched(hub):
    commit = hub.add(MODEL, {**UNNEEDED, **SINGLE})
    files = needed(MODEL, commit, Parts(weights=True))
    assert {file.name: file.n_bytes for file in files} == {name: len(SINGLE[name]) for name in SINGLE}
    assert hub.requests == [f"LIST {MODEL} {commit}"]


def test_weights_in_several_files_are_those_that_the_index_names(hub):
    commit = hub.add(MODEL, {**UNNEEDED, **SHARDED, "model-9.safetensors": b"stray"})
    names = _fetch(MODEL, commit, Parts(weights=True))
    assert sorted(names) == sorted(SHARDED) and names[-2:] == ["model-1.safetensors", "model-2.safetensors"]
    hub.requests.clear()
    assert downloads.weight_files(HubFolder(MODEL, commit, "a")) == (
        "model.safetensors.index.json",
        "model-1.safetensors",
        "model-2.safetensors",
    )
    assert hub.requests == []


def test_a_single_file_is_preferred_to_several(hub):
    commit = hub.add(MODEL, {**SHARDED, **SINGLE})
    assert not {*SHARDS} & {*_fetch(MODEL, commit, Parts(weights=True))}


def test_an_untrained_counterpart_takes_no_weights(hub):
    commit = hub.add(MODEL, {**UNNEEDED, **SINGLE})
    assert sorted(_fetch(MODEL, commit, Parts(tokenizer=True))) == sorted({*SINGLE} - {"model.safetensors"})
    assert "model.safetensors" in _fetch(MODEL, commit, Parts(weights=True))


def test_of_dictionaries_only_the_folders_asked_for_are_fetched(hub):
    files = {f"layers.{layer}/cfg.json": b"%d" % layer for layer in range(3)}
    files |= {f"layers.{layer}/sae.safetensors": safetensors(w=(layer + 1,)) for layer in range(3)}
    commit = hub.add("owner/saes", {**files, "layers.1/optimizer.pt": b"2", "README.md": b"3"})
    names = _fetch("owner/saes", commit, Parts(dictionaries=_files("layers.1", "layers.0")))
    wanted = [
        "layers.0/cfg.json",
        "layers.1/cfg.json",
        "layers.0/sae.safetensors",
        "layers.1/sae.safetensors",
    ]
    assert names == wanted
    assert hub.fetched() == [f"{commit} {name}" for name in wanted]


def test_a_file_that_the_repository_lacks_is_asked_for_once_and_then_remembered(hub):
    commit = hub.add(MODEL, {name: SINGLE[name] for name in SINGLE if name != "tokenizer_config.json"})
    _fetch(MODEL, commit, Parts(weights=True))
    hub.requests.clear()
    assert "tokenizer_config.json" in _fetch(MODEL, commit, Parts(weights=True))
    assert hub.requests == []


def test_what_is_in_the_cache_needs_no_network_and_what_is_not_is_named(hub, monkeypatch):
    commit = hub.add(MODEL, SHARDED)
    _fetch(MODEL, commit, Parts(weights=True))
    saes = hub.add("owner/saes", {"layers.0/cfg.json": b"{}", "layers.0/sae.safetensors": DICTIONARY})
    _fetch("owner/saes", saes, Parts(dictionaries=_files("layers.0")))
    hub.requests.clear()
    _offline(monkeypatch)
    assert len(needed(MODEL, commit, Parts(weights=True))) == len(SHARDED)
    folder = local_folder("owner/saes", saes, "layers.0", FILES)
    assert (folder / "sae.safetensors").read_bytes() == DICTIONARY
    other = hub.add("owner/other", {})
    with pytest.raises(HubUnreachable) as error:
        needed("owner/other", other, Parts(dictionaries=_files("layers.1")))
    assert "layers.1/sae.safetensors and 1 more of owner/other" in str(error.value)
    assert "HF_HUB_OFFLINE is set" in str(error.value) and "`saeuniv fetch`" in str(error.value)
    with pytest.raises(HubUnreachable, match=r"layers\.1/cfg\.json of owner/saes"):
        local_folder("owner/saes", saes, "layers.1", FILES)
    assert hub.requests == []


def test_a_cache_without_the_optional_file_serves_where_there_is_no_network(hub, monkeypatch):
    commit = hub.add(MODEL, SINGLE)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        downloads.download(MODEL, commit, name)
    _offline(monkeypatch)
    files = {file.name for file in needed(MODEL, commit, Parts(weights=True))}
    assert files == {"config.json", "tokenizer.json", "model.safetensors"}


def test_the_folder_of_a_dictionary_is_of_the_recorded_commit_and_holds_both_files(hub):
    commit = hub.add(
        "owner/saes", {"layers.0/cfg.json": b"{}", "layers.0/sae.safetensors": DICTIONARY, "x": b""}
    )
    hub.add("owner/saes", {"layers.0/cfg.json": b"later"})
    folder = local_folder("owner/saes", commit, "layers.0", FILES)
    assert (folder / "cfg.json").read_bytes() == b"{}" and folder.parent.name == commit
    assert hub.fetched() == [f"{commit} layers.0/cfg.json", f"{commit} layers.0/sae.safetensors"]
    assert "expected layers.4/cfg.json and layers.4/sae.safetensors at" in _fault(
        local_folder, "owner/saes", commit, "layers.4", FILES
    )


@pytest.mark.parametrize(
    ("files", "got"),
    [
        ({"pytorch_model.bin": b"1", "x/other.bin": b""}, "got pytorch_model.bin, which would be unpickled"),
        ({"README.md": b""}, "got none"),
    ],
)
def test_a_model_without_safetensors_is_refused_before_anything_large_is_fetched(hub, files, got):
    hub.add(MODEL, {**SMALL, **files})
    fault = _fault(folders.model_facts, HubModel(name=MODEL), key="a")
    assert fault.startswith(f"a.name={MODEL}: expected weights in model.safetensors") and got in fault
    assert "model.save_pretrained(folder)" in fault
    assert "pytorch_model.bin" not in "".join(hub.fetched())
    assert folders.model_facts(HubModel(name=MODEL, untrained=True), key="a").n_layers == 2


def test_a_slow_tokenizer_is_refused_with_the_way_out(hub):
    files = {name: content for name, content in SINGLE.items() if name != "tokenizer.json"}
    hub.add(MODEL, {**files, "vocab.json": b"{}"})
    fault = _fault(folders.model_facts, HubModel(name=MODEL), key="a")
    assert fault.startswith(
        f"a.name={MODEL}: expected a fast tokenizer (tokenizer.json), got a slow one (vocab"
    )


def test_an_index_that_names_pickles_is_refused(hub):
    index = json.dumps({"weight_map": {"a": "pytorch_model-1.bin"}}).encode()
    hub.add(MODEL, {**SHARDED, "model.safetensors.index.json": index})
    assert "got pytorch_model-1.bin" in _fault(folders.model_facts, HubModel(name=MODEL), key="a")


def test_weights_that_cannot_be_asked_for_are_left_to_the_fetching(hub, monkeypatch):
    hub.add(MODEL, SINGLE)
    for name in ("config.json", "tokenizer.json"):
        HubFolder(MODEL, "main", "a").file(name)
    _offline(monkeypatch)
    facts = folders.model_facts(HubModel(name=MODEL), key="a")
    with pytest.raises(HubUnreachable, match=r"model\.safetensors of owner/model"):
        needed(MODEL, facts.identity["commit"], Parts(weights=True))


@pytest.mark.parametrize(
    ("token", "who"), [(None, "no token is set here"), ("hf_wrong", "the token set here does not open it")]
)
@pytest.mark.parametrize("cached", [False, True], ids=["new", "configuration in the cache"])
def test_a_gated_model_is_explained_before_anything_is_planned(hub, monkeypatch, token, who, cached):
    hub.add(MODEL, SINGLE)
    if cached:
        for name in ("config.json", "tokenizer.json"):
            HubFolder(MODEL, "main", "a").file(name)
    hub.gated.add(MODEL)
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    fault = _fault(folders.model_facts, HubModel(name=MODEL), key="b")
    assert fault.startswith(f"b.name={MODEL}: {MODEL} is gated, and {who}")
    assert f"https://huggingface.co/{MODEL}" in fault
    assert "set HF_TOKEN or run `hf auth login` on the machine that submits" in fault
    assert "hf_wrong" not in fault
    assert not [each for each in hub.requests if each.startswith("GET") and "model.safetensors" in each]


def test_a_token_that_opens_a_gated_model_is_never_shown(hub, monkeypatch, caplog, capfd):
    commit = hub.add(MODEL, SINGLE)
    hub.gated.add(MODEL)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    client = logging.getLogger("huggingface_hub")
    monkeypatch.setattr(client, "propagate", True)
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, logger="huggingface_hub"):
        assert folders.model_facts(HubModel(name=MODEL), key="b").n_layers == 2
        _fetch(MODEL, commit, Parts(weights=True))
        _fault(downloads.download, MODEL, commit, "absent.json")
        _fault(folders.model_facts, HubModel(name="owner/none"), key="b")
    assert f"Bearer {TOKEN}" in hub.tokens, "the token was sent, so that it could have been shown"
    assert caplog.text and TOKEN not in caplog.text
    assert TOKEN not in "".join(capfd.readouterr())


@pytest.mark.parametrize("private", [True, False])
def test_a_private_or_misspelt_repository_is_explained(hub, private):
    hub.add(MODEL, SINGLE)
    if private:
        hub.private.add(MODEL)
    name = MODEL if private else "owner/modle"
    fault = _fault(folders.model_facts, HubModel(name=name), key="a")
    assert fault.startswith(
        f"a.name={name}: the hub has no {name}, or it is private and no token is set here."
    )
    assert "`hf auth login`" in fault


def test_a_revision_that_does_not_exist_is_named(hub):
    hub.add(MODEL, SINGLE)
    fault = _fault(folders.model_facts, HubModel(name=MODEL, revision="step9"), key="a")
    assert f"config.json of {MODEL} at revision step9" in fault and "Check name and revision" in fault


def test_a_hub_that_is_down_is_waited_for_once_and_named(hub, monkeypatch):
    from huggingface_hub import constants

    commit = hub.add(MODEL, SINGLE)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubUnreachable, match=r"nor to be had from the hub \(.*refused"):
        needed(MODEL, commit, Parts(weights=True))
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", None)  # would be a TypeError if asked again
    with pytest.raises(HubUnreachable):
        needed(MODEL, commit, Parts(weights=True))


def test_layers_that_a_hub_repository_lacks_are_listed_with_all_it_has(hub, tmp_path, write_dictionary):
    made = [write_dictionary(tmp_path / f"layers.{layer}") for layer in (0, 1)]
    hub.add_folder("owner/saes", tmp_path / "layers.0", *made)
    facts = folders.ModelFacts(3, 16, 257, "gpt_neox", "", {}, "")
    sae = HubSae(name="owner/saes")
    model = HubModel(name=MODEL)
    call = (dictionary_facts, sae, model, facts)
    fault = _fault(*call, [1, 2], Width.published, key="sae_a")
    assert "for layers 2. It has layers 0, 1." in fault
    (found,) = dictionary_facts(sae, model, facts, [1], Width.published, key="sae_a")
    assert found.identity["commit"] == hub.branches["owner/saes"]["main"] and found.width == 32


@pytest.mark.parametrize("architecture", ["gpt_neox", "llama"])
def test_what_was_fetched_loads_without_a_network(
    hub, tmp_path, monkeypatch, model_folders, write_dictionary, architecture
):
    import numpy as np
    from transformers import AutoModelForCausalLM

    from saeuniv.adapters.dictionary import load_dictionary
    from saeuniv.adapters.language_model import load_language_model
    from saeuniv.adapters.model_folders import load_tokenizer, save_initial_weights
    from saeuniv.hookpoints import Hookpoint, HookpointKind

    folder = model_folders[architecture]
    if architecture == "llama":
        model = AutoModelForCausalLM.from_pretrained(folder)
        folder = tmp_path / "sharded"
        load_tokenizer(str(model_folders["llama"])).save_pretrained(folder)
        model.save_pretrained(folder, max_shard_size="20KB")
        assert (folder / "model.safetensors.index.json").is_file()
    commit = hub.add_folder(MODEL, folder, **{"pytorch_model.bin": b"no"})
    saes = hub.add_folder("owner/saes", tmp_path, write_dictionary(tmp_path / "layers.1"))
    hub.add(MODEL, {"config.json": b"later"})
    _fetch(MODEL, commit, Parts(weights=True))
    _fetch("owner/saes", saes, Parts(dictionaries=_files("layers.1")))
    hub.requests.clear()
    _offline(monkeypatch)
    place = Hookpoint(HookpointKind.resid_post, 1)
    ids = np.arange(8, dtype=np.int64)[None]
    fetched, original = (
        load_language_model(name, revision=revision).activations(ids, [place])[place]
        for name, revision in ((MODEL, commit), (str(folder), None))
    )
    assert fetched.equal(original)
    assert load_tokenizer(MODEL, commit).eos_token_id == load_tokenizer(str(folder)).eos_token_id == 0
    save_initial_weights(MODEL, tmp_path / "initial", seed=1, revision=commit)
    assert (tmp_path / "initial/model.safetensors").is_file()
    assert load_dictionary(local_folder("owner/saes", saes, "layers.1", FILES)).width == 32
    assert hub.requests == []
