"""The guides name everything there is, and nothing that is not: methods, columns, keys, commands, links."""

import dataclasses
import enum
import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_type_hints

import pytest

from saeuniv.adapters.formats import FORMATS
from saeuniv.alignments import ALIGNMENTS
from saeuniv.config import Config, Launcher
from saeuniv.config.help import COMMANDS
from saeuniv.config.launcher import JOB_STAGES
from saeuniv.config.models import Model
from saeuniv.config.registry import CONF_DIR, register
from saeuniv.config.settings import Alignment
from saeuniv.config.sources import Sae
from saeuniv.config.text import Data
from saeuniv.hookpoints import HookpointKind
from saeuniv.metrics import METRICS, base
from saeuniv.metrics.decoder_metric import DecoderMetric
from saeuniv.preflight.composer import Composer, read_command
from saeuniv.results import FORMAT_VERSION, MATCH_COLUMNS, REASONS, NullRow, Row, columns, load, write_status
from saeuniv.stages.report import Report
from saeuniv.stages.sweep import _COLUMNS as SWEEP_COLUMNS
from tests.stages.test_report import report as report
from tests.stages.test_report import write

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
}
METHODS, RESULTS, MODELS = (PAGES[f"docs/{name}.md"] for name in ("methods", "results", "models"))

LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
OVERRIDE = re.compile(r"^[+~]*([a-z][\w/]*(?:\.\w+)*)=(.*)$")

ROOTS = "|".join(each.name for each in dataclasses.fields(Config))
KEY = re.compile(rf"(?:{ROOTS})(?:\.\w+)+")
# Names of files begin as keys do; `layers.l` is a module.
ENDINGS = {"csv", "html", "json", "safetensors", "l"}
# What looks like an override in code spans and is none: flags of rows, and arguments of Python.
NO_OVERRIDES = {"k", "mean_squared", "same_partner", "key", "minus", "statistic", "track"}


def entries(markdown: str) -> list[str]:
    """The names in backticks of headings, and of the first cell of table rows."""
    lines = FENCE.sub("", markdown).splitlines()
    cells = [line.split("|")[1] for line in lines if line.startswith("|")]
    return [
        name
        for part in [*(each for each in lines if each.startswith("#")), *cells]
        for name in SPAN.findall(part)
    ]


def section(markdown: str, heading: str) -> str:
    """What stands below a heading of the second level."""
    found = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", markdown, re.MULTILINE | re.DOTALL)
    assert found, heading
    return found[1]


def anchors(markdown: str) -> set[str]:
    """How GitHub names the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", markdown), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).strip().replace(" ", "-") for each in headings}


def broken_links(page: str, markdown: str) -> list[str]:
    """Links to a file of the repository, or a heading, that is not there."""
    broken: list[str] = []
    for target in LINK.findall(FENCE.sub("", markdown)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        is_there = path.is_file() and (not anchor or anchor in anchors(path.read_text(encoding="utf-8")))
        broken += [] if is_there else [target]
    return broken


def code_words(markdown: str) -> Iterator[str]:
    """Words of code spans and of bash blocks: where overrides and commands stand."""
    bash = re.findall(r"^```bash\n(.*?)^```$", markdown, re.MULTILINE | re.DOTALL)
    for code in [
        *SPAN.findall(FENCE.sub("", markdown)),
        *(line for block in bash for line in block.splitlines()),
    ]:
        yield from code.split()


def overrides(markdown: str) -> dict[str, list[str]]:
    """The keys that are named in code, with the values that they are given."""
    found: dict[str, list[str]] = {}
    for word in code_words(markdown):
        if KEY.fullmatch(word) and word.rpartition(".")[2] not in ENDINGS | NO_OVERRIDES:
            found.setdefault(word, [])
        match = OVERRIDE.match(word.strip("'\","))
        if match and not {"(", ")"} & set(word) and match[1] not in NO_OVERRIDES:
            found.setdefault(match[1], []).append(match[2])
    return found


def schemas() -> dict[str, set[str]]:
    """Every field of the configuration by the key of its node, with the choices of fields that have some."""
    known: dict[str, set[str]] = {}
    trees: list[tuple[str, type]] = [("", Config), ("hydra.launcher", Launcher)]
    subclasses = {
        "a": Model,
        "b": Model,
        "sae": Sae,
        "sae_a": Sae,
        "sae_b": Sae,
        "data": Data,
        "alignment": Alignment,
    }
    trees += [(key, kind) for key, top in subclasses.items() for kind in _all_of(top)]
    # Those of categories are named by the category.
    trees += [(f"metrics.{each().name}", each) for each in METRICS]
    for prefix, kind in trees:
        _add_fields(known, prefix, kind)
    return known


def _all_of(kind: type) -> Iterator[type]:
    yield kind
    for each in kind.__subclasses__():
        yield from _all_of(each)


def _add_fields(known: dict[str, set[str]], prefix: str, kind: type) -> None:
    hints = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        key, hint = f"{prefix}.{field.name}".lstrip("."), hints[field.name]
        known.setdefault(key, set())
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            _add_fields(known, key, hint)
        elif isinstance(hint, type) and issubclass(hint, enum.Enum):
            known[key] |= {str(each.value) for each in hint}


@pytest.fixture(scope="module")
def composer() -> Composer:
    register(ALIGNMENTS, METRICS, [CONF_DIR])
    return Composer(CONF_DIR, read_command([]))


def unknown(found: Mapping[str, list[str]], composer: Composer) -> list[str]:
    """Overrides that the program does not know: the key, or the value where there are choices."""
    known, wrong = schemas(), []
    for key, values in found.items():
        options = set(composer.options(key)) if key in composer.groups else known.get(key)
        if options is None and not key.startswith("hydra.launcher."):
            wrong.append(key)
        for value in values:
            given = value.strip("'\"[]").split(",") if key in composer.groups else [value]
            named = [each for each in given if each and not set(each) & set(".<>|")]
            wrong += [f"{key}={each}" for each in named if options and each not in options]
    return wrong


def test_every_method_has_an_entry_in_the_guide_to_methods() -> None:
    names = ("DOCUMENT_SHIFT", "SELECTION_SHIFT", "PERMUTATION", "ROTATION")
    nulls = {getattr(base, name) for name in names}
    nulls |= {base.WITHIN_TOKEN_SHUFFLE, base.TOKEN_IDENTITY, base.RANDOM_SUBSPACE, base.RANDOM_WORDS}
    nulls |= {each.closed_form_name for each in METRICS if issubclass(each, DecoderMetric)}
    headings = re.findall(r"^### `(\w+)`$", METHODS, re.MULTILINE)
    assert sorted(headings) == sorted(each.name for each in METRICS)
    assert {each.name for each in ALIGNMENTS} <= set(entries(section(METHODS, "Alignments")))
    assert nulls == {name for name in entries(section(METHODS, "Nulls")) if name != "null"}


def test_every_name_given_by_a_null_is_a_column() -> None:
    named = set(entries(section(METHODS, "From draws to numbers"))) - {"p_value"}
    assert named and named <= set(columns(Row))


def test_every_column_is_explained() -> None:
    of_row = entries(section(RESULTS, "layer_pairs.csv").partition("### Flags")[0])
    assert sorted(of_row) == sorted(columns(Row))
    assert sorted(entries(section(RESULTS, "nulls.csv"))) == sorted(columns(NullRow))
    place = {"layer_a", "layer_b", "alignment", "condition"}
    assert set(entries(section(RESULTS, "matches.parquet"))) == {*MATCH_COLUMNS, *place}
    assert set(SWEEP_COLUMNS) == set(SPAN.findall(section(RESULTS, "sweep.csv"))) - {"none"}


def test_every_reason_has_its_number() -> None:
    table = section(RESULTS, "layer_pairs.csv").partition("### Reasons")[2]
    rows = re.findall(r"^\| (?:`(\w+)`|\(empty\)) \| (\d+) \|", table, re.MULTILINE)
    assert [(name, int(number)) for name, number in rows] == [(name, i) for i, name in enumerate(REASONS)]


def test_every_key_of_the_summary_is_explained(report: Report) -> None:
    """Of a report of scores in a store, as it is read back."""
    write(report)
    summary = load(report.folder).summary
    text = section(RESULTS, "summary.json")
    assert set(entries(text)) == set(summary)
    assert f"| `format_version` | of the whole folder, {FORMAT_VERSION} |" in text
    (headline, *_), (grid, *_) = (list(summary[key].values()) for key in ("headline", "grid"))
    assert {*headline, *grid} <= set(SPAN.findall(text))


def test_every_file_and_entry_of_the_status_is_explained(report: Report) -> None:
    write(report)
    written = {path.name for path in (report.folder / "results").iterdir() if path.suffix != ".png"}
    assert {f"results/{name}" for name in written} <= set(entries(RESULTS))
    given = set(inspect.signature(write_status).parameters) - {"folder"}
    assert given <= set(SPAN.findall(section(RESULTS, "status.json")))


def test_every_matrix_is_named(report: Report) -> None:
    write(report)
    names = {name.partition("__")[2] for name in load(report.folder).arrays()} - {""}
    said = {name.rpartition("__")[2] for name in entries(section(RESULTS, "matrices.npz"))}
    assert names <= said


def test_every_source_format_and_hookpoint_is_in_the_guide_to_models() -> None:
    named = {word.strip(",") for span in SPAN.findall(MODELS) for word in span.split()}
    options = {
        path.stem
        for group in ("model", "sae", "data", "control")
        for path in (CONF_DIR / group).glob("*.yaml")
    }
    said = {*named, *(word.partition("=")[2] for word in named)}
    assert options - said - {"tiny_s1", "tiny_s2"} == set()
    formats = section(MODELS, "Dictionaries").partition("### Formats")[2].partition("\n### ")[0]
    assert {each.name for each in FORMATS} == set(entries(formats))
    assert {each.value for each in HookpointKind} <= set(
        entries(section(MODELS, "Where activations are read"))
    )


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings_of_the_repository(page: str) -> None:
    assert broken_links(page, PAGES[page]) == []


def test_a_link_that_leads_nowhere_is_noticed() -> None:
    page = "[a](statistics.md#c-nulls) [b](statistics.md#c-nils) [c](no.md) [d](../README.md) [e](https://x.org/y)"
    assert broken_links("docs/methods.md", page) == ["statistics.md#c-nils", "no.md"]


def ours(page: str) -> str:
    """A page without what it says of other programs, in the first column of its tables."""
    if not page.endswith("from_the_paper.md"):
        return PAGES[page]
    return re.sub(r"^\|[^|]*\|", "|", PAGES[page], flags=re.MULTILINE)


@pytest.mark.parametrize("page", PAGES)
def test_overrides_are_those_that_the_program_knows(page: str, composer: Composer) -> None:
    # The preset of a site, which tests/test_readme.py writes from the page itself.
    assert [
        each for each in unknown(overrides(ours(page)), composer) if each != "hydra/launcher=mysite"
    ] == []


def test_an_unknown_override_is_noticed(composer: Composer) -> None:
    page = "`sae.k=8` `sae.q=8` `data=textt` `a.dtype=float99` `tracking.mode=off` `sae.seed` `sae.sed`\n"
    page += "```bash\nsaeuniv alignmnt=greedy\n```\n"
    wrong = ["sae.q", "data=textt", "a.dtype=float99", "sae.sed", "alignmnt"]
    assert unknown(overrides(page), composer) == wrong


def test_commands_are_those_there_are() -> None:
    said = re.compile(r"(?<![\w/.-])saeuniv ([a-z]\w*)(?![\w=./\[])")
    for page, markdown in PAGES.items():
        code = "\n".join(
            [
                *SPAN.findall(FENCE.sub("", markdown)),
                *re.findall(r"^```bash\n(.*?)^```$", markdown, re.M | re.S),
            ]
        )
        assert set(said.findall(code)) <= set(COMMANDS), page
    assert said.findall("saeuniv plan -m x=1; saeuniv a=b; saeuniv hydra/launcher=slurm") == ["plan"]


def test_a_site_is_told_every_stage() -> None:
    assert all(stage in PAGES["docs/cluster.md"] for stage in JOB_STAGES)
