"""Every preset of conf/experiment that reads the hub, from a hub on loopback to results, with tiny models.

The repositories have the names, layouts and formats of the published ones; only their sizes differ.
"""

import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import transformers as hf

from saeuniv.adapters.model_folders import save_model_folder
from saeuniv.app import main
from saeuniv.config.registry import CONF_DIR
from saeuniv.results import REASONS, load
from tests.adapters.chat_tokenizers import CHATML
from tests.fake_hub import FakeHub, serving
from tests.tokenizers_of_all_kinds import byte_bpe, tokenizers

pytestmark = pytest.mark.presets

D_MODEL = 16
CONTEXT = 32
SMALL = (
    *(f"data.context_length={CONTEXT}", "data.max_sequences_per_document=12", "eligibility.min_firings=2"),
    *("nulls.draws=19", "bootstrap.draws=100", "resources.processes=1", "tracking=off"),
    "metrics=[partial_correlation,raw_correlation,matched_correlation]",
)
TRAINED = (
    *("width=128", "sae.k=8", "sae.n_tokens=16384", "sae.batch_sequences=4", "sae.warmup_steps=2"),
    "sae.max_fvu=1",
)
ONE_LAYER = ("layers.a=1", "layers.b=-1")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub, and an empty folder to stand in."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("SAEUNIV_STORE", str(tmp_path / "store"))
    with serving(tmp_path, monkeypatch) as running:
        yield running


@pytest.fixture
def publish(hub: FakeHub, tmp_path: Path) -> Callable[..., None]:
    """A function that publishes a tiny model of an architecture under a name and a branch."""

    def add(name: str, *, n_layers: int = 3, seed: int = 0, branch: str = "main", chat: bool = False) -> None:
        family = "gemma1" if name == "google/gemma-2b" else name.split("/")[1].split("-")[0]
        folder = tmp_path / "models" / f"{name}-{branch}".replace("/", "_")
        tokenizer = byte_bpe(400) if family == "gpt2" else tokenizers()["bytes"]
        if chat:
            tokenizer.chat_template = CHATML.replace("{{ bos_token }}", "")
        torch.manual_seed(seed)
        save_model_folder(_model(family, n_layers, len(tokenizer)), tokenizer, folder)
        hub.add(name, {path.name: path.read_bytes() for path in folder.iterdir()}, branch=branch)

    return add


def _model(family: str, n_layers: int, n_ids: int) -> hf.PreTrainedModel:
    # Wide: fresh weights, of the untrained counterparts too, then have activations that a few steps fit.
    common = {"vocab_size": n_ids, "bos_token_id": 0, "eos_token_id": 0, "initializer_range": 0.4}
    block = {"hidden_size": D_MODEL, "num_hidden_layers": n_layers, "num_attention_heads": 2}
    block |= {"intermediate_size": 32, "max_position_embeddings": CONTEXT}
    match family:
        case "gemma1":
            return hf.GemmaForCausalLM(hf.GemmaConfig(head_dim=8, num_key_value_heads=1, **block, **common))
        case "gemma":
            own = {"head_dim": 8, "num_key_value_heads": 1, "sliding_window": 8}
            return hf.Gemma2ForCausalLM(hf.Gemma2Config(**own, **block, **common))
        case "gpt2":
            sizes = {"n_embd": D_MODEL, "n_layer": n_layers, "n_head": 2, "n_positions": CONTEXT}
            return hf.GPT2LMHeadModel(hf.GPT2Config(**sizes, **common))
        case _:
            return hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**block, **common))


def _texts() -> list[str]:
    return [topics[name][:1500] for name in sorted(topics) if len(topics[name]) > 1000][:40]


def _table(rows: list[dict[str, object]]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


def _add_web_pages(hub: FakeHub) -> None:
    pages = _table([{"text": text} for text in _texts()])
    hub.add("datasets/Skylion007/openwebtext", {"plain_text/train-00000-of-00080.parquet": pages})


def _add_pile(hub: FakeHub) -> None:
    lines = "".join(json.dumps({"text": text, "meta": {"pile_set_name": "x"}}) + "\n" for text in _texts())
    content = pa.Codec("zstd").compress(lines.encode(), asbytes=True)
    hub.add("datasets/monology/pile-uncopyrighted", {"val.jsonl.zst": content})


def _add_conversations(hub: FakeHub) -> None:
    def turns(text: str) -> list[dict[str, str]]:
        half = len(text) // 2
        return [{"role": "user", "content": text[:half]}, {"role": "assistant", "content": text[half:]}]

    rows = [{"prompt": "", "messages": turns(text)} for text in _texts()]
    hub.add(
        "datasets/HuggingFaceH4/ultrachat_200k", {"data/train_sft-00000-of-00003-x.parquet": _table(rows)}
    )


def _sparsify(folders: list[str]) -> dict[str, bytes]:
    """Dictionaries that give back their input, as sparsify writes them."""
    from safetensors.numpy import save

    both = np.concatenate([np.eye(D_MODEL), -np.eye(D_MODEL)]).astype(np.float32)
    tensors = {"encoder.weight": both, "encoder.bias": np.zeros(2 * D_MODEL, np.float32)}
    tensors |= {"W_dec": both, "b_dec": np.zeros(D_MODEL, np.float32)}
    cfg = {"expansion_factor": 2, "normalize_decoder": True, "num_latents": 2 * D_MODEL, "k": D_MODEL}
    content = {"cfg.json": json.dumps({**cfg, "d_in": D_MODEL}).encode(), "sae.safetensors": save(tensors)}
    return {f"{folder}/{name}": each for folder in folders for name, each in content.items()}


def _sae_lens(folder: str) -> dict[str, bytes]:
    """A dictionary that gives back its input, in the first of sae-lens' layouts (hook_point in cfg.json)."""
    from safetensors.numpy import save

    both = np.concatenate([np.eye(D_MODEL), -np.eye(D_MODEL)]).astype(np.float32)
    tensors = {"W_enc": np.ascontiguousarray(both.T), "b_enc": np.zeros(2 * D_MODEL, np.float32)}
    tensors |= {"W_dec": both, "b_dec": np.zeros(D_MODEL, np.float32)}
    cfg = {"model_name": "gemma-2b", "hook_point": "blocks.1.hook_resid_post", "hook_point_layer": 1}
    cfg |= {"d_in": D_MODEL, "d_sae": 2 * D_MODEL, "dtype": "float32", "context_size": 1024}
    return {
        f"{folder}/cfg.json": json.dumps(cfg).encode(),
        f"{folder}/sae_weights.safetensors": save(tensors),
    }


def _gemma_scope(n_layers: int) -> dict[str, bytes]:
    """Dictionaries that give back their input, of 16k latents of which most are silent."""
    files: dict[str, bytes] = {}
    both = np.concatenate([np.eye(D_MODEL), -np.eye(D_MODEL)]).astype(np.float32)
    encoder = np.zeros((16384, D_MODEL), np.float32)
    encoder[: len(both)] = both
    with io.BytesIO() as file:
        zeros = np.zeros(16384, np.float32)
        biases = {"b_enc": zeros, "b_dec": zeros[:D_MODEL], "threshold": zeros}
        np.savez_compressed(file, W_enc=encoder.T, W_dec=encoder, **biases)
        content = file.getvalue()
    for layer in range(n_layers):
        for l0 in (20, 90):
            files[f"layer_{layer}/width_16k/average_l0_{l0}/params.npz"] = content
    return files


def _run(monkeypatch: pytest.MonkeyPatch, *argv: str) -> int:
    preset, *overrides = argv
    monkeypatch.setattr(sys, "argv", ["launch.py", preset, *SMALL, *overrides])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def _values(folder: Path) -> list[float]:
    """The raw correlation of every layer pair that was asked for; none is undefined."""
    results = load(folder)
    matrix, reasons = results.matrix("raw_correlation"), results.reasons("raw_correlation")
    not_asked = REASONS.index("not_requested")
    assert (np.isfinite(matrix) | (reasons == not_asked)).all(), reasons
    return matrix[np.isfinite(matrix)].tolist()


def _comparisons() -> list[Path]:
    found = Path("multirun").glob("*/*/results/layer_pairs.csv")
    return sorted(path.parent.parent for path in found)


def test_every_preset_of_the_hub_is_run_here() -> None:
    presets = {path.stem for path in (CONF_DIR / "experiment").glob("*.yaml")}
    anchors = {name for name in presets if name.startswith("anchor_")}
    # Those of Pythia are run in test_paper.py, the embedded ones elsewhere.
    others = {"paper_pythia", "paper_semantic", "corrections", "tiny_words"}
    assert presets == {*RUN, *anchors, *others, "tiny", "tiny_seeds"}
    for name in (*RUN, *anchors, *others):
        header = (CONF_DIR / "experiment" / f"{name}.yaml").read_text().replace("\n# ", " ")
        assert " Answers: " in header and " Needs: " in header
        assert f"python launch.py experiment={name}" in header


def _seeds(hub: FakeHub, publish: Callable[..., None]) -> tuple[str, ...]:
    for seed in (1, 2):
        publish(f"EleutherAI/pythia-160m-seed{seed}", seed=seed)
    _add_web_pages(hub)
    return (*TRAINED, *ONE_LAYER)


def _training_data(hub: FakeHub, publish: Callable[..., None]) -> tuple[str, ...]:
    for name in ("pythia-160m", "pythia-160m-deduped"):
        publish(f"EleutherAI/{name}", seed=len(name))
        hub.add(f"EleutherAI/sae-{name}-32k", _sparsify([f"layers.{layer}" for layer in (0, 2)]))
    _add_pile(hub)
    return ()


def _base_chat(hub: FakeHub, publish: Callable[..., None]) -> tuple[str, ...]:
    publish("google/gemma-2-2b", n_layers=2, seed=1)
    publish("google/gemma-2-2b-it", n_layers=2, seed=2, chat=True)
    hub.add("google/gemma-scope-2b-pt-res", _gemma_scope(2))
    _add_conversations(hub)
    return ()


def _paper_gemma(hub: FakeHub, publish: Callable[..., None]) -> tuple[str, ...]:
    publish("google/gemma-2b", n_layers=2, seed=1)
    publish("google/gemma-2-2b", n_layers=2, seed=2)
    hub.add("jbloom/Gemma-2b-Residual-Stream-SAEs", _sae_lens("gemma_2b_blocks.1.hook_resid_post_16384"))
    hub.add("google/gemma-scope-2b-pt-res", _gemma_scope(2))
    _add_web_pages(hub)
    return ("layers.a=[1]", "layers.b=[1]", "width_a=32", "metrics=[published_gemma,raw_correlation]")


def _size_ladder(hub: FakeHub, publish: Callable[..., None]) -> tuple[str, ...]:
    for seed, size in enumerate(("70m", "160m", "410m", "1b")):
        publish(f"EleutherAI/pythia-{size}-deduped", n_layers=2 + seed, seed=seed)
    _add_web_pages(hub)
    return (*TRAINED, *ONE_LAYER, "control=none")


def _cross_family(hub: FakeHub, publish: Callable[..., None]) -> tuple[str, ...]:
    publish("EleutherAI/pythia-160m-deduped")
    publish("openai-community/gpt2", seed=1)
    _add_web_pages(hub)
    return (*TRAINED, *ONE_LAYER)


def _later_layers_mlp(hub: FakeHub, publish: Callable[..., None]) -> tuple[str, ...]:
    for size, n_layers in (("160m", 12), ("410m", 24)):
        publish(f"EleutherAI/pythia-{size}", n_layers=n_layers, seed=n_layers)
        folders = [f"layers.{layer}.mlp" for layer in range(n_layers // 2, n_layers)]
        width = {"160m": "32k", "410m": "65k"}[size]
        hub.add(f"EleutherAI/sae-pythia-{size}-{width}", _sparsify(folders))
    _add_web_pages(hub)
    return ("layers.pairs=[[6,12],[11,23]]", "metrics=[raw_correlation]")


def _training_checkpoints(hub: FakeHub, publish: Callable[..., None]) -> tuple[str, ...]:
    name = "EleutherAI/pythia-160m-deduped"
    for seed, step in enumerate(("step0", "step512", "step4000", "step32000", "step143000")):
        publish(name, seed=seed, branch=step)
    publish(name, seed=seed, branch="main")
    _add_web_pages(hub)
    return (*TRAINED, *ONE_LAYER)


def _random_controls(hub: FakeHub, publish: Callable[..., None]) -> tuple[str, ...]:
    for size, seed in (("70m", 1), ("160m", 2)):
        for branch in ("main", "step0"):
            publish(f"EleutherAI/pythia-{size}-deduped", seed=seed + 10 * (branch == "step0"), branch=branch)
    _add_web_pages(hub)
    return (*TRAINED, *ONE_LAYER)


RUN: dict[str, tuple[Callable[..., tuple[str, ...]], int]] = {
    "seeds": (_seeds, 2),
    "training_data": (_training_data, 1),
    "base_chat": (_base_chat, 1),
    "paper_gemma": (_paper_gemma, 1),
    "size_ladder": (_size_ladder, 3),
    "cross_family": (_cross_family, 2),
    "later_layers_mlp": (_later_layers_mlp, 1),
    "training_checkpoints": (_training_checkpoints, 5),
    "random_controls": (_random_controls, 8),
}
"""How the hub is filled, and how many comparisons there are, controls included."""


@pytest.mark.parametrize("preset", RUN)
def test_a_preset_runs_from_the_hub_to_results(
    preset: str, hub: FakeHub, publish: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill, n_comparisons = RUN[preset]
    overrides = fill(hub, publish)
    assert _run(monkeypatch, f"experiment={preset}", *overrides) == 0
    found = _comparisons()
    assert len(found) == n_comparisons
    for folder in found:
        assert _values(folder)
    hub.requests.clear()
    assert _run(monkeypatch, f"experiment={preset}", *overrides) == 0
    assert hub.fetched() == [], "what was fetched is not fetched again"
