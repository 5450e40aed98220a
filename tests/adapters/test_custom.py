"""Objects of the user as dictionaries."""

import numpy as np
import pytest
import torch

from saeuniv.adapters.custom_encoding import load_custom
from saeuniv.adapters.encoding import Dictionary
from saeuniv.adapters.formats import both_signs
from saeuniv.config import ConfigError, CustomSae
from saeuniv.hookpoints import Hookpoint, HookpointKind

PLACE = Hookpoint(HookpointKind.resid_post, 3)
SOURCE = """
import torch


class Both:
    def encode(self, x):
        return torch.relu(torch.cat([x, -x], 1))

    def decode(self, z):
        return z[:, :4] - z[:, 4:] + 7


def make(hookpoint):
    assert hookpoint == "resid_post[3]"
    return Both()


def signed(hookpoint):
    made = Both()
    made.encode = lambda x: torch.cat([x, -x], 1)
    return made


def nothing(hookpoint):
    return object()
"""


@pytest.fixture(autouse=True)
def _module(tmp_path, monkeypatch):
    (tmp_path / "objects_of_the_user.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)


def _load(function: str, width: int = 8):
    return load_custom(CustomSae(object=f"objects_of_the_user:{function}"), PLACE, width=width)


def test_an_object_gives_the_latents_of_the_dictionary_that_it_is():
    x = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    custom, same = _load("make"), Dictionary(both_signs(4))
    for one, other in zip(custom.encode(x), same.encode(x), strict=True):
        np.testing.assert_array_equal(one, other)
    torch.testing.assert_close(custom.reconstruct(x), same.reconstruct(x) + 7)
    np.testing.assert_allclose(custom.decoder, same.decoder, atol=1e-6)


def test_what_an_object_gives_is_checked():
    x = torch.ones(2, 4)
    with pytest.raises(ValueError, match=r"expected latents of shape \(2, 6\) .* got \(2, 8\)"):
        _load("make", width=6).encode(x)
    with pytest.raises(ValueError, match=r"not negative, got \(2, 8\), least -1.0"):
        _load("signed").encode(x)
    with pytest.raises(ConfigError, match="expected an object with encode and decode, got object"):
        _load("nothing")
