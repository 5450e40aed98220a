"""A batch that does not fit is halved, and nothing is lost or done twice."""

import logging

import numpy as np
import pytest
import torch

from saeuniv.adapters import quality
from saeuniv.adapters.batches import Batches
from saeuniv.adapters.dictionary import load_dictionary, neighbourhood_fvu
from saeuniv.adapters.language_model import load_language_model
from saeuniv.hookpoints import Hookpoint, HookpointKind


def _fits(at_most: int):
    """Work whose memory suffices for so many sequences."""

    def work(batch: slice) -> list[int]:
        if batch.stop - batch.start > at_most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return [*range(batch.start, batch.stop)]

    return work


@pytest.mark.parametrize(("fits", "sizes"), [(100, [10, 10, 3]), (9, [5, 5, 5, 5, 3]), (3, [2] * 11 + [1])])
def test_batches_become_smaller_until_they_fit_and_stay_so(fits, sizes, caplog):
    batches = Batches()
    found = [*batches.of(23, 10, _fits(fits))]
    assert [len(each) for each in found] == sizes
    assert [number for each in found for number in each] == [*range(23)]
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == {100: 0, 9: 1, 3: 2}[fits]
    caplog.clear()
    assert [len(each) for each in batches.of(4, 10, _fits(fits))] == ([4] if fits > 3 else [2, 2])
    assert not caplog.records, "known by now"


def test_the_warning_says_what_is_done(caplog):
    assert len([*Batches().of(8, 8, _fits(4))]) == 2
    assert "8 sequences do not fit in the device's memory; going on with 4 at a time" in caplog.text


def test_a_single_sequence_that_does_not_fit_is_an_error_with_advice():
    with pytest.raises(ValueError, match=r"memory for one sequence, .*20\.00 MiB.*Choose a\.dtype=bfloat16"):
        list(Batches().of(4, 4, _fits(0)))


def test_encoding_gives_the_same_however_often_memory_ran_out(
    model_folders, write_dictionary, tmp_path, monkeypatch
):
    model = load_language_model(str(model_folders["llama"]))
    places = [Hookpoint(HookpointKind.resid_post, layer) for layer in (0, 2)]
    loaded = {each: load_dictionary(write_dictionary(tmp_path / str(each))) for each in places}
    ids = np.random.default_rng(0).integers(0, 257, (11, 8))
    keep = np.ones((11, 8), dtype=bool)
    keep[:, :2] = False

    bound = float(np.median(quality.row_norms(model, ids, keep)))

    def encoded() -> dict[Hookpoint, quality.Encoded]:
        return quality.encode_rows(model, loaded, ids, keep, bound=bound, batch_sequences=8)

    whole = encoded()
    assert 0 < whole[places[0]].high_norm.sum() < 66
    monkeypatch.setattr(model, "activations", _with_little_memory(model.activations))
    for place, each in encoded().items():
        assert np.array_equal(each.high_norm, whole[place].high_norm)
        assert each.fit.fvu == pytest.approx(whole[place].fit.fvu, abs=1e-9)
        indices, values = (
            [np.concatenate([getattr(part, name) for part in run.parts]) for run in (each, whole[place])]
            for name in ("indices", "values")
        )
        assert np.array_equal(*indices) and np.allclose(*values, atol=1e-5)
    assert model.batches.limit == 2


def test_the_check_and_the_losses_survive_it_too(model_folders, write_dictionary, tmp_path, monkeypatch):
    model = load_language_model(str(model_folders["gpt2"]))
    place = Hookpoint(HookpointKind.resid_post, 1)
    loaded = {place: load_dictionary(write_dictionary(tmp_path / "own"))}
    ids = np.random.default_rng(0).integers(0, 257, (11, 8))
    keep = np.ones((11, 8), dtype=bool)
    keep[3] = False

    def measured() -> list[float]:
        fvu = neighbourhood_fvu(model, loaded, ids, keep)[place]
        return [*fvu.values(), *quality.splicing_losses(model, loaded, ids, keep)[place].values()]

    whole = measured()
    for name in ("activations", "mean_loss"):
        monkeypatch.setattr(model, name, _with_little_memory(getattr(model, name)))
    assert measured() == pytest.approx(whole, abs=1e-6) and len(whole) == 6
    assert model.batches.limit == 2


def _with_little_memory(forward):
    def small(ids, *args, **kwargs):
        if len(ids) > 3:
            raise torch.OutOfMemoryError("out of memory")
        return forward(ids, *args, **kwargs)

    return small
