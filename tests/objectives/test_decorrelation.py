"""VICReg's loss against a loop over its definition, NumPy's covariances, and lightly's class."""

import numpy as np
import pytest
import torch
from lightly.loss import VICRegLoss

from contrabench.objectives.decorrelation import vicreg_terms

from .conftest import agree as functions_agree


def literal(first, second, invariance, variance, covariance):
    count, dims = first.shape

    def cov(z, i, j):
        mean_i, mean_j = (sum(z[b, k] for b in range(count)) / count for k in (i, j))
        return sum((z[b, i] - mean_i) * (z[b, j] - mean_j) for b in range(count)) / (count - 1)

    distance = sum((first[b, i] - second[b, i]) ** 2 for b in range(count) for i in range(dims)) / (
        count * dims
    )
    hinge = repeated = 0
    for z in (first, second):
        for i in range(dims):
            deviation = torch.sqrt(cov(z, i, i) + 1e-4)
            hinge = hinge + torch.clamp(1 - deviation, min=0) / (2 * dims)
            for j in range(dims):
                if i != j:
                    repeated = repeated + cov(z, i, j) ** 2 / dims
    return invariance * distance + variance * hinge + covariance * repeated


@pytest.mark.parametrize(("count", "dims"), [(2, 3), (5, 4), (9, 2), (3, 7)])
@pytest.mark.parametrize("weights", [(25, 25, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1)])
@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_vicreg_loss(count, dims, weights, scale):
    generator = torch.Generator().manual_seed(count * dims)
    first, second = (
        (scale * torch.randn(count, dims, generator=generator).double() + 1).requires_grad_()
        for _ in range(2)
    )
    expected = literal(first, second, *weights)
    found = vicreg_terms(first, second, *weights)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    ours, theirs = (torch.autograd.grad(loss, (first, second)) for loss in (found, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-10)


def test_against_the_covariances_of_numpy():
    torch.manual_seed(0)
    first, second = 0.7 * torch.randn(20, 6).double(), 1.1 * torch.randn(20, 6).double()
    hinge = repeated = 0.0
    for z in (first, second):
        c = np.cov(z.T.numpy())
        hinge += np.maximum(0, 1 - np.sqrt(np.diag(c) + 1e-4)).mean() / 2
        repeated += ((c**2).sum() - (np.diag(c) ** 2).sum()) / 6
    expected = 25 * float(((first - second) ** 2).mean()) + 25 * hinge + repeated
    assert float(vicreg_terms(first, second, 25, 25, 1)) == pytest.approx(expected, rel=1e-9)


def test_equal_embeddings_pay_the_whole_variance_term():
    collapsed = torch.ones(6, 4)
    assert float(vicreg_terms(collapsed, collapsed, 25, 25, 1)) == pytest.approx(25 * 0.99)


def test_repeated_dimensions_pay_and_independent_ones_do_not():
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]) * 2
    assert float(vicreg_terms(signs, signs, 25, 25, 1)) == pytest.approx(0, abs=1e-6)
    twice = signs[:, :1].repeat(1, 2)
    assert float(vicreg_terms(twice, twice, 25, 25, 1)) == pytest.approx(2 * (16 / 3) ** 2)


def test_bf16_is_computed_in_float32():
    torch.manual_seed(0)
    first, second = torch.randn(8, 16).bfloat16(), torch.randn(8, 16).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        loss = vicreg_terms(first, second, 25, 25, 1)
    assert loss.dtype == torch.float32
    exact = literal(first.double(), second.double(), 25, 25, 1)
    assert float(loss) == pytest.approx(float(exact), rel=1e-5)


@pytest.mark.parametrize("shape", [(2, 3), (7, 4), (5, 3, 4)])
def test_lightly_agrees(shape):
    first, second = 0.8 * torch.randn(2, *shape, generator=torch.Generator().manual_seed(1))
    theirs = VICRegLoss(lambda_param=3.0, mu_param=2.0, nu_param=0.5)
    functions_agree(lambda a, b: vicreg_terms(a, b, 3.0, 2.0, 0.5), theirs, first, second)
