"""The negative cosine and the collapse watch against their definitions."""

import math

import pytest
import torch
from torch.nn import functional

from contrabench.objectives.prediction import negative_cosine, spread


def literal(prediction, target):
    total = 0
    for p, z in zip(prediction, target, strict=True):
        total = total - (p * z).sum() / (p.norm() * z.norm())
    return total / len(prediction)


@pytest.mark.parametrize(("rows", "dim"), [(1, 3), (2, 5), (9, 4)])
def test_negative_cosine(rows, dim):
    torch.manual_seed(rows)
    prediction = torch.randn(rows, dim, dtype=torch.float64, requires_grad=True)
    target = torch.randn(rows, dim, dtype=torch.float64)
    expected = literal(prediction, target)
    value = negative_cosine(prediction, target)
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)
    (found,) = torch.autograd.grad(value, prediction)
    (wanted,) = torch.autograd.grad(expected, prediction)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-9)


def test_the_target_gets_no_gradient():
    prediction, target = (torch.randn(4, 3, requires_grad=True) for _ in range(2))
    negative_cosine(prediction, target).backward()
    assert target.grad is None


def test_half_precision_is_computed_in_float32():
    torch.manual_seed(0)
    prediction, target = (torch.randn(16, 32).bfloat16() for _ in range(2))
    with torch.autocast("cpu", torch.bfloat16):
        value = negative_cosine(prediction, target)
    assert value.dtype == torch.float32
    expected = literal(prediction.double(), target.double())
    assert value.item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-6)


def test_spread_of_one_point_and_of_a_sphere():
    torch.manual_seed(0)
    assert float(spread(torch.ones(8, 16))) == pytest.approx(0, abs=1e-6)
    assert float(spread(torch.randn(4000, 16))) == pytest.approx(1, abs=0.02)
    assert float(spread(torch.tensor([[1.0, 0.0], [-3.0, 0.0]]))) == pytest.approx(1)


def test_spread_by_hand_and_by_lightly():
    from lightly.utils.debug import std_of_l2_normalized

    torch.manual_seed(1)
    z = torch.randn(6, 5) + 1
    unit = functional.normalize(z, dim=1)
    deviations = []
    for column in unit.T.tolist():
        mean = sum(column) / 6
        deviations.append(math.sqrt(sum((v - mean) ** 2 for v in column) / 5))
    expected = sum(deviations) / 5 * math.sqrt(5)
    assert float(spread(z)) == pytest.approx(expected, rel=1e-5)
    assert float(spread(z)) == pytest.approx(float(std_of_l2_normalized(z)) * 5**0.5, rel=1e-5)
