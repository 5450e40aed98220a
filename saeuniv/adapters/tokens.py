"""Documents as token ids: the sequences that are compared on."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from saeuniv.adapters.chat import Render, Rendered, all_rendered, as_written
from saeuniv.adapters.documents import Document
from saeuniv.adapters.sequences import Piece, Sequences, concatenated, separate, truncated, with_bos
from saeuniv.adapters.tokenization import (
    Encoded,
    Tokenizer,
    bos_id,
    encoded,
    eos_id,
    padding_id,
    special_ids,
    token_ids,
)
from saeuniv.config import Bos, Data, FileData, Packing


@dataclass(frozen=True)
class TokenRules:
    """How documents become sequences, and which positions are no rows; `data` of the configuration."""

    context_length: int
    max_sequences_per_document: int
    skip_first: int
    bos: Bos = Bos.auto
    packing: Packing = Packing.document
    mask_special: bool = True
    roles: frozenset[str] = frozenset()
    mask_padding: bool = True

    @classmethod
    def of(cls, data: Data) -> "TokenRules":
        """The rules that a text source sets."""
        return cls(
            context_length=data.context_length,
            max_sequences_per_document=data.max_sequences_per_document,
            skip_first=data.skip_first,
            bos=data.bos,
            packing=data.packing,
            mask_special=data.mask_special,
            roles=frozenset(data.roles) if isinstance(data, FileData) else frozenset(),
            mask_padding=data.mask_padding,
        )


class TokenSet(NamedTuple):
    """The exact tokens that are compared on, in order."""

    ids: Int[np.ndarray, "sequences context"]
    """int32; BOS is nowhere but at the beginning."""

    keep: Bool[np.ndarray, "sequences context"]
    """The positions that are rows of the comparison; the model reads the others too."""

    documents: Int[np.ndarray, " sequences"]
    """Index into `names`, non-decreasing."""

    names: tuple[str, ...]
    """The documents that gave at least one sequence."""

    domains: tuple[str, ...]
    """Where each of them is from, empty where the text does not say."""

    masked: Mapping[str, int]
    """Positions that are no rows, by the reason that came first: padding, first_positions, special,
    other_document, chat_role. Together with the rows they are all positions."""

    lengths: Int[np.ndarray, " sequences"] | None = None
    """Positions of each sequence before its padding (int32); None with packings that have none."""

    truncated: Mapping[str, int] = MappingProxyType({})
    """Of truncated documents: `documents_truncated`, `documents_padded`, `tokens_beyond` the sequences, and
    `padding_kept`, padded positions that are rows."""


def token_set(
    documents: Sequence[Document], tokenizer: Tokenizer, rules: TokenRules, render: Render = as_written
) -> TokenSet:
    """The sequences of documents, with the positions that are rows.

    Conversations that the template refuses, and sequences without a row, are left out. A packed sequence
    has rows of one document only, the one that has most of it, so that halves and intervals stay by
    document; what comes before in the sequence is read by the models, as it is in training.

    Raises:
        ValueError: no sequence is filled, a role never occurs, or masks leave too little: fewer than two
            documents, or fewer rows than a sequence has positions.
    """
    read = all_rendered(documents, render)
    _check_roles([text for _, text in read], rules.roles)
    begins = any(text.began_with_bos for _, text in read)
    bos = bos_id(tokenizer, rules.bos, template_begins=begins)
    sequences = _filled([text for _, text in read], tokenizer, rules, bos)
    keep, masked = _rows(sequences, rules, special_ids(tokenizer))
    with_rows = keep.any(1)
    if len(np.unique(sequences.documents[with_rows])) < 2 or keep.sum() < rules.context_length:
        raise ValueError(_too_little(sequences, keep, masked, rules))
    if not with_rows.all():
        sequences = Sequences(*(each[with_rows] for each in sequences))
        keep, masked = _rows(sequences, rules, special_ids(tokenizer))
    numbers, index = np.unique(sequences.documents, return_inverse=True)
    chosen = [read[number][0] for number in numbers]
    pads = rules.packing is Packing.truncated
    return TokenSet(
        sequences.ids,
        keep,
        index.astype(np.int32),
        tuple(each.name for each in chosen),
        tuple(each.domain for each in chosen),
        masked,
        np.minimum(sequences.lengths, rules.context_length).astype(np.int32) if pads else None,
        _truncated(sequences, keep) if pads else {},
    )


def spoken_by(tokens: Encoded, text: Rendered, roles: frozenset[str]) -> Bool[np.ndarray, " tokens"]:
    """The tokens that lie within what one of the roles says; blank text before it may belong to the first."""
    spoken = np.zeros(len(tokens.ids), dtype=bool)
    for span in text.spans:
        if span.role not in roles:
            continue
        first, last = np.searchsorted(tokens.ends, [span.start, span.end], side="right")
        while first < last and text.text[tokens.starts[first] : span.start].strip():
            first += 1
        spoken[first:last] = True
    return spoken


def _pieces(texts: Sequence[Rendered], tokenizer: Tokenizer, roles: frozenset[str]) -> Iterator[Piece]:
    written: Iterable[str] = (text.text for text in texts)
    if not roles:
        yield from (Piece(ids, np.ones(len(ids), dtype=bool)) for ids in token_ids(written, tokenizer))
        return
    for text, tokens in zip(texts, encoded(written, tokenizer), strict=True):
        yield Piece(tokens.ids, spoken_by(tokens, text, roles))


def _filled(texts: Sequence[Rendered], tokenizer: Tokenizer, rules: TokenRules, bos: int | None) -> Sequences:
    """All sequences of the texts.

    Raises:
        ValueError: there are none.
    """
    body, cap = rules.context_length - (bos is not None), rules.max_sequences_per_document
    pieces = _pieces(texts, tokenizer, rules.roles)
    if rules.packing is Packing.concatenated:
        sequences, n_tokens = concatenated(pieces, body=body, cap=cap, end=eos_id(tokenizer))
        expected, got = "at least one sequence", f"{n_tokens} tokens in all"
    elif rules.packing is Packing.truncated:
        sequences, n_tokens = truncated(pieces, body=body, padding=padding_id(tokenizer))
        expected, got = "at least one token", f"{n_tokens} tokens in all"
    else:
        sequences, n_tokens = separate(pieces, body=body, cap=cap)
        expected, got = "a document of at least one sequence", f"at most {n_tokens} tokens"
    if not len(sequences.ids):
        raise ValueError(
            f"expected {expected} (data.context_length={rules.context_length} tokens), "
            f"got {len(texts)} documents of {got}. Give longer text or lower data.context_length."
        )
    return with_bos(sequences, bos)


def _rows(
    sequences: Sequences, rules: TokenRules, special: Int[np.ndarray, " special"]
) -> tuple[Bool[np.ndarray, "sequences context"], dict[str, int]]:
    """The positions that are rows, and how many are not, each counted under its first reason.

    Padding that is kept is left out for its position alone: neither for its token nor as nobody's speech.
    """
    padding = _padding(sequences)
    reasons = {"padding": padding} if rules.packing is Packing.truncated and rules.mask_padding else {}
    first = np.arange(sequences.ids.shape[1]) < rules.skip_first
    reasons["first_positions"] = np.broadcast_to(first, sequences.ids.shape)
    if rules.mask_special:
        reasons["special"] = np.isin(sequences.ids, special) & ~padding
    if rules.packing is Packing.concatenated:
        reasons["other_document"] = sequences.owners != sequences.documents[:, None]
    if rules.roles:
        reasons["chat_role"] = ~sequences.spoken & ~padding
    keep = np.ones(sequences.ids.shape, dtype=bool)
    masked: dict[str, int] = {}
    for reason, where in reasons.items():
        masked[reason] = int((keep & where).sum())
        keep &= ~where
    return keep, masked


def _padding(sequences: Sequences) -> Bool[np.ndarray, "sequences context"]:
    return np.arange(sequences.ids.shape[1]) >= sequences.lengths[:, None]


def _truncated(sequences: Sequences, keep: Bool[np.ndarray, "sequences context"]) -> dict[str, int]:
    """What became of documents that were longer or shorter than a sequence; each has one."""
    beyond = np.maximum(sequences.lengths - sequences.ids.shape[1], 0)
    padding = _padding(sequences)
    return {
        "documents_truncated": int((beyond > 0).sum()),
        "documents_padded": int(padding.any(1).sum()),
        "tokens_beyond": int(beyond.sum()),
        "padding_kept": int((padding & keep).sum()),
    }


def _check_roles(texts: Sequence[Rendered], roles: frozenset[str]) -> None:
    there = Counter(span.role for text in texts for span in text.spans)
    absent = sorted(roles - there.keys())
    if absent:
        counted = ", ".join(f"{role} ({number})" for role, number in there.most_common())
        raise ValueError(
            f"data.roles=[{','.join(sorted(roles))}]: expected roles that occur, got none of "
            f"{', '.join(absent)} in {len(texts)} held-out conversations. They have {counted or 'none'}."
        )


def _too_little(
    sequences: Sequences,
    keep: Bool[np.ndarray, "sequences context"],
    masked: Mapping[str, int],
    rules: TokenRules,
) -> str:
    n_documents = len(np.unique(sequences.documents[keep.any(1)]))
    counted = ", ".join(f"{reason} {number}" for reason, number in masked.items() if number)
    return (
        f"expected rows of at least 2 documents and at least {rules.context_length} of them (one sequence), "
        f"got {int(keep.sum())} rows of {n_documents} documents: of {keep.size} positions are masked: "
        f"{counted or 'none'}. Give more text, raise data.held_out, or mask less (data.skip_first, "
        f"data.mask_special, data.roles, data.packing)."
    )
