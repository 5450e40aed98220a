"""Text at the peaks of two matched latents, as a notebook shows it; nothing heavy is imported."""

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    from saeuniv.stages.contexts import Context


@dataclass(frozen=True)
class Contexts:
    """Text at the peaks of two matched latents; shown as text, or coloured in a notebook."""

    title: str
    items: "tuple[Context, ...]"
    """At the peaks of the latent of A, then of B."""

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, place: int) -> "Context":
        return self.items[place]

    def __repr__(self) -> str:
        """One line a context; the peak stands in >> <<, control characters are escaped."""
        lines = [self.title]
        for each in self.items:
            shown = [_printable(token) for token in each.tokens]
            shown[each.peak] = f">>{shown[each.peak]}<<"
            at = f"a={_number(each.a[each.peak])} b={_number(each.b[each.peak])}"
            lines.append(f"  peak of {each.of}  {at}  {''.join(shown)}  [{_source(each)}]")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """A table: each context once coloured by the activations of A, once by those of B."""
        rows: list[str] = []
        for each in self.items:
            for side in ("a", "b"):
                shades = _shades(getattr(each, side))
                text = "".join(
                    _marked(token, shade, is_peak=place == each.peak)
                    for place, (token, shade) in enumerate(zip(each.tokens, shades, strict=True))
                )
                document = html.escape(_source(each)) if side == each.of else ""
                rows.append(
                    f"<tr><td>{side}{' (peak)' if side == each.of else ''}</td>"
                    f"<td style='text-align:left;font-family:monospace;white-space:pre'>{text}</td>"
                    f"<td>{document}</td></tr>"
                )
        return f"<table><caption>{html.escape(self.title)}</caption>{''.join(rows)}</table>"


def _printable(text: str) -> str:
    r"""Text on one line: what does not print (newlines, escapes, marks of direction) is escaped, `\n`."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text
    )


def _source(context: "Context") -> str:
    """The document, and its domain where it has one."""
    return _printable(", ".join(filter(None, (context.document, context.domain))))


def _number(activation: float) -> str:
    return "-" if np.isnan(activation) else f"{activation:.2f}"


def _shades(activations: Float[np.ndarray, " tokens"]) -> list[float]:
    """Shares of the largest activation, 0 where nothing is known."""
    known = np.nan_to_num(activations)
    most = float(known.max(initial=0.0))
    return cast(list[float], (known / most if most > 0 else known).tolist())


def _marked(token: str, shade: float, *, is_peak: bool) -> str:
    style = f"background:rgba(230,120,20,{shade:.2f});" if shade > 0 else ""
    style += "outline:1px solid currentColor;" if is_peak else ""
    # An empty token is part of a character that is shown beside it: a mark keeps its place visible.
    text = html.escape(_printable(token)) or "·"
    return f'<span style="{style}">{text}</span>' if style else text
