"""Masked reconstruction: its views, and its loss against the definition."""

import dataclasses

import pytest
import torch
from torch.nn import functional

from contrabench import RunError
from contrabench.contracts import registry
from contrabench.objectives.reconstruction import hidden_error
from contrabench.protocol import PARTS

from .conftest import learn, pretrain_task

module = __import__(registry.methods.get("masked").__module__, fromlist=["x"])


def make_task(cases, **options):
    method = module.Masked(module.MaskedOptions(**options))
    return pretrain_task(method, cases, patients=2, orientations=("axial",))


def test_the_network_sees_the_target_but_for_the_hidden_blocks(cases):
    whole, occluded = make_task(cases, share=0.5, cells=4).batch(0, 0, 1).views
    seen = ~occluded.hidden[:, None]
    assert torch.equal(whole.image[seen], occluded.image[seen])
    assert (occluded.hidden.float().mean((1, 2)) == 0.5).all()
    assert whole.hidden is None
    assert not torch.equal(whole.image, occluded.image)


@pytest.mark.parametrize("normalise", [True, False])
def test_the_loss_is_the_error_of_the_head(normalise, cases):
    task = make_task(cases, normalise=normalise)
    batch = task.batch(0, 0, 1)
    whole, occluded = batch.views
    predicted = task.objective.head(task.backbone.features(occluded.image, ("dec1",))["dec1"])
    target = whole.image
    if normalise:
        patches = functional.unfold(target, 4, stride=4)
        variance, mean = torch.var_mean(patches, dim=1, keepdim=True)
        patches = (patches - mean) / (variance + 1e-6).sqrt()
        target = functional.fold(patches, target.shape[2:], 4, stride=4)
    expected = (predicted - target)[occluded.hidden[:, None]].square().mean()
    assert task(batch).loss.item() == pytest.approx(expected.item(), rel=1e-4)


def test_what_is_hidden_of_the_slice_does_not_reach_the_network(cases):
    task = make_task(cases, normalise=False)
    batch = task.batch(0, 0, 1)
    whole, occluded = batch.views
    changed = torch.where(occluded.hidden[:, None], whole.image + 1, whole.image)
    maps = task.backbone.features(occluded.image, ("dec1",))["dec1"]
    before = hidden_error(task.objective.head(maps), whole.image, occluded.hidden)
    after = hidden_error(task.objective.head(maps), changed, occluded.hidden)
    views = (dataclasses.replace(whole, image=changed), occluded)
    moved = task(dataclasses.replace(batch, views=views)).loss
    assert moved.item() == pytest.approx(after.item(), rel=1e-5)
    assert before.item() != pytest.approx(after.item(), rel=1e-2)


def test_a_view_that_hides_nothing_is_refused(cases):
    task = make_task(cases)
    batch = task.batch(0, 0, 1)
    with pytest.raises(RunError, match="hides nothing"):
        task(dataclasses.replace(batch, views=(batch.views[0], batch.views[0])))


def test_it_sees_no_labels_and_hands_over_the_whole_network():
    method = module.Masked()
    assert not method.label_dependent()
    assert method.transfers() == PARTS
    assert method.info.against_collapse == "nothing"


@pytest.mark.parametrize("options", [{}, {"normalise": False, "share": 0.25, "cells": 4}])
def test_every_part_learns_to_fill_in(options, cases):
    first, *_, last = learn(make_task(cases, **options), 20, 3e-3)
    assert last.loss < 0.95 * first.loss
