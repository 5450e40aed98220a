"""Every fault of a command line at once, with the valid choices and the nearest match; nothing written."""

import json
import struct
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from saeuniv.config import Cell
from saeuniv.config.registry import CONF_DIR
from saeuniv.preflight import Preflight, check, preflight
from saeuniv.preflight.composer import TESTED_HYDRA

PACKAGE = Path(__file__).resolve().parent.parent / "saeuniv"
TEXT = "The quick brown fox jumps over the lazy dog. " * 20
# The embedded models with a dictionary or a text of one's own.
MIXED = "allow_mixed=true"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in, and a store beside it."""
    monkeypatch.setenv("SAEUNIV_STORE", str(tmp_path / "store"))
    monkeypatch.delenv("SAEUNIV_CONFIG_DIR", raising=False)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


def faults(*argv: str) -> tuple[str, ...]:
    return preflight(argv).faults


def only_fault(*argv: str) -> str:
    (fault,) = faults(*argv)
    return fault


def cells(*argv: str) -> tuple[Cell, ...]:
    checked = preflight(argv)
    assert checked.faults == ()
    return checked.cells


def seconds(work: Callable[[], object]) -> float:
    """What it costs on one core."""
    start = time.process_time()
    work()
    return time.process_time() - start


def write_model(folder: Path, *without: str, d_model: int = 64, n_layers: int = 4, **more: object) -> Path:
    config = {"model_type": "gpt_neox", "hidden_size": d_model, "num_hidden_layers": n_layers, **more}
    tokenizer = {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}
    files = {
        "config.json": json.dumps({**config, "vocab_size": 256}).encode(),
        "model.safetensors": safetensors(),
        "tokenizer.json": json.dumps(tokenizer).encode(),
    }
    folder.mkdir(parents=True)
    for name, content in files.items():
        if name not in without:
            (folder / name).write_bytes(content)
    return folder


def write_text(folder: Path) -> Path:
    """Eight documents, of which three tenths are two."""
    folder.mkdir()
    for number in range(8):
        (folder / f"{number}.txt").write_text(f"{number} {TEXT}")
    return folder


def write_dictionaries(folder: Path, layers: range, *, d_in: int = 64, n_latents: int = 256) -> Path:
    for layer in layers:
        place = folder / f"layers.{layer}"
        place.mkdir(parents=True)
        (place / "cfg.json").write_text(json.dumps({"d_in": d_in, "k": 8, "num_latents": n_latents}))
        shapes = {"encoder.weight": (n_latents, d_in), "W_dec": (n_latents, d_in)}
        shapes |= {"encoder.bias": (n_latents,), "b_dec": (d_in,)}
        (place / "sae.safetensors").write_bytes(safetensors(**shapes))
    return folder


def safetensors(**shapes: tuple[int, ...]) -> bytes:
    """A file of zeros in the safetensors format: a length, a JSON header, the data."""
    header: dict[str, object] = {}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * struct.calcsize("x") * _product(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(end)


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for length in shape:
        product *= length
    return product


def test_the_embedded_experiment_has_one_cell_and_no_fault(folder: Path) -> None:
    (cell,) = cells()
    assert cell.comparison.startswith("tiny_s0-tiny_s1-hungarian-")
    assert check(cell) == ()
    assert list(folder.iterdir()) == []


def test_all_faults_of_a_command_are_reported_at_once(folder: Path) -> None:
    found = faults(
        *("layr.a=3", "+foo=1", "alignment=hungrian", "metrics=hungarian", "nulls.draws=abc", "layers.b=9"),
        *("sae.k=999", "bootstrap.confidence=2", "data=txt", "seed=", "tracking.mode=offlin"),
    )
    named = (
        "layr.a",
        "+foo",
        "alignment",
        "metrics",
        "nulls.draws",
        "layers.b",
        "sae.k",
        "bootstrap",
        "data",
    )
    for key in (*named, "seed", "tracking.mode"):
        assert sum(fault.startswith(key) for fault in found) == 1, key
    assert len(found) == 11
    assert list(folder.iterdir()) == []


# Argument and what its fault says.
CASES = [
    ("alignment=hungrian", "max_corr, mutual_nn, sinkhorn; did you mean hungarian?"),
    ("experiment=tiny_seed", "did you mean tiny_seeds?"),
    ("metrics=hungarian", "hungarian is an alignment; set alignment=hungarian."),
    ("metrics=[cka,max_corr]", "max_corr is an alignment; set alignment=max_corr."),
    ("alignment=cka", "cka is a metric; set metrics=cka."),
    ("metrics=[cka,svca]", "metrics has no option svca. Choose one of cka, "),
    ("a=pythia-7m", "did you mean pythia-70m?"),
    ("hydra/launcher=slurmm", "Choose one of basic, local, slurm; did you mean slurm?"),
    ("layr.a=3", "did you mean layers.a?"),
    ("+layr.a=3", "did you mean layers.a?"),
    ("++layr.a=3", "did you mean layers.a?"),
    ("+layers.a=3", "layers.a is there already. Write layers.a=3."),
    ("+alignment=max_corr", "alignment is there already. Write alignment=max_corr."),
    ("aligment=max_corr", "did you mean alignment?"),
    ("experimnt=tiny", "did you mean experiment?"),
    ("layers.c=3", "Choose one of layers.a, layers.b, layers.pairs"),
    ("max_fvu=0.3", "did you mean sae.max_fvu?"),
    ("qqqq=3", "Choose one of a, b, sae, sae_a"),
    ("a.name=EleutherAI/pythia-1b", "it belongs to a=hub. Choose that first."),
    ("sae_b.k=3", "sae_b is not set. Choose sae_b=... first, or set sae.k for both sides."),
    ("~layers", "nothing can be taken out"),
    ("~alignment", "nothing can be taken out"),
    ("alignment=null", "expected a choice, got none"),
    ("a=[tiny_s0,tiny_s1]", "expected one option, got a list"),
    ("model=hub", "no group of its own. Choose a=..., b=..."),
    ("nulls.draws=abc", "Value 'abc' of type 'str' could not be converted to Integer"),
    ("allow_mixed=maybe", "Choose one of true, false"),
    ("tracking.mode=offlin", "did you mean offline?"),
    ("nulls.draws=3", "nulls.draws=3: expected at least 19"),
    ("metrics=[]", "expected at least one metric, got none"),
    ("primary_metric=rsa", "expected one of the metrics computed"),
    ("width=wide", "width=wide: expected a number of latents"),
    ("width=published", "have no published width. Choose a number"),
    ("layers.a=9", "layers.a=9: tiny_s0 has 4 layers (0..3). Choose layers.a=all or 0-3."),
    ("layers.b=[0,4]", "tiny_s1 has 4 layers (0..3). Choose layers.b=all or 0-3."),
    ("layers.pairs=[[0,7]]", "[0,7] is no pair of selected layers."),
    ("sae.k=257", "sae.k=257: expected at most the number of latents, which is 256, got 257."),
    ("sae.hookpoint=resid_mid", "whose attention and MLP read the same stream, so that it has none"),
    ("sae.trainer=l2", "Choose one of sparsify, l1."),
    ("sae.activation=groupmx", "did you mean groupmax?"),
    ("sae.l1_coefficient=3", "expected no coefficient without sae.trainer=l1 (sparsify's sparsity is sae.k)"),
    ("sae.warmup_steps=-1", "sae.warmup_steps=-1: expected at least 0, got -1."),
    ("control=step0", "control=step0: expected models of the hub that are published with their initial"),
    ("a.weights=rerandomized", "control=untrained: expected trained models to take the counterparts of"),
    ("alignment=decoder_cosine", "expected dictionaries of one model, whose residual basis they share"),
    ("width=16k,32k", "several values make a sweep. Add -m"),
    ("metrics=cka,svcca", "or metrics=[cka,svcca] for both in one run"),
    ("layers.a=interval(0,3)", "expected values that can be listed, got an interval"),
    ("a.seed=", "a.seed=: Value '' of type 'str' could not be converted to Integer"),
    ("width=", "width=: expected a number of latents"),
    ("sae_b=null", "sae_b=null: expected a choice, got none. Leave it out."),
    ("resources.processes=0", "resources.processes=0: expected at least 1, got 0."),
    ("sweep.detch=true", "did you mean sweep.detach?"),
    ("sweep.max_gpu_hours=0", "sweep.max_gpu_hours=0.0: expected a positive number of hours"),
    ("tracking.project=choice()", "empty choice is not legal"),
    ("nulls.seed=range(0,3,0)", "range() arg 3 must not be zero"),
    ("no equals sign", "expected key=value"),
    ("sae=eleuther", "a, b, data: still the embedded tiny experiment (the defaults), while sae is not"),
]


def rounds() -> list[dict[str, str]]:
    """The cases in as few commands as can be: a command has one argument for each part of the cell.

    A wrong model or experiment stands alone, because nothing is said of the parts it would choose.
    """
    made: list[dict[str, str]] = []
    taken: list[set[str]] = []
    for argument, message in CASES:
        part = argument.lstrip("+~").partition("=")[0].partition(".")[0][:5]
        part = "sae" if part == "width" else part
        place = next((i for i, parts in enumerate(taken) if not parts & {part, "exper", "a"}), len(made))
        if place == len(made) or part in ("exper", "a"):
            place = len(made)
            made.append({})
            taken.append(set())
        made[place][argument] = message
        taken[place].add(part)
    return made


@pytest.mark.parametrize("expected", rounds(), ids=lambda expected: " ".join(expected))
def test_a_fault_names_what_is_wrong_and_what_is_valid(expected: dict[str, str]) -> None:
    found = faults(*expected)
    for argument, message in expected.items():
        assert any(message in fault for fault in found), (argument, found)


def test_the_options_of_one_trainer_are_refused_with_the_other() -> None:
    assert faults("sae.trainer=l1", "sae.l1_coefficient=3") == ()
    wrong = ("sae.l1_coefficient=-1", "sae.warmup_steps=146", "sae.k=4", "sae.activation=groupmax")
    assert faults("sae.trainer=l1", *wrong) == (
        "sae.l1_coefficient=-1.0: expected a positive number, got -1.0.",
        "sae.warmup_steps=146: expected fewer steps than the training has, 146 (sae.n_tokens), got 146.",
        "sae.k=4: expected no choice of k with sae.trainer=l1 (it has sae.l1_coefficient), got 4.",
        "sae.activation=groupmax: expected no choice with sae.trainer=l1 (which is ReLU), got groupmax.",
    )


def test_a_width_that_groups_do_not_share_evenly_is_refused_with_the_nearest_that_they_do() -> None:
    groupmax = "sae.activation=groupmax"
    assert faults(groupmax) == () == faults(groupmax, "sae.k=7", "width=252")
    assert only_fault(groupmax, "sae.k=7") == (
        "sae.activation=groupmax: expected a width that sae.k=7 groups share evenly, got 256. "
        "Choose width=259, the nearest, or another sae.k."
    )
    assert "Choose width=100, the nearest" in only_fault(groupmax, "sae.k=100", "width=149")
    assert "expected at most the number of latents" in only_fault(groupmax, "sae.k=100", "width=99")


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
@pytest.mark.parametrize(
    "key", ["sae.max_fvu", "sae.l1_coefficient", "bootstrap.confidence", "resources.layers_gb"]
)
def test_what_is_no_number_is_refused_in_words(key: str, number: str) -> None:
    assert only_fault(f"{key}={number}") == f"{key}={number}: expected a finite number, got {number}."


@pytest.mark.parametrize("kind", ["resid_pre", "neurons", "mlp_out", "attn_out"])
def test_dictionaries_are_trained_on_what_is_no_modules_output_too(kind: str) -> None:
    assert faults(f"sae.hookpoint={kind}") == ()


def test_weights_are_drawn_from_trained_ones_only() -> None:
    (found,) = faults("b.weights=rerandomized_all", "b.untrained=true", "control=none")
    assert found.startswith(
        "b.weights=rerandomized_all: expected trained weights to draw from, got b.untrain"
    )


@pytest.mark.parametrize("flags", [(), ("-m",)])
def test_a_fault_is_the_same_in_a_sweep(flags: tuple[str, ...], folder: Path) -> None:
    found = faults(*flags, "layers.a=9", "+foo=1", "alignment=hungrian")
    assert len(found) == 3
    assert list(folder.iterdir()) == []


def test_a_fault_of_many_cells_is_reported_once() -> None:
    found = faults("-m", "sae.seed=range(0,4)", "layers.a=0,9", "alignment=max_corr,hungrian", "layr=1")
    assert [fault.partition(":")[0] for fault in found] == ["layr=1", "alignment=hungrian", "layers.a=9"]


def test_a_wrong_choice_does_not_blame_what_stands_in_for_it() -> None:
    found = faults("a=pythia-7m", "a.revison=x", "sae=train", "data=text", "data.path=nowhere", "b=local")
    assert [fault.partition("=")[0].partition(":")[0] for fault in found] == [
        "a",
        "a.revison",
        "b.path",
        "data.held_out",
        "data.path",
    ]
    assert "did you mean a.revision?" in found[1]


def test_text_is_looked_at(tmp_path: Path) -> None:
    written = {"empty": b"", "binary": b"\x00\xff\xfe" * 400, "short": b"too short"}
    for name, content in written.items():
        (tmp_path / name).write_bytes(content)
    for name in ("missing", "empty", "binary", "short"):
        path = tmp_path / name
        (fault,) = faults("data=text", f"data.path={path}", "data.held_out=0.3", MIXED)
        assert fault.startswith(f"data.path={path}: expected"), name
    write_text(tmp_path / "good")
    given = ("data=text", f"data.path={tmp_path / 'good'}", MIXED)
    assert faults(*given, "data.held_out=0.3") == ()
    fault = only_fault(*given, "data.held_out=0.1")
    assert f"data.path={tmp_path / 'good'}: expected at least 2 held-out documents" in fault
    assert "got at most 1 of 8. Give more documents, or raise data.held_out=0.1, or choose" in fault


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (
            "data.chat_template=a",
            "data.chat_template=a: expected data.messages_key=<key of the conversations>",
        ),
        ("data.roles=[assistant]", "data.roles=[assistant]: expected data.messages_key=<key"),
        ("data.document_starts='['", "data.document_starts=[: expected a regular expression"),
        ("data.max_documents=1", "data.max_documents=1: expected at least 2"),
        ("data.n_tokens=many", "data.n_tokens=many: expected a number of tokens"),
        ("data.n_tokens=0", "data.n_tokens=0: expected a number of tokens"),
        ("data.bos=sometimes", "Choose one of auto, always, never"),
        ("data.packing=dense", "Choose one of document, concatenated, truncated"),
        ("data.mask_padding=false", "data.mask_padding=False: expected true, or data.packing=truncated"),
        ("data.skip_first=-1", "data.skip_first=-1: expected 0 or more, and less than data.context_length"),
        ("data.text_key=content", "data.text_key=content: expected this key in every record"),
        ("data.messages_key=chat", "data.messages_key=chat: expected this key in every record"),
    ],
)
def test_records_are_looked_at(argument: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": f"{n} {TEXT}", "n": n}) + "\n" for n in range(6)))
    given = ("data=text", f"data.path={path}", "data.held_out=0.3", MIXED)
    assert faults(*given) == ()
    (fault,) = faults(*given, argument)
    assert message in fault


def test_a_chat_template_must_be_there(tmp_path: Path) -> None:
    path, model = tmp_path / "a.jsonl", write_model(tmp_path / "model")
    turns = [{"role": "user", "content": TEXT}]
    path.write_text("".join(json.dumps({"m": turns, "n": n}) + "\n" for n in range(4)))
    given = ("data=text", f"data.path={path}", "data.held_out=0.3", "data.messages_key=m", MIXED)
    given = (*given, "a=local", f"a.path={model}", "sae=train", "width=64", "control=none")
    (fault,) = faults(*given, "data.chat_template=a", "b=local", f"b.path={model}")
    assert (
        fault.startswith("data.chat_template=a: expected a tokenizer with a chat template")
        and str(model) in fault
    )
    different, absent = faults(*given, "data.chat_template=b")
    assert "data.chat_template=b: expected none for models with different tokenizers" in different
    assert "got none in the embedded model" in absent
    (model / "chat_template.jinja").write_text("{{ messages }}")
    assert faults(*given, "data.chat_template=a", "b=local", f"b.path={model}") == ()


def test_a_data_set_of_the_hub_is_listed_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.fake_hub import serving

    given = ("data=hub", "data.name=owner/texts", "data.held_out=0.3", MIXED)
    with serving(tmp_path, monkeypatch) as hub:
        hub.add("datasets/owner/texts", {"train.jsonl": b"{}", "x.arrow": b""})
        assert faults(*given) == ()
        (fault,) = faults(*given, "data.files=*.arrow")
        assert "got only x.arrow. It has train.jsonl." in fault
        (fault,) = faults(*given, "data.name=owner/other")
        assert fault.startswith("data.name=owner/other: the hub has no datasets/owner/other")
        assert not [each for each in hub.requests if each.startswith("GET")]


def test_a_budget_is_one_comparison_however_it_is_written() -> None:
    names = {cell.comparison for cell in cells("-m", "data.n_tokens=10k,10000,null,20k")}
    assert len(names) == 3


@pytest.mark.parametrize("without", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_model_folder_lacks_a_part(without: str, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", without)
    (fault,) = faults("a=local", f"a.path={model}", MIXED)
    assert fault.startswith(f"a.path={model}: expected a model folder")
    assert without.removeprefix("model.").partition(".")[0] in fault or "weights are missing" in fault


def test_a_whole_model_folder_is_taken(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", n_layers=2)
    fault = only_fault("a=local", f"a.path={model}", "layers.a=2", MIXED)
    assert fault == "layers.a=2: model has 2 layers (0..1). Choose layers.a=all or 0-1."


@pytest.mark.parametrize("name", ["max_position_embeddings", "n_positions", "max_seq_len"])
def test_sequences_longer_than_a_model_reads_are_refused(name: str, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", **{name: 64})
    fault = only_fault("a=local", f"a.path={model}", MIXED)
    expected = "expected at most 64, the tokens that a=model reads at once, got 128. Lower it."
    assert fault == f"data.context_length=128: {expected}"
    assert faults("a=local", f"a.path={model}", "data.context_length=64", MIXED) == ()


def test_a_dictionary_fits_or_says_why_not(tmp_path: Path) -> None:
    write_dictionaries(tmp_path / "good", range(4))
    write_dictionaries(tmp_path / "wide", range(4), d_in=128)
    write_dictionaries(tmp_path / "two", range(2))
    sae = ("sae=local", "control=none", MIXED)
    assert faults(*sae, f"sae.path={tmp_path / 'good'}") == ()
    wrong = faults(*sae, f"sae.path={tmp_path / 'wide'}")
    assert any("reads 128 dimensions, the model has d_model=64" in fault for fault in wrong)
    # Layers without a dictionary are left out of `all`, and a fault where they are asked for.
    assert faults(*sae, f"sae.path={tmp_path / 'two'}") == ()
    asked = faults(*sae, f"sae.path={tmp_path / 'two'}", "layers.a=3", "layers.b=0")
    assert len(asked) == 1 and "no dictionary" in asked[0]
    assert faults(*sae, f"sae.path={tmp_path / 'two'}", "layers.a=0-1", "layers.b=[[0,1]]") == ()
    fault = only_fault(*sae, f"sae.path={tmp_path / 'good'}", "width=16k")
    assert "width=16384 was asked, the dictionaries have 256 latents" in fault


def test_a_store_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert only_fault(f"store={tmp_path}/file/store").startswith(f"store={tmp_path}/file/store: expected")
    assert only_fault("store=${oc.env:NOPE}") == (
        "store: KeyError raised while resolving interpolation: \"Environment variable 'NOPE' not found\"."
    )


def test_a_missing_value_does_not_hide_other_faults() -> None:
    found = faults("data=text", "layers.a=9", MIXED)
    assert [fault.partition("=")[0] for fault in found] == [
        "data.path: missing. Set data.path",
        "data.held_out",
        "layers.a",
    ]


def test_a_sweep_has_the_product_of_its_values() -> None:
    swept = cells("-m", "a=tiny_s0,tiny_s2", "layers.a=range(0,3)", "metrics=[cka],[svcca]")
    assert len(swept) == 12
    assert len({cell.comparison for cell in swept}) == 2
    assert {cell.layers for cell in (cell.a for cell in swept)} == {0, 1, 2}
    assert {cell.metrics[0].name for cell in swept} == {"cka", "svcca"}


def test_metrics_are_a_list_or_one() -> None:
    (cell,) = cells("metrics=[cka,svcca]")
    assert ([metric.name for metric in cell.metrics], cell.primary_metric) == (["cka", "svcca"], "cka")
    (cell,) = cells("metrics=raw_correlation")
    assert [metric.name for metric in cell.metrics] == ["raw_correlation"]
    (cell,) = cells("metrics=[partial_correlation_bigram]", "metrics.partial_correlation_bigram.null=true")
    assert cell.metrics[0].null is True  # type: ignore[attr-defined]


def test_anchor_seeds_is_a_sweep_of_pairs_of_seeds_of_the_dictionaries_of_one_model() -> None:
    swept = cells("experiment=anchor_seeds")
    seeds = [(side.sae.seed for side in cell.sides) for cell in swept]  # type: ignore[attr-defined]
    assert [tuple(each) for each in seeds] == [(0, 2), (0, 3), (1, 2), (1, 3)]
    assert {side.model.label for cell in swept for side in cell.sides} == {"tiny_s0"}


def test_anchor_mppc_stands_between_neurons_and_two_dictionaries_of_one_model() -> None:
    latents, neurons, skyline = cells("experiment=anchor_mppc")
    assert (latents.a.model.label, latents.b.model.label) == ("tiny_s0", "tiny_s1")
    assert [type(side.sae).__name__ for side in neurons.sides] == ["NoSae"] * 2
    assert {side.sae.hookpoint.value for side in neurons.sides} == {"neurons"}
    assert skyline.a.model == skyline.b.model and skyline.a.sae != skyline.b.sae


def test_anchor_calibrated_sets_neighbours_and_spectra_each_against_its_null() -> None:
    (cell,) = cells("experiment=anchor_calibrated")
    nulls = {metric.name: getattr(metric, "primary_null", "") for metric in cell.metrics}
    assert nulls.pop("mutual_knn_permuted") == "permutation"
    assert {name: nulls[name] for name in ("cka", "rsa", "cka_tokens")} == {
        "cka": "selection_shift",
        "rsa": "selection_shift",
        "cka_tokens": "document_shift",
    }
    assert cell.control.value == "untrained"


def test_tiny_seeds_is_a_sweep_of_six_comparisons() -> None:
    swept = cells("experiment=tiny_seeds")
    assert [f"{cell.a.model.label} {cell.b.model.label}" for cell in swept] == [
        "tiny_s0 tiny_s1",
        "tiny_s0 tiny_s2",
        "tiny_s1 tiny_s2",
        "tiny_s2_untrained tiny_s3_untrained",
        "tiny_s0 tiny_s1_untrained",
        "tiny_s1 tiny_s0_untrained",
    ]
    assert len(cells("experiment=tiny_seeds", "models=tiny_s0_s2", "alignment=hungarian,max_corr")) == 2
    assert "cannot be one value of a sweep" in only_fault("-m", "experiment=tiny,tiny_seeds")


def test_corrections_is_a_sweep_of_every_correction_alone_and_of_all() -> None:
    swept = cells("experiment=corrections")
    off = [[name for name, on in cell.compat if not on] for cell in swept]
    names = [name for name, _ in swept[0].compat]
    assert off == [[], *([name] for name in names), names]
    assert len({cell.comparison for cell in swept}) == len(swept)


def test_a_category_of_words_of_ones_own_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "semantic_food.yaml").write_text(
        "# @package metrics\n"
        "defaults: [/schema/metrics/semantic_rsa@semantic_rsa_food, _self_]\n"
        "semantic_rsa_food: {category: food, words: [bread, cheese]}\n"
    )
    monkeypatch.setenv("SAEUNIV_CONFIG_DIR", str(tmp_path))
    (cell,) = cells("metrics=[semantic_food]")
    (metric,) = cell.metrics
    assert (metric.name, getattr(metric, "words", None)) == ("semantic_rsa_food", ["bread", "cheese"])


def test_a_sweep_within_one_comparison_is_over_layers_and_metrics_only() -> None:
    assert only_fault("-m", "nulls.draws=19,99").startswith("nulls: swept over several values within one")


def test_a_sweep_has_one_store_and_one_way_to_run() -> None:
    other = "b=tiny_s1,tiny_s2"
    assert only_fault("-m", other, "store=x,y").startswith("store: swept over several values, and a sweep")
    assert only_fault("-m", "resources.processes=1,2").startswith("resources: swept over several values")
    assert only_fault("-m", other, "sweep.name=x,y").startswith("sweep.name=x,y: a sweep has one sweep.name")


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("a.seed=range(0,0)", "Give a range whose end is beyond its start."),
        ("a.seed=shuffle(range(3,0))", "Give a range"),
        ("alignment=glob(zz*)", "Choose one of decoder_cosine, encoder_cosine, "),
    ],
)
def test_a_sweep_without_cells_is_a_fault_and_hides_no_other(line: str, remedy: str, folder: Path) -> None:
    empty, layers = faults("-m", line, "layers.a=0,9")
    assert empty.startswith(
        f"{line}: expected at least one value, got none: the sweep has no cells. {remedy}"
    )
    assert layers.startswith("layers.a=9: tiny_s0 has 4 layers")
    assert list(folder.iterdir()) == []


def test_a_preset_that_sweeps_over_nothing_is_a_fault(
    write: Callable[[str, str], None], tmp_path: Path
) -> None:
    params = "{a.seed: 'range(0,0)', +x: 'range('}"
    text = f"# @package _global_\nhydra: {{mode: MULTIRUN, sweeper: {{params: {params}}}}}\n"
    write("experiment/none.yaml", text)
    found = faults("--config-dir", str(tmp_path / "site"), "experiment=none")
    assert found[0].startswith("+x=range(: expected key=value")
    assert found[1].startswith("a.seed=range(0,0): expected at least one value, got none")


def test_a_sweep_of_more_cells_than_anybody_means_is_refused_at_once() -> None:
    one = seconds(lambda: cells("a.seed=1"))
    start = time.process_time()
    assert "expected at most 100000 cells" in only_fault("-m", "a.seed=range(0,1000000000)")
    assert "expected at most 100000 cells" in only_fault("-m", "a.seed=range(0,400)", "b.seed=range(0,400)")
    assert time.process_time() - start < 10 * one


def test_values_taken_from_elsewhere_follow_their_source() -> None:
    swept = cells("-m", "b.seed=5,6", "a.seed=${b.seed}", "nulls.seed=${a.seed}", "allow_mixed=true")
    assert [(each.a.model.seed, each.nulls.seed) for each in swept] == [(5, 5), (6, 6)]  # type: ignore[attr-defined]


def test_later_values_win_and_sides_keep_their_own() -> None:
    (cell,) = cells("nulls.draws=20", "nulls.draws=30", "models=tiny_s0_s2", "b=tiny_s3", "sae.k=4")
    assert (cell.nulls.draws, cell.b.model.label) == (30, "tiny_s3")
    assert cell.a.sae.k == cell.b.sae.k == 4  # type: ignore[attr-defined]


@pytest.fixture
def site(tmp_path: Path, write: Callable[[str, str], None]) -> Path:
    write("model/mine.yaml", "defaults: [/schema/model/tiny@_here_, _self_]\nseed: 7\n")
    write("model/bad.yaml", "defaults: [/schema/model/hub@_here_, _self_]\nnmae: x\n")
    write(
        "experiment/ours.yaml", "# @package _global_\ndefaults: [{override /a: mine}]\nnulls: {draws: 25}\n"
    )
    write("root.yaml", "defaults: [config, _self_]\nnulls: {draws: 33}\n")
    return tmp_path / "site"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], None]:
    def write(name: str, text: str) -> None:
        file = tmp_path / "site" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    return write


def test_options_of_a_site_are_taken(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cell,) = cells("--config-dir", str(site), "a=mine", "experiment=ours")
    assert (cell.a.model.label, cell.nulls.draws) == ("tiny_s7", 25)
    (cell,) = cells("-cd", str(site), "--config-name", "root")
    assert cell.nulls.draws == 33
    monkeypatch.setenv("SAEUNIV_CONFIG_DIR", str(site))
    (cell,) = cells("b=mine")
    assert cell.b.model.label == "tiny_s7"


def test_a_wrong_file_names_itself_and_hides_nothing(site: Path) -> None:
    found = faults("--config-dir", str(site), "a=bad", "layr.a=3")
    assert found[0].startswith("a=bad: In 'model/bad'") and "Key 'nmae' not in 'HubModel'" in found[0]
    assert "did you mean layers.a?" in found[1]


def test_an_experiment_does_not_silently_beat_a_pair_of_models(site: Path) -> None:
    fault = only_fault("--config-dir", str(site), "experiment=ours", "models=tiny_s0_s2")
    assert fault.startswith("models=tiny_s0_s2: the experiment chooses a=mine itself")
    assert len(cells("--config-dir", str(site), "experiment=ours", "models=tiny_s0_s2", "a=tiny_s0")) == 1


def test_folders_and_roots_that_do_not_exist_are_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    assert only_fault("--config-dir", "nowhere").startswith("--config-dir=nowhere: expected a folder")
    assert "Cannot find primary config 'nothing'" in only_fault("--config-name", "nothing")
    assert "conf/ cannot be replaced" in only_fault("--config-path", "elsewhere")
    monkeypatch.setenv("SAEUNIV_CONFIG_DIR", "nowhere")
    assert only_fault().startswith("SAEUNIV_CONFIG_DIR=nowhere: expected a folder")


@pytest.mark.parametrize("flag", [("--cfg", "job"), ("--help",), ("--info", "all"), ("-sc", "query=bash")])
def test_what_only_shows_is_left_to_hydra(flag: tuple[str, ...]) -> None:
    assert preflight((*flag, "nonsense")) == Preflight((), ())


def test_a_cell_of_a_sweep_costs_a_fraction_of_a_single_one() -> None:
    """With the shape checks of the tests, which take most of it. Measured: a twelfth."""
    one = seconds(lambda: cells("a.seed=1"))
    argv = ("-m", "layers.a=0,1,2,3", "sae.k=1,2,3,4,5", "sae.seed=range(0,10)", "width=64,128,256,512,1024")
    found: list[Cell] = []
    assert seconds(lambda: found.extend(cells(*argv))) < 1000 * one / 4
    assert len(found) == 1000


def test_one_module_touches_the_internals_of_the_hydra_it_is_tested_with() -> None:
    touching = {file.name for file in PACKAGE.rglob("*.py") if "hydra._internal" in file.read_text()}
    assert touching == {"composer.py"}
    assert version("hydra-core").startswith(TESTED_HYDRA)
    assert CONF_DIR.is_dir()


def test_floors_of_nothing_let_in_all_latents_and_an_unset_one_is_the_default() -> None:
    (cell,) = cells("eligibility.min_firings=0", "eligibility.max_rate=1", "eligibility.min_within_share=0")
    chosen = cell.eligibility
    assert (chosen.min_firings, chosen.max_rate, chosen.min_within_share) == (0, 1.0, 0.0)
    assert cells()[0].eligibility.min_firings == 10
    fault = only_fault("eligibility.min_firings=1")
    assert fault == "eligibility.min_firings=1: expected at least 2, or 0 for no floor, got 1."
