"""Cross pseudo supervision: its loss by hand, and what the two networks owe each other."""

import copy
import math

import pytest
import torch

from contrabench.contracts import registry

from .conftest import exactly, joint_task, take_steps

cls = registry.methods.get("cps")


def make_task(cases, **options):
    return joint_task(cls(cls.Options(**options)), cases, batch=4)


def entropy(logits, labels):
    """The mean over pixels, one by one."""
    total, number = 0, 0
    for b, h, w in torch.ones_like(labels).nonzero().tolist():
        values = logits[b, :, h, w].double()
        total, number = total + values.exp().sum().log() - values[int(labels[b, h, w])], number + 1
    return total / number


def test_the_loss_is_its_definition(cases):
    task = make_task(cases, weight=0.5).double()
    batch = exactly(task.batch(4, 0, 1))
    f, g, criterion = task.common.model, task.objective.second, task.common.criterion
    view, image = batch.labelled.views[0], batch.streams[0].views[0].image
    first, second = f.logits(image), g.logits(image)
    cross = entropy(first, second.argmax(1)) + entropy(second, first.argmax(1))
    weight = 0.5 * math.exp(-5 / 4)
    own = [criterion(net(view.image), view.label.long()) for net in (f, g)]
    expected = own[0] + own[1] + weight * cross
    found = task(batch).loss
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    leaves = [net.heads[0].weight for net in (f, g)]
    ours, theirs = (torch.autograd.grad(loss, leaves) for loss in (found, expected))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


def test_the_networks_begin_apart_and_both_learn(cases):
    task = make_task(cases)
    f, g = task.common.model, task.objective.second
    names = [n for n, p in f.named_parameters() if p.ndim > 1]
    pairs = {n: (p, dict(g.named_parameters())[n]) for n, p in f.named_parameters()}
    assert all(not torch.equal(*pairs[name]) for name in names)
    # Of one distribution: each layer as wide as its twin.
    for name in names:
        a, b = pairs[name]
        assert float(a.detach().std() / b.detach().std()) == pytest.approx(1, abs=0.35), name
    before = copy.deepcopy(g.state_dict())
    take_steps(task, 1)
    assert all(
        not torch.equal(value, before[name])
        for name, value in g.state_dict().items()
        if name in names
    )


def test_exchanging_the_networks_exchanges_their_losses(cases):
    task = make_task(cases).double()
    batch = exactly(task.batch(5, 0, 1))
    f, g = task.common.model, task.objective.second
    result = task(batch)
    loss, added = result.loss.item(), result.logs["added"].item()
    first, second = copy.deepcopy(f.state_dict()), copy.deepcopy(g.state_dict())
    f.load_state_dict(second)
    g.load_state_dict(first)
    other = task(batch)
    assert other.loss.item() == pytest.approx(loss)
    assert other.logs["added"].item() != pytest.approx(added)


def test_labels_of_the_other_carry_no_gradient(cases):
    """Each head's gradient is that of its own entropy alone."""
    task = make_task(cases, weight=1.0, ramp=0)
    batch = task.batch(0, 0, 1)
    f, g = task.common.model, task.objective.second
    image = batch.streams[0].views[0].image
    loss = task.objective(f, batch, lambda logits, label: torch.zeros(())).loss
    found = torch.autograd.grad(loss, f.heads[0].weight)[0]
    alone = torch.nn.functional.cross_entropy(f.logits(image), g.logits(image).argmax(1))
    torch.testing.assert_close(found, torch.autograd.grad(alone, f.heads[0].weight)[0])


def test_at_weight_zero_the_second_is_trained_by_itself(cases):
    task = make_task(cases, weight=0)
    before = copy.deepcopy(task.objective.second.state_dict())
    take_steps(task, 1)
    after = task.objective.second.state_dict()
    assert not torch.equal(after["heads.0.weight"], before["heads.0.weight"])
    assert task.objective.teacher() is None
