"""The embedded model: tokenizer, initial weights, training, folder."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from saeuniv.adapters import folders, tiny, training_state
from saeuniv.config import LocalModel, TinyModel

SPEC = TinyModel(
    seed=0, d_model=16, n_layers=2, context_length=16, steps=40, batch_sequences=8, learning_rate=2e-2
)
# A text that can be learnt in seconds: ten ids in a cycle.
STREAM = np.tile(np.arange(1, 11), 200).astype(np.int32)


def _trained(spec: TinyModel, heard=lambda _done, _all: None):
    model = tiny.initial_model(spec)
    tiny.train_model(model, STREAM, spec, heard)
    return model


def _loss(model) -> float:
    ids = torch.from_numpy(STREAM[:160].astype(np.int64)).view(10, 16)
    with torch.inference_mode():
        return float(model(ids, labels=ids).loss)


@pytest.mark.parametrize(
    "text", ["", "plain", "  two  spaces\n\ttab ", "naïve 世界 🙂\r\n", "\x00\x7f\x80ÿ", "'s we'll"]
)
def test_the_byte_tokenizer_round_trips_and_gives_one_id_per_byte(text):
    tokenizer = tiny.byte_tokenizer(128)
    ids = tokenizer.encode(text)
    assert len(ids) == len(text.encode()) and 0 not in ids
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


def test_every_byte_of_utf8_has_an_id_of_its_own():
    tokenizer = tiny.byte_tokenizer(128)
    text = "".join(
        map(chr, [*range(0x80), *range(0x80, 0x800, 7), 0x800, 0xFFFF, 0x10000, 0x3FFFF, 0x40000, 0x10FFFF])
    )
    assert len(tokenizer) == 257 and tokenizer.eos_token_id == 0
    pairs = set(zip(tokenizer.encode(text), text.encode(), strict=True))
    assert len({i for i, _ in pairs}) == len({byte for _, byte in pairs}) == len(pairs)


def test_the_alphabet_is_that_of_the_tokenizers_library():
    from tokenizers import pre_tokenizers

    from saeuniv.adapters.checkpoints import byte_tokenizer_json

    vocabulary = byte_tokenizer_json()["model"]["vocab"]
    assert list(vocabulary)[1:] == sorted(pre_tokenizers.ByteLevel.alphabet())
    assert list(vocabulary.values()) == list(range(257))


def test_initial_weights_are_decided_by_the_seed_alone():
    torch.manual_seed(9)
    first = tiny.initial_model(SPEC)
    before = torch.get_rng_state()
    again, other = tiny.initial_model(SPEC), tiny.initial_model(TinyModel(**{**vars(SPEC), "seed": 1}))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(next(first.parameters()), next(other.parameters()))
    assert not first.training


def test_training_learns_and_tells_its_progress():
    heard: list[tuple[int, int]] = []
    model = _trained(SPEC, lambda done, of: heard.append((done, of)))
    assert heard == [(step, 40) for step in range(1, 41)]
    assert _loss(tiny.initial_model(SPEC)) == pytest.approx(math.log(257), abs=0.2)
    assert _loss(model) < 3
    assert not model.training


def test_training_is_deterministic_and_the_seed_orders_the_data():
    first, again = _trained(SPEC), _trained(SPEC)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    start = tiny.initial_model(SPEC)
    tiny.train_model(start, STREAM, TinyModel(**{**vars(SPEC), "seed": 5}), lambda _done, _all: None)
    assert not torch.equal(next(first.parameters()), next(start.parameters()))


def test_an_interrupted_training_goes_on_to_the_same_weights(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(training_state, "INTERVAL_S", 0.0)
    monkeypatch.setattr(training_state, "PAUSE_PER_WRITE", 0)
    heard: list[int] = []

    def until(last: int):
        def progress(done: int, _of: int) -> None:
            heard.append(done)
            if done == last:
                raise SystemExit(1)

        return progress

    def train(spec: TinyModel, last: int = 0):
        model = tiny.initial_model(spec)
        tiny.train_model(model, STREAM, spec, until(last), checkpoint=tmp_path)
        return model

    for last in (1, 33):
        with pytest.raises(SystemExit):
            train(SPEC, last)
    resumed, whole = train(SPEC), _trained(SPEC)
    assert heard == list(range(1, 41)), "no step was run twice"
    assert all(torch.equal(a, b) for a, b in zip(resumed.parameters(), whole.parameters(), strict=True))
    assert not resumed.training
    again = train(SPEC)
    assert len(heard) == 40, "it was killed between its last step and its being published"
    assert torch.equal(next(again.parameters()), next(whole.parameters()))
    train(replace(SPEC, seed=1))
    assert heard[40:] == list(range(1, 41)) and "other settings" in caplog.text


def test_the_rate_warms_up_and_ends_at_a_twentieth():
    assert tiny._rate(0, 500) == pytest.approx(1 / 30)
    assert tiny._rate(29, 10**9) == pytest.approx(1)
    assert tiny._rate(250, 500) == pytest.approx(0.05 + 0.95 / 2)
    assert tiny._rate(500, 500) == pytest.approx(0.05)


def test_a_stream_shorter_than_a_sequence_is_an_error():
    with pytest.raises(ValueError, match=r"more than 16 training tokens \(one sequence\), got 16"):
        tiny.train_model(tiny.initial_model(SPEC), STREAM[:16], SPEC, lambda _done, _all: None)


def test_saving_twice_gives_the_same_bytes_and_an_ordinary_folder(tmp_path):
    for name in ("a", "b"):
        tiny.save(tiny.initial_model(SPEC), tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(files)
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    modes = {path.stat().st_mode for path in (tmp_path / "a").iterdir()}
    assert len(modes) == 1, "the weights are as readable as the rest"
    assert "pytorch" not in json.dumps(files)


def test_a_saved_tiny_model_has_the_facts_of_its_configuration(tmp_path):
    """One definition of the tokenizer: what is hashed without the library is what the library saved."""
    tiny.save(tiny.initial_model(SPEC), tmp_path)
    embedded = folders.model_facts(SPEC, key="a")
    saved = folders.model_facts(LocalModel(path=str(tmp_path)), key="a")
    # Embedded models are asked for what they are trained on; a saved one says what it can read.
    assert saved._replace(identity={}, folder="", n_positions=None) == embedded
    assert saved.n_positions == SPEC.context_length
    assert embedded.vocab_size == 257 and embedded.architecture == "gpt_neox"
