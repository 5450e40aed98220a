"""config.yaml says what was computed, and its first line computes it again."""

import shlex

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from saeuniv.config import untrained_counterpart
from saeuniv.config.config_yaml import config_text, control_config_text
from saeuniv.config.registry import CONF_DIR
from saeuniv.preflight import preflight
from tests.sweep.conftest import BASE, cells


def text_of(*argv: str) -> str:
    """config.yaml as the first cell of a sweep writes it."""
    united = cells("-m", *argv)  # registers the schemas, too
    lines = [*BASE, *map(first_value, argv)]
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        cfg = compose("config", lines)
    return config_text(cfg, lines, united)


def first_value(line: str) -> str:
    """`key=[0],[1]` as `key=[0]`, `key=0,1` as `key=0`."""
    first, comma, _ = line.partition("],")
    return f"{first}]" if comma else line if "[" in line else line.partition(",")[0]


def replayed(text: str) -> list[str]:
    return shlex.split(text.partition("\n")[0].removeprefix("# Replay: saeuniv "))


@pytest.mark.parametrize(
    ("swept", "listed"),
    [
        (("layers.a=0,1",), ("layers.a=[0,1]",)),
        (("layers.a=1,0", "layers.b=0,1"), ("layers.a=[1,0]", "layers.b=[0,1]")),
        (("layers.a=[[0,1]],[1]",), ("layers.a=[[0,1],1]",)),
        (("metrics=[cka],[svcca]",), ("metrics=[cka,svcca]",)),
        (("layers.pairs=[[0,0]],[[1,1]]",), ("layers.pairs=[[0,0],[1,1]]",)),
    ],
)
def test_a_sweep_within_a_comparison_is_written_as_one_cell(
    swept: tuple[str, ...], listed: tuple[str, ...]
) -> None:
    text = text_of(*swept)
    assert replayed(text) == [*BASE, *listed]
    (one,) = cells(*replayed(text)[len(BASE) :])
    many = cells("-m", *swept)
    assert one.comparison == many[0].comparison
    body = OmegaConf.create(text.partition("\n")[2])
    asked = OmegaConf.create({"a": one.a.layers, "b": one.b.layers, "pairs": one.pairs})
    assert OmegaConf.to_container(body.layers) == OmegaConf.to_container(asked)
    assert set(body.metrics) == {metric.name for metric in one.metrics}


@pytest.mark.parametrize(
    "argv",
    [(), ("control=untrained", "a.untrained=false"), ("experiment=tiny",), ("control=rerandomized",)],
)
def test_the_controls_configuration_replays_the_control(argv: tuple[str, ...]) -> None:
    (cell,) = cells(*argv)
    control = untrained_counterpart(cell)
    assert control is not None
    text = control_config_text(text_of(*argv))
    checked = preflight(replayed(text))
    assert checked.faults == ()
    assert checked.cells[0].comparison == control.comparison
    body = OmegaConf.create(text.partition("\n")[2])
    untrained = "control=rerandomized" not in argv
    assert (body.a.untrained, body.b.untrained, body.control.kind) == (untrained, untrained, "none")
    assert body.nulls == OmegaConf.create(text_of(*argv).partition("\n")[2]).nulls
