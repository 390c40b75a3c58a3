"""VICReg against a loop over its definition and against NumPy's covariances."""

import numpy as np
import pytest
import torch

from contrabench.contracts import registry

from .conftest import agree, learn, pretrain_task

VICReg = registry.methods.get("vicreg")
module = __import__(VICReg.__module__, fromlist=["x"])


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
    found = module.vicreg_loss(first, second, *weights)
    agree(found, expected, (first, second))


def test_against_the_covariances_of_numpy():
    torch.manual_seed(0)
    first, second = 0.7 * torch.randn(20, 6).double(), 1.1 * torch.randn(20, 6).double()
    hinge = repeated = 0.0
    for z in (first, second):
        c = np.cov(z.T.numpy())
        hinge += np.maximum(0, 1 - np.sqrt(np.diag(c) + 1e-4)).mean() / 2
        repeated += ((c**2).sum() - (np.diag(c) ** 2).sum()) / 6
    expected = 25 * float(((first - second) ** 2).mean()) + 25 * hinge + repeated
    assert float(module.vicreg_loss(first, second)) == pytest.approx(expected, rel=1e-9)
    deviations = [z.numpy().std(axis=0, ddof=1).mean() for z in (first, second)]
    assert float(module.mean_deviation(first, second)) == pytest.approx(np.mean(deviations))


def test_equal_embeddings_pay_the_whole_variance_term():
    collapsed = torch.ones(6, 4)
    assert float(module.vicreg_loss(collapsed, collapsed)) == pytest.approx(25 * 0.99)
    assert float(module.mean_deviation(collapsed, collapsed)) == 0


def test_repeated_dimensions_pay_and_independent_ones_do_not():
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]) * 2
    assert float(module.vicreg_loss(signs, signs)) == pytest.approx(0, abs=1e-6)
    twice = signs[:, :1].repeat(1, 2)
    assert float(module.vicreg_loss(twice, twice)) == pytest.approx(2 * (16 / 3) ** 2)


def test_bf16_is_computed_in_float32():
    torch.manual_seed(0)
    first, second = torch.randn(8, 16).bfloat16(), torch.randn(8, 16).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        loss = module.vicreg_loss(first, second)
    assert loss.dtype == torch.float32
    exact = literal(first.double(), second.double(), 25, 25, 1)
    assert float(loss) == pytest.approx(float(exact), rel=1e-5)


def make(cases, batch=8, **options):
    return pretrain_task(VICReg(VICReg.Options(**options)), cases, batch)


@pytest.mark.parametrize("batch", [2, 16])
def test_training_lowers_the_loss_and_spreads_a_batch_of_many(cases, batch):
    first, *_, last = learn(make(cases, batch), 10, 1e-3)
    assert last.loss < first.loss
    # Two slices can vary along one direction only.
    assert batch == 2 or last.logs["deviation"] > first.logs["deviation"]


def test_options_reach_the_loss_and_the_expander(cases):
    task = make(cases, width=24, variance=0.0, covariance=0.0, invariance=2.0)
    linear = [m for m in task.objective.head.modules() if isinstance(m, torch.nn.Linear)]
    assert [layer.out_features for layer in linear] == [24] * 3
    assert all(layer.bias is None for layer in linear)
    batch, embedded = task.batch(0, 0, 1), []
    task.objective.head.register_forward_hook(lambda *a: embedded.append(a[2].detach()))
    loss = task(batch).loss.detach()
    expected = 2 * ((embedded[0] - embedded[1]) ** 2).mean()
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
