"""Pages as single files: markup, style, program and data in one; they ask for nothing from anywhere."""

import base64
import gzip
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources

from saeuniv.report.page.comparison import ReportData
from saeuniv.report.page.packing import Caps, cut, ladder, packed
from saeuniv.report.page.sweep import Compared, sweep_tree

REPORT, SWEEP = "report.html", "sweep.html"

_LEAST_BYTES, _MOST_BYTES, _BYTES_A_PAIR = 195_000, 4_900_000, 2_600
_SAMPLE, _MARGIN = 16, 1.3
# Pages are opened from disk and mailed about: what they hold must not be able to reach anything.
_POLICY = (
    "default-src 'none'; script-src '{script}'; style-src '{style}'; img-src blob:; "
    "base-uri 'none'; form-action 'none'"
)
_PLACE = re.compile(r"\{\{(\w+)\}\}")


def page(data: ReportData) -> str:
    """The page of one comparison, below 200 kB for up to 75 layer pairs and below 5 MB for any number.

    Equal data give equal bytes. Where all matches would be too many, as many are kept of each layer pair
    as fit, and the page says how many were left out.
    """
    room = min(max(_LEAST_BYTES, _BYTES_A_PAIR * data.n_layer_pairs), _MOST_BYTES)
    *some, nothing = ladder(data.details)
    for caps in some[_first_likely(data, some, room) :]:
        text = _with_matches(data, caps)
        if len(text) <= room:
            return text
    return _with_matches(data, nothing)


def sweep_page(compared: Sequence[Compared], name: str) -> str:
    """The page of a sweep: small heatmaps, headline numbers and links to the pages of its comparisons."""
    return _document("sweep", f"Sweep {name}", {"name": name} | sweep_tree(compared))


def _first_likely(data: ReportData, ladder: Sequence[Caps], room: int) -> int:
    """The place of the first caps that may fit, judged by some of the layer pairs."""
    some = dict(list(data.details.items())[:: max(1, len(data.details) // _SAMPLE)])
    for at, caps in enumerate(ladder):
        # The sample compresses worse than the whole, hence the margin.
        if len(_zipped(packed(some, caps))) * len(data.details) <= _MARGIN * room * len(some):
            return at
    return len(ladder)


def _with_matches(data: ReportData, caps: Caps) -> str:
    tree = {**data.tree, "matches": packed(data.details, caps), "left_out": cut(data.details, caps)}
    return _document("report", data.title, tree)


def _document(kind: str, title: str, tree: Mapping[str, object]) -> str:
    script = "\n".join(map(_asset, ("common.js", "heatmap.js", *_PROGRAMS[kind])))
    style = _asset("page.css")
    policy = _POLICY.format(script=_digest(script), style=_digest(style))
    parts = {
        "title": html.escape(title),
        "policy": policy,
        "style": style,
        "script": script,
        "data": _zipped(tree),
    }
    # In one pass, so that no part can hold the place of another.
    return _PLACE.sub(lambda place: parts[place[1]], _asset(f"{kind}.html"))


_PROGRAMS = {"report": ("state.js", "pair.js", "matches.js", "report.js"), "sweep": ("sweep.js",)}


@cache
def _asset(name: str) -> str:
    return (resources.files("saeuniv.report.page") / "assets" / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _zipped(tree: Mapping[str, object]) -> str:
    text = json.dumps(tree, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
