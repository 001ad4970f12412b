"""Region means, adjacency, edge weights and seeds beside plain loops."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from components.weak_labels.core.label_config import LabelConfig
from components.weak_labels.core.region_graph import adjacency, edge_weights, region_means
from components.weak_labels.core.seeds import find_seeds

SETTINGS = LabelConfig(seed_threshold=0.6, background_seed=0.3, background_activation=0.3)


def label_map(seed, height, width, count):
    labels = np.random.default_rng(seed).integers(0, count, (height, width))
    return np.unique(labels, return_inverse=True)[1].reshape(height, width)


maps = st.builds(label_map, st.integers(0, 2**32 - 1), st.integers(1, 7), st.integers(1, 7), st.integers(1, 9))


def reference_adjacency(labels, second_neighbours, border_links):
    height, width = labels.shape
    near = {int(label): set() for label in labels.ravel()}
    border = set()
    for y in range(height):
        for x in range(width):
            if y in (0, height - 1) or x in (0, width - 1):
                border.add(int(labels[y, x]))
            for other_y, other_x in ((y + 1, x), (y, x + 1)):
                if other_y < height and other_x < width:
                    near[int(labels[y, x])].add(int(labels[other_y, other_x]))
                    near[int(labels[other_y, other_x])].add(int(labels[y, x]))
    near = {label: around - {label} for label, around in near.items()}
    linked = np.zeros((len(near), len(near)), bool)
    for label, around in near.items():
        for other in around:
            linked[label, other] = True
            if second_neighbours:
                for further in near[other] - {label}:
                    linked[label, further] = True
        if border_links and label in border:
            for other in border - {label}:
                linked[label, other] = True
    return linked


@given(maps, st.booleans(), st.booleans())
def test_adjacency_equals_loops(labels, second_neighbours, border_links):
    expected = reference_adjacency(labels, second_neighbours, border_links)
    np.testing.assert_array_equal(adjacency(labels, second_neighbours, border_links), expected)


@given(maps, st.integers(0, 3))
def test_region_means_equal_loops(labels, channels):
    values = np.random.default_rng(1).random((*labels.shape, channels))
    expected = [[values[..., k][labels == label].mean() for k in range(channels)] for label in range(labels.max() + 1)]
    means = region_means(labels, values)
    assert means.shape == (labels.max() + 1, channels)
    np.testing.assert_allclose(means, np.reshape(expected, means.shape))


def test_edge_weights_use_the_norm_as_printed():
    features = np.array([[0.0, 0, 0, 0], [0.3, 0, 0, 0.4], [0, 0, 0, 0]])
    weights = edge_weights(features, ~np.eye(3, dtype=bool), sigma=0.5)
    np.testing.assert_allclose(weights, [[0, np.exp(-1), 1], [np.exp(-1), 0, np.exp(-1)], [1, np.exp(-1), 0]])


def test_seeds_go_to_the_relatively_hotter_tag_and_dull_regions_to_background():
    activations = np.array([[1.0, 0.1], [0.7, 0.4], [0.65, 0.0], [0.1, 0.0], [0.1, 0.1], [0.2, 0.5]])
    objectness = np.array([0.9, 0.9, 0.0, 0.8, 0.1, 0.1])
    seeds = find_seeds(activations, objectness, SETTINGS)
    expected = [[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 0], [0, 0, 1], [0, 1, 0]]
    np.testing.assert_array_equal(seeds, np.array(expected, bool))


def test_an_empty_activation_map_seeds_nothing():
    seeds = find_seeds(np.zeros((4, 2)), np.full(4, 0.5), SETTINGS)
    assert not seeds.any()
