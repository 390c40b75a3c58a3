"""What a loss does beside computing is counted, and stopped where it is not its own affair."""

from contextlib import suppress
from dataclasses import replace
from functools import partial

import pytest
import torch
from tests.methods.conftest import joint_task, pretrain_task
from tests.methods.test_every_method import build

from contrabench.contracts.objective import StepResult
from contrabench.contracts.views import Intensity, View, ViewSpec
from contrabench.errors import AuditError
from contrabench.protocol import Phase
from contrabench.testing.trial import RUNTIME
from contrabench.training.meter import Meter, is_looked_at
from contrabench.training.step import Step
from contrabench.training.tasks import APART, check_views

PHASE = Phase(images=64, batch=8, lr=1e-3)


def meter_of(task):
    return Meter(Step(task, PHASE, RUNTIME, 8))


def taken(meter, steps=1, start=0):
    with meter.watching():
        for number in range(start, start + steps):
            meter.take(number)
    return meter.counts


def test_every_look_is_rare():
    looked_at = [number for number in range(1000) if is_looked_at(number)]
    assert looked_at[:4] == [0, 1, 2, 100]
    assert len(looked_at) == 12


def test_views_and_momentum_copies_are_counted(cases):
    counts = taken(meter_of(pretrain_task(build("simclr", {}), cases)), 2)
    apart = counts.pop("apart")
    assert APART < apart < 5
    two = {"images": 16, "came_back": 16, "without_gradient": 0, "passes": 2, "declared": 16}
    assert counts == two
    counts = taken(meter_of(pretrain_task(build("byol", {}), cases)))
    assert (counts["images"], counts["without_gradient"]) == (16, 16)


def test_labelled_slices_and_streams_are_counted(cases):
    counts = taken(meter_of(joint_task(build("mean_teacher", {}), cases, others=4)))
    assert (counts["images"], counts["without_gradient"], counts["declared"]) == (12, 4, 12)


def with_fault(cases, fault, name="simclr"):
    """A stage whose loss does something more."""
    task = pretrain_task(build(name, {}), cases)
    own = task.objective.forward

    def forward(backbone, batch):
        if fault is writes_openly:
            fault(task, backbone, batch, None)
        result = own(backbone, batch)
        return (fault is not writes_openly and fault(task, backbone, batch, result)) or result

    task.objective.forward = forward
    return task


def weight_of(backbone):
    return next(one for one in backbone.parameters() if one.requires_grad)


def writes(task, backbone, batch, result):
    weight_of(backbone).data.mul_(0.99)


def writes_openly(task, backbone, batch, result):
    with torch.no_grad():
        weight_of(backbone).add_(0.0)


def steps(task, backbone, batch, result):
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.1).step()


def steps_in_silence(task, backbone, batch, result):
    with suppress(AuditError):
        steps(task, backbone, batch, result)


def hides(task, backbone, batch, result):
    return StepResult(result.loss * torch.ones(1, requires_grad=True)[0])


def looks_again(task, backbone, batch, result, times):
    image = batch.views[0].image
    more = sum(backbone.pooled(image, ("centre",))["centre"].mean() for _ in range(times))
    return StepResult(result.loss + more)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (writes, "weights of the network were changed in the step"),
        (writes_openly, "weights of the network were changed in the step"),
        (steps, "optimiser steps of its own"),
        (steps_in_silence, "optimiser steps of its own"),
        (hides, "no optimiser holds"),
        (partial(looks_again, times=5), "56 images went through .* 16 are declared"),
    ],
)
def test_a_loss_that_does_more_is_stopped_in_its_first_step(cases, fault, says):
    with pytest.raises(AuditError, match=says):
        taken(meter_of(with_fault(cases, fault)))


@pytest.mark.parametrize("fault", [writes_openly, steps])
def test_what_needs_no_close_look_is_seen_in_every_step(cases, fault):
    with pytest.raises(AuditError):
        taken(meter_of(with_fault(cases, fault)), start=5)


def test_a_few_more_images_are_counted_and_no_fault(cases):
    counts = taken(meter_of(with_fault(cases, partial(looks_again, times=2))))
    assert (counts["images"], counts["declared"]) == (32, 16)


def test_what_a_stage_says_that_its_loss_makes_is_the_limit(cases):
    for passes, enough in ((7, True), (6, False)):
        task = with_fault(cases, partial(looks_again, times=5))
        task.stage = task.stage.model_copy(update={"passes": passes})
        if enough:
            assert taken(meter_of(task))["images"] == 56
        else:
            with pytest.raises(AuditError, match="48 are declared"):
                taken(meter_of(task))


@pytest.mark.parametrize(("gap", "differ"), [(0.0, False), (1e-6, False), (0.1, True)])
def test_two_views_are_apart_by_more_than_a_hair(cases, gap, differ):
    batch = pretrain_task(build("simclr", {}), cases).batch(0, 0, 1)
    image = batch.views[0].image
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    first, second = (View(one, None) for one in (image, image + gap * image.std() * noise))
    batch = replace(batch, views=(first, View(second.image.clone(), None)))
    if differ:
        assert check_views(batch) == pytest.approx(gap, rel=0.05)
    else:
        with pytest.raises(AuditError, match="identical|differ by"):
            check_views(batch)


def test_a_stream_of_nearly_one_view_is_refused(cases):
    calm = Intensity(brightness_sd=1e-6, contrast=(1, 1), gamma=(1, 1), noise_sd=0, blur_px=0)
    plain = ViewSpec(spatial=None, intensity=None)
    method = build("simclr", {})
    (stage,) = method.stages()
    stage = stage.model_copy(update={"views": (plain, ViewSpec(spatial=None, intensity=calm))})
    with pytest.raises(AuditError, match="differ by"):
        pretrain_task(method, cases, stage=stage).batch(0, 0, 1)
