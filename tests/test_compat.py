"""The switches of the published analysis: what each changes in a cell, and what they leave alone."""

import dataclasses

import pytest

from saeuniv.alignments import ALIGNMENTS
from saeuniv.config import Cell, LatentKind, inspect
from saeuniv.config.compat import Compat, Mode
from saeuniv.config.registry import CONF_DIR, conf_dirs, register
from saeuniv.metrics import METRICS
from saeuniv.preflight.composer import Composer, read_command

SWITCHES = tuple(each.name for each in dataclasses.fields(Compat))
TEXT = ("data.packing=truncated", "metrics=[published_svcca,published_rsa]")


def cell_of(*lines: str) -> Cell:
    register(ALIGNMENTS, METRICS, conf_dirs(None))
    composed = Composer(CONF_DIR, read_command(lines)).compose(tuple(lines))
    found = inspect(composed.cfg)
    assert found.cell is not None and found.faults == (), found.faults
    return found.cell


def state(cell: Cell) -> dict[str, bool]:
    """Which faults a cell has in, read from the parts that they change."""
    svcca = cell.metrics[0]
    return {
        **{name: getattr(svcca, name) for name in ("pc1", "first_seen", "unfiltered", "in_sample")},
        "dead_latents": cell.eligibility.min_firings == 0 and cell.eligibility.max_rate == 1,
        "padding": not cell.data.mask_padding,
        "pre_acts": {side.sae.latent_kind for side in cell.sides} == {LatentKind.pre_acts},
        "hidden_state_off_by_one": all(side.sae.hidden_state_off_by_one for side in cell.sides),
    }


def test_a_mode_sets_all_switches() -> None:
    assert state(cell_of("mode=published", *TEXT)) == dict.fromkeys(SWITCHES, True)
    assert state(cell_of("mode=corrected", *TEXT)) == dict.fromkeys(SWITCHES, False)


@pytest.mark.parametrize("switch", SWITCHES)
def test_each_switch_is_set_alone_in_either_mode(switch: str) -> None:
    off = state(cell_of("mode=published", f"compat.{switch}=false", *TEXT))
    assert off == {name: name != switch for name in SWITCHES}
    on = state(cell_of("mode=corrected", f"compat.{switch}=true", *TEXT))
    assert on == {name: name == switch for name in SWITCHES}


def test_dictionaries_chosen_for_one_side_are_switched_too() -> None:
    cell = cell_of("mode=published", "sae_b=tiny", *TEXT)
    assert cell.b.sae.latent_kind is LatentKind.pre_acts and cell.b.sae.hidden_state_off_by_one


def test_without_a_mode_everything_is_as_configured() -> None:
    cell = cell_of(*TEXT)
    assert cell.compat == () and cell.data.mask_padding
    assert not any(side.sae.hidden_state_off_by_one for side in cell.sides)
    assert state(cell_of("compat.pc1=false", *TEXT))["pc1"] is False


def test_comparisons_that_differ_in_a_switch_have_names_of_their_own() -> None:
    argv = [("mode=published", f"compat.{name}=false", *TEXT) for name in SWITCHES]
    argv += [("mode=published", *TEXT), ("mode=corrected", *TEXT), TEXT]
    names = [cell_of(*each).comparison for each in argv]
    assert len(set(names)) == len(names)


def test_a_switch_of_its_own_comes_before_the_mode() -> None:
    chosen = Compat(pc1=False).chosen(Mode.published)
    assert chosen == {name: name != "pc1" for name in SWITCHES}
    assert Compat(padding=True).chosen(None) == {"padding": True}
