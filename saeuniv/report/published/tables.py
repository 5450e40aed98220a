"""The numbers published in arXiv 2410.06981, one record per comparison, quantity and layer pair.

Quantities are named by what they are. What the authors call SVCCA keeps one principal component a side and
is `pc1_abs_corr` here; every record of a layer pair has the authors' own name beside it.
"""

import json
from dataclasses import dataclass
from enum import Enum
from functools import cache, cached_property
from importlib import resources
from typing import Any, NamedTuple

_DEDUPLICATED = "-deduped"

_CATEGORIES = {
    "Time": "time",
    "Calendar": "calendar",
    "MonthNames": "months",
    "People/Roles": "people",
    "Nature": "nature",
    "Emotions": "emotions",
    "Countries": "countries",
    "Biology": "biology",
}
"""The authors' names of categories of words, and those of metrics here."""


class Pairing(Enum):
    """How latents were paired before they were compared."""

    one_to_one = "one_to_one"
    """Of several latents of B with one of A the first was kept."""

    many_to_one = "many_to_one"
    """Each latent of B with the latent of A that it correlates with most."""

    one_to_many = "one_to_many"
    """Each latent of A with the latent of B that it correlates with most."""


class Comparison(NamedTuple):
    """Two models, their dictionaries and a pairing: what a published table is of."""

    name: str
    """pythia_one_to_one"""

    model_a: str
    """Name on the hub without its owner; a deduplicated counterpart counts as the same."""
    model_b: str
    sae_a: str
    """Repository of the dictionaries."""
    sae_b: str
    pairing: Pairing
    category: str = ""
    """The category of words that the latents are of, as metrics name it; empty: all latents."""

    @property
    def title(self) -> str:
        """For people."""
        of_words = f", latents of {self.category}" if self.category else ""
        return f"{self.model_a} (A) and {self.model_b} (B), {self.pairing.value.replace('_', ' ')}{of_words}"

    def is_of(self, model_a: str, model_b: str) -> bool:
        """Whether these are its models: `pythia-70m` and `pythia-70m-deduped`, but no other revision."""
        plain = (each.rsplit("/", 1)[-1].removesuffix(_DEDUPLICATED) for each in (model_a, model_b))
        return tuple(plain) == (self.model_a, self.model_b)


class Record(NamedTuple):
    """One published number of one layer pair."""

    comparison: str
    quantity: str
    """pc1_abs_corr, pc1_null_mean, pc1_p, rsa_dimensions, mean_correlation (of the pairs that were kept),
    mean_correlation_all (of all latents of B, those that never fire as 0) or n_pairs."""

    layer_a: int
    """As the dictionaries are named: `layers.3` is 3."""
    layer_b: int
    value: float
    """Rounded to two or three decimals."""

    authors_name: str
    """svcca_paired"""


class SemanticRecord(NamedTuple):
    """The pairs of one layer pair whose texts belong to one category of words."""

    models: str
    """pythia (70M and 160M) or gemma (1 2B and 2 2B)"""

    category: str
    layer_a: int
    layer_b: int
    n_pairs: int
    pc1_abs_corr: float
    pc1_null_mean: float
    """Mean over shuffled pairs."""
    pc1_p: float
    """k / R: 0 where none of the R shuffles reached the value."""
    rsa_dimensions: float
    rsa_dimensions_p: float


@dataclass(frozen=True)
class Tables:
    """Everything that was published, layer pair by layer pair."""

    source: str
    comparisons: tuple[Comparison, ...]
    records: tuple[Record, ...]
    semantic: tuple[SemanticRecord, ...]

    def quantities(self, comparison: str) -> tuple[str, ...]:
        """What was published of a comparison."""
        return tuple(dict.fromkeys(quantity for name, quantity in self._grids if name == comparison))

    def grid(self, comparison: str, quantity: str) -> dict[tuple[int, int], Record]:
        """The records by layers of A and B; empty where the quantity was not published."""
        return self._grids.get((comparison, quantity), {})

    def category(self, models: str, category: str) -> dict[tuple[int, int], SemanticRecord]:
        """The records of one category of words, by layers of A and B.

        Raises:
            ValueError: there is no such category for these models.
        """
        found = {
            (each.layer_a, each.layer_b): each
            for each in self.semantic
            if (each.models, each.category) == (models, category)
        }
        if not found:
            known = dict.fromkeys(f"{each.models} {each.category}" for each in self.semantic)
            raise ValueError(
                f"expected models and a category that were published, got {models} {category}. "
                f"Choose one of: {', '.join(known)}."
            )
        return found

    @cached_property
    def _grids(self) -> dict[tuple[str, str], dict[tuple[int, int], Record]]:
        grids: dict[tuple[str, str], dict[tuple[int, int], Record]] = {}
        for each in self.records:
            grids.setdefault((each.comparison, each.quantity), {})[each.layer_a, each.layer_b] = each
        return grids


@cache
def published_tables() -> Tables:
    """The published numbers, from the package's own file."""
    text = (resources.files("saeuniv.report.published") / "tables.json").read_text(encoding="utf-8")
    tree: dict[str, Any] = json.loads(text)
    whole = tuple(
        Comparison(**names, pairing=Pairing(pairing))
        for pairing, names in ((each.pop("pairing"), each) for each in tree["comparisons"])
    )
    semantic = tuple(SemanticRecord(*each) for each in tree["semantic"])
    return Tables(
        source=tree["source"],
        comparisons=(*whole, *_of_categories(whole, semantic)),
        records=(
            *(Record(*each)._replace(value=float(each[4])) for each in tree["records"]),
            *(record for each in semantic for record in _records(each)),
        ),
        semantic=semantic,
    )


def _of_categories(
    whole: tuple[Comparison, ...], semantic: tuple[SemanticRecord, ...]
) -> tuple[Comparison, ...]:
    """A comparison of each category of words, of the models and dictionaries of all latents."""
    paired = {each.name.partition("_")[0]: each for each in whole if each.pairing is Pairing.one_to_one}
    found = dict.fromkeys((each.models, _CATEGORIES[each.category]) for each in semantic)
    return tuple(paired[models]._replace(name=f"{models}_{name}", category=name) for models, name in found)


def _records(of_category: SemanticRecord) -> tuple[Record, ...]:
    """The numbers of one category and layer pair, one a record."""
    comparison = f"{of_category.models}_{_CATEGORIES[of_category.category]}"
    names = {
        "pc1_abs_corr": "paired_SVCCA_1To1",
        "rsa_dimensions": "paired_RSA_1To1",
        "n_pairs": "num_unq_pairs",
        "pc1_p": "rand_shuff_pval_SVCCA_1To1",
        "pc1_null_mean": "rand_shuff_mean_SVCCA_1To1",
    }
    layers = (of_category.layer_a, of_category.layer_b)
    return tuple(
        Record(comparison, quantity, *layers, float(getattr(of_category, quantity)), authors_name)
        for quantity, authors_name in names.items()
    )
