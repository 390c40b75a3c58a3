"""Barlow Twins against a loop over its definition and against NumPy's correlations."""

import numpy as np
import pytest
import torch

from contrabench.contracts import registry

from .conftest import agree, learn, pretrain_task

BarlowTwins = registry.methods.get("barlow_twins")
module = __import__(BarlowTwins.__module__, fromlist=["x"])


def literal(first, second, weight, epsilon=1e-5):
    count, dims = first.shape

    def standardised(z, i):
        mean = sum(z[b, i] for b in range(count)) / count
        variance = sum((z[b, i] - mean) ** 2 for b in range(count)) / count
        return [(z[b, i] - mean) / torch.sqrt(variance + epsilon) for b in range(count)]

    total = 0
    for i in range(dims):
        a = standardised(first, i)
        for j in range(dims):
            c = sum(x * y for x, y in zip(a, standardised(second, j), strict=True)) / count
            total = total + ((1 - c) ** 2 if i == j else weight * c**2)
    return total


@pytest.mark.parametrize(("count", "dims"), [(2, 3), (5, 4), (9, 2), (3, 7)])
@pytest.mark.parametrize("weight", [0.0051, 0.5, 0.0])
def test_barlow_twins_loss(count, dims, weight):
    generator = torch.Generator().manual_seed(count * dims)
    first, second = (
        (3 * torch.randn(count, dims, generator=generator).double() + 1).requires_grad_()
        for _ in range(2)
    )
    expected = literal(first, second, weight)
    found = module.barlow_twins_loss(first, second, weight)
    agree(found, expected, (first, second))


def correlations(first, second):
    return np.corrcoef(first.T.numpy(), second.T.numpy())[: first.shape[1], first.shape[1] :]


def test_against_the_correlations_of_numpy():
    torch.manual_seed(0)
    first, second = torch.randn(20, 6).double(), torch.randn(20, 6).double()
    c = correlations(first, second)
    diagonal = np.diag(c)
    expected = ((1 - diagonal) ** 2).sum() + 0.0051 * ((c**2).sum() - (diagonal**2).sum())
    assert float(module.barlow_twins_loss(first, second, 0.0051)) == pytest.approx(
        expected, rel=1e-4
    )
    assert float(module.mean_correlation(first, second)) == pytest.approx(diagonal.mean())


def test_scale_and_shift_of_a_dimension_change_nothing():
    torch.manual_seed(1)
    first, second = torch.randn(16, 5), torch.randn(16, 5)
    moved = first * torch.tensor([1.0, 2.0, 5.0, 10.0, 3.0]) + 7
    a = module.barlow_twins_loss(first, second, 0.1)
    b = module.barlow_twins_loss(moved, second, 0.1)
    assert float(a) == pytest.approx(float(b), rel=1e-4)


def test_equal_whitened_views_are_the_optimum_and_equal_embeddings_the_worst():
    torch.manual_seed(0)
    plain = torch.randn(12, 4)
    white = torch.linalg.qr(plain - plain.mean(dim=0))[0] * 10
    assert float(module.barlow_twins_loss(white, white, 1.0)) == pytest.approx(0, abs=1e-5)
    collapsed = torch.ones(12, 4)
    assert float(module.barlow_twins_loss(collapsed, collapsed, 1.0)) == pytest.approx(4)
    assert float(module.mean_correlation(white, white)) == pytest.approx(1)
    assert float(module.mean_correlation(collapsed, collapsed)) == pytest.approx(0)


def test_bf16_is_computed_in_float32():
    torch.manual_seed(0)
    first, second = torch.randn(8, 16).bfloat16(), torch.randn(8, 16).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        loss = module.barlow_twins_loss(first, second, 0.1)
    assert loss.dtype == torch.float32
    exact = literal(first.double(), second.double(), 0.1)
    assert float(loss) == pytest.approx(float(exact), rel=1e-5)


def make(cases, batch=8, **options):
    return pretrain_task(BarlowTwins(BarlowTwins.Options(**options)), cases, batch)


@pytest.mark.parametrize("batch", [2, 16])
def test_training_raises_the_correlation(cases, batch):
    first, *_, last = learn(make(cases, batch), 10, 1e-3)
    assert last.loss < first.loss
    assert last.logs["correlation"] > first.logs["correlation"]


def test_width_of_the_projector(cases):
    def widths(**options):
        layers = make(cases, **options).objective.head.modules()
        return [m.out_features for m in layers if isinstance(m, torch.nn.Linear)]

    assert widths() == [256] * 3
    assert widths(width=24) == [24] * 3
    linear = [m for m in make(cases).objective.head.modules() if isinstance(m, torch.nn.Linear)]
    assert all(layer.bias is None for layer in linear)
