"""config.yaml of every comparison of a command, written without composing again."""

import shlex
import time
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from saeuniv.config import inspect
from saeuniv.config.config_yaml import config_text, control_config_text
from saeuniv.config.registry import CONF_DIR
from saeuniv.preflight import Preflight, preflight


@pytest.fixture(autouse=True)
def _store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAEUNIV_STORE", str(tmp_path / "store"))


def checked(*argv: str) -> Preflight:
    found = preflight(argv)
    assert found.faults == ()
    return found


def hydras_text(*lines: str, replay: str | None = None) -> str:
    """The same cell as Hydra composes it and OmegaConf writes it."""
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        cfg = compose("config", list(lines))
    first = shlex.join(lines) if replay is None else replay
    text = f"# Replay: saeuniv {first}\n{OmegaConf.to_yaml(cfg, resolve=True)}"
    cell = inspect(cfg).cell
    assert cell is not None
    assert replay is not None or config_text(cfg, lines, [cell]) == text
    return text


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("nulls.draws=30", "metrics=[cka,svcca]", "layers.a=[0,[1, 2]]", "tracking.entity='a b'"),
        ("sae_a=train", "sae_a.n_tokens=100000", "allow_mixed=true", "width_b=64", "width_b=128"),
        ("control=none", "bootstrap.seed=${nulls.seed}", "nulls.seed=4", "store=/tmp/${a.seed}"),
    ],
)
def test_a_single_cell_is_written_as_hydra_composes_it(lines: tuple[str, ...]) -> None:
    found = checked(*lines)
    (cell,) = found.cells
    assert found.config_text(cell.comparison) == hydras_text(*lines)


def test_every_comparison_of_a_sweep_is_written_as_hydra_composes_its_cell() -> None:
    found = checked(
        *("-m", "hydra/launcher=slurm", "hydra.launcher.latents.gpus=1", "alignment=max_corr,hungarian"),
        *("a.seed=3,4", "width=64,x4", "nulls.draws=25"),
    )
    values = [(a, s, w) for a in ("max_corr", "hungarian") for s in (3, 4) for w in ("64", "x4")]
    texts = [found.config_text(cell.comparison) for cell in found.cells]
    assert texts == [
        hydras_text(f"alignment={a}", f"a.seed={s}", f"width={w}", "nulls.draws=25") for a, s, w in values
    ]


def test_cells_of_one_comparison_are_written_as_the_one_that_asks_for_all() -> None:
    found = checked("-m", "layers.a=0,1", "metrics=[cka],[svcca,cka]", "b=tiny_s1,tiny_s2", "sae.k=4")
    united = ("layers.a=[0,1]", "metrics=[cka,svcca]")
    names = list(dict.fromkeys(cell.comparison for cell in found.cells))
    assert [found.config_text(name) for name in names] == [
        hydras_text(*united, b, "sae.k=4") for b in ("b=tiny_s1", "b=tiny_s2")
    ]


def test_a_replay_stays_with_its_work() -> None:
    found = checked("-m", "hydra/launcher=slurm", "sweep.detach=true", "sweep.name=mine")
    text = found.config_text(found.cells[0].comparison)
    assert text == hydras_text("sweep.detach=true", "sweep.name=mine", replay="sweep.name=mine")


@pytest.mark.parametrize("kind", ["rerandomized", "rerandomized_all"])
def test_a_rerandomised_control_is_written_as_hydra_composes_it(kind: str) -> None:
    text = control_config_text(hydras_text("a.untrained=true", f"control={kind}"))
    made = ("a.untrained=false", f"a.weights={kind}", f"b.weights={kind}", "control=none")
    assert text.partition("\n")[2] == hydras_text(*made).partition("\n")[2]


@pytest.mark.parametrize("lines", [(), ("a.untrained=true", "control=untrained"), ("a=tiny_s2", "sae.k=4")])
def test_the_control_is_written_as_hydra_composes_it(lines: tuple[str, ...]) -> None:
    text = control_config_text(hydras_text(*lines))
    kept = [line for line in lines if not line.startswith(("a.untrained", "control"))]
    made = ("a.untrained=true", "b.untrained=true", "control=none")
    body = hydras_text(*kept, *made).partition("\n")[2]
    assert text.partition("\n")[2] == body


def test_a_thousand_texts_and_their_controls_cost_less_than_finding_the_cells() -> None:
    """Measured: 0.1 s on one core, beside 3; composing each again would take minutes."""
    start = time.process_time()
    found = checked(
        "-m",
        "a.seed=range(0,10)",
        "b.seed=range(10,20)",
        "alignment=max_corr,hungarian",
        "width=16,32,64,128,x4",
    )
    found_at = time.process_time()
    texts = {found.config_text(cell.comparison) for cell in found.cells}
    controls = {control_config_text(text) for text in texts}
    assert (len(texts), len(controls)) == (1000, 1000)
    assert time.process_time() - found_at < found_at - start
