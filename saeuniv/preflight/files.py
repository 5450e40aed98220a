"""Checks a cell against the files it names, without torch: depths, widths, dictionaries, text, store."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from saeuniv.adapters.chat import chosen_template
from saeuniv.adapters.dictionary_facts import dictionary_facts, require_same_width
from saeuniv.adapters.dictionary_sources import absent_layers
from saeuniv.adapters.folders import ModelFacts, model_facts
from saeuniv.adapters.text_faults import text_faults
from saeuniv.config import (
    Alignment,
    Cell,
    ConfigError,
    ControlKind,
    Expansion,
    FileData,
    HubModel,
    SaeActivation,
    SaeTrainer,
    SharedSae,
    Side,
    TrainedSae,
    names_all,
    select_layers,
    select_pairs,
    untrained_counterpart,
)
from saeuniv.store import check_writable
from saeuniv.sweep.tokenizers import tokenizer_faults

Layers = tuple[tuple[int, ...], ...]
Pairs = tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
Known = TypeVar("Known")


def check(cell: Cell) -> tuple[str, ...]:
    """Every fault that files show: a layer the model lacks, a d_in that does not fit, an empty corpus ..."""
    return FileChecks().faults(cell)


class FileChecks:
    """Checks the cells of one command, and reads each file once."""

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}

    def faults(self, cell: Cell, *, unset: frozenset[str] = frozenset()) -> tuple[str, ...]:
        """The faults of a cell; parts in `unset` (a, b, sae, sae_a, sae_b, data) have no value to check."""
        faults: list[str] = []
        sides = [self._side(cell, side, unset, faults) for side in cell.sides]
        (facts_a, layers_a), (facts_b, layers_b) = sides
        pairs: Pairs | None = None
        if facts_a and facts_b and layers_a and layers_b:
            depths = {"n_layers_a": facts_a.n_layers, "n_layers_b": facts_b.n_layers}
            pairs = _caught(faults, lambda: select_pairs(cell.pairs, layers_a, layers_b, **depths))
        for place, (side, (facts, layers)) in enumerate(zip(cell.sides, sides, strict=True)):
            read = [pair[place] for pair in pairs] if pairs else layers
            self._check_dictionaries(cell, side, facts, read, unset, faults)
        if facts_a and facts_b:
            faults += tokenizer_faults(cell, facts_a.tokenizer, facts_b.tokenizer)
        if isinstance(cell.data, FileData) and "data" not in unset:
            data = cell.data
            faults += self._once(f"text {data!r}", lambda: text_faults(data))
            if facts_a and facts_b:
                models, chosen = (facts_a, facts_b), f"template {data!r} {cell.a.model!r} {cell.b.model!r}"
                _caught(faults, lambda: self._once(chosen, lambda: chosen_template(data, *models)))
        are_published = all(isinstance(side.model, HubModel) for side in cell.sides)
        if cell.control is ControlKind.step0 and are_published and (control := untrained_counterpart(cell)):
            for side in control.sides:
                _caught(faults, lambda each=side: self._facts(each))
        unwritable = self._once(f"store {cell.store}", lambda: check_writable(cell.store))
        return tuple(dict.fromkeys([*faults, *([unwritable] if unwritable else [])]))

    def _side(
        self, cell: Cell, side: Side, unset: frozenset[str], faults: list[str]
    ) -> tuple[ModelFacts | None, Layers | None]:
        """What is known of a side, its model and its layers; faults are appended."""
        if side.name in unset:
            return None, None
        name, model = side.name, side.model
        facts = _caught(faults, lambda: self._facts(side))
        if facts is None:
            return None, None
        _caught(faults, lambda: facts.computes_in(model.dtype, device="cpu", key=name))
        if "data" not in unset:
            context = cell.data.context_length
            _caught(faults, lambda: facts.check_context(context, key=name, label=model.label))
        return facts, _caught(faults, lambda: self._layers(side, facts, unset, _key(cell, side)))

    def _check_dictionaries(
        self,
        cell: Cell,
        side: Side,
        facts: ModelFacts | None,
        layers: Iterable[tuple[int, ...]] | None,
        unset: frozenset[str],
        faults: list[str],
    ) -> None:
        """Of these layers, which may be fewer than are selected: those of no pair are never read."""
        published = not isinstance(side.sae, TrainedSae)
        if facts is None or unset & {"sae", f"sae_{side.name}"} or (layers is None and published):
            return
        wanted = sorted({layer for group in layers or () for layer in group})
        key = _key(cell, side)
        _caught(faults, lambda: self._dictionaries(cell.alignment, side, facts, wanted, key))

    def _facts(self, side: Side) -> ModelFacts:
        label = f"model {side.name} {side.model!r}"
        return self._once(label, lambda: model_facts(side.model, key=side.name))

    def _layers(self, side: Side, facts: ModelFacts, unset: frozenset[str], key: str) -> Layers:
        """The layers asked for; `all` are those that have dictionaries.

        Raises:
            ConfigError: layers that the model lacks, or a source without dictionaries for it.
        """
        absent: Mapping[int, str] = {}
        if names_all(side.layers) and not unset & {"a", "sae", "sae_a", f"sae_{side.name}"}:
            absent = self._once(f"absent {side!r}", lambda: absent_layers(side, facts, key=key))
        return select_layers(
            side.layers,
            range(facts.n_layers),
            key=f"layers.{side.name}",
            owner=side.model.label,
            absent=absent,
        )

    def _dictionaries(
        self, alignment: Alignment, side: Side, facts: ModelFacts, layers: list[int], key: str
    ) -> None:
        """Check the side's dictionaries.

        Raises:
            ConfigError: the dictionaries cannot be trained, or do not exist or fit.
        """
        sae, width, model = side.sae, side.width, side.model
        d_in = facts.width_at(sae.hookpoint)
        if isinstance(sae, TrainedSae):
            n_latents = width * d_in if isinstance(width, Expansion) else width
            assert isinstance(n_latents, int)
            if faults := tuple(_training_faults(sae, n_latents, key)):
                raise ConfigError(*faults)
            return
        assert not isinstance(width, Expansion)
        if isinstance(sae, SharedSae) and not side.lender:
            return  # A has nobody to share with: the rules say so.
        if side.lender:
            lender = side.lender
            own = self._once(
                f"model {lender.name} {lender.model!r}", lambda: model_facts(lender.model, key="a")
            )
            require_same_width(own, facts, lender.model.label, model.label)
            return self._dictionaries(alignment, lender, own, layers, "sae_a")
        label = f"dictionaries {key} {sae!r} {model!r} {layers} {width!r}"
        known = self._once(label, lambda: dictionary_facts(sae, model, facts, layers, width, key=key))
        without = [str(each.hookpoint) for each in known if each.activation != "jumprelu"]
        if alignment.needs_thresholds and without:
            raise ConfigError(
                f"alignment={alignment.name}: expected dictionaries with thresholds (JumpReLU), got "
                f"{without[0]} of {key} without. Choose alignment=decoder_cosine or encoder_cosine, or other "
                "dictionaries."
            )

    def _once(self, label: str, read: Callable[[], Known]) -> Known:
        """What `read` gives or raises, read once for each label."""
        if label not in self._known:
            try:
                self._known[label] = read()
            except ConfigError as error:
                self._known[label] = error
        known = self._known[label]
        if isinstance(known, ConfigError):
            raise known
        return known


def _key(cell: Cell, side: Side) -> str:
    """How messages name the dictionaries of a side."""
    return "sae" if cell.a.sae == cell.b.sae else f"sae_{side.name}"


def _training_faults(sae: TrainedSae, n_latents: int, key: str) -> Iterator[str]:
    if sae.trainer is not SaeTrainer.sparsify or sae.k < 1:
        return
    if sae.k > n_latents:
        yield (
            f"{key}.k={sae.k}: expected at most the number of latents, which is {n_latents}, got {sae.k}. "
            f"Choose a smaller {key}.k or a larger width."
        )
    elif sae.activation is SaeActivation.groupmax and n_latents % sae.k:
        nearest = max(round(n_latents / sae.k), 1) * sae.k
        yield (
            f"{key}.activation=groupmax: expected a width that {key}.k={sae.k} groups share evenly, got "
            f"{n_latents}. Choose width={nearest}, the nearest, or another {key}.k."
        )


def _caught(faults: list[str], read: Callable[[], Known]) -> Known | None:
    """What `read` gives, or None with its faults appended."""
    try:
        return read()
    except ConfigError as error:
        faults += error.faults
        return None
