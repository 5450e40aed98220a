"""What pages are made of in their tests: results with all that can be shown, and matches of random words."""

import base64
import gzip
import json
import math
import random
import re

from saeuniv.results import Results

METRICS = ("partial_correlation", "raw_correlation", "matched_correlation", "cka", "svcca", "shared_fraction")
HOSTILE = (
    "</script><script>alert(1)</script>",
    "\u202eabc",
    "\x00\x1b\n",
    "👩\u200d🔬",
    "x" * 10_000,
    "\ud800",
)


def entry(metric: str, i: int, j: int) -> dict:
    """Higher near the diagonal; cka is undefined in its first row, partial correlation has a control."""
    if metric == "cka" and i == 0:
        return {"value": None}
    value = math.exp(-abs(i - j / 2)) / 2 - 0.001 * j
    more = {
        "control": 0.1,
        "diff_control": value - 0.1,
        "diff_ci_low": value - 0.12,
        "diff_ci_high": value - 0.08,
    }
    tested = {
        "q_value": 0.002 if value > 0.1 else 0.3,
        "excess": value - 0.001,
        "calibrated": max(value, 0.0),
    }
    return {"value": value, **tested, **(more if metric == "partial_correlation" else {})}


def details_of(results: Results, matches: int = 12, words: tuple[str, ...] = ()) -> dict:
    """Matches of every layer pair with six texts each, of random words."""
    chance = random.Random(0)
    words = words or tuple("".join(chance.choices("etaoinshrdlu", k=1 + k % 7)) for k in range(4000))

    def context(side: str) -> dict:
        tokens = chance.choices(words, k=21)
        a, b = (
            [round(abs(math.sin(k + peak)) if abs(k - 10) < 3 else 0.0, 3) for k in range(21)]
            for peak in (1, 2)
        )
        return {
            "document": f"doc {chance.randrange(500)}",
            "domain": chance.choice(("", "law")),
            "peak": 10,
            "tokens": tokens,
            "a": a,
            "b": b,
            "of": side,
        }

    # Texts are what takes time to make: a few hundred, met again and again, but cut apart by the page.
    texts = [context("ab"[k % 2]) for k in range(600)]

    def match(rank: int) -> dict:
        found = {"r": 0.95 - 0.01 * rank, "r_held_out": None if rank == 3 else 0.9 - 0.01 * rank}
        rates = {"rate_a": chance.random() / 100, "rate_b": chance.random() / 100}
        latents = {"a": rank if rank < 2 else chance.randrange(16384), "b": chance.randrange(16384)}
        return {**latents, **found, **rates, "contexts": chance.sample(texts, 6)}

    def pair() -> dict:
        histogram = {
            "matched": [chance.betavariate(5, 3) for _ in range(60)],
            "null": [chance.gauss(0.05, 0.05) for _ in range(60)],
        }
        return {
            "n_matches": matches,
            "matches": [match(rank) for rank in range(matches)],
            "histogram": histogram,
        }

    return {(a, b): pair() for a in results.layers_a for b in results.layers_b}


def page_data(text: str) -> dict:
    """What a page holds."""
    packed_data = re.search(r'<script id="data" type="application/octet-stream">(.*?)</script>', text)
    assert packed_data
    inflated = gzip.decompress(base64.b64decode(packed_data[1])).decode()

    def refuse(constant: str) -> float:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(inflated, parse_constant=refuse)
