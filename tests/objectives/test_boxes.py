"""Boxes and their bounds against loops."""

from collections import Counter

import pytest
import torch

from contrabench.objectives.boxes import between, inside


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_numbers_are_uniform_and_reach_both_bounds():
    drawn = between(3, 6, (8000,), generator())
    counts = Counter(drawn.tolist())
    assert set(counts) == {3, 4, 5, 6}
    # Six standard deviations of a binomial count.
    assert all(abs(count - 2000) < 6 * (8000 * 0.25 * 0.75) ** 0.5 for count in counts.values())
    assert drawn.dtype == torch.long


def test_bounds_may_differ_from_place_to_place():
    high = torch.tensor([0, 1, 9])
    drawn = between(0, high, (500, 3), generator())
    assert (drawn.amax(0) == high).all()
    assert (drawn.amin(0) == 0).all()
    assert torch.equal(drawn, between(0, high, (500, 3), generator()))


@pytest.mark.parametrize("size", [(5, 7), (6, 6)])
def test_inside(size):
    top, left = torch.tensor([[0, 2], [-1, 4]]), torch.tensor([[0, 3], [1, 5]])
    height, width = torch.tensor([[2, 1], [3, 9]]), torch.tensor([[1, 4], [0, 2]])
    found = inside(top, left, height, width, size)
    assert found.shape == (2, 2, *size)
    for i in range(2):
        for j in range(2):
            for y in range(size[0]):
                for x in range(size[1]):
                    within = (
                        top[i, j] <= y < top[i, j] + height[i, j]
                        and left[i, j] <= x < left[i, j] + width[i, j]
                    )
                    assert found[i, j, y, x] == within
