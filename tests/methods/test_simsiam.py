"""SimSiam: its loss in a loop, where the gradient stops, its heads and its collapse watch."""

import pytest
import torch
from torch.nn import functional

from contrabench.contracts import registry

from .conftest import agree, exactly, pretrain_task

cls = registry.methods.get("simsiam")
module = __import__(cls.__module__, fromlist=["x"])


def make_task(cases, batch=8):
    return pretrain_task(cls(), cases, batch)


def literal(p1, p2, z1, z2):
    total = 0
    for p, z in ((p1, z2), (p2, z1)):
        for a, b in zip(p, z, strict=True):
            total = total - 0.5 * (a * b).sum() / (a.norm() * b.norm()) / len(p)
    return total


@pytest.mark.parametrize(("rows", "dim"), [(1, 4), (2, 3), (7, 5)])
def test_loss(rows, dim):
    torch.manual_seed(rows)
    predictions = [torch.randn(rows, dim, dtype=torch.float64, requires_grad=True) for _ in "12"]
    projections = [torch.randn(rows, dim, dtype=torch.float64, requires_grad=True) for _ in "12"]
    expected = literal(*predictions, *(z.detach() for z in projections))
    value = module.siamese_loss(tuple(predictions), tuple(projections))
    agree(value, expected, predictions)
    stopped = torch.autograd.grad(value, projections, allow_unused=True)
    assert stopped == (None, None)


@pytest.mark.parametrize("batch", [2, 8])
def test_gradients_of_a_step_by_hand(cases, batch):
    task = make_task(cases, batch).double()
    views = exactly(task.batch(0, 0, 1))
    objective, net = task.objective, task.backbone
    weights = [p for p in task.parameters() if p.requires_grad]
    projections = [
        objective.projector(net.features(view.image, ("centre",))["centre"].mean((2, 3)))
        for view in views.views
    ]
    predictions = [objective.predictor(z) for z in projections]
    expected = literal(*predictions, *(z.detach() for z in projections))
    agree(task(views).loss, expected, weights)


def test_without_the_stop_the_gradient_would_be_another(cases):
    torch.manual_seed(0)
    z1, z2 = (torch.randn(5, 8, requires_grad=True) for _ in "12")
    predictor = torch.nn.Linear(8, 8)
    stopped = module.siamese_loss((predictor(z1), predictor(z2)), (z1, z2))
    flowing = literal(predictor(z1), predictor(z2), z1, z2)
    assert stopped.item() == pytest.approx(flowing.item(), rel=1e-5)
    (a,), (b,) = torch.autograd.grad(stopped, [z1]), torch.autograd.grad(flowing, [z1])
    assert not torch.allclose(a, b, rtol=1e-2)


def test_heads_are_those_of_the_authors(cases):
    objective = make_task(cases).objective
    kinds = [type(layer).__name__ for layer in objective.projector.layers]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU"] * 2 + ["Linear", "BatchNorm1d"]
    assert not objective.projector.layers[-1].affine
    assert {layer.out_features for layer in objective.projector.layers[::3]} == {64}
    first, *_, last = objective.predictor.layers
    assert (first.in_features, first.out_features, last.out_features) == (64, 16, 64)


def test_the_spread_is_logged_and_tells_a_collapse(cases):
    task = make_task(cases)
    batch = task.batch(0, 0, 1)
    spread = task(batch).logs["spread"]
    assert not spread.requires_grad
    assert 0.5 < float(spread) < 1.2
    with torch.no_grad():
        task.objective.projector.layers[-2].weight.zero_()
    assert float(task(batch).logs["spread"]) == pytest.approx(0, abs=1e-6)


def test_the_predictions_grow_alike_within_a_few_steps(cases):
    task = make_task(cases)
    optimizer = torch.optim.AdamW([p for p in task.parameters() if p.requires_grad], lr=1e-3)
    results = []
    for step in range(12):
        result = task(task.batch(step, 0, 1))
        optimizer.zero_grad()
        result.loss.backward()
        optimizer.step()
        results.append(result)
    assert results[-1].loss.item() < results[0].loss.item()
    assert min(float(result.logs["spread"]) for result in results) > 0.3


def test_published_stages_exist():
    assert set(cls.published.stages) == {stage.name for stage in cls().stages()}


def test_lightly_and_torch_agree_on_the_cosine():
    torch.manual_seed(2)
    p1, p2, z1, z2 = torch.randn(4, 9, 6)
    value = module.siamese_loss((p1, p2), (z1, z2))
    similarity = functional.cosine_similarity(torch.cat((p1, p2)), torch.cat((z2, z1)))
    assert float(value) == pytest.approx(-float(similarity.mean()), rel=1e-5)
