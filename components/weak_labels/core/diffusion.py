"""Self-diffusion of seeds over the region graph (paper, Eq. 2), in three formulations.

Eq. (2) as printed, min 1/2 sum z_ij (q_i - q_j)^2 with the seeds fixed at 1 and nothing fixed at 0, has the solution
q = 1 on every connected component with a seed: it tells nothing. Hence:

- `discounted`, the source method (Kong et al. 2016): L = D - discount W instead of D - W, so q decays along the way.
- `truncated`: descent on Eq. (2) from q = 0, stopped before it arrives.
- `random_walk`: Eq. (2) per label with the seeds of all other labels fixed at 0 (Grady 2006): the probability that a
  walker meets this label's seeds first.

All take `weights`, float64 [N, N] symmetric and >= 0 with zero diagonal, and `seeds`, bool [N, K], and return float64
[N, K] in 0..1: q of each label, 1 on its seeds, 0 where no seed is reachable.
"""

import numpy as np
from scipy.linalg import lapack, solve

# Relative ridge that keeps components without a seed solvable (they get 0); its effect on others is below 1e-6.
_RIDGE = 1e-9


def discounted(weights: np.ndarray, seeds: np.ndarray, discount: float) -> np.ndarray:
    """Solves (D - discount W) q = 0 on the free nodes of each label, its own seeds fixed at 1.

    Labels have different free nodes, yet one factorisation serves all: with G = (D - discount W)^-1, q = G[:, S] b is 0
    under the operator outside S, and 1 on S if G[S, S] b = 1. That system is scaled by the degrees' roots: they differ
    by many powers of ten, and without it so would its rows.
    """
    degrees = _degrees(weights)
    inverse = _inverse(degrees - discount * weights)
    roots = np.sqrt(degrees.diagonal())
    q = np.zeros(seeds.shape)
    for label, own in enumerate(seeds.T):
        if own.any():
            scale = roots[own]
            within = inverse[np.ix_(own, own)] * np.outer(scale, scale)
            q[:, label] = inverse[:, own] @ (scale * solve(within, scale, assume_a="pos", check_finite=False))
    q[seeds] = 1
    return q.clip(0, 1)


def truncated(weights: np.ndarray, seeds: np.ndarray, iterations: int) -> np.ndarray:
    """Repeats q <- D^-1 W q, the minimum of Eq. (2) in each q_i alone, and puts seeds back to 1; `iterations` times."""
    step = weights / _positive(weights.sum(1))[:, None]
    q = seeds.astype(float)
    for _ in range(iterations):
        q = step @ q
        q[seeds] = 1
    return q.clip(0, 1)  # rows of `step` sum to 1 but for rounding


def random_walk(weights: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Solves (D - W) q = 0 on the nodes that seed nothing; seeds are 1 for their own label and 0 for the others."""
    q = seeds.astype(float)
    fixed = seeds.any(1)
    free = ~fixed
    if fixed.any() and free.any():
        laplacian = _degrees(weights) * (1 + _RIDGE) - weights
        towards = weights[np.ix_(free, fixed)] @ q[fixed]
        q[free] = solve(laplacian[np.ix_(free, free)], towards, assume_a="pos", check_finite=False)
    return q.clip(0, 1)


def _positive(degrees: np.ndarray) -> np.ndarray:
    return np.where(degrees > 0, degrees, 1)  # a node without edges keeps q = 0


def _degrees(weights: np.ndarray) -> np.ndarray:
    return np.diag(_positive(weights.sum(1)))


def _inverse(matrix: np.ndarray) -> np.ndarray:
    """Inverse of a symmetric positive definite matrix by Cholesky: a third of the work of a general inverse."""
    factor, failed = lapack.dpotrf(matrix)
    upper, failed = lapack.dpotri(factor) if not failed else (factor, failed)
    if failed:
        raise ValueError("the region graph's matrix is not positive definite; are the maps finite and in 0..1?")
    upper = np.triu(upper)
    return upper + np.triu(upper, 1).T
