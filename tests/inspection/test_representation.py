import math

import numpy as np
import pytest
import torch

from contrabench.inspection.representation import (
    alignment,
    cell_shares,
    effective_rank,
    held_out_accuracy,
    held_out_r2,
    on_sphere,
    uniformity,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_on_sphere_keeps_directions_and_zeros():
    found = on_sphere(np.array([[3.0, 4.0], [0.0, 0.0]], np.float32))
    assert found.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0.0, 0.0]]


def test_alignment_of_known_points():
    east, north = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    assert alignment(np.stack([east, east]), np.stack([east, east])) == 0
    assert alignment(np.stack([east, east]), np.stack([north, -east])) == pytest.approx(3)


def test_uniformity_of_known_points():
    assert uniformity(np.ones((3, 1))) == 0
    # Two opposite points: one pair, 2 apart, so log exp(-2 * 4).
    assert uniformity(np.array([[1.0], [-1.0]])) == pytest.approx(-8)
    # The corners of a square: four sides of squared length 2, two diagonals of 4.
    square = np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    assert uniformity(square) == pytest.approx(math.log((4 * math.exp(-4) + 2 * math.exp(-8)) / 6))


def test_alignment_and_uniformity_match_a_literal_loop(rng):
    a, b = (on_sphere(rng.standard_normal((7, 5))) for _ in range(2))
    total = [sum((a[i, k] - b[i, k]) ** 2 for k in range(5)) for i in range(7)]
    assert alignment(a, b) == pytest.approx(sum(total) / 7, rel=1e-12)
    pairs = [
        math.exp(-2 * sum((a[i, k] - a[j, k]) ** 2 for k in range(5)))
        for i in range(7)
        for j in range(7)
        if i != j
    ]
    assert uniformity(a) == pytest.approx(math.log(sum(pairs) / len(pairs)), rel=1e-12)


def test_uniformity_of_many_even_points_tends_to_minus_four(rng):
    assert uniformity(on_sphere(rng.standard_normal((300, 2000)))) == pytest.approx(-4, abs=0.05)


def test_effective_rank_of_known_matrices(rng):
    assert effective_rank(np.eye(6)) == pytest.approx(6)
    assert effective_rank(7 * np.eye(6)) == pytest.approx(6)
    assert effective_rank(np.outer(rng.standard_normal(9), rng.standard_normal(4))) == (
        pytest.approx(1, abs=1e-6)
    )
    assert effective_rank(np.zeros((3, 3))) == 0
    # Singular values 3 and 1.
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert effective_rank(np.diag([3.0, 1.0])) == pytest.approx(math.exp(entropy))


def test_cell_shares_match_a_literal_loop():
    masks = torch.randint(0, 4, (3, 8, 12), generator=torch.Generator().manual_seed(0))
    found = cell_shares(masks.to(torch.uint8), 3, (4, 3))
    assert found.shape == (3, 3, 4, 3)
    for n in range(3):
        for k in range(3):
            for y in range(4):
                for x in range(3):
                    cell = masks[n, 2 * y : 2 * y + 2, 4 * x : 4 * x + 4]
                    assert found[n, k, y, x] == pytest.approx((cell == k + 1).sum().item() / 8)


def test_cell_shares_at_full_size_are_the_mask():
    masks = torch.randint(0, 3, (2, 4, 4), generator=torch.Generator().manual_seed(1))
    assert torch.equal(cell_shares(masks, 2, (4, 4))[:, 1], (masks == 2).float())


def test_the_probe_finds_a_planted_linear_relation_on_unseen_groups(rng):
    features = rng.standard_normal((400, 10)).astype(np.float32)
    planted = features @ rng.standard_normal((10, 2)) + 3
    noise = rng.standard_normal((400, 1))
    groups = np.repeat(np.arange(8), 50)
    found = held_out_r2(features, np.hstack([planted, noise]), groups)
    assert found[:2] == pytest.approx(1, abs=1e-3)
    assert found[2] < 0.02


def test_the_probe_gets_nothing_from_noise_and_nan_from_a_constant(rng):
    features = rng.standard_normal((300, 20))
    targets = np.hstack([rng.standard_normal((300, 2)), np.ones((300, 1))])
    found = held_out_r2(features, targets, np.repeat(np.arange(6), 50))
    assert (found[:2] < 0.02).all()
    assert math.isnan(found[2])


def test_what_only_tells_groups_apart_does_not_help_on_unseen_ones(rng):
    """Each group has its own level, which its features give away and no other's do."""
    groups = np.repeat(np.arange(8), 40)
    features = np.eye(8)[groups] + 0.01 * rng.standard_normal((320, 8))
    targets = rng.standard_normal(8)[groups][:, None] + 0.1 * rng.standard_normal((320, 1))
    assert held_out_r2(features, targets, np.arange(320) % 8)[0] > 0.9
    assert held_out_r2(features, targets, groups)[0] < 0.2


def test_two_groups_are_enough(rng):
    features = rng.standard_normal((60, 3))
    found = held_out_r2(features, features[:, :1] * 2, np.repeat([0, 1], 30))
    assert found[0] > 0.99


def test_accuracy_of_separable_classes_and_of_chance(rng):
    labels = np.tile([0, 1, 2], 80)
    groups = np.repeat(np.arange(6), 40)
    features = np.eye(3)[labels] + 0.05 * rng.standard_normal((240, 3))
    assert held_out_accuracy(features, labels, groups) == 1
    assert held_out_accuracy(rng.standard_normal((240, 3)), labels, groups) < 0.5


def test_accuracy_is_balanced(rng):
    """A class of nine in ten is no better than chance where nothing tells it."""
    labels = (np.arange(300) % 10 == 0).astype(int)
    found = held_out_accuracy(rng.standard_normal((300, 2)), labels, np.repeat(np.arange(6), 50))
    assert found == pytest.approx(0.5, abs=0.05)
