"""What all rows of a comparison share: who is compared, and how."""

from typing import NamedTuple

from saeuniv.alignments import AlignmentMethod

_AXES = ("model", "sae", "hookpoint")


class SideDescription(NamedTuple):
    """What a row says of the model and dictionaries of one side."""

    model: str
    revision: str
    hookpoint: str
    """Kind of hookpoint; the row adds the layer."""

    sae: str


class Described(NamedTuple):
    """What all rows of a comparison share."""

    comparison: str
    a: SideDescription
    b: SideDescription
    alignment: AlignmentMethod
    confidence: float
    seed: int

    def axes(self) -> dict[str, str | int | float]:
        """What runs are compared by."""
        sides = {"a": self.a, "b": self.b}
        return {
            **{f"{name}_{side}": getattr(each, name) for side, each in sides.items() for name in _AXES},
            "alignment": self.alignment.name,
            "comparison": self.comparison,
        }
