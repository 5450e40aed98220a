"""README.md of an export: a model card with the front matter that the hub reads, and how to load it all."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from saeuniv.results import Results, Row
from saeuniv.sweep.sharing.contract import DICTIONARIES, EXPORT, LATENTS, RESULTS
from saeuniv.sweep.sharing.dictionaries import SPARSIFY_FILE, Place
from saeuniv.sweep.sharing.used import DICTIONARIES as OF_DICTIONARIES
from saeuniv.sweep.sharing.used import MODEL, Used

_TAGS = ("saeuniv", "sparse-autoencoder", "interpretability")

_LOAD_DICTIONARY = """\
Each folder of `dictionaries/` with an `{file}` is in sparsify's format:

```python
from sparsify import SparseCoder

sae = SparseCoder.load_from_disk("{folder}")
```
"""
_LOAD_SAE_LENS = "Folders with an `sae_weights.safetensors` are in sae-lens' format (`SAE.load_from_disk`).\n"
_IMPORT = """\
`saeuniv import DIR` checks every file against `{export}`, then puts artifacts into the store and results
below `multirun/`. Without it, latents are safetensors (`counts` of each row, `indices`, `values`).
"""


class About(NamedTuple):
    """What a card says."""

    name: str
    license: str
    kinds: tuple[str, ...]
    used: tuple[Used, ...]
    comparisons: tuple[Results, ...]
    dictionaries: Mapping[str, Place]
    """By folder."""

    in_sparsify: tuple[str, ...]
    """Those of these folders that sparsify reads."""

    published: Sequence[Mapping[str, object]]
    left_out: Sequence[Mapping[str, str]]


def card(about: About) -> str:
    """The text of README.md."""
    n = len(about.comparisons)
    made = sorted({str(each.summary.get("saeuniv", "unknown")) for each in about.comparisons})
    lines = [
        *_front_matter(about),
        f"# {about.name}",
        "",
        f"{', '.join(about.kinds).capitalize()} of {n} comparison{'s' * (n != 1)} of sparse autoencoder "
        f"latents, made with saeuniv {', '.join(made)}. `{EXPORT}` lists every file.",
        "",
        "## Made from",
        "",
        *_table(("what", "name", "repository", "revision"), map(_used, about.used)),
    ]
    if about.dictionaries:
        lines += ["## Dictionaries", "", *_table(_HEADS, _dictionaries(about)), *_loading(about)]
    if about.published:
        heads = ("model", "hookpoint", "repository", "commit", "folder")
        rows = ([str(each.get(head, "")) for head in heads] for each in about.published)
        lines += ["Dictionaries of others are named here, not copied:", "", *_table(heads, rows)]
    if LATENTS in about.kinds or DICTIONARIES in about.kinds:
        lines += ["## Taking it in", "", _IMPORT.format(export=EXPORT)]
    if RESULTS in about.kinds:
        lines += ["## Results", "", "`results/<comparison>/results/report.html` opens in a browser.", ""]
    if about.left_out:
        lines += ["## Left out", "", *(f"* {each['what']}: {each['why']}" for each in about.left_out), ""]
    return "\n".join(lines)


_HEADS = ("folder", "model", "hookpoint", "latents", "L0", "FVU")


def _front_matter(about: About) -> Iterator[str]:
    models = [each.repository for each in about.used if each.role == MODEL and each.repository]
    yield "---"
    yield f"license: {about.license}"
    yield "library_name: saeuniv"
    if models:
        yield "base_model:"
        yield from (f"- {json.dumps(each)}" for each in dict.fromkeys(models))
    yield "tags:"
    yield from (f"- {each}" for each in _TAGS)
    yield "---"
    yield ""


def _used(used: Used) -> list[str]:
    name = "" if used.role == OF_DICTIONARIES and used.repository else used.label
    return [used.role, name, used.repository, used.revision]


def _dictionaries(about: About) -> Iterator[list[str]]:
    for folder, place in about.dictionaries.items():
        row = _row_of(about.comparisons, place)
        known = ("", "", "")
        if row is not None:
            side = "a" if (row.model_a, row.hookpoint_a) == (place.model, str(place.hookpoint)) else "b"
            numbers = [getattr(row, f"{name}_{side}") for name in ("d_sae", "l0", "fvu")]
            known = tuple("" if each is None else f"{each:.4g}" for each in numbers)
        yield [f"`{folder}`", place.model, str(place.hookpoint), *known]


def _row_of(comparisons: Iterable[Results], place: Place) -> Row | None:
    """A row that says how well it does; none where a model has several dictionaries there."""
    wanted = (place.model, str(place.hookpoint))
    rows = [
        row
        for results in comparisons
        for row in results.rows
        if wanted in ((row.model_a, row.hookpoint_a), (row.model_b, row.hookpoint_b))
    ]
    own = [row for row in rows if row.comparison == place.comparison.results.rows[0].comparison]
    return next(iter(own), None)


def _loading(about: About) -> Iterator[str]:
    if about.in_sparsify:
        yield _LOAD_DICTIONARY.format(file=SPARSIFY_FILE, folder=about.in_sparsify[0])
    if len(about.in_sparsify) < len(about.dictionaries):
        yield _LOAD_SAE_LENS


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        # Names are of others: none may end its cell.
        yield f"| {' | '.join(each.replace('|', '/').replace(chr(10), ' ') for each in row)} |"
    yield ""
