"""Folders of language models: what is read of them, and what is written."""

import filecmp
import shutil

import pytest
import torch

from saeuniv.adapters import model_folders, tiny
from saeuniv.adapters.model_folders import load_hf_model

ARCHITECTURES = ("gpt_neox", "gpt2", "llama")


@pytest.fixture
def folders(request) -> dict:
    return request.getfixturevalue("model_folders")


def test_damaged_weights_are_an_error_in_words(folders, tmp_path):
    broken = shutil.copytree(folders["gpt2"], tmp_path / "broken")
    content = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"broken: expected weights that can be read, got damaged safetens"):
        load_hf_model(str(broken))


def test_pickled_weights_are_never_read(folders, tmp_path):
    source = folders["gpt2"]
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        load_hf_model(str(tmp_path))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_initial_weights_are_decided_by_the_seed_and_keep_config_and_tokenizer(
    folders, tmp_path, architecture
):
    source = str(folders[architecture])
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        model_folders.save_initial_weights(source, tmp_path / name, seed=seed)
    files = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert filecmp.cmpfiles(tmp_path / "a", tmp_path / "b", files, shallow=False)[0] == files
    assert "model.safetensors" in filecmp.cmpfiles(tmp_path / "a", tmp_path / "c", files, shallow=False)[1]
    assert "model.safetensors" in filecmp.cmpfiles(tmp_path / "a", source, files, shallow=False)[1]
    load_hf_model(str(tmp_path / "a"))


def test_initial_weights_of_a_saved_tiny_model_are_those_of_its_seed(tmp_path):
    from saeuniv.config import TinyModel

    model = tiny.initial_model(TinyModel(seed=4, d_model=16, n_layers=2))
    tiny.save(model, tmp_path / "saved")
    model_folders.save_initial_weights(str(tmp_path / "saved"), tmp_path / "again", seed=4)
    assert (tmp_path / "saved/model.safetensors").read_bytes() == (
        tmp_path / "again/model.safetensors"
    ).read_bytes()
