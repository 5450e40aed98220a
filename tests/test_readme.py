"""What README and guides say can be done is done by some test; README's numbers are there."""

import ast
import ipaddress
import json
import re
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch

from benchmarks.readme import METRICS, parse_block
from saeuniv.preflight import preflight
from saeuniv.preflight.files import FileChecks
from tests.stored_runs import byte_tokens, make_stored_run
from tests.synthetic import streams
from tests.test_preflight import TEXT, write_dictionaries, write_model, write_text

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDES = {page.name: page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").glob("*.md"))}
ALL_PAGES = README + "".join(GUIDES.values())

THIS = "tests/test_readme.py::test_commands_pass_preflight"
HUB = "tests/test_readme.py::test_commands_that_need_a_hub_compose"
CI = ".ci/run"
INSPECTED = (
    "tests/commands/test_inspect.py::test_the_fit_is_measured_on_a_model_and_the_overrides_pass_preflight"
)
EXPORT = "tests/commands/test_export.py"
SYNC, WORKSPACE = "tests/commands/test_sync.py", "tests/commands/test_workspace.py"

SWEEP = "alignment=max_corr,mutual_nn,hungarian layers.a=0,1 hydra/launcher=slurm"
LOCAL = "python launch.py a=local a.path=models/a b=local b.path=models/b"
HELD_OUT = "data=text data.path=text data.held_out=0.3"

# Every command of a ```bash block, and what runs it. A command that is not here fails until it is.
COVERED = {
    "make demo": "tests/demo/test_demo.py::test_the_cold_run_is_within_its_cpu_time",
    "make test": CI,
    "make check": CI,
    "make test-demo": "tests/demo/test_demo.py::test_the_cold_run_is_within_its_cpu_time",
    "make test-slurm": CI,
    "make test-calibration": "tests/test_calibration.py::test_p_is_uniform_through_the_whole_pipeline",
    "make test-presets": "tests/presets/test_presets.py::test_a_preset_runs_from_the_hub_to_results",
    "make bench": "tests/test_benchmarks.py::test_a_bound_that_does_not_hold_ends_the_report_with_1",
    "python launch.py --help": "tests/test_command_line.py::test_help_lists_the_groups_and_five_examples",
    "python launch.py --cfg job": (
        "tests/test_command_line.py::test_showing_the_configuration_is_quick_and_writes_nothing"
    ),
    "python launch.py experiment=tiny_seeds": THIS,
    "python launch.py -m alignment=max_corr,mutual_nn,hungarian": THIS,
    "python launch.py layers.a=0-3:2 layers.b=last metrics=[partial_correlation,cka]": THIS,
    f"{LOCAL} sae=train width=x8 sae.k=32 {HELD_OUT}": THIS,
    f"{LOCAL} sae_a=local sae_a.path=saes/a sae_b=local sae_b.path=saes/b data=text data.path=text "
    "control=none": THIS,
    f"{LOCAL} sae_a=local sae_a.path=saes/a sae_b=none data=text data.path=text control=none": THIS,
    f"{LOCAL} sae=train sae.activation=groupmax sae.k=32 width=512 {HELD_OUT}": THIS,
    f"{LOCAL} sae=train sae.trainer=l1 sae.l1_coefficient=5 width=x8 {HELD_OUT}": THIS,
    f"{LOCAL} sae_a=custom sae_a.object=mine:make width_a=128 sae_b=none data=text data.path=text "
    "control=none": THIS,
    f"{LOCAL} sae=none data=text data.path=chats.jsonl data.messages_key=messages data.roles=[assistant] "
    "control=none": THIS,
    "python launch.py layers.a=1 layers.b=[[2,3],1] control=none": THIS,
    "python launch.py -m data.n_tokens=10k,50k layers.a=1 layers.b=1": THIS,
    "python launch.py a=hub a.name=EleutherAI/pythia-160m a.revision=step3000 b=pythia-160m sae=train "
    "width=16k data=openwebtext data.held_out=0.1 control=none": HUB,
    "python launch.py a=hub a.name=google/gemma-2-2b b=hub b.name=google/gemma-2-2b-it sae=gemma_scope "
    "sae_b=shared width=16k data=chat data.chat_template=b control=none": HUB,
    "python launch.py a=pythia-160m b=hub b.name=openai-community/gpt2 sae=train width=16k data=openwebtext "
    "data.held_out=0.1": HUB,
    "python launch.py a=pythia-70m b=pythia-160m sae=eleuther data=openwebtext data.context_length=300 "
    "layers.a=1-5 layers.b=1-11 alignment=hungarian alignment.condition=none "
    "metrics=[matched_correlation,pc1_abs_corr,svcca,rsa_dimensions,rsa] control=none": HUB,
    "python launch.py a=hub a.name=EleutherAI/pythia-410m-deduped b=hub b.name=openai-community/gpt2-medium "
    "sae=train sae.trainer=l1 sae.hookpoint=resid_pre width=4096 data=wikitext data.held_out=0.3 "
    "data.tokens=aligned layers.a=[5,6,7] layers.b=[5,6,7]": HUB,
    f"python launch.py -m {SWEEP}": THIS,
    f"python launch.py -m {SWEEP} sweep.detach=true": THIS,
    f"saeuniv plan -m {SWEEP}": "tests/commands/test_plan.py::test_the_plan_for_programs_has_everything",
    "saeuniv plan --emit tasks -m alignment=max_corr,mutual_nn layers.a=0,1": (
        "tests/commands/test_plan.py::test_every_emitted_task_can_be_read_and_comes_after_what_it_needs"
    ),
    "saeuniv task run tasks/0000-tokens-0123456789abcdef.json": (
        "tests/commands/test_task.py::test_a_task_is_run_once"
    ),
    "saeuniv status NAME": (
        "tests/commands/test_sweeps.py::test_the_status_counts_tasks_and_says_what_failed"
    ),
    "saeuniv doctor experiment=paper_pythia": (
        "tests/commands/test_doctor.py::test_the_weights_and_text_of_the_paper_are_named"
    ),
    "saeuniv doctor -m hydra/launcher=slurm --job": (
        "tests/slurm/test_doctor.py::test_a_node_answers_through_the_store_and_nothing_is_left"
    ),
    "saeuniv fetch -m models=pythia70m_pythia160m data.path=corpus alignment=max_corr,hungarian": (
        "tests/commands/test_fetch.py::test_it_says_how_much_and_fetches_only_what_is_missing"
    ),
    "saeuniv fetch a=pythia-70m b=pythia-160m sae=eleuther data=openwebtext control=none": HUB,
    "saeuniv inspect saes/a": (
        "tests/commands/test_inspect.py::test_what_there_is_is_shown_by_hookpoint_and_width"
    ),
    "saeuniv inspect saes/a --model models/a": INSPECTED,
    "saeuniv inspect saes/a --model models/a --text text/0.txt": INSPECTED,
    "saeuniv sync NAME": (
        f"{SYNC}::test_a_run_is_made_from_results_alone_and_refused_where_its_files_are_gone"
    ),
    "saeuniv sync NAME --dry-run": f"{SYNC}::test_a_dry_run_of_a_rebuild_writes_nothing",
    "saeuniv sync NAME --rebuild": (
        f"{SYNC}::test_a_run_is_made_from_results_alone_and_refused_where_its_files_are_gone"
    ),
    'pip install "saeuniv[workspace]"': (
        f"{WORKSPACE}::test_without_the_library_it_is_said_how_to_install_it"
    ),
    "saeuniv compare ONE OTHER --wandb": (
        "tests/tracking/test_comparison_report.py::test_a_report_of_two_sweeps_has_a_run_set_of_each"
    ),
    "saeuniv export NAME DIR --dry-run": (
        f"{EXPORT}::test_sizes_are_said_first_and_nothing_is_written_in_a_dry_run"
    ),
    "saeuniv export NAME DIR --license cc-by-4.0": f"{EXPORT}::test_a_sweep_goes_out_and_comes_in",
    "saeuniv export NAME DIR --what dictionaries,results": (
        f"{EXPORT}::test_one_comparison_goes_out_under_the_name_of_its_sweep"
    ),
    "saeuniv import DIR": f"{EXPORT}::test_a_sweep_goes_out_and_comes_in",
    "saeuniv --cite NAME": f"{EXPORT}::test_what_a_sweep_was_made_with_is_cited_from_its_results",
    "saeuniv workspace NAME": f"{WORKSPACE}::test_without_a_key_nothing_is_saved",
    "saeuniv workspace NAME --dry-run": f"{WORKSPACE}::test_the_view_is_the_one_that_was_agreed_on",
    "saeuniv workspace NAME --install-charts": (
        f"{WORKSPACE}::test_the_chart_is_installed_once_and_remembered_for_the_entity"
    ),
}

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s)>\]\"'`|]+")
# Folders that only a particular machine has; `~` and relative ones are the reader's own.
OWN_PATH = re.compile(r"(?<![\w.~/<>:-])/(?:home|root|Users|tmp|work|mnt|opt|srv|scratch|data|var|private)\b")


def blocks(markdown: str, language: str) -> list[str]:
    return [body for found, body in BLOCK.findall(markdown) if found == language]


def commands(markdown: str) -> list[str]:
    """Commands of the bash blocks, continued lines joined, without comments and prompts."""
    lines = "\n".join(blocks(markdown, "bash")).replace("\\\n", " ").splitlines()
    plain = (re.sub(r"(^|\s)#.*", "", line).removeprefix("$ ") for line in lines)
    return [" ".join(line.split()) for line in plain if line.strip()]


def unlisted(markdown: str) -> list[str]:
    return [command for command in commands(markdown) if command not in COVERED]


def unfit_urls(markdown: str) -> list[str]:
    """Addresses that a reader elsewhere cannot open safely."""
    return [url for url in URL.findall(markdown) if not _is_public(url)]


def _is_public(url: str) -> bool:
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        named = "." in host and not host.endswith((".local", ".internal", ".lan", ".localdomain"))
        return parts.scheme == "https" and named and parts.username is None and parts.port is None
    return False


def test_every_command_is_run_by_some_test():
    assert commands(README) and commands(GUIDES["cluster.md"]) and commands(GUIDES["models.md"])
    assert unlisted(ALL_PAGES) == [], "List the command in COVERED with the test that runs it."


def test_a_command_that_is_gone_from_the_pages_is_gone_from_the_list():
    written = set(commands(ALL_PAGES))
    assert [each for each in COVERED if each not in written] == []


def test_a_new_command_is_noticed():
    assert unlisted("```bash\nmake demo\n$ make  new \\\n  FAST=1  # soon\n\n```") == ["make new FAST=1"]
    assert unlisted("```python\nmake new\n```") == []


@pytest.mark.parametrize("place", sorted(set(COVERED.values())))
def test_what_covers_a_command_exists(place: str):
    file, _, name = place.partition("::")
    text = (ROOT / file).read_text(encoding="utf-8")
    if place == CI:
        covered = {command for command, by in COVERED.items() if by == CI}
        made = [line.split()[1:] for line in text.splitlines() if line.startswith("make ")]
        assert covered <= {f"make {word}" for words in made for word in words}
        return
    functions = {node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
    assert name in functions


def test_every_target_named_is_in_the_makefile():
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"^make ([a-z-]+)", "\n".join(COVERED), re.MULTILINE))
    assert named | set(re.findall(r"`make ([a-z-]+)", README)) <= targets


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the commands of the pages are given in: models, dictionaries, text, an object."""
    monkeypatch.setenv("SAEUNIV_STORE", str(tmp_path / "store"))
    monkeypatch.delenv("SAEUNIV_CONFIG_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for side in "ab":
        write_model(tmp_path / "models" / side)
        write_dictionaries(tmp_path / "saes" / side, range(4))
    write_text(tmp_path / "text")
    turns = [{"role": role, "content": TEXT} for role in ("user", "assistant")]
    (tmp_path / "chats.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    (tmp_path / "mine.py").write_text(blocks(GUIDES["models.md"], "python")[0])
    return tmp_path


def launched(place: str) -> list[str]:
    """The commands that `place` covers and that take overrides."""
    return [command for command, by in COVERED.items() if by == place]


def argv_of(command: str) -> list[str]:
    """The arguments behind `python launch.py`, or behind a command beside it."""
    return shlex.split(command)[2:]


@pytest.mark.parametrize(
    "command", [each for each, by in COVERED.items() if each.startswith("python launch.py") and by != HUB]
)
def test_commands_pass_preflight(command: str, desk: Path):
    argv = argv_of(command)
    checked = preflight(argv)
    assert checked.faults == ()
    assert bool(checked.cells) == (not {"--help", "--cfg"} & set(argv))


@pytest.mark.parametrize("command", launched(HUB))
def test_commands_that_need_a_hub_compose(command: str, desk: Path, monkeypatch: pytest.MonkeyPatch):
    """Keys, choices, values and rules are checked; what only the hub's files show is not."""
    monkeypatch.setattr(FileChecks, "faults", lambda *given, **named: ())
    checked = preflight(argv_of(command))
    assert checked.faults == () and checked.cells
    assert preflight([*argv_of(command), "sae.hookpiont=mlp_out"]).faults != ()


def test_every_python_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_row):
    tokens = byte_tokens({f"doc{i}": "the cat sat on the mat " * 6 for i in range(4)}, 31)
    latents = np.where(np.random.default_rng(0).random((tokens.n_rows, 2)) < 0.3, 1, 0).astype(np.float32)
    run = make_stored_run(tmp_path, make_row, tokens, {1: latents}, {1: latents})
    (tmp_path / "multirun" / "single").mkdir(parents=True)
    run.folder.rename(tmp_path / "multirun" / "single" / "<comparison>")
    monkeypatch.chdir(tmp_path)
    data = streams(n_documents=62, sequences_per_document=1, positions=124, shared=30)
    decoder = np.random.default_rng(0).standard_normal((30, 8))
    given = {
        "latents_a": data.a,
        "latents_b": data.b,
        "token": data.groups["token"],
        "bigram": data.groups["token_bigram"],
        "trigram": data.groups["token_trigram"],
        "documents": data.documents,
        "decoder_a": decoder,
        "decoder_b": decoder[np.argsort(data.permutation)],
    }
    for name, page in {"README.md": README, "results.md": GUIDES["results.md"]}.items():
        assert blocks(page, "python")
        for code in blocks(page, "python"):
            exec(compile(code, name, "exec"), dict(given))


def test_the_object_of_ones_own_gives_back_what_it_reads():
    (code,) = blocks(GUIDES["models.md"], "python")
    names: dict[str, Any] = {}
    exec(compile(code, "models.md", "exec"), names)
    made, x = names["make"]("resid_post[3]"), torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    latents = made.encode(x)
    assert latents.shape == (5, 16) and (latents >= 0).all()
    assert torch.equal(made.decode(latents), x)


def test_the_preset_of_a_site_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SAEUNIV_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("SAEUNIV_CONFIG_DIR", str(tmp_path))
    (preset,) = blocks(GUIDES["cluster.md"], "yaml")
    (tmp_path / "hydra" / "launcher").mkdir(parents=True)
    (tmp_path / "hydra" / "launcher" / "mysite.yaml").write_text(preset)
    checked = preflight(["-m", "a.seed=0,2", "hydra/launcher=mysite"])
    assert checked.faults == () and checked.launcher is not None
    latents, scores = checked.launcher.resources("latents"), checked.launcher.resources("scores")
    assert (latents.gpus, latents.partition, latents.account) == (1, "gpu", "my_group")
    assert (scores.gpus, scores.partition, scores.minutes) == (0, "cpu", 120)


def test_the_demo_block_is_there_and_complete():
    block = parse_block(README)
    names = [*METRICS, "FVU", "context share", "eligible mass", "eligible/alive/all"]
    assert list(block.cells) == [(name, str(layer)) for name in names for layer in range(4)]
    assert all(len(each) >= 2 for each in block.numbers().values())
    assert block.meaning.endswith("not a claim about other seeds.")
    assert "uncommitted" not in block.commit


def test_no_path_of_one_machine_is_named():
    assert OWN_PATH.findall(ALL_PAGES) == []
    assert OWN_PATH.search("written to /home/someone/x") and OWN_PATH.search("(/tmp/x)")
    assert not OWN_PATH.search("~/text, multirun/single/tmp and https://example.org/data/x")


def test_every_address_is_https_to_a_public_page():
    assert unfit_urls(ALL_PAGES) == []
    bad = ["http://example.org", "https://localhost/x", "https://10.0.0.1/x", "ssh://git@example.org/x"]
    bad += ["https://pypi.internal/simple", "https://user@example.org/", "file:///x", "https://index:8080/"]
    assert unfit_urls(" ".join([*bad, "https://example.org/a/b"])) == bad
