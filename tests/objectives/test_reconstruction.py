"""Targets and errors of reconstruction against loops over their definitions."""

import statistics

import pytest
import torch

from contrabench.objectives.reconstruction import hidden_error, normalised_blocks

from .conftest import agree


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("size", "grid"), [((8, 8), (2, 2)), ((12, 24), (4, 2)), ((6, 9), (3, 3))])
def test_normalised_blocks(size, grid, channels):
    torch.manual_seed(0)
    images = torch.randn(3, channels, *size, dtype=torch.float64) * 3 + 5
    images[1, :, : size[0] // grid[0]] = 2.5
    expected = torch.zeros_like(images)
    height, width = (side // count for side, count in zip(size, grid, strict=True))
    for b in range(3):
        for c in range(channels):
            for top in range(0, size[0], height):
                for left in range(0, size[1], width):
                    where = (b, c, slice(top, top + height), slice(left, left + width))
                    values = images[where].flatten().tolist()
                    mean, variance = statistics.mean(values), statistics.variance(values)
                    expected[where] = (images[where] - mean) / (variance + 1e-6) ** 0.5
    torch.testing.assert_close(normalised_blocks(images, grid), expected, rtol=1e-6, atol=1e-9)


def test_a_flat_block_is_zero():
    images = torch.full((2, 1, 8, 8), -1.2345)
    assert normalised_blocks(images, (2, 2)).abs().max() < 1e-3


@pytest.mark.parametrize(("batch", "channels"), [(1, 1), (2, 3), (5, 1)])
def test_hidden_error(batch, channels):
    torch.manual_seed(batch)
    hidden = torch.rand(batch, 8, 8) < 0.4

    def literal(predicted, target):
        terms = [
            sum((predicted[b, c, y, x] - target[b, c, y, x]) ** 2 for c in range(channels))
            for b, y, x in hidden.nonzero().tolist()
        ]
        return sum(terms) / (channels * len(terms))

    predicted, target = torch.randn(2, batch, channels, 8, 8)
    agree(lambda a, b: hidden_error(a, b, hidden), literal, predicted, target)


def test_nothing_hidden_is_no_error():
    images = torch.randn(2, 1, 4, 4)
    assert hidden_error(images, images + 1, torch.zeros(2, 4, 4, dtype=torch.bool)) == 0
