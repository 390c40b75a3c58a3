"""FixMatch: its term as a loop over pixels, and thresholds that take all labels or none."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from contrabench.contracts import registry
from contrabench.objectives.consistency import boxes

from .conftest import (
    agree,
    batch_normed,
    exactly,
    finetune_task,
    halfway,
    image_normed,
    joint_task,
    take_steps,
)

cls = registry.methods.get("fixmatch")


def make_task(cases, net=None, **options):
    return joint_task(cls(cls.Options(**options)), cases, batch=4, net=net)


def added(task, batch):
    return task.objective(task.common.model, batch, task.common.criterion)


def heads(task):
    return list(task.common.model.heads.parameters())


def literal(task, batch, threshold, share, labeller):
    """Box, label, confidence and entropy of each pixel by itself."""
    weak, strong = (view.image for view in batch.streams[0].views)
    size = tuple(weak.shape[2:])
    box = boxes(len(weak), size, batch.generator("cutmix"), share)
    guessed = labeller.logits(weak).detach().exp()
    guessed = guessed / guessed.sum(1, keepdim=True)
    shown = strong.clone()
    for b in range(len(weak)):
        for h in range(size[0]):
            for w in range(size[1]):
                if box[b, h, w]:
                    shown[b, :, h, w] = strong[b - 1, :, h, w]
    logits = task.common.model.logits(shown).double()
    total, kept = 0, 0
    for b in range(len(weak)):
        for h in range(size[0]):
            for w in range(size[1]):
                told = guessed[b - 1 if box[b, h, w] else b, :, h, w]
                if float(told.max()) >= threshold:
                    kept += 1
                    values = logits[b, :, h, w]
                    total = total + values.exp().sum().log() - values[int(told.argmax())]
    return total / weak[:, 0].numel(), kept / weak[:, 0].numel()


@pytest.mark.parametrize("keep", [0.0, 0.9])
def test_the_term_is_its_definition(cases, keep):
    task = make_task(cases, net=image_normed(), cutmix=1.0, keep=keep).double()
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in heads(task):
            weight.add_(torch.randn_like(weight))
    batch = exactly(task.batch(0, 0, 1))
    labeller = task.objective.average.copied.eval() if keep else task.common.model
    threshold = halfway(labeller.logits(batch.streams[0].views[0].image))
    task.objective.options = cls.Options(threshold=threshold, cutmix=1.0, keep=keep)
    expected, share = literal(task, batch, threshold, 1.0, labeller)
    assert 0.1 < share < 0.9
    result = added(task, batch)
    assert float(result.logs["confident"]) == pytest.approx(share)
    agree(result.loss, expected, heads(task), rel=1e-4)


def test_above_every_probability_nothing_is_learnt(cases):
    """Not even background: the weights are those of training without slices that lack labels."""
    task = make_task(cases, net=batch_normed(), threshold=1.1)
    result = added(task, task.batch(0, 0, 1))
    assert result.loss.item() == 0
    grads = torch.autograd.grad(result.loss, heads(task))
    assert not any(bool(grad.any()) for grad in grads)
    scratch = finetune_task(cases, batch=4, net=batch_normed())
    take_steps(task)
    take_steps(scratch)
    pairs = zip(task.common.parameters(), scratch.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_of_equal_views_it_is_the_entropy_of_the_networks_own_labels(cases):
    task = make_task(cases, threshold=0, cutmix=0)
    batch = task.batch(0, 0, 1)
    weak, strong = batch.streams[0].views
    stream = replace(batch.streams[0], views=(weak, replace(strong, image=weak.image)))
    logits = task.common.model.logits(weak.image)
    expected = functional.cross_entropy(logits, logits.argmax(1))
    found = added(task, replace(batch, streams=(stream,))).loss
    assert found.item() == pytest.approx(expected.item())


def test_both_views_have_one_geometry_and_the_weak_one_its_own_grey_values(cases):
    batch = make_task(cases).batch(0, 0, 1)
    weak, strong = batch.streams[0].views
    assert weak.geometry is strong.geometry or torch.equal(weak.geometry.grid, strong.geometry.grid)
    assert not torch.equal(weak.image, strong.image)
    first, second = cls().joint_stages()[0].streams[0].views
    assert (first.intensity, second.geometry_of) == (None, 0)


def test_a_teacher_is_there_if_it_keeps_something(cases):
    assert make_task(cases).objective.teacher() is None
    assert make_task(cases, keep=0.9).objective.teacher() is not None
