"""What the README says can be done is done by some test; its numbers are there, its links lead somewhere."""

import ast
import ipaddress
import re
import shlex
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from benchmarks.readme import METRICS, parse_block
from saeuniv.preflight import preflight
from tests.stored_runs import byte_tokens, make_stored_run
from tests.synthetic import streams
from tests.test_preflight import write_dictionaries, write_model, write_text

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CLUSTER = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")

THIS = "tests/test_readme.py::test_commands_of_the_readme_pass_preflight"
CI = ".ci/run"

SWEEP = "alignment=max_corr,mutual_nn,hungarian layers.a=0,1 hydra/launcher=slurm"

# Every command of a ```bash block, and what runs it. A command that is not here fails until it is.
COVERED = {
    "make demo": "tests/demo/test_demo.py::test_the_cold_run_is_within_its_cpu_time",
    "make test": CI,
    "make check": CI,
    "make test-demo": "tests/demo/test_demo.py::test_the_cold_run_is_within_its_cpu_time",
    "make test-slurm": CI,
    "make test-presets": "tests/presets/test_presets.py::test_a_preset_runs_from_the_hub_to_results",
    "make bench": "tests/test_benchmarks.py::test_a_bound_that_does_not_hold_ends_the_report_with_1",
    "python launch.py": "tests/demo/test_demo.py::test_the_cold_run_is_within_its_cpu_time",
    "python launch.py --help": "tests/test_command_line.py::test_help_lists_the_groups_and_five_examples",
    "python launch.py --cfg job": (
        "tests/test_command_line.py::test_showing_the_configuration_is_quick_and_writes_nothing"
    ),
    "python launch.py experiment=tiny_seeds": THIS,
    "python launch.py -m alignment=max_corr,mutual_nn,hungarian": THIS,
    "python launch.py layers.a=0-3:2 layers.b=last metrics=[partial_correlation,cka]": THIS,
    "python launch.py a=local a.path=models/a b=local b.path=models/b sae=train width=x8 sae.k=32 "
    "data=text data.path=text data.held_out=0.3": THIS,
    "python launch.py a=local a.path=models/a b=local b.path=models/b sae_a=local sae_a.path=saes/a "
    "sae_b=local sae_b.path=saes/b data=text data.path=text control=none": THIS,
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
    "saeuniv doctor -m hydra/launcher=slurm --job": (
        "tests/slurm/test_doctor.py::test_a_node_answers_through_the_store_and_nothing_is_left"
    ),
    "saeuniv fetch -m models=pythia70m_pythia160m data.path=corpus alignment=max_corr,hungarian": (
        "tests/commands/test_fetch.py::test_it_says_how_much_and_fetches_only_what_is_missing"
    ),
}

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
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
    assert commands(README) and commands(CLUSTER)
    assert unlisted(README + CLUSTER) == [], "List the command in COVERED with the test that runs it."


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


@pytest.mark.parametrize("command", [each for each in COVERED if each.startswith("python launch.py")])
def test_commands_of_the_readme_pass_preflight(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SAEUNIV_STORE", str(tmp_path / "store"))
    monkeypatch.delenv("SAEUNIV_CONFIG_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    for side in "ab":
        write_model(tmp_path / "models" / side)
        write_dictionaries(tmp_path / "saes" / side, range(4))
    write_text(tmp_path / "text")
    argv = shlex.split(command)[2:]
    checked = preflight(argv)
    assert checked.faults == ()
    assert bool(checked.cells) == (not {"--help", "--cfg"} & set(argv))


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
    assert blocks(README, "python")
    for code in blocks(README, "python"):
        exec(compile(code, "README.md", "exec"), dict(given))


def test_the_preset_of_a_site_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SAEUNIV_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("SAEUNIV_CONFIG_DIR", str(tmp_path))
    (preset,) = blocks(CLUSTER, "yaml")
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
    assert OWN_PATH.findall(README + CLUSTER) == []
    assert OWN_PATH.search("written to /home/someone/x") and OWN_PATH.search("(/tmp/x)")
    assert not OWN_PATH.search("~/text, multirun/single/tmp and https://example.org/data/x")


def test_every_address_is_https_to_a_public_page():
    assert unfit_urls(README + CLUSTER) == []
    bad = ["http://example.org", "https://localhost/x", "https://10.0.0.1/x", "ssh://git@example.org/x"]
    bad += ["https://pypi.internal/simple", "https://user@example.org/", "file:///x", "https://index:8080/"]
    assert unfit_urls(" ".join([*bad, "https://example.org/a/b"])) == bad


def test_every_link_leads_to_a_file_of_the_repository():
    targets = [target for target in LINK.findall(README) if "://" not in target and target[0] != "#"]
    assert targets
    assert [target for target in targets if not (ROOT / target.partition("#")[0]).is_file()] == []
