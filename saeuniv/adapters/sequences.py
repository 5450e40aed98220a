"""Encoded documents cut into sequences: of one document each, packed one after another, or truncated."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int


class Piece(NamedTuple):
    """What of a document is cut into sequences."""

    ids: Int[np.ndarray, " tokens"]
    spoken: Bool[np.ndarray, " tokens"]
    """Tokens of a role that is compared on; all of them where roles are not told apart."""


class Sequences(NamedTuple):
    """Sequences of equal length, without BOS."""

    ids: Int[np.ndarray, "sequences body"]
    spoken: Bool[np.ndarray, "sequences body"]
    owners: Int[np.ndarray, "sequences body"]
    """The document of each token, as a number of its piece; end-of-text tokens are of the one they end."""

    documents: Int[np.ndarray, " sequences"]
    """The document of each sequence, non-decreasing."""

    lengths: Int[np.ndarray, " sequences"]
    """Tokens there were for each: fewer than it has where padding follows them (on the right), more where
    a truncated document goes on behind it."""


def separate(pieces: Iterable[Piece], *, body: int, cap: int) -> tuple[Sequences, int]:
    """The first whole sequences of each piece, at most `cap`, and the tokens of the longest piece."""
    blocks: list[Sequences] = []
    longest = 0
    for number, piece in enumerate(pieces):
        longest = max(longest, len(piece.ids))
        n_sequences = min(len(piece.ids) // body, cap)
        shape, used = (n_sequences, body), n_sequences * body
        if n_sequences:
            documents = np.full(n_sequences, number, dtype=np.int32)
            owners = np.broadcast_to(documents[:, None], shape)
            ids, spoken = piece.ids[:used].reshape(shape), piece.spoken[:used].reshape(shape)
            blocks.append(Sequences(ids, spoken, owners, documents, np.full(n_sequences, body)))
    return _stacked(blocks, body), longest


def truncated(pieces: Iterable[Piece], *, body: int, padding: int) -> tuple[Sequences, int]:
    """The first `body` tokens of each piece, shorter ones filled up with `padding`; and the tokens in all.

    Padding is nobody's speech. A piece without a token gives no sequence: there is nothing to read.
    """
    blocks: list[Sequences] = []
    total = 0
    for number, piece in enumerate(pieces):
        if not len(piece.ids):
            continue
        total += len(piece.ids)
        ids, spoken = np.full((1, body), padding, dtype=np.int32), np.zeros((1, body), dtype=bool)
        n_read = min(len(piece.ids), body)
        ids[0, :n_read], spoken[0, :n_read] = piece.ids[:n_read], piece.spoken[:n_read]
        documents = np.full(1, number, dtype=np.int32)
        owners = np.broadcast_to(documents[:, None], ids.shape)
        blocks.append(Sequences(ids, spoken, owners, documents, np.full(1, len(piece.ids))))
    return _stacked(blocks, body), total


def concatenated(pieces: Iterable[Piece], *, body: int, cap: int, end: int) -> tuple[Sequences, int]:
    """Whole sequences of all pieces, each ended by the token `end`, and the tokens there are in all.

    A sequence belongs to the document that has most of its tokens, the first of several. As sequences and
    documents stand in one order, the documents of sequences do not decrease. Of a piece at most
    `cap * body` tokens are taken.
    """
    blocks: list[Sequences] = []
    rest: list[tuple[Piece, int]] = []
    n_rest = total = 0
    for number, piece in enumerate(pieces):
        if not len(piece.ids):
            continue
        taken = Piece(
            np.append(piece.ids[: cap * body], np.int32(end)), np.append(piece.spoken[: cap * body], False)
        )
        rest.append((taken, number))
        n_rest, total = n_rest + len(taken.ids), total + len(taken.ids)
        if n_rest >= body:
            block, left = _cut(rest, body)
            blocks.append(block)
            rest, n_rest = left, sum(len(each.ids) for each, _ in left)
    return _stacked(blocks, body), total


def _cut(rest: list[tuple[Piece, int]], body: int) -> tuple[Sequences, list[tuple[Piece, int]]]:
    """All whole sequences of these pieces, and what is left over, which is less than one."""
    ids = np.concatenate([piece.ids for piece, _ in rest])
    spoken = np.concatenate([piece.spoken for piece, _ in rest])
    owners = np.concatenate([np.full(len(piece.ids), number, np.int32) for piece, number in rest])
    n_sequences = len(ids) // body
    shape, used = (n_sequences, body), n_sequences * body
    owned = owners[:used].reshape(shape)
    documents = np.array([_most(row) for row in owned], dtype=np.int32)
    full = np.full(n_sequences, body)
    block = Sequences(ids[:used].reshape(shape), spoken[:used].reshape(shape), owned, documents, full)
    left = [
        (Piece(ids[used:][owners[used:] == number], spoken[used:][owners[used:] == number]), int(number))
        for number in np.unique(owners[used:])
    ]
    return block, left


def _most(owners: Int[np.ndarray, " body"]) -> int:
    numbers, counts = np.unique(owners, return_counts=True)
    return int(numbers[np.argmax(counts)])


def _stacked(blocks: list[Sequences], body: int) -> Sequences:
    if not blocks:
        none = np.zeros((0, body), dtype=np.int32)
        no_sequence = np.zeros(0, dtype=np.int32)
        return Sequences(none, none.astype(bool), none, no_sequence, no_sequence)
    return Sequences(*(np.concatenate(each) for each in zip(*blocks, strict=True)))


def with_bos(sequences: Sequences, bos: int | None) -> Sequences:
    """The same sequences, each with BOS before it."""
    if bos is None:
        return sequences
    n_sequences = len(sequences.ids)
    first = np.full((n_sequences, 1), bos, dtype=np.int32)
    return Sequences(
        np.hstack([first, sequences.ids]),
        np.hstack([np.zeros((n_sequences, 1), dtype=bool), sequences.spoken]),
        np.hstack([sequences.documents[:, None], sequences.owners]),
        sequences.documents,
        sequences.lengths + 1,
    )
