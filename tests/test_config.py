"""Layers, widths, layer pairs, and the names of comparisons and sweeps."""

import json

import pytest
from omegaconf import OmegaConf

from saeuniv.alignments import ALIGNMENTS
from saeuniv.config import (
    Config,
    ConfigError,
    Expansion,
    Width,
    cell,
    inspect,
    parse_width,
    select_layers,
    select_pairs,
    sweep_name,
)
from saeuniv.config.registry import CONF_DIR, conf_dirs, option_names, register
from saeuniv.config.settings import Layers
from saeuniv.metrics import METRICS
from saeuniv.preflight.composer import Composer, read_command

SIX = range(6)
A = ((0,), (1,), (2,), (3,))


def comparison(*lines: str) -> str:
    register(ALIGNMENTS, METRICS, conf_dirs(None))
    composed = Composer(CONF_DIR, read_command(lines)).compose(tuple(lines))
    cell = inspect(composed.cfg).cell
    assert cell is not None
    return cell.comparison


@pytest.mark.parametrize(
    ("written", "layers"),
    [
        ("all", [(0,), (1,), (2,), (3,), (4,), (5,)]),
        (3, [(3,)]),
        (-1, [(5,)]),
        ("last", [(5,)]),
        ([0, 3, 5], [(0,), (3,), (5,)]),
        ("1-3", [(1,), (2,), (3,)]),
        ("0-5:2", [(0,), (2,), (4,)]),
        ("every2", [(0,), (2,), (4,)]),
        ([[3, 4], 5], [(3, 4), (5,)]),
        ([0, 0], [(0,)]),
    ],
)
def test_layers_are_written_in_these_forms(written: object, layers: list[tuple[int, ...]]) -> None:
    assert list(select_layers(written, SIX, key="layers.a", owner="m")) == layers
    listed = OmegaConf.structured(Layers(a=written)).a
    assert list(select_layers(listed, SIX, key="layers.a", owner="m")) == layers


@pytest.mark.parametrize("written", [6, [0, 13], "0-6", -7])
def test_a_layer_the_model_lacks_is_refused_with_the_layers_it_has(written: object) -> None:
    with pytest.raises(
        ConfigError, match=r"pythia-70m has 6 layers \(0\.\.5\)\. Choose layers\.a=all or 0-5"
    ):
        select_layers(written, SIX, key="layers.a", owner="pythia-70m")


@pytest.mark.parametrize("written", ["first", True, {}, "3:", []])
def test_other_forms_of_layers_are_refused(written: object) -> None:
    with pytest.raises(ConfigError, match=r"Choose layers\.b=all"):
        select_layers(written, SIX, key="layers.b", owner="m")


def test_widths_are_numbers_factors_or_published() -> None:
    assert [parse_width(word, "width") for word in ("256", "16k", 32, "published")] == [
        256,
        16384,
        32,
        Width.published,
    ]
    factor = parse_width("x8", "width")
    assert isinstance(factor, Expansion) and factor == 8
    with pytest.raises(ConfigError, match="width=wide: expected a number of latents"):
        parse_width("wide", "width")


def test_all_pairs_are_the_grid_and_same_depth_its_diagonal() -> None:
    assert len(select_pairs("all", A, A[:2], n_layers_a=4, n_layers_b=4)) == 8
    diagonal = select_pairs("same_depth", A, A, n_layers_a=4, n_layers_b=4)
    assert diagonal == tuple((layer, layer) for layer in A)


def test_same_depth_of_unlike_models_is_the_same_fraction_of_blocks() -> None:
    a = tuple((layer,) for layer in range(6))
    b = tuple((layer,) for layer in range(12))
    pairs = select_pairs("same_depth", a, b, n_layers_a=6, n_layers_b=12)
    assert [(left[0], right[0]) for left, right in pairs] == [(i, 2 * i + 1) for i in range(6)]
    swapped = select_pairs("same_depth", b, a, n_layers_a=12, n_layers_b=6)
    assert {(y, x) for x, y in swapped} == set(pairs)


def test_same_depth_counts_blocks_of_the_model_and_not_of_the_selection() -> None:
    pairs = select_pairs("same_depth", ((3,),), A, n_layers_a=4, n_layers_b=4)
    assert pairs == (((3,), (3,)),)
    with pytest.raises(ConfigError, match=r"layers at the same depth, got layers\.a=\[0\] of 4"):
        select_pairs("same_depth", ((0,),), ((3,),), n_layers_a=4, n_layers_b=4)


def test_listed_pairs_are_kept_in_order_and_once() -> None:
    groups = ((0,), (1, 2), (3,))
    written = [[-1, 0], [[1, 2], 3], [3, 0]]
    pairs = select_pairs(written, groups, A, n_layers_a=4, n_layers_b=4)
    assert pairs == (((3,), (0,)), ((1, 2), (3,)))
    assert select_pairs(OmegaConf.create(written), groups, A, n_layers_a=4, n_layers_b=4) == pairs


def test_a_listed_pair_outside_the_selection_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"\[0,7\] is no pair of selected layers.*layers\.b=\[0,1,2,3\]"):
        select_pairs([[0, 7]], A, A, n_layers_a=4, n_layers_b=8)


@pytest.mark.parametrize("written", ["some", 3, [1, 2], [[1, 2, 3]], [[1, "x"]], [], [[True, 0]]])
def test_other_forms_of_pairs_are_refused(written: object) -> None:
    with pytest.raises(ConfigError, match="expected all, same_depth or a list"):
        select_pairs(written, A, A, n_layers_a=4, n_layers_b=4)


def test_a_comparison_is_named_by_what_it_compares() -> None:
    name = comparison()
    assert name.startswith("tiny_s0-tiny_s1-hungarian-")
    same = (["metrics=[cka]"], ["tracking=off"])
    assert all(comparison(*lines) == name for lines in same)
    others = (["b=tiny_s2"], ["alignment=max_corr"], ["control=none"], ["models=tiny_u2_u3"])
    assert len({name, *(comparison(*lines) for lines in others)}) == 5


def test_options_that_came_later_name_no_older_comparison_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[str] = []
    monkeypatch.setattr(cell, "canonical_json", lambda value: named.append(json.dumps(value)) or "")
    comparison()
    comparison("data.packing=truncated")
    assert len(named) == 2 and not any("mask_padding" in each for each in named)
    comparison("data.packing=truncated", "data.mask_padding=false")
    assert '"mask_padding": false' in named[2]


def test_a_sweep_is_named_by_what_it_computes_in_any_order() -> None:
    name = sweep_name(None, ["a=x,y", "width=16k,32k"])
    assert len(name) == 8
    assert sweep_name(None, ["width=16k,32k", "a=x,y"]) == name
    beside = ["tracking=off", "hydra/launcher=slurm", "sweep.detach=true", "resources.processes=2", "store=s"]
    assert sweep_name(None, ["a=x,y", "width=16k,32k", *beside]) == name
    assert sweep_name(None, ["a=x", "width=16k,32k"]) != name
    assert sweep_name("mine", ["a=x"]) == "mine"


def test_unknown_keys_and_missing_values_are_reported_together() -> None:
    cfg = OmegaConf.structured(Config)
    OmegaConf.update(cfg, "sede", 3, force_add=True)
    OmegaConf.update(cfg, "nulls.sede", 3, force_add=True)
    assert {"sede: unknown key.", "nulls.sede: unknown key."} <= set(inspect(cfg).faults)
    assert "alignment: expected a choice, got none. Set alignment=..." in inspect(cfg).faults
    assert "sede" in cfg, "the configuration itself is left as it is"


def test_options_come_from_every_folder(tmp_path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("")
    assert "mine" in option_names((CONF_DIR, tmp_path), "model")
    assert "tiny_s0" in option_names((CONF_DIR, tmp_path), "model")
