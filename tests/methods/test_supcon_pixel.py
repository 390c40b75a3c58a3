"""Supervised pixel contrast as a stage: the same as Hu's second, with what its options say."""

import pytest
import torch

from contrabench.contracts import registry
from contrabench.objectives.pixels import Reach, supervised_pixels
from contrabench.protocol import PARTS

from .conftest import learn, pretrain_task

OPTIONS = [
    {},
    {"sampling": "block", "block": 8},
    {"regions": 2, "hardest": 0.25},
    {"sampling": "block", "block": 8, "regions": 2, "hardest": 0.25},
]


def build(name, **options):
    cls = registry.methods.get(name)
    return cls(cls.Options(**options))


def make_task(method, cases, stage=None):
    return pretrain_task(method, cases, stage=stage, patients=2, orientations=("axial",))


@pytest.mark.parametrize("options", OPTIONS)
def test_the_loss_is_that_of_its_options(options, cases):
    method = build("supcon_pixel", **options)
    task = make_task(method, cases)
    batch = task.batch(0, 0, 1)
    maps = [
        task.objective.head(task.backbone.features(view.image, ("dec1",))["dec1"])
        for view in batch.views
    ]
    labels = batch.views[0].label
    reach = Reach(
        sampling=method.options.sampling,
        block=method.options.block,
        regions=method.options.regions,
        group=4,
    )
    if method.options.sampling == "stride":
        row, column = reach.begin(batch)
        maps = [item[..., row::4, column::4] for item in maps]
        labels = labels[..., row::4, column::4]
    expected = supervised_pixels(*maps, labels, 0.1, reach, method.options.hardest)
    assert task(batch).loss.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("options", OPTIONS[:2])
def test_it_is_the_second_stage_of_hu_by_itself(options, cases):
    alone, hu = build("supcon_pixel", **options), build("hu", **options)
    (stage,), (_, second) = alone.stages(), hu.stages()
    assert stage == second
    assert alone.label_dependent()
    assert alone.transfers() == PARTS
    ours, theirs = make_task(alone, cases), make_task(hu, cases, second)
    batch = ours.batch(0, 0, 1)
    assert torch.equal(ours(batch).loss, theirs(batch).loss)


def test_the_options_change_the_loss(cases):
    losses = set()
    for options in OPTIONS:
        task = make_task(build("supcon_pixel", **options), cases)
        losses.add(round(task(task.batch(0, 0, 1)).loss.item(), 6))
    assert len(losses) == len(OPTIONS)


@pytest.mark.parametrize("options", OPTIONS)
def test_every_part_learns(options, cases):
    task = make_task(build("supcon_pixel", **options), cases)
    first, *_, last = learn(task, 8, 2e-3)
    assert last.loss < first.loss
