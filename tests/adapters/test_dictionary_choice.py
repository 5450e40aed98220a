"""Which of several dictionaries of a layer a side takes."""

import pytest

from saeuniv.adapters.dictionary_choice import choose
from saeuniv.adapters.formats import Entry
from saeuniv.config import ConfigError, Width
from saeuniv.hookpoints import HookpointKind

RESID, MLP = HookpointKind.resid_post, HookpointKind.mlp_out


def _entry(layer, width=16384, l0=None, *, kind=RESID, parent="") -> Entry:
    return Entry(layer, kind, f"{parent}layer_{layer}/{width}/{l0}", ("params.npz",), width, l0)


def _choose(entries, width: int | Width = Width.published, l0="canonical", kind=RESID):
    return choose(entries, kind, width, l0, where="sae=x", key="sae")


def _l0(choice) -> dict[int, str | None]:
    return {layer: entry.l0 for layer, entry in choice.entries.items()}


def _fault(*args, **kwargs) -> str:
    with pytest.raises(ConfigError) as error:
        _choose(*args, **kwargs)
    return str(error.value)


GEMMA = [_entry(layer, l0=l0) for layer in (0, 1) for l0 in ("22", "82", "119", "300")]


def test_canonical_is_the_l0_nearest_to_100_of_each_layer():
    assert _l0(_choose([*GEMMA, _entry(2, l0="38"), _entry(2, l0="176")])) == {0: "82", 1: "82", 2: "38"}


def test_an_l0_is_taken_where_it_is_and_layers_without_it_are_absent_with_what_they_have():
    chosen = _choose([*GEMMA, _entry(2, l0="38"), _entry(2, l0="176")], l0="119")
    assert _l0(chosen) == {0: "119", 1: "119"}
    assert chosen.absent == {2: "no dictionary with l0 119; it has 38, 176"}


def test_an_l0_that_no_layer_has_is_refused_with_all_there_are():
    assert "sae.l0=83 was asked, and there are 22, 82, 119, 300. Choose sae.l0=canonical" in _fault(
        GEMMA, l0="83"
    )


def test_without_a_width_it_is_that_of_most_layers_and_of_these_the_smallest():
    wide = [_entry(layer, 65536, "80") for layer in (0, 1)]
    few = [_entry(0, 4096, "80")]
    assert {each.width for each in _choose([*GEMMA, *wide, *few]).entries.values()} == {16384}
    assert {each.width for each in _choose([*GEMMA, *wide], 65 * 1024).entries.values()} == {65536}


def test_a_width_that_there_is_not_is_refused_with_those_there_are():
    said = _fault([*GEMMA, _entry(0, 65536, "80")], 32768)
    assert "width=32768 was asked, the dictionaries have 16384, 65536 latents. Choose width=published" in said


def test_a_layer_without_the_width_is_absent():
    assert _choose([*GEMMA, _entry(5, 65536, "80")], 16384).absent == {5: "no dictionary of width 16384"}


def test_words_are_medium_unless_chosen_and_the_folder_of_more_layers_is_taken():
    some = [_entry(1, l0=word, parent="resid_post/") for word in ("small", "medium", "big")]
    every = [_entry(layer, l0=word, parent="all/") for layer in range(3) for word in ("small", "big")]
    assert _l0(_choose([*some, *every])) == {1: "medium"}
    big = _choose([*some, *every], l0="big")
    assert _l0(big) == {0: "big", 1: "big", 2: "big"}


def test_dictionaries_that_no_key_tells_apart_are_refused():
    trainers = [
        Entry(3, RESID, f"resid_post_layer_3/trainer_{i}", ("ae.pt",), None, f"trainer_{i}")
        for i in (0, 10, 2)
    ]
    said = _fault(trainers)
    assert (
        "expected one dictionary for layer 3, got several: resid_post_layer_3/trainer_0, resid_post" in said
    )
    assert "Choose sae.l0=trainer_0." in said
    assert _l0(_choose(trainers, l0="trainer_10")) == {3: "trainer_10"}
    twice = [Entry(3, RESID, name, ("a",)) for name in ("x/one", "x/two")]
    assert "one of these folders (sae.path or sae.folder)" in _fault(twice)


def test_another_hookpoint_is_refused_with_those_there_are():
    assert (
        "expected dictionaries that read mlp_out, got resid_post. Choose sae.hookpoint=resid_post"
        in _fault(GEMMA, kind=MLP)
    )
    unsaid = [Entry(0, None, "layer_0", ("a",))]
    assert set(_choose(unsaid, kind=MLP).entries) == {0}, "where no name says it, the FVU will"
