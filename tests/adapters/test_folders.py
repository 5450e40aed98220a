"""What folders say of themselves, and every fault of theirs at once."""

import json
import re
import shutil

import pytest
import torch

from saeuniv.adapters import folders
from saeuniv.config import ConfigError, Dtype, HubModel, LocalModel, TinyModel
from saeuniv.hookpoints import HookpointKind

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def _facts(path) -> folders.ModelFacts:
    return folders.model_facts(LocalModel(path=str(path)), key="a")


def _faults(call, *args, **kwargs) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as error:
        call(*args, **kwargs)
    return error.value.faults


@pytest.fixture
def model(model_folders, tmp_path):
    """A copy that a test may break."""
    return shutil.copytree(model_folders["gpt_neox"], tmp_path / "model")


@pytest.mark.parametrize("architecture", ["gpt_neox", "gpt2", "llama"])
def test_facts_of_the_common_architectures(model_folders, architecture):
    facts = _facts(model_folders[architecture])
    assert facts[:4] == (3, 16, 257, architecture)
    assert facts.folder == str(model_folders[architecture].resolve())
    assert re.fullmatch("[0-9a-f]{64}", facts.identity["sha256"])


def test_facts_of_the_embedded_model_need_no_file():
    facts = folders.model_facts(TinyModel(seed=0, d_model=96, n_layers=3), key="a")
    assert facts[:4] == (3, 96, 257, "gpt_neox") and not facts.identity and facts.folder == ""


@pytest.mark.parametrize(
    ("config", "d_ff", "parallel"),
    [
        ({"model_type": "gpt_neox", "intermediate_size": 48}, 48, True),
        ({"model_type": "gpt_neox", "intermediate_size": 48, "use_parallel_residual": False}, 48, False),
        ({"model_type": "gpt2", "n_inner": None}, 64, False),
        ({"model_type": "gpt2", "n_inner": 40}, 40, False),
        ({"model_type": "gemma2", "intermediate_size": 96}, 96, False),
        ({"model_type": "phi", "intermediate_size": 96}, 96, True),
        ({"model_type": "mixtral", "intermediate_size": 96, "num_local_experts": 8}, None, False),
        ({"model_type": "unheard_of"}, None, False),
    ],
)
def test_the_width_of_neurons_and_the_lack_of_resid_mid_are_read_from_the_configuration(
    model, config, d_ff, parallel
):
    common = {"hidden_size": 16, "num_hidden_layers": 3, "vocab_size": 257}
    (model / "config.json").write_text(json.dumps({**common, **config}))
    facts = _facts(model)
    assert (facts.d_ff, facts.parallel) == (d_ff, parallel)
    absent = [HookpointKind.resid_mid] * parallel + [HookpointKind.neurons] * (d_ff is None)
    for kind in HookpointKind:
        if kind in absent:
            (fault,) = _faults(facts.width_at, kind)
            assert f"sae.hookpoint={kind.value}: expected an activation that the model has" in fault
            choices = fault.partition("Choose one of ")[2]
            assert "resid_pre" in choices and not any(each.value in choices for each in absent)
        else:
            assert facts.width_at(kind) == (d_ff if kind is HookpointKind.neurons else 16)


@pytest.mark.parametrize(
    ("config", "asked", "device", "computes"),
    [
        ({}, "auto", "cuda", "float32"),
        ({"torch_dtype": "float16"}, "auto", "cuda", "float16"),
        ({"torch_dtype": "float16"}, "auto", "cpu", "float32"),
        ({"dtype": "bfloat16"}, "auto", "cuda:0,cuda:1", "bfloat16"),
        ({"dtype": "bfloat16"}, "auto", "mps", "bfloat16"),
        ({"dtype": "float8_e4m3fn"}, "auto", "cuda", "float32"),
        ({"dtype": "bfloat16"}, "float32", "cuda", "float32"),
        ({"dtype": "float16"}, "bfloat16", "cpu", "bfloat16"),
        ({"model_type": "gemma2", "dtype": "float16"}, "auto", "cuda", "bfloat16"),
    ],
)
def test_a_model_computes_in_what_is_asked_else_its_own_type_on_a_gpu(model, config, asked, device, computes):
    written = json.loads((model / "config.json").read_text())
    written.pop("dtype", None)
    (model / "config.json").write_text(json.dumps({**written, **config}))
    assert _facts(model).computes_in(Dtype(asked), device=device, key="a") == computes


def test_float16_is_refused_for_models_that_overflow_in_it(model_folders):
    (fault,) = _faults(_facts(model_folders["gemma2"]).computes_in, Dtype.float16, device="cuda", key="b")
    assert fault.startswith("b.dtype=float16: expected a type that the activations of gemma2 fit in")
    assert "Choose b.dtype=auto, bfloat16 or float32." in fault


def test_the_embedded_model_is_as_wide_inside_as_its_facts_say():
    from saeuniv.adapters import tiny

    spec = TinyModel(seed=0, d_model=32, n_layers=1)
    facts = folders.model_facts(spec, key="a")
    config = tiny.initial_model(spec).config
    assert facts.width_at(HookpointKind.neurons) == config.intermediate_size
    assert facts.parallel == config.use_parallel_residual


def test_the_identity_is_of_the_bytes_and_not_of_the_place(model, model_folders):
    assert _facts(model).identity == _facts(model_folders["gpt_neox"]).identity
    weights = model / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    assert _facts(model).identity != _facts(model_folders["gpt_neox"]).identity


def test_the_tokenizer_hash_is_equal_for_copies_and_differs_for_another_tokenizer(model, model_folders):
    from saeuniv.adapters.model_folders import load_tokenizer

    original = _facts(model).tokenizer
    assert len(original) == 16 and original == _facts(model_folders["llama"]).tokenizer
    tokenizer = load_tokenizer(str(model))
    tokenizer.backend_tokenizer.enable_truncation(7)
    tokenizer.backend_tokenizer.enable_padding(length=9)
    tokenizer.save_pretrained(model)
    assert json.loads((model / "tokenizer.json").read_text())["truncation"]
    assert _facts(model).tokenizer == original
    changed = json.loads((model / "tokenizer.json").read_text())
    changed["pre_tokenizer"]["add_prefix_space"] = True
    (model / "tokenizer.json").write_text(json.dumps(changed))
    assert _facts(model).tokenizer != original


def test_a_path_that_is_no_folder_is_named(tmp_path):
    (fault,) = _faults(_facts, tmp_path / "none")
    assert fault.startswith(f"a.path={tmp_path}/none: expected a folder, found nothing")
    (tmp_path / "file").write_text("")
    assert "found a file" in _faults(_facts, tmp_path / "file")[0]


def test_everything_missing_is_said_at_once(tmp_path):
    faults = _faults(_facts, tmp_path)
    expected = (
        f"a.path={tmp_path}: expected a model folder with config.json, *.safetensors and tokenizer.json; "
    )
    assert [fault.removeprefix(expected).split(". ")[0] for fault in faults] == [
        "config.json is missing",
        "weights are missing",
        "tokenizer.json is missing",
    ]


@pytest.mark.parametrize(
    ("file", "said"),
    [("model.safetensors", "weights are missing"), ("tokenizer.json", "tokenizer.json is missing")],
)
def test_a_folder_without_weights_or_tokenizer_is_refused(model, file, said):
    (model / file).unlink()
    (fault,) = _faults(_facts, model)
    assert said in fault


def test_a_slow_tokenizer_is_refused_with_the_way_out(model):
    (model / "tokenizer.json").rename(model / "vocab.json")
    (model / "spiece.model").write_bytes(b"")
    (fault,) = _faults(_facts, model)
    assert "expected a fast tokenizer (tokenizer.json), got a slow one (spiece.model, vocab.json)" in fault
    assert "transformers.AutoTokenizer" in fault


def test_pickled_weights_are_refused_with_the_way_out(model):
    (model / "model.safetensors").unlink()
    torch.save({}, model / "pytorch_model.bin")
    (fault,) = _faults(_facts, model)
    assert "got pytorch_model.bin, which would be unpickled and can run code. Convert them" in fault


def test_weights_that_were_cut_off_or_are_no_weights_are_refused(model):
    weights = model / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    (fault,) = _faults(_facts, model)
    assert f"expected {len(whole):,} bytes, as the file's header says, got {len(whole) - 100:,}" in fault
    weights.write_bytes(b"version https://git-lfs.github.com/spec/v1\n" * 3)
    (fault,) = _faults(_facts, model)
    assert "expected a safetensors file, got no readable header" in fault
    weights.write_bytes(whole)
    assert _facts(model).n_layers == 3


def test_unreadable_json_and_missing_fields_are_said(model):
    (model / "tokenizer.json").write_text("{")
    (model / "config.json").write_text("[]")
    faults = _faults(_facts, model)
    assert any("config.json: expected a JSON object, got a list" in fault for fault in faults)
    assert any("tokenizer.json: expected a JSON object, got Expecting" in fault for fault in faults)
    (model / "tokenizer.json").write_text("{}")
    (model / "config.json").write_text('{"hidden_size": 4, "vocab_size": 3}')
    (fault,) = _faults(_facts, model)
    assert "config.json has no num_hidden_layers, model_type" in fault


@pytest.fixture
def hub(tmp_path, monkeypatch, model_folders, write_dictionary):
    """A hub cache with one model and one dictionary repository, and no network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for name in ("EleutherAI--pythia-70m", "EleutherAI--sae-pythia-70m-32k"):
        (tmp_path / f"models--{name}/refs").mkdir(parents=True)
        (tmp_path / f"models--{name}/refs/main").write_text(COMMIT)
    snapshot = tmp_path / f"models--EleutherAI--pythia-70m/snapshots/{COMMIT}"
    shutil.copytree(model_folders["gpt_neox"], snapshot)
    for layer in range(3):
        write_dictionary(
            tmp_path / f"models--EleutherAI--sae-pythia-70m-32k/snapshots/{COMMIT}/layers.{layer}", width=64
        )
    return HubModel(name="EleutherAI/pythia-70m")


def test_a_hub_model_is_named_by_its_resolved_commit_from_the_cache(hub):
    facts = folders.model_facts(hub, key="b")
    assert facts[:4] == (3, 16, 257, "gpt_neox")
    assert facts.identity == {"repository": "EleutherAI/pythia-70m", "commit": COMMIT}
    assert facts.folder == "EleutherAI/pythia-70m"
    pinned = HubModel(name="EleutherAI/pythia-70m", revision=COMMIT)
    assert folders.model_facts(pinned, key="b") == facts


def test_a_hub_model_out_of_reach_is_explained(hub, tmp_path):
    for model in (HubModel(name="o/none"), HubModel(name="EleutherAI/pythia-70m", revision="step3000")):
        (fault,) = _faults(folders.model_facts, model, key="b")
        assert fault.startswith(
            f"b.name={model.name}: config.json of {model.name} at revision {model.revision}"
        )
        assert f"neither in the cache ({tmp_path})" in fault and "HF_HUB_OFFLINE is set" in fault
        assert f"hf download {model.name} --revision {model.revision}" in fault
    (fault,) = _faults(folders.model_facts, HubModel(name="not a name"), key="b")
    assert "b.name=not a name: expected owner/name of a hub repository" in fault
