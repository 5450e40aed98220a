"""Every file of conf/: it composes, converts, is short and says when to choose it."""

from pathlib import Path

import pytest
from omegaconf import DictConfig

from saeuniv.alignments import ALIGNMENTS
from saeuniv.config import ConfigError, inspect, to_cell, untrained_counterpart
from saeuniv.config.registry import CONF_DIR, conf_dirs, register
from saeuniv.metrics import METRICS
from saeuniv.preflight.composer import Composer, read_command

FILES = sorted(CONF_DIR.rglob("*.yaml"))
OPTIONS = [file.relative_to(CONF_DIR).with_suffix("") for file in FILES if file.name != "config.yaml"]
# What an option leaves for the user to say.
FOLDERS = ("local", "sae_lens", "dictionary_learning")
GIVEN = {
    "model/hub": ["a.name=owner/model"],
    "model/local": ["a.path=folder"],
    "sae/hub": ["sae.name=owner/dictionaries", "control=none"],
    **{f"sae/{name}": ["control=none"] for name in ("eleuther", "gemma_scope", "gemma_scope_2")},
    **{f"sae/{name}": ["control=none"] for name in ("gpt2_res_jb", "gpt2_oai", "llama_scope", "pythia_sm")},
    **{f"sae/{name}": ["sae.path=folder", "control=none"] for name in FOLDERS},
    "sae/shared": ["sae=tiny", "sae_b=shared"],
    "sae/custom": ["sae.object=mine:make", "width=64", "control=none"],
    "control/step0": ["a=hub", "a.name=owner/a", "b=hub", "b.name=owner/b"],
    "data/text": ["data.path=folder", "data.held_out=0.3"],
    "data/hub": ["data.name=owner/name", "data.held_out=0.3"],
    **{f"data/{name}": ["data.held_out=0.3"] for name in ("openwebtext", "pile", "wikitext", "chat")},
    "alignment/decoder_cosine": ["b=tiny_s0"],
    "alignment/encoder_cosine": ["b=tiny_s0"],
    "alignment/folded_parameters": ["b=tiny_s0", "sae=gemma_scope", "control=none"],
    "metrics/pw_mcc": ["b=tiny_s0"],
    "metrics/shared_directions": ["b=tiny_s0"],
    "models/pythia70m_pythia160m": ["data.path=folder"],
}


def compose(*lines: str) -> DictConfig:
    register(ALIGNMENTS, METRICS, conf_dirs(None))
    command = read_command(lines)
    return Composer(CONF_DIR, command).compose(tuple(lines)).cfg


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_every_option_composes_and_converts(option: Path) -> None:
    group = "a" if option.parent.name == "model" else str(option.parent)
    choice = [] if option.name == "shared" else [f"{group}={option.name}"]
    if group == "metrics":
        choice = [f"metrics=[{option.name}]"]
    cfg = compose(*choice, *GIVEN.get(str(option), []), "allow_mixed=true")
    cell = to_cell(cfg)
    if group == "metrics":
        # Some files are of several metrics: one for each category of words, or all that was published.
        names = [metric.name for metric in cell.metrics]
        assert names == [option.name] or (
            len(names) > 1 and all(n.startswith(option.name[:8]) for n in names)
        )
    if group == "alignment":
        assert cell.alignment.name == option.name


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(CONF_DIR)))
def test_every_file_is_short_and_says_when_to_choose_it(file: Path) -> None:
    lines = file.read_text().splitlines()
    comment = next(line for line in lines if not line.startswith("# @package"))
    # The root has a line for each group; a bundle two for each metric and category of words.
    most = {"config.yaml": 24, "semantic_documentation.yaml": 41}
    assert len(lines) <= most.get(file.name, 21)
    assert comment.startswith("# ")


def test_a_missing_value_is_named() -> None:
    inspection = inspect(compose("a=local", "allow_mixed=true"))
    assert inspection.faults == ("a.path: missing. Set a.path=...",)
    assert inspection.unset == {"a"}


def test_every_alignment_and_metric_has_a_file() -> None:
    assert {file.stem for file in (CONF_DIR / "alignment").glob("*.yaml")} == {m.name for m in ALIGNMENTS}
    bundles = {"published_pythia", "published_gemma", "semantic_documentation"}
    assert {file.stem for file in (CONF_DIR / "metrics").glob("*.yaml")} == {
        m.name for m in METRICS
    } | bundles


def test_the_defaults_are_the_embedded_experiment() -> None:
    assert to_cell(compose()) == to_cell(compose("experiment=tiny"))
    cell = to_cell(compose())
    assert (cell.a.model.label, cell.b.model.label) == ("tiny_s0", "tiny_s1")
    assert len(cell.metrics) == 7
    assert cell.primary_metric == "partial_correlation"


def test_untrained_pairs_differ_from_trained_ones_only_in_being_untrained() -> None:
    cell = to_cell(compose("models=tiny_s0_u1"))
    assert not cell.a.model.untrained
    assert cell.b.model.untrained
    assert cell.b.model.label == "tiny_s1_untrained"


def test_the_dictionaries_of_both_sides_follow_sae_unless_a_side_has_its_own() -> None:
    cell = to_cell(compose("sae=train", "sae.k=16", "sae_b=tiny", "allow_mixed=true"))
    assert (cell.a.sae.k, cell.b.sae.k) == (16, 8)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "file", sorted((CONF_DIR / "experiment").glob("anchor_*.yaml")), ids=lambda f: f.stem
)
def test_what_the_header_of_an_embedded_preset_adds_for_real_models_composes(file: Path) -> None:
    header = file.read_text().replace("\n# ", " ")
    real = header.partition(" add ")[2].partition(f" python launch.py experiment={file.stem}")[0].split()
    cell = to_cell(compose(f"experiment={file.stem}", *real))
    assert real and not (cell.a.model.embedded or cell.b.model.embedded)
    embedded = to_cell(compose(f"experiment={file.stem}"))
    assert embedded.a.model.embedded and embedded.b.model.embedded


def test_a_misspelt_experiment_does_not_compose() -> None:
    with pytest.raises(ValueError, match="Could not find 'experiment/tinny'"):
        compose("experiment=tinny")


def test_dictionaries_without_thresholds_are_not_folded() -> None:
    lines = ("alignment=folded_parameters", "b=tiny_s0")
    with pytest.raises(ConfigError, match=r"expected dictionaries with thresholds \(JumpReLU\), got TopK"):
        to_cell(compose(*lines))
    with pytest.raises(ConfigError, match=r"with thresholds"):
        to_cell(compose(*lines, "sae_a=gemma_scope", "sae_b=none", "control=none", "allow_mixed=true"))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("sae=shared",), "sae=shared: expected dictionaries of A's own"),
        (("sae_a=shared",), "sae_a=shared: expected dictionaries of A's own"),
        (("sae_b=shared", "width_b=64"), "width_b=64: expected none, since sae_b=shared takes A's"),
    ],
)
def test_only_b_shares_and_with_the_width_of_a(lines: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        to_cell(compose(*lines))


def test_shared_dictionaries_are_those_of_the_other_side_also_for_the_control() -> None:
    cell = to_cell(compose("sae_a=tiny", "sae_a.hookpoint=mlp_out", "width_a=64", "sae_b=shared"))
    assert cell.b.lender == cell.a and (cell.b.width, cell.b.sae.hookpoint.value) == (64, "mlp_out")
    control = untrained_counterpart(cell)
    assert control is not None and control.b.lender == control.a and control.a.model.untrained


@pytest.mark.parametrize("alignment", ["decoder_cosine", "encoder_cosine"])
def test_directions_of_two_models_are_compared_only_where_their_basis_is_said_to_be_the_same(
    alignment: str,
) -> None:
    with pytest.raises(ConfigError, match=r"expected dictionaries of one model, .* got two models"):
        to_cell(compose(f"alignment={alignment}"))
    assert to_cell(compose(f"alignment={alignment}", "b=tiny_s0", "sae_b=tiny", "sae_b.seed=1"))
    assert to_cell(compose(f"alignment={alignment}", "alignment.assume_same_basis=true"))


def test_sets_of_rows_are_not_taken_within_groups() -> None:
    with pytest.raises(ConfigError, match="evidence=jaccard: expected alignment"):
        to_cell(compose("alignment.evidence=jaccard"))
    assert to_cell(compose("alignment.evidence=jaccard", "alignment.condition=none"))
    assert to_cell(compose("alignment.evidence=phi"))


def test_what_a_metric_refuses_of_its_own_options_is_a_fault_like_others() -> None:
    faults = inspect(compose("metrics.svcca.variance_kept=2", "resources.processes=0")).faults
    assert faults == ("metrics.svcca.variance_kept=2.0: expected a fraction in (0, 1], got 2.0.",)
