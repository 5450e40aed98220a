"""Pairs of an entropic partial transport plan (Cuturi 2013; Choo and Siow 2006 for staying unmatched)."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from saeuniv.alignments.base import CandidateAlignment
from saeuniv.config import require_option
from saeuniv.numerics.assignment import Matching
from saeuniv.numerics.candidate_edges import edges_of
from saeuniv.numerics.candidates import Candidates
from saeuniv.numerics.transport import most_transported, transport

_log = logging.getLogger(__name__)


@dataclass
class Sinkhorn(CandidateAlignment):
    """One to one and selective: only pairs that hold most of both latents' mass in a soft assignment."""

    name: ClassVar[str] = "sinkhorn"
    fixed_size: ClassVar[bool] = False

    epsilon: float = 0.05
    """Weight of the entropy, in units of similarity: partners that differ by less share a latent's mass.
    Towards 0 the pairs are hungarian's, and the iterations grow (0.05: about 130; below, up to thousands)."""

    tolerance: float = 1e-6
    """Largest L1 error of the masses, as a share of all mass, at which the plan counts as converged."""

    max_iterations: int = 2000
    """Where it stops unconverged: a warning, and the pairs as they are, so that no null draw ends a run."""

    def __post_init__(self) -> None:
        """Refuse numbers that are not positive."""
        super().__post_init__()
        for name in ("epsilon", "tolerance", "max_iterations"):
            value = getattr(self, name)
            require_option(f"alignment.{name}", value, value > 0, "a positive number")

    def match(self, candidates: Candidates) -> Mapping[str, Matching]:
        """Pairs with the largest mass of both latents, above what either leaves unmatched.

        Raises:
            ValueError: `epsilon`, `tolerance` or `max_iterations` not positive.
        """
        edges = edges_of(candidates)
        found = transport(
            edges, epsilon=self.epsilon, tolerance=self.tolerance, max_iterations=self.max_iterations
        )
        if not found.converged:
            _log.warning(
                "alignment=sinkhorn: not converged after %d iterations: marginal error %.1e, expected below "
                "%.1e. The pairs are those of the unfinished plan. Raise alignment.epsilon (%g) or "
                "alignment.max_iterations.",
                *(found.iterations, found.marginal_error, self.tolerance, self.epsilon),
            )
        pairs = most_transported(candidates, found, edges)
        return {"both": pairs._replace(converged=found.converged)}
