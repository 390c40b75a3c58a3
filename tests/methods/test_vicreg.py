"""VICReg: its training, and how its options reach the loss."""

import numpy as np
import pytest
import torch

from contrabench.contracts import registry

from .conftest import learn, pretrain_task

VICReg = registry.methods.get("vicreg")
module = __import__(VICReg.__module__, fromlist=["x"])


def test_the_deviation_that_is_logged():
    first, second = torch.randn(2, 20, 6, generator=torch.Generator().manual_seed(0)).double()
    deviations = [z.numpy().std(axis=0, ddof=1).mean() for z in (first, second)]
    assert float(module.mean_deviation(first, second)) == pytest.approx(np.mean(deviations))
    assert float(module.mean_deviation(first * 0, second * 0)) == 0


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
