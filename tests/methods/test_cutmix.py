"""CutMix: image and mask share a box, pixel by pixel, and a box of everything changes the order."""

import pytest
import torch

from contrabench.contracts import registry
from contrabench.objectives.consistency import boxes

from .conftest import agree, exactly, joint_task

cls = registry.methods.get("cutmix")


def make_task(cases, **options):
    return joint_task(cls(cls.Options(**options)), cases, batch=4)


def test_the_loss_is_that_of_mixed_slices(cases):
    task = make_task(cases, probability=0.5, area=0.3).double()
    batch = exactly(task.batch(0, 0, 1))
    view, model = batch.labelled.views[0], task.common.model
    size = tuple(view.image.shape[2:])
    box = boxes(4, size, batch.generator("box"), 0.5, (0.3, 0.3))
    image, label = view.image.clone(), view.label.long().clone()
    for b, h, w in box.nonzero().tolist():
        image[b, :, h, w] = view.image[b - 1, :, h, w]
        label[b, h, w] = view.label[b - 1, h, w]
    assert 0 < int(box.flatten(1).any(1).sum()) < 4
    expected = task.common.criterion(model(image), label)
    agree(task(batch).loss, expected, list(model.heads.parameters()))


@pytest.mark.parametrize("options", [{"probability": 0}, {"area": 0}])
def test_without_a_box_it_is_the_supervised_loss(cases, options):
    task = make_task(cases, **options)
    batch = task.batch(0, 0, 1)
    assert torch.equal(task(batch).loss, task.common(batch.labelled).loss)


def test_a_box_of_the_whole_slice_changes_the_order_alone(cases):
    task = make_task(cases, probability=1, area=1)
    batch = task.batch(0, 0, 1)
    expected = task.common(batch.labelled).loss.item()
    assert task(batch).loss.item() == pytest.approx(expected, rel=1e-5)
