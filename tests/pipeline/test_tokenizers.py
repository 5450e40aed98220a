"""Two models with different tokenizers, from folders to results: each reads its own tokens of one text."""

import json
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import pytest
from safetensors.numpy import load_file

from saeuniv.results import load
from tests.pipeline.conftest import LAUNCH, Desk
from tests.tokenizers_of_all_kinds import byte_bpe, metaspace, tokenizers

# A minute of whole runs each: beside the presets, not with the quick tests.
pytestmark = pytest.mark.presets

CONTEXT = 48
N_TOPICS = 24
SMALL = (
    *(
        "data=text",
        "data.path=text",
        "data.held_out=0.5",
        f"data.context_length={CONTEXT}",
        "data.skip_first=2",
    ),
    *("data.max_sequences_per_document=24", "sae=train", "width=48", "sae.k=4", "sae.n_tokens=6000"),
    *(
        "sae.max_fvu=1",
        "sae.batch_sequences=8",
        "eligibility.min_firings=3",
        "layers.a=-1",
        "layers.b=[0,-1]",
    ),
    *("nulls.draws=19", "bootstrap.draws=100", "tracking=off", "resources.processes=1"),
    "metrics=[partial_correlation,partial_correlation_bigram,raw_correlation,cka_tokens]",
)


def _write_model(folder: Path, tokenizer, *, n_layers: int, seed: int) -> None:
    """A GPT-NeoX with initial weights, and a tokenizer of its own."""
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    from saeuniv.adapters.model_folders import save_model_folder

    torch.manual_seed(seed)
    config = GPTNeoXConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=n_layers,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=CONTEXT,
        bos_token_id=0,
        eos_token_id=0,
    )
    save_model_folder(GPTNeoXForCausalLM(config), tokenizer, folder)


@pytest.fixture
def different(empty_desk: Desk) -> Desk:
    """Models of bytes and of pieces of words, of different depths, beside a text."""
    (empty_desk.here / "text").mkdir()
    for number, name in enumerate(sorted(topics)[:N_TOPICS]):
        (empty_desk.here / "text" / f"{number}.txt").write_text(topics[name][:3000])
    _write_model(empty_desk.here / "bytes", tokenizers()["bytes"], n_layers=2, seed=0)
    _write_model(empty_desk.here / "pieces", byte_bpe(600), n_layers=3, seed=1)
    return empty_desk


def _run(desk: Desk, *argv: str, a: str = "bytes", b: str = "pieces"):
    models = ("a=local", f"a.path={a}", "b=local", f"b.path={b}")
    return desk.python(str(LAUNCH), *models, *SMALL, *argv)


def _token_sets(desk: Desk) -> dict[str, dict[str, np.ndarray]]:
    """Held-out token sets of the store, by the partner that their manifest names."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for path in (desk.store / "tokens").glob("*/manifest.json"):
        spec = json.loads(path.read_text())["spec"]
        if spec["split"] == "held_out":
            found[spec["aligned_with"]] = load_file(path.parent / "tokens.safetensors")
    return found


def test_models_with_different_tokenizers_are_compared_at_the_ends_of_words(different: Desk) -> None:
    done = _run(different, "control=untrained")
    assert done.returncode == 0, done.stderr
    assert "of the ends of words" in done.stderr
    results = load(different.comparison)
    for metric in ("partial_correlation", "raw_correlation", "cka_tokens"):
        assert np.isfinite(results.matrix(metric)).all(), results.reasons(metric)
        assert np.isfinite(results.matrix(metric, "control")).all()
    assert results.matrix("raw_correlation").shape == (1, 2)
    summary = json.loads((different.comparison / "results" / "summary.json").read_text())
    # Words of English are five bytes or so, and a space.
    assert 0.1 < summary["kept_fraction_a"] < 0.3 < summary["kept_fraction_b"] < 0.8
    assert summary["kept_word_ends"] > 0.9
    sets = _token_sets(different)
    one, other = sets.values()
    assert len(sets) == 2, "the untrained counterparts read the same tokens"
    assert one["ids"].shape == other["ids"].shape and one["ids"].shape[1] == CONTEXT
    assert (one["keep"].sum(1) == other["keep"].sum(1)).all()
    assert (one["documents"] == other["documents"]).all()


def test_the_same_tokens_are_refused_to_them_and_nothing_is_written(different: Desk) -> None:
    done = _run(different, "control=none", "data.tokens=same")
    assert done.returncode == 2, done.stderr
    assert "data.tokens=same: expected models that share a tokenizer, got bytes and pieces" in done.stderr
    assert "Choose data.tokens=aligned" in done.stderr
    assert not different.store.exists() and not (different.here / "multirun").exists()


def test_a_model_that_begins_with_a_bos_is_compared_with_one_that_does_not(different: Desk) -> None:
    _write_model(different.here / "llama", metaspace(), n_layers=2, seed=2)
    done = _run(different, "control=none", "data.skip_first=3", "metrics=[raw_correlation]", b="llama")
    assert done.returncode == 0, done.stderr
    assert np.isfinite(load(different.comparison).matrix("raw_correlation")).all()
    (begun,) = (each for each in _token_sets(different).values() if (each["ids"][:, 0] == 1).all())
    assert (begun["ids"][:, 1:] != 1).all() and not begun["keep"][:, :3].any()
