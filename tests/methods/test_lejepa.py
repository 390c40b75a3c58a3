"""LeJEPA: the test of normality as a loop over its sum, its closed values, and its directions."""

import math
from dataclasses import replace

import pytest
import torch

from contrabench.contracts import registry

from .conftest import agree, exactly, learn, pretrain_task

cls = registry.methods.get("lejepa")
module = __import__(cls.__module__, fromlist=["x"])


def make(cases, batch=8, **options):
    return pretrain_task(cls(cls.Options(directions=16, **options)), cases, batch)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def embeddings(views, rows, dim, seed=0):
    return torch.randn(views, rows, dim, generator=seeded(seed)).double()


def directions(dim, count, seed):
    """What lightly draws when the global generator stands at a seed."""
    drawn = torch.randn(dim, count, generator=seeded(seed), dtype=torch.float64)
    return (drawn / drawn.norm(dim=0)).T


def literal(views, unit):
    """|characteristic function - e^(-t^2/2)|^2 at 17 knots from -3 to 3 and back, one by one."""
    step, total = 3 / 16, 0
    for view in views:
        for a in unit:
            for knot in range(-16, 17):
                t = knot * step
                normal = math.exp(-(t**2) / 2)
                weight = step * (0.5 if abs(knot) == 16 else 1) * normal
                phases = [torch.exp(1j * t * (z * a).sum()) for z in view]
                total = total + weight * (sum(phases) / len(view) - normal).abs().square()
    return total * views.shape[1] / (len(views) * len(unit))


@pytest.mark.parametrize(("views", "rows", "dim", "count"), [(1, 2, 3, 4), (3, 5, 2, 2)])
def test_normality(views, rows, dim, count):
    points = embeddings(views, rows, dim).requires_grad_()
    found = module.GaussianTest(count)(points, seeded(7))
    expected = literal(points, directions(dim, count, 7))
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    ours, theirs = (torch.autograd.grad(loss, points)[0] for loss in (found, expected))
    # lightly keeps the weights of its knots in float32.
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_attraction_and_its_gradient():
    points = embeddings(4, 3, 2).requires_grad_()
    expected = 0
    for v in range(4):
        for b in range(3):
            for d in range(2):
                middle = (points[0, b, d] + points[1, b, d]) / 2
                expected = expected + (points[v, b, d] - middle) ** 2 / (4 * 3 * 2)
    agree(module.attraction(points, 2), expected, [points])


def test_equal_views_attract_no_further():
    same = embeddings(1, 5, 3).expand(4, 5, 3)
    assert float(module.attraction(same, 2)) == 0


def test_a_gaussian_cloud_costs_the_same_whatever_the_batch():
    # E |phi_B - phi|^2 = (1 - phi^2) / B for a sample of B; the knots then sum to 1.052.
    knots = [3 * k / 16 for k in range(17)]
    weights = [3 / 16 * (1 if k in (0, 16) else 2) for k in range(17)]
    exact = sum(
        w * math.exp(-(t**2) / 2) * (1 - math.exp(-(t**2)))
        for t, w in zip(knots, weights, strict=True)
    )
    assert exact == pytest.approx(1.052, abs=1e-3)
    test = module.GaussianTest(64)
    for rows in (4, 32):
        costs = [float(test(embeddings(32, rows, 16, seed), seeded(seed))) for seed in range(12)]
        mean = sum(costs) / len(costs)
        error = (sum((c - mean) ** 2 for c in costs) / (len(costs) - 1) / len(costs)) ** 0.5
        assert abs(mean - exact) < 4 * error
        assert error < 0.02


@pytest.mark.parametrize("rows", [2, 9])
def test_collapsed_embeddings_cost_in_proportion_to_the_batch(rows):
    zeros = module.GaussianTest(4)(torch.zeros(3, rows, 5), seeded(0))
    assert float(zeros) == pytest.approx(0.402 * rows, rel=2e-3)


@pytest.mark.parametrize("weight", [0.0, 0.05, 1.0])
def test_lightly_agrees_on_the_whole_loss(cases, weight):
    from lightly.loss import LeJEPALoss

    task = make(cases, weight=weight)
    batch, seen = task.batch(0, 0, 1), []
    task.objective.head.register_forward_hook(lambda *a: seen.append(a[2]))
    found = task(batch)
    views = seen[0].unflatten(0, (6, 8))
    torch.manual_seed(batch.generator("directions").initial_seed())
    theirs = LeJEPALoss(weight, sigreg_num_vectors=16)
    expected = theirs(local_proj=views[2:], global_proj=views[:2])
    assert found.loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_weight_takes_either_term_away(cases):
    for weight, term in ((0.0, "attraction"), (1.0, "gaussian")):
        task = make(cases, weight=weight)
        result = task(task.batch(0, 0, 1))
        assert result.loss.item() == result.logs[term].item()


def test_directions_are_those_of_seed_and_step(cases):
    task, again = make(cases), make(cases)
    batch = exactly(task.batch(3, 0, 1))
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = task.double()(batch).loss.item()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert again.double()(exactly(again.batch(3, 0, 1))).loss.item() == first
    other = replace(batch, seed=task.batch(4, 0, 1).seed)
    assert task(other).loss.item() != first


def test_everything_learns(cases):
    results = learn(make(cases), 12, 1e-2)
    assert results[-1].loss < 0.8 * results[0].loss


def test_without_small_crops(cases):
    task = make(cases, small_crops=0)
    assert len(task.batch(0, 0, 1).views) == 2
    assert torch.isfinite(task(task.batch(0, 0, 1)).loss)


def test_published_settings_are_options_of_stages_that_exist():
    options = cls.Options.model_validate(cls.published.options)
    assert options.small_crops == 6
    assert set(cls.published.stages) == {stage.name for stage in cls(options).stages()}
