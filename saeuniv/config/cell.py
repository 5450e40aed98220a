"""The typed cell of one Hydra job, and the names that comparisons and sweeps go by."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from saeuniv.config.layers import Expansion, Width
from saeuniv.config.models import STEP0, HubModel, Model, Weights
from saeuniv.config.resources import Resources
from saeuniv.config.settings import (
    Alignment,
    Bootstrap,
    ControlKind,
    Eligibility,
    Metric,
    Nulls,
    Sweep,
    Tracking,
)
from saeuniv.config.sources import Sae
from saeuniv.config.text import Data

# Never part of a sweep's name: where and how it runs, not what.
_NOT_IN_SWEEP = frozenset({"tracking", "sweep", "resources", "store"})


@dataclass(frozen=True)
class Side:
    """One model with its dictionaries, and the layers asked of it."""

    name: str
    """a or b"""

    model: Model
    sae: Sae
    width: int | Expansion | Width
    layers: object
    """As written; `select_layers` turns it into layer numbers once the model's depth is known."""

    lender: "Side | None" = None
    """The side whose dictionaries this one reads by (sae_b=shared)."""


@dataclass(frozen=True)
class Cell:
    """One Hydra job, typed and checked: what to compare, and how."""

    a: Side
    b: Side
    pairs: object
    alignment: Alignment
    metrics: tuple[Metric, ...]
    primary_metric: str
    data: Data
    control: ControlKind
    eligibility: Eligibility
    nulls: Nulls
    bootstrap: Bootstrap
    tracking: Tracking
    sweep: Sweep
    resources: Resources
    store: Path
    compat: tuple[tuple[str, bool], ...] = ()
    """The switches that are set; what they change is in the other fields."""

    @property
    def comparison(self) -> str:
        """`<model a>-<model b>-<alignment>-<hash>`: the comparison this cell belongs to.

        Equal for cells that differ only in layers, metrics and nulls, or in where and how they run.
        """
        semantic = {
            **{side.name: _semantic_side(side) for side in self.sides},
            "alignment": plain(self.alignment),
            "data": plain(self.data),
            "control": self.control.value,
            "eligibility": plain(self.eligibility),
            "bootstrap": plain(self.bootstrap),
            # What came later is named only where it is asked for: comparisons keep their names.
            **({"compat": dict(self.compat)} if self.compat else {}),
        }
        digest = hashlib.sha256(canonical_json(semantic).encode()).hexdigest()[:8]
        labels = f"{self.a.model.label}-{self.b.model.label}-{self.alignment.name}"
        return f"{labels}-{digest}".replace("/", "_")

    @property
    def sides(self) -> tuple[Side, Side]:
        """A and B."""
        return self.a, self.b


def untrained_counterpart(cell: Cell) -> Cell | None:
    """The cell of the control: models that have learnt nothing, of its kind, with dictionaries of their own.

    None where no control is asked for, and where neither model is trained: it would be a cell like this.
    """
    if cell.control is ControlKind.none or not (cell.a.model.is_trained or cell.b.model.is_trained):
        return None
    a, b = (dataclasses.replace(side, model=_counterpart(side.model, cell.control)) for side in cell.sides)
    b = dataclasses.replace(b, lender=a if b.lender else None)
    return dataclasses.replace(cell, a=a, b=b, control=ControlKind.none)


def _counterpart(model: Model, kind: ControlKind) -> Model:
    match kind:
        case ControlKind.step0:
            assert isinstance(model, HubModel), "a rule refuses others"
            return dataclasses.replace(model, untrained=False, revision=STEP0)
        case ControlKind.rerandomized | ControlKind.rerandomized_all:
            return dataclasses.replace(model, untrained=False, weights=Weights(kind.value))
        case _:
            return dataclasses.replace(model, untrained=True)


def sweep_name(name: str | None, overrides: Sequence[str]) -> str:
    """`name`, or a short hash of the overrides that say what is computed, in any order.

    Where and how it runs (launcher, tracking, sweep, resources, store) is left out, so the same command
    finds its sweep again. A key given twice counts once, with its last value, as for Hydra.
    """
    if name:
        return name
    semantic = {
        key: line
        for line in overrides
        if (key := line.partition("=")[0].strip().lstrip("+")).split(".")[0] not in _NOT_IN_SWEEP
        and not key.startswith("hydra")
    }
    return hashlib.sha256(canonical_json(sorted(semantic.values())).encode()).hexdigest()[:8]


def canonical_json(value: object) -> str:
    """JSON with sorted keys and no spaces: what keys and names are hashes of."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def plain(value: object) -> dict[str, object]:
    """A configuration dataclass as JSON values, with the name of its type under `type`.

    Without fields of `UNNAMED_DEFAULT` that have their default: keys and names are hashes of this.
    """
    assert dataclasses.is_dataclass(value) and not isinstance(value, type)
    out: dict[str, object] = {"type": type(value).__name__}
    for each in dataclasses.fields(value):
        item = getattr(value, each.name)
        if "unnamed_default" in each.metadata and item == each.default:
            continue
        # JSON has no nan and no inf, which a rule refuses; the cell is named all the same.
        odd = isinstance(item, float) and not math.isfinite(item)
        out[each.name] = item.value if isinstance(item, Enum) else str(item) if odd else item
    return out


def _semantic_side(side: Side) -> dict[str, object]:
    width = side.width.value if isinstance(side.width, Width) else repr(side.width)
    return {
        "model": plain(side.model),
        "sae": plain(side.sae),
        "width": f"x{width}" if isinstance(side.width, Expansion) else width,
    }
