"""What all rows of a comparison share: who is compared, and how."""

from typing import NamedTuple

from saeuniv.alignments import AlignmentMethod


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
