"""What is known of dictionaries on the tokens they encode: high-norm rows apart, and the loss recovered."""

import numpy as np
import pytest
import torch

from saeuniv.adapters import quality
from saeuniv.adapters.dictionary import FvuSums, load_dictionary
from saeuniv.adapters.language_model import LanguageModel, load_language_model
from saeuniv.adapters.model_folders import load_hf_model
from saeuniv.hookpoints import Hookpoint, HookpointKind

IDS = np.random.default_rng(0).integers(0, 257, (7, 12)).astype(np.int32)
KEEP = np.random.default_rng(1).random((7, 12)) < 0.7
PLACES = [Hookpoint(HookpointKind.resid_post, layer) for layer in (0, 2)]


@pytest.fixture(scope="module")
def model(model_folders) -> LanguageModel:
    return load_language_model(str(model_folders["gpt_neox"]))


@pytest.fixture
def dictionaries(write_dictionary, write_identity, tmp_path):
    """One that gives back its input, and one that does not."""
    return {
        PLACES[0]: load_dictionary(write_identity(tmp_path / "a")),
        PLACES[1]: load_dictionary(write_dictionary(tmp_path / "b")),
    }


def test_rows_of_high_norm_are_encoded_and_are_no_part_of_the_fit(model, dictionaries):
    norms = quality.row_norms(model, IDS, KEEP)
    bound = float(np.median(norms))
    made = quality.encode_rows(model, dictionaries, IDS, KEEP, bound=bound, batch_sequences=3)
    x = model.activations(IDS, [*PLACES, quality.norm_hookpoint(model)])
    reference = x[quality.norm_hookpoint(model)][torch.from_numpy(KEEP)]
    np.testing.assert_allclose(norms, reference.norm(dim=-1).numpy(), rtol=1e-6)
    for place, encoded in made.items():
        np.testing.assert_array_equal(encoded.high_norm, norms > bound)
        rows = x[place][torch.from_numpy(KEEP)]
        high = torch.from_numpy(norms > bound)
        again = dictionaries[place].reconstruct(rows)
        for fit, chosen in ((encoded.fit, ~high), (encoded.fit_high_norm, high)):
            expected = FvuSums.of(rows[chosen], again[chosen])
            assert fit.rows == expected.rows == int(chosen.sum())
            assert fit.error == pytest.approx(expected.error, rel=1e-5, abs=1e-9)
        whole = dictionaries[place].encode(rows)
        np.testing.assert_array_equal(np.concatenate([part.counts for part in encoded.parts]), whole.counts)
        np.testing.assert_array_equal(np.concatenate([part.indices for part in encoded.parts]), whole.indices)


def test_where_no_row_is_of_high_norm_all_are_part_of_the_fit(model, dictionaries):
    made = quality.encode_rows(model, dictionaries, IDS, KEEP, bound=np.inf, batch_sequences=64)
    for encoded in made.values():
        assert encoded.fit.rows == KEEP.sum()
        assert encoded.fit_high_norm.rows == 0 and not encoded.high_norm.any()


def test_splicing_a_perfect_reconstruction_changes_no_loss_and_the_mean_does(
    model, dictionaries, model_folders
):
    losses = quality.splicing_losses(model, dictionaries, IDS, KEEP)
    perfect = losses[PLACES[0]]
    assert perfect["spliced"] == pytest.approx(perfect["clean"], abs=1e-5)
    assert (
        perfect["clean"]
        == losses[PLACES[1]]["clean"]
        == pytest.approx(_loss_by_hand(model_folders["gpt_neox"], None), abs=1e-5)
    )
    for place in PLACES:
        rows = model.activations(IDS, [place])[place][torch.from_numpy(KEEP)]
        mean = rows.double().mean(0).float()
        by_hand = _loss_by_hand(model_folders["gpt_neox"], (place.layer, mean.expand(len(rows), -1)))
        assert losses[place]["ablated"] == pytest.approx(by_hand, abs=1e-5)
        spliced = (place.layer, dictionaries[place].reconstruct(rows))
        by_hand = _loss_by_hand(model_folders["gpt_neox"], spliced)
        assert losses[place]["spliced"] == pytest.approx(by_hand, abs=1e-5)
    assert abs(perfect["ablated"] - perfect["clean"]) > 1e-3


def test_what_sequences_are_padded_with_changes_no_number(model, dictionaries, monkeypatch):
    """Bitwise: latents, fit, norms and losses of the tokens before it."""
    attended = np.arange(12) < np.array([12, 12, 9, 3, 12, 1, 7])[:, None]
    keep = KEEP & attended
    made = []
    for padding in (0, 200):
        ids = np.where(attended, IDS, padding).astype(np.int32)
        norms = quality.row_norms(model, ids, keep, attended)
        encoded = quality.encode_rows(
            model, dictionaries, ids, keep, attended, bound=float(np.median(norms)), batch_sequences=3
        )
        losses = quality.splicing_losses(model, dictionaries, ids, keep, attended)
        made.append((norms, encoded, losses))
    (norms, encoded, losses), (norms_again, again, losses_again) = made
    assert np.array_equal(norms, norms_again) and losses == losses_again
    for place in PLACES:
        for part, other in zip(encoded[place].parts, again[place].parts, strict=True):
            assert all(np.array_equal(*each) for each in zip(part, other, strict=True))
        assert encoded[place].fit.error == again[place].fit.error
        assert encoded[place].fit.rows + encoded[place].fit_high_norm.rows == keep.sum()
    # Whatever is read at once, each prediction of a token of text counts once; a sequence of one has none.
    monkeypatch.setattr(model.batches, "limit", 1)
    one_by_one = quality.splicing_losses(model, dictionaries, ids, keep, attended)
    for place in PLACES:
        assert one_by_one[place] == pytest.approx(losses[place], abs=1e-5)
    # Where padding is no mask's business, the loss counts predictions of it.
    assert (
        quality.splicing_losses(model, dictionaries, ids, keep)[PLACES[0]]["clean"]
        != losses[PLACES[0]]["clean"]
    )


def _loss_by_hand(folder, instead) -> float:
    """Cross-entropy of the kept positions by Hugging Face's own forward pass, one block's output replaced."""
    model = load_hf_model(str(folder))
    kept = torch.from_numpy(KEEP)

    def replaced(module, inputs, output):
        hidden = output[0] if isinstance(output, tuple) else output
        hidden = hidden.clone()
        hidden[kept] = instead[1]
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    handle = instead and model.gpt_neox.layers[instead[0]].register_forward_hook(replaced)
    with torch.no_grad():
        logits = model(torch.from_numpy(IDS).long()).logits
    if handle:
        handle.remove()
    log_p = logits[:, :-1].log_softmax(-1)
    picked = log_p.gather(-1, torch.from_numpy(IDS).long()[:, 1:, None])[..., 0]
    return float(-picked[kept[:, :-1]].mean())
