"""Token sets as stored: the held-out sequences that all models are compared on, and the training stream."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int
from safetensors.numpy import load_file, save_file

from saeuniv.store import Artifact, Store

_TENSORS = "tokens.safetensors"
_TEXT = "text.json"

BY_DOMAIN = "by_domain"
"""Entry of text.json: see `domain_counts`."""

TEMPLATE_BEGINS = "template_begins"
"""Entry of text.json: the conversations of a training stream begin with BOS, which is not in the stream."""

# Parts of a sequence that token_x_position tells apart.
_POSITION_BUCKETS = 8


class NamedDocument(NamedTuple):
    """A document of a token set."""

    name: str
    domain: str
    """Where it is from; empty where the text does not say."""


class HeldOut(NamedTuple):
    """The sequences that models are compared on."""

    ids: Int[np.ndarray, "sequences context"]
    keep: Bool[np.ndarray, "sequences context"]
    """The positions that are rows of the comparison, in reading order; the model reads all."""

    documents: Int[np.ndarray, " sequences"]
    """Document of each sequence, non-decreasing, in the order of the documents' hash."""

    lengths: Int[np.ndarray, " sequences"] | None = None
    """Positions of each sequence before its padding, which the model attends to nowhere; None: no padding
    but what stands behind the last row (aligned tokens), and nothing is hidden."""

    def part(self, sequences: slice) -> "HeldOut":
        """Some of the sequences."""
        lengths = None if self.lengths is None else self.lengths[sequences]
        return HeldOut(self.ids[sequences], self.keep[sequences], self.documents[sequences], lengths)

    @property
    def attended(self) -> Bool[np.ndarray, "sequences context"] | None:
        """The positions that the model attends to; None: all."""
        if self.lengths is None:
            return None
        return np.arange(self.ids.shape[1]) < self.lengths[:, None]

    @property
    def read(self) -> tuple[Int[np.ndarray, "_ _"], Bool[np.ndarray, "_ _"], Bool[np.ndarray, "_ _"] | None]:
        """The ids, the positions that are rows and those that are attended to: what a model is given."""
        return self.ids, self.keep, self.attended

    @property
    def rows_per_sequence(self) -> Int[np.ndarray, " sequences"]:
        """Kept positions of each sequence."""
        return self.keep.sum(1)

    @property
    def row_documents(self) -> Int[np.ndarray, " rows"]:
        """Document of each row."""
        return np.repeat(self.documents, self.rows_per_sequence)

    def groups(self) -> dict[str, Int[np.ndarray, " rows"]]:
        """Labels of rows: the current token, the last two, the last three, and token and position.

        Groups may look back at positions that are no rows. At the start of a sequence, where fewer tokens
        come before, that there is none is told apart from every token.
        """
        nothing = int(self.ids.max()) + 1
        n_ids = nothing + 1
        ids = np.pad(self.ids.astype(np.int64), ((0, 0), (2, 0)), constant_values=nothing)
        sequence, position = np.nonzero(self.keep)
        current, previous, before = (ids[sequence, position + 2 - back] for back in (0, 1, 2))
        bigram = _compact(previous * n_ids + current)
        # How much padding follows the longest document must change no label.
        first = int(position.min())
        end = self.keep.shape[1] if self.lengths is None else int(position.max()) + 1
        eighth = (position - first) * _POSITION_BUCKETS // (end - first)
        return {
            "token": current,
            "token_bigram": bigram,
            "token_trigram": _compact(before * (int(bigram.max()) + 1) + bigram),
            "token_x_position": _compact(current * _POSITION_BUCKETS + eighth),
        }


def joint_groups(
    a: Mapping[str, Int[np.ndarray, " rows"]], b: Mapping[str, Int[np.ndarray, " _"]]
) -> dict[str, Int[np.ndarray, " rows"]]:
    """Labels that are equal where those of both sides are: for rows that are different tokens on each side.

    Raises:
        ValueError: the sides have different numbers of rows.
    """
    found: dict[str, Int[np.ndarray, " rows"]] = {}
    for name, labels_a in a.items():
        labels_b = _compact(b[name])
        if len(labels_a) != len(labels_b):
            raise ValueError(
                f"expected as many rows on both sides, got {len(labels_a)} and {len(labels_b)}: their token "
                f"sets were not made together."
            )
        found[name] = _compact(_compact(labels_a) * (int(labels_b.max()) + 1) + labels_b)
    return found


def domain_counts(
    domains: Sequence[str],
    documents: Int[np.ndarray, " sequences"],
    keep: Bool[np.ndarray, "sequences context"],
) -> dict[str, dict[str, int]]:
    """`{domain: {"documents": n, "rows": n}}` of a token set; empty where no document has a domain.

    Args:
        domains: of each document.
        documents: index of each sequence into `domains`.
        keep: the positions that are rows.
    """
    if not any(domains):
        return {}
    rows = np.bincount(documents, keep.sum(1), minlength=len(domains)).astype(np.int64)
    of_domain = np.array(domains, dtype=object)
    chosen = {name: of_domain == name for name in sorted(set(domains))}
    return {
        name: {"documents": int(where.sum()), "rows": int(rows[where].sum())}
        for name, where in chosen.items()
    }


def read_held_out(store: Store, tokens: Artifact) -> HeldOut:
    """The sequences of a token set, verified."""
    arrays = load_file(store.open(tokens) / _TENSORS)
    documents = arrays["documents"].astype(np.int64)
    return HeldOut(arrays["ids"], arrays["keep"], documents, arrays.get("lengths"))


def read_documents(store: Store, tokens: Artifact) -> tuple[NamedDocument, ...]:
    """The documents of a token set, verified."""
    about = json.loads((store.open(tokens) / _TEXT).read_text())
    return tuple(map(NamedDocument, about["documents"], about["domains"]))


def read_stream(store: Store, tokens: Artifact) -> Int[np.ndarray, " tokens"]:
    """The training stream, verified."""
    return load_file(store.open(tokens) / _TENSORS)["stream"]


def template_begins(store: Store, tokens: Artifact) -> bool:
    """Whether the conversations of a training stream begin with BOS (which is not in the stream)."""
    return json.loads((store.open(tokens) / _TEXT).read_text()).get(TEMPLATE_BEGINS, False)


def token_summary(store: Store, a: Artifact, b: Artifact) -> dict[str, object]:
    """What summary.json says of the token sets of A and B; empty where they are not there.

    `corpus_sha256`, the hash of the text; `domains`, see `domain_counts`; `kept_fraction_a`,
    `kept_fraction_b`, the share of the tokens read that are rows, and `kept_word_ends`, the share of the
    ends of words, where tokens are aligned.
    """
    about_a, about_b = (
        json.loads((store.folder(each) / _TEXT).read_text()) if store.exists(each) else {} for each in (a, b)
    )
    return {
        "corpus_sha256": about_a.get("sha256"),
        "domains": about_a.get(BY_DOMAIN, {}),
        "kept_fraction_a": about_a.get("kept_fraction"),
        "kept_fraction_b": about_b.get("kept_fraction"),
        "kept_word_ends": about_a.get("kept_word_ends"),
    }


def _compact(labels: Int[np.ndarray, " rows"]) -> Int[np.ndarray, " rows"]:
    return np.unique(labels, return_inverse=True)[1]


def publish_tokens(
    store: Store, artifact: Artifact, arrays: dict[str, np.ndarray], about: dict[str, object]
) -> None:
    """Write a token set, and what is known of it and its text."""
    with store.publish(artifact) as folder:
        save_file(arrays, Path(folder) / _TENSORS)
        (folder / _TEXT).write_text(json.dumps(about, sort_keys=True, indent=1))
