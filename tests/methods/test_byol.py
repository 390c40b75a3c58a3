"""BYOL: its loss as a squared distance in a loop, the stopped gradient, and the target's way."""

import copy
import math

import pytest
import torch

from contrabench.contracts import registry

from .conftest import agree, exactly, pretrain_task

cls = registry.methods.get("byol")
module = __import__(cls.__module__, fromlist=["x"])


def make_task(cases, batch=8, **options):
    return pretrain_task(cls(cls.Options(**options)), cases, batch).double()


def train(task, steps, start=0):
    optimizer = torch.optim.SGD([p for p in task.parameters() if p.requires_grad], lr=0.05)
    losses = []
    for step in range(start, start + steps):
        loss = task(exactly(task.batch(step, 0, 1))).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        task.after_step((step + 1) / 10)
        losses.append(loss.item())
    return losses


def literal(q1, q2, t1, t2):
    """Squared distance of the unit vectors, which is 2 - 2 cos, for both directions."""
    total = 0
    for q, t in ((q1, t2), (q2, t1)):
        for a, b in zip(q, t, strict=True):
            total = total + (a / a.norm() - b / b.norm()).square().sum() / len(q)
    return total


@pytest.mark.parametrize(("rows", "dim"), [(1, 4), (2, 3), (7, 5)])
def test_loss(rows, dim):
    torch.manual_seed(rows)
    predictions = [torch.randn(rows, dim, dtype=torch.float64, requires_grad=True) for _ in "12"]
    targets = [torch.randn(rows, dim, dtype=torch.float64) for _ in "12"]
    expected = literal(*predictions, *targets)
    value = module.bootstrap_loss(tuple(predictions), tuple(targets))
    agree(value, expected, predictions)


def test_exchanging_the_views_changes_nothing_and_wrong_partners_do():
    torch.manual_seed(0)
    q1, q2, t1, t2 = torch.randn(4, 6, 5)
    value = module.bootstrap_loss((q1, q2), (t1, t2))
    assert float(module.bootstrap_loss((q2, q1), (t2, t1))) == pytest.approx(float(value))
    assert float(module.bootstrap_loss((q1, q2), (t2, t1))) != pytest.approx(float(value))
    assert float(module.bootstrap_loss((q1, q2), (q2, q1))) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("batch", [2, 8])
def test_steps_by_hand(cases, batch):
    """The online network learns, the target follows with a momentum on its way to 1."""
    task = make_task(cases, batch, momentum=0.6)
    net = copy.deepcopy(task.backbone)
    projector, predictor = (
        copy.deepcopy(part) for part in (task.objective.projector, task.objective.predictor)
    )
    online = torch.nn.ModuleList([net, projector])
    target = copy.deepcopy(online)
    learnt = [p for p in (*online.parameters(), *predictor.parameters()) if p.requires_grad]
    optimizer = torch.optim.SGD(learnt, lr=0.05)

    def embed(pair, image):
        return pair[1](pair[0].features(image, ("centre",))["centre"].mean((2, 3)))

    expected = []
    for step in range(3):
        images = [view.image for view in exactly(task.batch(step, 0, 1)).views]
        predictions = [predictor(embed(online, image)) for image in images]
        targets = [embed(target, image).detach() for image in images]
        loss = literal(*predictions, *targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        keep = 1 - 0.4 * (math.cos(math.pi * (step + 1) / 10) + 1) / 2
        with torch.no_grad():
            for a, b in zip(target.parameters(), online.parameters(), strict=True):
                a.copy_(keep * a + (1 - keep) * b)
        expected.append(loss.item())
    assert train(task, 3) == pytest.approx(expected, rel=1e-6)


def test_no_gradient_reaches_the_target(cases):
    task = make_task(cases)
    task(exactly(task.batch(0, 0, 1))).loss.backward()
    assert all(value.grad is None and not value.requires_grad for value in task.objective.buffers())


def test_the_target_stands_still_at_the_end(cases):
    task = make_task(cases)
    train(task, 1)
    before = {name: v.clone() for name, v in task.objective.target_backbone.named_buffers()}
    task.after_step(1.0)
    assert all(
        torch.equal(v, before[name]) for name, v in task.objective.target_backbone.named_buffers()
    )


def test_heads_are_those_of_the_authors(cases):
    objective = make_task(cases, dim=24).objective
    for head in (objective.projector, objective.predictor):
        first, norm, _, last = head.layers
        assert isinstance(norm, torch.nn.BatchNorm1d)
        assert first.out_features == 128
        assert (first.bias, last.bias, last.out_features) == (None, None, 24)


def test_only_the_first_view_is_blurred():
    first, second = cls().stages()[0].views
    assert (first.intensity.blur_px, second.intensity.blur_px) == (1.0, 0.0)
    assert second.intensity.model_copy(update={"blur_px": 1.0}) == first.intensity


def test_a_resumed_run_ends_in_the_same_bits(cases):
    expected = train(make_task(cases), 4)
    broken = make_task(cases)
    train(broken, 2)
    resumed = make_task(cases)
    resumed.load_state_dict(broken.state_dict())
    assert train(resumed, 2, start=2) == expected[2:]


def test_the_spread_is_logged_and_does_not_start_collapsed(cases):
    task = make_task(cases)
    result = task(exactly(task.batch(0, 0, 1)))
    assert not result.logs["spread"].requires_grad
    assert 0.5 < float(result.logs["spread"]) < 1.2


def test_published_settings_are_options_of_stages_that_exist():
    options = cls.Options.model_validate(cls.published.options)
    assert options.dim == 256
    assert set(cls.published.stages) == {stage.name for stage in cls(options).stages()}
