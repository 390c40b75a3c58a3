"""Masked reconstruction: target, loss and views against their definitions."""

import dataclasses
import statistics
from itertools import product

import pytest
import torch

from contrabench import RunError
from contrabench.contracts import registry
from contrabench.contracts.views import Occlusion
from contrabench.protocol import PARTS
from contrabench.views.intensity import draw_hidden

from .conftest import learn, pretrain_task

module = __import__(registry.methods.get("masked").__module__, fromlist=["x"])


def make_task(cases, **options):
    method = module.Masked(module.MaskedOptions(**options))
    return pretrain_task(method, cases, patients=2, orientations=("axial",))


def literal_blocks(images, cells):
    found = torch.zeros_like(images)
    height, width = (length // cells for length in images.shape[2:])
    for b, c in product(range(len(images)), range(images.shape[1])):
        for top in range(0, height * cells, height):
            for left in range(0, width * cells, width):
                where = (b, c, slice(top, top + height), slice(left, left + width))
                values = images[where].flatten().tolist()
                mean, variance = statistics.mean(values), statistics.variance(values)
                found[where] = (images[where] - mean) / (variance + 1e-6) ** 0.5
    return found


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("size", "cells"), [((8, 8), 2), ((12, 24), 4), ((6, 9), 3)])
def test_normalised_blocks(size, cells, channels):
    torch.manual_seed(0)
    images = torch.randn(3, channels, *size, dtype=torch.float64) * 3 + 5
    images[1, :, : size[0] // cells] = 2.5
    found = module.normalised_blocks(images, cells)
    torch.testing.assert_close(found, literal_blocks(images, cells), rtol=1e-6, atol=1e-9)


def test_a_flat_block_is_zero():
    images = torch.full((2, 1, 8, 8), -1.2345)
    assert module.normalised_blocks(images, 2).abs().max() < 1e-3


@pytest.mark.parametrize(("batch", "channels"), [(1, 1), (2, 1), (5, 1), (3, 2)])
def test_hidden_error(batch, channels):
    torch.manual_seed(batch)
    predicted = torch.randn(batch, channels, 8, 8, dtype=torch.float64, requires_grad=True)
    target = torch.randn(batch, channels, 8, 8, dtype=torch.float64)
    hidden = draw_hidden(Occlusion(share=0.4, cells=4), batch, (8, 8), 0)
    terms = [
        (predicted[b, c, y, x] - target[b, c, y, x]) ** 2
        for b in range(batch)
        for c in range(channels)
        for y in range(8)
        for x in range(8)
        if hidden[b, y, x]
    ]
    expected = sum(terms) / len(terms)
    (wanted,) = torch.autograd.grad(expected, predicted)
    value = module.hidden_error(predicted, target, hidden)
    (found,) = torch.autograd.grad(value, predicted)
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-12)
    where = hidden[:, None].expand_as(found)
    assert not found[~where].any()
    other = torch.nn.functional.mse_loss(predicted[where], target[where])
    assert value.item() == pytest.approx(other.item(), rel=1e-6)


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
    target = literal_blocks(whole.image, 8) if normalise else whole.image
    expected = (predicted - target)[occluded.hidden[:, None]].square().mean()
    assert task(batch).loss.item() == pytest.approx(expected.item(), rel=1e-4)


def test_what_is_hidden_of_the_slice_does_not_reach_the_network(cases):
    task = make_task(cases, normalise=False)
    batch = task.batch(0, 0, 1)
    whole, occluded = batch.views
    changed = torch.where(occluded.hidden[:, None], whole.image + 1, whole.image)
    maps = task.backbone.features(occluded.image, ("dec1",))["dec1"]
    before = module.hidden_error(task.objective.head(maps), whole.image, occluded.hidden)
    after = module.hidden_error(task.objective.head(maps), changed, occluded.hidden)
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
