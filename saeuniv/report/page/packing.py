"""Matches and contexts of all layer pairs, packed small, and cut where the page would be too large."""

import math
import unicodedata
from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest
from typing import NamedTuple, cast

from saeuniv.report.page.contract import ContextDetail, HistogramDetail, MatchDetail, PairDetail

Details = Mapping[tuple[str, str], PairDetail]

_LONGEST_TOKEN = 40
_LONGEST_DOCUMENT = 60
_BINS = 40
# Of text whose tokens are single bytes, so many times as many are shown.
_BYTES_A_TOKEN = 4
# Deeper colours than these could not be told apart.
_SHADES = 9
_CONTROL_PICTURES = 0x2400
_DELETE, _DELETE_PICTURE = 0x7F, 0x2421


class Caps(NamedTuple):
    """How much of each layer pair is kept."""

    matches: int
    contexts: int
    """Of each match."""
    reach: int
    """Tokens on either side of the peak."""


# From the most to nothing; a page takes the first that fits.
_LADDER = (
    Caps(200, 6, 12),
    Caps(100, 6, 10),
    Caps(50, 6, 8),
    Caps(50, 4, 8),
    Caps(24, 4, 8),
    Caps(24, 2, 8),
    Caps(12, 4, 6),
    Caps(12, 2, 6),
    Caps(12, 1, 6),
    Caps(6, 1, 5),
    Caps(3, 1, 4),
    Caps(0, 0, 0),
)


def packed(details: Details, caps: Caps) -> dict[str, object]:
    """The JSON of the details: tokens and documents by number, activations as one digit a token.

    Matches with the largest held-out correlation are kept (of the match half, where there is none).
    """
    tokens, documents = _Numbers(_LONGEST_TOKEN), _Numbers(_LONGEST_DOCUMENT)
    pairs = [
        {
            "at": list(at),
            "of": detail["n_matches"],
            "histogram": _histogram(detail["histogram"]),
            "matches": [
                _match(match, caps, tokens, documents) for match in _best(detail["matches"], caps.matches)
            ],
        }
        for at, detail in details.items()
    ]
    return {"pairs": pairs, "tokens": list(tokens.seen), "documents": list(documents.seen)}


def ladder(details: Details) -> tuple[Caps, ...]:
    """The caps that differ in what they keep of these details, the last being nothing."""
    matches = [match for detail in details.values() for match in detail["matches"]]
    most = max((len(detail["matches"]) for detail in details.values()), default=0)
    most_texts = max((len(match["contexts"]) for match in matches), default=0)
    longest = max((len(text["tokens"]) for match in matches for text in match["contexts"]), default=0)
    of_bytes = all(
        len(token) <= 1 for match in matches for text in match["contexts"] for token in text["tokens"]
    )
    reach = _BYTES_A_TOKEN if of_bytes else 1
    kept = (
        Caps(min(c.matches, most), min(c.contexts, most_texts), min(c.reach * reach, longest))
        for c in _LADDER
    )
    return tuple(dict.fromkeys(kept))


def cut(details: Details, caps: Caps) -> str:
    """What was left out of the page, in a sentence; empty where nothing was."""
    matches = [match for detail in details.values() for match in detail["matches"]]
    kept = [match for each in details.values() for match in _best(each["matches"], caps.matches)]
    texts = sum(len(match["contexts"]) for match in matches)
    kept_texts = sum(min(len(match["contexts"]), caps.contexts) for match in kept)
    if len(kept) == len(matches) and kept_texts == texts:
        return ""
    return (
        f"To keep this page small it holds {len(kept)} of {len(matches)} matches (at most {caps.matches} a "
        f"layer pair, those of the largest held-out correlation) and {kept_texts} of {texts} contexts (at "
        f"most {caps.contexts} a match, {caps.reach} tokens on either side of the peak)."
    )


def rounded(value: float | None, digits: int = 4) -> float | None:
    """So many significant digits, and None for what is no number: JSON has neither NaN nor infinity."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.{digits}g}")


def visible(text: str, longest: int) -> str:
    """Text in which nothing is hidden, reorders its surroundings or is longer than it should be.

    Control characters become their pictures; formats and lone surrogates their code points.
    """
    short = text[:longest] + ("…" if len(text) > longest else "")
    return short if short.isascii() and short.isprintable() else "".join(map(_visible, short))


class _Numbers(dict[str, int]):
    """The number of each text; texts that look alike share theirs. Millions are looked up, few are new."""

    def __init__(self, longest: int) -> None:
        super().__init__()
        self.seen: dict[str, int] = {}
        self._longest = longest

    def __missing__(self, text: str) -> int:
        self[text] = self.seen.setdefault(visible(text, self._longest), len(self.seen))
        return self[text]


def _best(matches: Sequence[MatchDetail], most: int) -> list[MatchDetail]:
    return sorted(matches, key=lambda match: (-_strength(match), match["a"], match["b"]))[:most]


def _strength(match: MatchDetail) -> float:
    held_out = match["r_held_out"]
    found = match["r"] if held_out is None else held_out
    return found if math.isfinite(found) else -1.0


def _match(match: MatchDetail, caps: Caps, tokens: _Numbers, documents: _Numbers) -> list[object]:
    numbers = (match["r"], match["r_held_out"], match["rate_a"], match["rate_b"])
    contexts = [_context(each, caps.reach, tokens, documents) for each in _some(match["contexts"], caps)]
    return [match["a"], match["b"], *(rounded(each, 3) for each in numbers), contexts]


def _some(contexts: Sequence[ContextDetail], caps: Caps) -> list[ContextDetail]:
    """The first contexts, A's and B's in turn."""
    sides = ([each for each in contexts if each["of"] == side] for side in ("a", "b"))
    turns = cast(list[ContextDetail | None], list(chain.from_iterable(zip_longest(*sides))))
    return [each for each in turns if each is not None][: caps.contexts]


def _context(context: ContextDetail, reach: int, tokens: _Numbers, documents: _Numbers) -> list[object]:
    first = max(0, context["peak"] - reach)
    shown = slice(first, context["peak"] + reach + 1)
    a, b = _shades(context["a"][shown]), _shades(context["b"][shown])
    numbers = [tokens[token] for token in context["tokens"][shown]]
    document = context["document"] + (f" ({context['domain']})" if context["domain"] else "")
    return [documents[document], context["peak"] - first, numbers, *a, *b, context["of"]]


def _shades(activations: Sequence[float]) -> tuple[str, float]:
    """A digit for each activation, as a share of the largest, and the largest."""
    most = max((each for each in activations if 0 < each < math.inf), default=0.0)
    if not most:
        return "0" * len(activations), 0.0
    # What is active at all is never shown as inactive; rounding may leave the largest just above.
    shades = [
        str(min(_SHADES, math.ceil(_SHADES * each / most))) if 0 < each <= most else "0"
        for each in activations
    ]
    return "".join(shades), float(f"{most:.3g}")


def _histogram(histogram: HistogramDetail) -> dict[str, object]:
    """Counts in equal bins, the same for both, from the smallest correlation to the largest."""
    values = [v for v in (*histogram["matched"], *histogram["null"]) if math.isfinite(v)]
    low, high = min((0.0, *values)), max((0.0, *values))
    width = (high - low) / _BINS or 1.0
    counts: dict[str, object] = {"low": rounded(low), "width": rounded(width)}
    for name, given in (("matched", histogram["matched"]), ("null", histogram["null"])):
        bins = [0] * _BINS
        for value in filter(math.isfinite, given):
            bins[min(_BINS - 1, int((value - low) / width))] += 1
        counts[name] = bins if given else []
    return counts


def _visible(character: str) -> str:
    code, kind = ord(character), unicodedata.category(character)
    if kind == "Cc":
        picture = _CONTROL_PICTURES + code if code < 0x20 else _DELETE_PICTURE
        return chr(picture) if code <= _DELETE else f"⟨{code:04X}⟩"
    # The joiner of emoji is a format too, but one that shows.
    hides = kind in ("Cf", "Cs", "Co", "Cn", "Zl", "Zp") and character != "\u200d"
    return f"⟨{code:04X}⟩" if hides else character
