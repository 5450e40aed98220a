"""Which latents go together: an alignment on the match half, and again on every broken pairing of it."""

import dataclasses

from saeuniv.alignments import AlignmentMethod, DictionaryAlignment
from saeuniv.metrics import MetricMethod
from saeuniv.metrics.base import SELECTION_SHIFT, WITHIN_TOKEN_SHUFFLE
from saeuniv.metrics.layer_pair import LayerPair, Matches
from saeuniv.numerics.correlation import Evidence
from saeuniv.numerics.dictionary_similarity import DictionaryParameters
from saeuniv.numerics.latents import PreparedLayer

MATCH_HALF = 0


def with_matches(pair: LayerPair, alignment: AlignmentMethod, metrics: tuple[MetricMethod, ...]) -> LayerPair:
    """The pair with the alignment's matches and the matched-again nulls that the metrics need."""
    if not any(metric.aligned for metric in metrics):
        return pair
    pair = dataclasses.replace(pair, matches=align(pair, alignment))
    nulls: dict[str, tuple[Matches, ...]] = {}
    reasons: dict[str, str] = {}
    for name in dict.fromkeys(null for metric in metrics for null in metric.needs_nulls):
        if reason := null_reason(pair, alignment, name):
            reasons[name] = reason
        else:
            nulls[name] = align_null(pair, alignment, name)
    return dataclasses.replace(pair, null_matches=nulls, null_reasons=reasons)


def align(pair: LayerPair, alignment: AlignmentMethod) -> Matches:
    """The alignment's matches on the match half; none where no correlation is defined."""
    if isinstance(alignment, DictionaryAlignment):
        if not (pair.a.n_eligible and pair.b.n_eligible):
            return {}
        a, b = _parameters(pair.a, "a"), _parameters(pair.b, "b")
        if alignment.assume_same_basis:
            b = b._replace(basis=a.basis)
        return alignment.match(alignment.candidates_of(a, b))
    if pair.undefined(alignment.condition.value):
        return {}
    evidence = _evidence(alignment)
    return alignment.match(pair.candidates(MATCH_HALF, evidence, top_m=alignment.n_candidates))


def null_reason(pair: LayerPair, alignment: AlignmentMethod, null: str) -> str:
    """Why a matched-again null is not drawn; empty where it is."""
    if not pair.matches:
        return pair.undefined(alignment.condition.value)
    if isinstance(alignment, DictionaryAlignment):
        return "matched_without_tokens"
    return "matching_size_varies" if null == SELECTION_SHIFT and not alignment.fixed_size else ""


def align_null(pair: LayerPair, alignment: AlignmentMethod, null: str) -> tuple[Matches, ...]:
    """The same alignment on broken pairings of the match half, one matching a draw."""
    a, b = pair.a.halves[MATCH_HALF], pair.b.halves[MATCH_HALF]
    evidence, top_m = _evidence(alignment), alignment.n_candidates
    if null == SELECTION_SHIFT:
        shifted = (
            pair.search(a, b, evidence, top_m=top_m, shift=int(shift))
            for shift in pair.draws.selection_shifts
        )
        return tuple(alignment.match(found) for found in shifted)
    assert null == WITHIN_TOKEN_SHUFFLE
    shuffled = (b.permuted(shuffle[MATCH_HALF]) for shuffle in pair.draws.shuffles)
    return tuple(alignment.match(pair.search(a, each, evidence, top_m=top_m)) for each in shuffled)


def _evidence(alignment: AlignmentMethod) -> Evidence:
    return Evidence(alignment.evidence.value, alignment.condition.value)


def _parameters(layer: PreparedLayer, side: str) -> DictionaryParameters:
    if layer.parameters is None:
        raise ValueError(
            f"parameters of {side}: expected those of its dictionary, which this alignment reads, got none. "
            f"Give `parameters` to prepare_layer, or choose an alignment that reads tokens."
        )
    return layer.parameters
