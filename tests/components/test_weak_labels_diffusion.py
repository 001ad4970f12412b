"""The spec's properties of self-diffusion on generated graphs, and each formulation beside a dense loop reference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.weak_labels.core.diffusion import discounted, random_walk, truncated

DISCOUNT = 0.99
FORMULATIONS = {
    "discounted": lambda weights, seeds: discounted(weights, seeds, DISCOUNT),
    "truncated": lambda weights, seeds: truncated(weights, seeds, 15),
    "random_walk": random_walk,
}


@st.composite
def graphs(draw, labels=2):
    """(weights, seeds): 1-14 nodes, often in several components, weights .01-1, every node seeds one label at most."""
    count = draw(st.integers(1, 14))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    linked = np.triu(rng.random((count, count)) < draw(st.sampled_from([0.0, 0.1, 0.3, 0.8])), 1)
    weights = np.where(linked, rng.uniform(0.01, 1, (count, count)), 0)
    owner = rng.integers(0, labels + draw(st.integers(0, 8)), count)
    return weights + weights.T, owner[:, None] == np.arange(labels)


def reached(weights, seeds):
    """bool [N, K]: nodes connected with a seed, by flooding."""
    reach = seeds.copy()
    for _ in range(len(weights)):
        for i in range(len(weights)):
            for j in range(len(weights)):
                if weights[i, j] > 0:
                    reach[i] |= reach[j]
    return reach


def reference_discounted(weights, seeds, discount):
    """One dense system a label, a row a node: q_i = 1 on seeds, d_i q_i = discount sum_j z_ij q_j elsewhere."""
    count, labels = seeds.shape
    q = np.zeros((count, labels))
    for label in range(labels):
        rows, right = np.zeros((count, count)), np.zeros(count)
        for i in range(count):
            degree = sum(weights[i])
            rows[i, i] = 1 if seeds[i, label] or degree == 0 else degree
            right[i] = seeds[i, label]
            if not seeds[i, label]:
                for j in range(count):
                    rows[i, j] -= discount * weights[i, j]
        q[:, label] = np.linalg.solve(rows, right)
    return q


def reference_truncated(weights, seeds, iterations):
    count, labels = seeds.shape
    q = [[float(seeds[i, k]) for k in range(labels)] for i in range(count)]
    for _ in range(iterations):
        before = [row[:] for row in q]
        for i in range(count):
            for k in range(labels):
                degree = sum(weights[i])
                if not seeds[i, k]:
                    q[i][k] = sum(weights[i, j] * before[j][k] for j in range(count)) / degree if degree else 0.0
    return np.array(q)


def reference_random_walk(weights, seeds):
    """A walker's chance to meet each label first: the walk's matrix applied until nothing moves."""
    count = len(weights)
    step = np.zeros((count, count))
    for i in range(count):
        if seeds[i].any() or not weights[i].any():
            step[i, i] = 1
        else:
            step[i] = weights[i] / sum(weights[i])
    for _ in range(40):  # 2^40 steps
        step = step @ step
        step /= step.sum(1, keepdims=True)
    return step @ seeds


@given(graphs(), st.floats(0.05, 0.999))
def test_discounted_equals_a_dense_solve(graph, discount):
    np.testing.assert_allclose(discounted(*graph, discount), reference_discounted(*graph, discount), atol=1e-8)


@given(graphs(), st.integers(1, 12))
def test_truncated_equals_loops(graph, iterations):
    np.testing.assert_allclose(truncated(*graph, iterations), reference_truncated(*graph, iterations), atol=1e-12)


@given(graphs(labels=3))
def test_random_walk_equals_the_walk_itself(graph):
    np.testing.assert_allclose(random_walk(*graph), reference_random_walk(*graph), atol=1e-5)


@pytest.mark.parametrize("name", FORMULATIONS)
@given(graph=graphs())
def test_range_seeds_and_reach(name, graph):
    weights, seeds = graph
    q = FORMULATIONS[name](weights, seeds)
    assert q.shape == seeds.shape and np.all((q >= 0) & (q <= 1))
    assert np.all(q[seeds] == 1)
    assert np.all(q[~reached(weights, seeds)] == 0)


@pytest.mark.parametrize("name", FORMULATIONS)
@given(graph=graphs(), order=st.randoms(use_true_random=False))
def test_order_of_nodes_does_not_matter(name, graph, order):
    weights, seeds = graph
    nodes = list(range(len(seeds)))
    order.shuffle(nodes)
    permuted = FORMULATIONS[name](weights[np.ix_(nodes, nodes)], seeds[nodes])
    np.testing.assert_allclose(permuted, FORMULATIONS[name](weights, seeds)[nodes], atol=1e-7)


@pytest.mark.parametrize("name", FORMULATIONS)
@given(graph=graphs(), data=st.data())
def test_more_seeds_of_a_label_never_lower_it(name, graph, data):
    weights, seeds = graph
    more = seeds.copy()
    node = data.draw(st.integers(0, len(seeds) - 1))
    more[node] = [True, False]
    assert np.all(FORMULATIONS[name](weights, more)[:, 0] >= FORMULATIONS[name](weights, seeds)[:, 0] - 1e-7)


@settings(max_examples=50)
@given(graphs())
def test_discount_towards_one_is_the_degenerate_printed_equation(graph):
    weights, seeds = graph
    np.testing.assert_allclose(discounted(weights, seeds, 1 - 1e-9), reached(weights, seeds), atol=1e-3)
    np.testing.assert_allclose(truncated(weights, seeds, 40_000), reached(weights, seeds), atol=1e-3)


def test_random_walk_separates_what_discounted_only_ranks():
    chain = np.diag(np.ones(4), 1) + np.diag(np.ones(4), -1)
    seeds = np.zeros((5, 2), bool)
    seeds[0, 0] = seeds[4, 1] = True
    np.testing.assert_allclose(random_walk(chain, seeds)[:, 0], [1, 0.75, 0.5, 0.25, 0], atol=1e-6)
    decaying = discounted(chain, seeds, DISCOUNT)[:, 0]
    assert np.all(np.diff(decaying) < 0) and decaying[-1] > 0.8


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seed", range(5))
def test_weights_may_differ_by_thirty_powers_of_ten(seed):
    """Odd superpixels hang on by edges of e^-70; rows are divided by their degree for the reference's sake."""
    rng = np.random.default_rng(seed)
    weights = 10.0 ** rng.uniform(-30, 0, (12, 1)) * np.triu(rng.uniform(0.1, 1, (12, 12)), 1)
    weights += weights.T
    seeds = rng.integers(0, 3, 12)[:, None] == np.arange(2)
    step = DISCOUNT * weights / weights.sum(1)[:, None]
    q = discounted(weights, seeds, DISCOUNT)
    for label, own in enumerate(seeds.T):
        free = ~own
        rows = np.eye(free.sum()) - step[np.ix_(free, free)]
        np.testing.assert_allclose(q[free, label], np.linalg.solve(rows, step[np.ix_(free, own)].sum(1)), rtol=1e-6)
