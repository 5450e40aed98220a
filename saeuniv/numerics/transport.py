"""Entropic partial transport between the latents of two dictionaries, on their candidates alone."""

from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Bool, Float, Int

from saeuniv.numerics.assignment import Matching
from saeuniv.numerics.candidate_edges import COMPARED_DECIMALS, Edges, listed_similarity
from saeuniv.numerics.candidates import Candidates
from saeuniv.numerics.compiled import compiled

# Over-relaxation of the alternating updates (Thibault et al. 2021, "Overrelaxed Sinkhorn-Knopp algorithm for
# regularized optimal transport"). 1 is Sinkhorn's own; 1.8 needed 190 instead of 1,120 iterations at epsilon
# 0.05 for 97,000 candidates of 4,096 latents. It is left for a plain update where the error grew.
_RELAXATION = 1.8
_PLAIN_AT_FIRST = 3
"""Updates without over-relaxation on every scale."""

_SHRINKS_BY = 2.0
_ROUGH = 1e-2
"""Epsilon starts at 1 and is halved each time that the marginal error is below this."""


class Transport(NamedTuple):
    """A plan: how much of each latent goes to which candidate, and to none. Every latent has mass 1."""

    plan: Float[np.ndarray, " edges"]
    """mass of each pair, 0 to 1"""

    unmatched_a: Float[np.ndarray, " latents_a"]
    """mass that goes to no latent of B"""

    unmatched_b: Float[np.ndarray, " latents_b"]
    """mass that goes to no latent of A"""

    marginal_error: float
    """L1 distance of the masses from 1, as a share of the total mass of both sides"""

    iterations: int
    """updates of both sides, all scales together"""

    converged: bool
    """the marginal error is below the tolerance"""


def transport(edges: Edges, *, epsilon: float, tolerance: float, max_iterations: int) -> Transport:
    """The plan T, u, v that maximises <T, similarity> + epsilon (H(T) + H(u) + H(v)).

    Subject to sum_j T_ij + u_i = 1 and sum_i T_ij + v_j = 1, T on the edges only, H(x) = sum x (1 - log x).
    u and v are the mass left unmatched, at similarity 0: partial transport, feasible on any sparse graph.
    (The form of matching with the option to stay single, Choo and Siow 2006, whose alternating updates are
    Sinkhorn's; they count the entropy of pairs twice.) T_ij = exp((s_ij + f_i + g_j) / epsilon), u_i =
    exp(f_i / epsilon), v_j = exp(g_j / epsilon): as epsilon goes to 0 the largest assignment, where large
    all options alike. In the log domain, warm-started from larger epsilon (Schmitzer 2019).

    Small epsilon converges slowly: `converged` and `marginal_error` say where it ended. About 25 ns an edge
    and iteration.

    Raises:
        ValueError: epsilon or tolerance not positive, or no iteration allowed.
    """
    for name, value in (("epsilon", epsilon), ("tolerance", tolerance), ("max_iterations", max_iterations)):
        if not value > 0:
            raise ValueError(f"{name}: expected a positive number, got {value}.")
    sides = (edges, edges.exchanged())
    potentials = (np.zeros(edges.n_a), np.zeros(edges.n_b))
    iterations, scale, goal = 0, max(1.0, epsilon), _ROUGH
    while True:
        iterations += _relax_both(sides, potentials, scale, goal, max_iterations - iterations)
        if scale > epsilon and iterations < max_iterations:
            scale = max(epsilon, scale / _SHRINKS_BY)
            continue
        found = _plan(sides, potentials, epsilon, tolerance, iterations)
        if found.converged or iterations >= max_iterations:
            return found
        # A plan ends with a plain update, which leaves less error than the over-relaxed ones saw.
        goal = min(goal / 2, 8 * tolerance)


def most_transported(candidates: Candidates, found: Transport, edges: Edges) -> Matching:
    """Pairs that hold the most mass of both their latents, and more than either leaves unmatched.

    One-to-one because each latent has one largest option (compared to nine decimals; ties: the lowest index),
    and in ascending order of A. Fewer pairs where the plan is spread out: none of that is rounded up to a
    match. As epsilon goes to 0 they are the largest assignment.
    """
    plan = np.round(found.plan, COMPARED_DECIMALS)
    latent_a = edges.latent_a
    best = _holds_most(plan, latent_a, edges.partner, found.unmatched_a)
    best &= _holds_most(plan, edges.partner, latent_a, found.unmatched_b)
    order = np.flatnonzero(best)
    index_a, index_b = latent_a[order], edges.partner[order].astype(np.int64)
    return Matching(index_a, index_b, listed_similarity(candidates, index_a, index_b), None)


def _relax_both(
    sides: tuple[Edges, Edges],
    potentials: tuple[Float[np.ndarray, " latents_a"], Float[np.ndarray, " latents_b"]],
    epsilon: float,
    goal: float,
    max_iterations: int,
) -> int:
    """Update the potentials in place until the marginal error is below `goal`; returns the updates made."""
    mass, last = max(sum(map(len, potentials)), 1), np.inf
    (edges, backward), (a, b) = sides, potentials
    for iteration in range(1, max_iterations + 1):
        plain = iteration <= _PLAIN_AT_FIRST or last == np.inf
        weight = 1.0 if plain else _RELAXATION
        error = _relax(*edges[:3], a, b, epsilon, weight) + _relax(*backward[:3], b, a, epsilon, weight)
        if error < goal * mass:
            return iteration
        last = error if error < 2 * last else np.inf
    return max_iterations


def _plan(
    sides: tuple[Edges, Edges],
    potentials: tuple[Float[np.ndarray, " latents_a"], Float[np.ndarray, " latents_b"]],
    epsilon: float,
    tolerance: float,
    iterations: int,
) -> Transport:
    """The plan of these potentials, after one last plain update of B, and its error."""
    (edges, backward), (a, b) = sides, potentials
    _relax(*backward[:3], b, a, epsilon, 1.0)
    plan = np.exp((edges.similarity + a[edges.latent_a] + b[edges.partner]) / epsilon)
    unmatched_a, unmatched_b = np.exp(a / epsilon), np.exp(b / epsilon)
    mass_a = unmatched_a + np.bincount(edges.latent_a, plan, minlength=edges.n_a)
    mass_b = unmatched_b + np.bincount(edges.partner, plan, minlength=edges.n_b)
    error = np.abs(np.concatenate((mass_a, mass_b)) - 1.0)
    marginal_error = float(error.mean()) if len(error) else 0.0
    return Transport(plan, unmatched_a, unmatched_b, marginal_error, iterations, marginal_error < tolerance)


def _holds_most(
    plan: Float[np.ndarray, " edges"],
    latent: Int[np.ndarray, " edges"],
    other: Int[np.ndarray, " edges"],
    unmatched: Float[np.ndarray, " latents"],
) -> Bool[np.ndarray, " edges"]:
    """The edge with the largest plan of each latent, where that exceeds what is left unmatched."""
    order = np.lexsort((other, -plan, latent))
    best = np.zeros(len(plan), np.bool_)
    best[order] = np.diff(latent[order], prepend=-1) > 0
    return best & (plan > unmatched[latent])


@compiled
@no_type_check
def _relax(start, other, value, potential, other_potential, epsilon, weight):
    """Move the potentials of one side, in place, to masses of 1 (weight 1); how far they were."""
    error = 0.0
    for latent in range(len(potential)):
        largest = 0.0  # of unmatched
        for edge in range(start[latent], start[latent + 1]):
            largest = max(largest, value[edge] + other_potential[other[edge]])
        total = np.exp(-largest / epsilon)
        for edge in range(start[latent], start[latent + 1]):
            total += np.exp((value[edge] + other_potential[other[edge]] - largest) / epsilon)
        fitted = -largest - epsilon * np.log(total)
        # The mass is exp((potential - fitted) / epsilon); far from 1 its size does not matter.
        error += abs(np.exp(min((potential[latent] - fitted) / epsilon, 30.0)) - 1.0)
        potential[latent] += weight * (fitted - potential[latent])
    return error
