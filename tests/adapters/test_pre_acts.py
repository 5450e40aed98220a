"""Pre-activations: what TopK chooses among, for all latents."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from saeuniv.adapters import formats
from saeuniv.adapters.encoding import Dictionary, EncodedRows
from saeuniv.adapters.formats.weights import Activation
from saeuniv.config import LatentKind

X = torch.randn(50, 16, generator=torch.Generator().manual_seed(0)) * 2 + 0.5


def _dense(encoded: EncodedRows, width: int) -> np.ndarray:
    found = np.zeros((len(encoded.counts), width), dtype=np.float32)
    found[np.repeat(np.arange(len(found)), encoded.counts), encoded.indices] = encoded.values
    return found


def _both(weights) -> tuple[Dictionary, Dictionary]:
    return Dictionary(weights), Dictionary(weights, kind=LatentKind.pre_acts)


@pytest.mark.parametrize("activation", ["topk", "groupmax"])
def test_they_are_the_rectified_output_of_the_encoder_and_the_chosen_of_them_are_the_latents(
    tmp_path, write_dictionary, monkeypatch, activation
):
    folder = write_dictionary(tmp_path / "d", activation=activation)
    given = {
        name: each.numpy().astype(np.float64) for name, each in load_file(folder / "sae.safetensors").items()
    }
    own, all_of_them = _both(formats.read(folder))
    # By hand: relu(encoder (x - b_dec) + b_enc).
    shifted = X.numpy().astype(np.float64) - given["b_dec"]
    expected = np.maximum(shifted @ given["encoder.weight"].T + given["encoder.bias"], 0)
    encoded = all_of_them.encode(X)
    found = _dense(encoded, 32)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * expected.max())
    assert encoded.indices.dtype == np.int32 and encoded.values.min() > 0
    assert 10 < encoded.counts.mean() < 22, "about half of 32, not the 4 of TopK"
    # The k = 4 largest, or the largest of each of 4 groups of 8.
    if activation == "topk":
        kept = found >= np.sort(found, axis=1)[:, -4:-3]
    else:
        groups = found.reshape(50, 4, 8)
        kept = (groups == groups.max(2, keepdims=True)).reshape(50, 32)
    np.testing.assert_array_equal(np.where(kept, found, 0), _dense(own.encode(X), 32))
    # Rows in parts, which share one buffer.
    monkeypatch.setattr("saeuniv.adapters.encoding._ENTRIES_AT_ONCE", 7 * 32)
    np.testing.assert_allclose(_dense(all_of_them.encode(X), 32), found, rtol=1e-5, atol=1e-5)


def test_the_reconstruction_stays_that_of_the_latents(tmp_path, write_dictionary):
    own, all_of_them = _both(formats.read(write_dictionary(tmp_path / "d")))
    rows, made = all_of_them.encode_and_reconstruct(X)
    assert torch.equal(made, own.reconstruct(X)) and torch.equal(made, all_of_them.reconstruct(X))
    assert all(map(np.array_equal, rows, all_of_them.encode(X)))


def test_those_of_relu_dictionaries_are_their_latents():
    own, all_of_them = _both(formats.both_signs(16))
    assert all(map(np.array_equal, own.encode(X), all_of_them.encode(X)))


@pytest.mark.parametrize("activation", [Activation.jumprelu, Activation.gated])
def test_thresholds_and_gates_have_none(activation):
    weights = formats.both_signs(16)._replace(activation=activation)
    message = (
        f"the dictionary has no pre-activations to compare: expected TopK, groupmax or ReLU with "
        f"sae.latent_kind=pre_acts, got {activation.value}"
    )
    with pytest.raises(ValueError, match=message):
        Dictionary(weights, kind=LatentKind.pre_acts)
