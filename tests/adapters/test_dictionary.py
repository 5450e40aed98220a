"""Encoding, reconstruction and the FVU gate."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from saeuniv.adapters import dictionary as dictionaries
from saeuniv.adapters import formats, language_model
from saeuniv.hookpoints import Hookpoint, HookpointKind

RESID = HookpointKind.resid_post
IDS = np.random.default_rng(0).integers(0, 257, (40, 16)).astype(np.int32)
KEEP = np.tile(np.arange(16) >= 4, (40, 1))


def _rows(n: int, d_in: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d_in, generator=torch.Generator().manual_seed(seed))


def _coder(folder):
    """The same files as sparsify computes them."""
    from sparsify import SparseCoder

    return SparseCoder.load_from_disk(folder)


@pytest.mark.parametrize("activation", ["topk", "groupmax"])
@pytest.mark.parametrize("skip", [False, True])
def test_latents_are_those_of_sparsify_to_the_bit_and_reconstructions_to_rounding(
    tmp_path, write_dictionary, activation, skip
):
    folder = write_dictionary(tmp_path / "d", d_in=64, width=256, k=8, activation=activation)
    if skip:
        tensors = {**load_file(folder / "sae.safetensors"), "W_skip": _rows(64, 64, seed=3)}
        save_file(tensors, folder / "sae.safetensors")
        cfg = json.loads((folder / "cfg.json").read_text())
        (folder / "cfg.json").write_text(json.dumps({**cfg, "skip_connection": True}))
    loaded, coder, x = dictionaries.load_dictionary(folder), _coder(folder), _rows(3968, 64)
    with torch.inference_mode():
        top = coder.encode(x)
        y = coder.decode(top.top_acts, top.top_indices)
        y = y + x @ coder.W_skip.mT if skip else y
        indices, order = top.top_indices.sort(dim=-1)
        values = top.top_acts.gather(-1, order)
    encoded = loaded.encode(x)
    assert np.array_equal(encoded.indices, indices[values > 0].numpy())
    assert np.array_equal(encoded.values, values[values > 0].numpy())
    assert np.array_equal(encoded.counts, (values > 0).sum(-1).numpy())
    # Latents of a row are added up in another order where fewer than k are positive.
    torch.testing.assert_close(loaded.reconstruct(x), y, rtol=1e-5, atol=1e-3)
    both, again = loaded.encode_and_reconstruct(x)
    assert torch.equal(again, loaded.reconstruct(x)) and all(map(np.array_equal, both, encoded))


def test_rows_are_encoded_in_parts_where_there_are_many_latents(tmp_path, write_dictionary, monkeypatch):
    loaded, x = dictionaries.load_dictionary(write_dictionary(tmp_path / "d")), _rows(50)
    whole, y = loaded.encode(x), loaded.reconstruct(x)
    monkeypatch.setattr("saeuniv.adapters.encoding._ENTRIES_AT_ONCE", 7 * 32)
    parts = loaded.encode(x)
    assert np.array_equal(parts.indices, whole.indices) and np.array_equal(parts.counts, whole.counts)
    np.testing.assert_allclose(parts.values, whole.values, rtol=1e-5)
    torch.testing.assert_close(loaded.reconstruct(x), y)


def test_rows_of_another_model_are_refused(tmp_path, write_dictionary):
    loaded = dictionaries.load_dictionary(write_dictionary(tmp_path / "d"))
    with pytest.raises(ValueError, match="expected activations of 16 dimensions, got 8"):
        loaded.encode(_rows(3, 8))


def test_encode_gives_the_positive_top_k_of_the_definition(tmp_path, write_dictionary):
    """Slow oracle: relu(W (x - b_dec) + b), the k largest, zeros dropped, per row."""
    folder = write_dictionary(tmp_path / "d", k=4)
    loaded, coder = dictionaries.load_dictionary(folder), _coder(folder)
    x = _rows(50)
    pre = torch.relu((x - coder.b_dec) @ coder.encoder.weight.T + coder.encoder.bias).detach().numpy()
    encoded = loaded.encode(x)
    ends = np.cumsum(encoded.counts)
    for row, (start, end) in enumerate(zip(ends - encoded.counts, ends, strict=True)):
        best = sorted(i for i in np.argsort(-pre[row])[:4] if pre[row, i] > 0)
        assert encoded.indices[start:end].tolist() == best
        np.testing.assert_allclose(encoded.values[start:end], pre[row, best], rtol=1e-6)
    assert ends[-1] == len(encoded.indices) == len(encoded.values)


def test_encode_matches_sparsify_and_drops_the_zeros_it_pads_with(tmp_path, write_identity):
    """A row with fewer than k positive latents: TopK returns k entries, some of them zero."""
    folder = write_identity(tmp_path / "d", d_in=4)
    loaded = dictionaries.load_dictionary(folder)
    x = torch.tensor([[1.0, 0.0, 0.0, -2.0], [0.0, 0.0, 0.0, 0.0]])
    padded = _coder(folder).encode(x)
    assert padded.top_acts.shape == (2, 4) and (padded.top_acts == 0).any()
    encoded = loaded.encode(x)
    assert encoded.counts.tolist() == [2, 0]
    assert encoded.indices.tolist() == [0, 7]
    assert encoded.values.tolist() == [1.0, 2.0]


def test_reconstruction_from_encoded_rows_and_decoder_equals_reconstruct(tmp_path, write_dictionary):
    folder = write_dictionary(tmp_path / "d")
    loaded, b_dec = dictionaries.load_dictionary(folder), load_file(folder / "sae.safetensors")["b_dec"]
    x = _rows(20)
    encoded = loaded.encode(x)
    dense = np.zeros((20, loaded.width), dtype=np.float32)
    dense[np.repeat(np.arange(20), encoded.counts), encoded.indices] = encoded.values
    by_hand = dense @ loaded.decoder + b_dec.numpy()
    np.testing.assert_allclose(loaded.reconstruct(x).numpy(), by_hand, atol=1e-5)


def test_a_planted_identity_dictionary_has_fvu_zero_and_the_mean_row_has_fvu_one(tmp_path, write_identity):
    loaded = dictionaries.load_dictionary(write_identity(tmp_path / "d"))
    x = _rows(200) + 5
    assert dictionaries.FvuSums.of(x, loaded.reconstruct(x)).fvu == 0
    mean = x.double().mean(0).expand(200, 16)
    assert dictionaries.FvuSums.of(x, mean).fvu == pytest.approx(1, rel=1e-10)


def test_fvu_equals_its_definition_and_sums_of_batches_equal_one_batch(tmp_path, write_dictionary):
    loaded = dictionaries.load_dictionary(write_dictionary(tmp_path / "d"))
    x = _rows(301) * 3 + 1
    y = loaded.reconstruct(x)
    centred = x.double() - x.double().mean(0)
    whole = dictionaries.FvuSums.of(x, y)
    expected = float((x.double() - y.double()).square().sum() / centred.square().sum())
    assert whole.fvu == pytest.approx(expected, rel=1e-10)
    parts = [1, 100, 37, 163]
    first, *rest = (
        dictionaries.FvuSums.of(*part) for part in zip(x.split(parts), y.split(parts), strict=True)
    )
    for part in rest:
        first = first.plus(part)
    assert first.rows == whole.rows and first.fvu == pytest.approx(whole.fvu, rel=1e-10)


def test_fvu_of_equal_rows_is_refused():
    with pytest.raises(ValueError, match="activations that vary, got 3 equal rows"):
        _ = dictionaries.FvuSums.of(torch.ones(3, 16), torch.zeros(3, 16)).fvu


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_dictionary_of_2024_loads_and_computes_in_float32(tmp_path, write_dictionary, dtype):
    """cfg.json of that time: `signed` and no `activation`, `transcode` or `skip_connection`."""
    loaded = dictionaries.load_dictionary(write_dictionary(tmp_path / "d", dtype=dtype, signed=False))
    assert (loaded.d_in, loaded.width, loaded.k) == (16, 32, 4)
    assert loaded.decoder.dtype == np.float32 and loaded.encode(_rows(3)).values.dtype == np.float32


@pytest.fixture(scope="module")
def trained(model_folders, tmp_path_factory):
    """A model with a dictionary trained on each layer."""
    from saeuniv.config import TinySae

    folder, out = str(model_folders["gpt_neox"]), tmp_path_factory.mktemp("trained")
    stream = np.random.default_rng(1).integers(0, 257, 16 * 300).astype(np.int32)
    hookpoints = [Hookpoint(RESID, layer) for layer in range(3)]
    dictionaries.train_dictionaries(
        folder,
        stream,
        hookpoints,
        TinySae(n_tokens=24_000, batch_sequences=8),
        width=128,
        seed=0,
        context_length=16,
        out=out,
        progress=lambda _done, _all: None,
    )
    loaded = {h: dictionaries.load_dictionary(out / f"layers.{h.layer}") for h in hookpoints}
    return language_model.load_language_model(folder), loaded


def _check(model, chosen, max_fvu: float = 0.5):
    return dictionaries.check_fvu(model, chosen, IDS, KEEP, max_fvu=max_fvu, label="sae_a")


def test_dictionaries_on_their_own_input_pass_without_a_word(trained):
    model, loaded = trained
    assert _check(model, loaded) == []


@pytest.mark.parametrize(("fed_at", "trained_at"), [(1, 0), (0, 1), (1, 2), (2, 1)])
def test_a_dictionary_fed_one_layer_off_is_refused_and_the_right_layer_named(trained, fed_at, trained_at):
    model, loaded = trained
    shifted = {Hookpoint(RESID, fed_at): loaded[Hookpoint(RESID, trained_at)]}
    message = (
        rf"sae_a at resid_post\[{fed_at}\]: FVU \d+\.\d+ on its own input, expected at most 0.5; "
        rf".*0\.\d+ at resid_post\[{trained_at}\].* It fits resid_post\[{trained_at}\] best"
    )
    with pytest.raises(dictionaries.RefusedDictionary, match=message):
        _check(model, shifted)


def test_a_dictionary_fed_one_layer_off_below_the_bound_is_warned_about(trained):
    model, loaded = trained
    (warning,) = _check(model, {Hookpoint(RESID, 1): loaded[Hookpoint(RESID, 0)]}, max_fvu=1e9)
    assert (
        "sae_a at resid_post[1]" in warning and "at resid_post[0]: it may have been trained there" in warning
    )


def test_every_refused_dictionary_is_named_at_once(trained):
    model, loaded = trained
    shifted = {Hookpoint(RESID, fed): loaded[Hookpoint(RESID, own)] for fed, own in ((0, 1), (1, 2), (2, 2))}
    with pytest.raises(dictionaries.RefusedDictionary) as refusal:
        _check(model, shifted)
    lines = str(refusal.value).splitlines()
    assert [line.split(":")[0] for line in lines] == ["sae_a at resid_post[0]", "sae_a at resid_post[1]"]


def test_the_off_by_one_of_earlier_code_is_refused(trained):
    """Feeding `hidden_states[0]` (= resid_pre[0]) to the dictionary of `layers.0`."""
    model, loaded = trained
    pre = {Hookpoint(HookpointKind.resid_pre, 0): loaded[Hookpoint(RESID, 0)]}
    with pytest.raises(dictionaries.RefusedDictionary, match=r"resid_pre\[0\]: FVU"):
        _check(model, pre)


def test_an_fvu_that_is_no_number_is_refused(trained, tmp_path, write_dictionary):
    model, _ = trained
    own = Hookpoint(RESID, 0)
    weights = formats.read(write_dictionary(tmp_path / "d"))
    broken = dictionaries.Dictionary(weights._replace(decoder_bias=weights.decoder_bias * np.nan))
    with pytest.raises(dictionaries.RefusedDictionary, match="FVU nan"):
        _check(model, {own: broken})


def test_skipped_positions_do_not_enter(trained):
    model, loaded = trained
    own = Hookpoint(RESID, 0)
    sums = dictionaries._neighbourhood_sums(model, {own: loaded[own]}, IDS, KEEP)
    assert sums[own, own].rows == len(IDS) * (IDS.shape[1] - 4)
