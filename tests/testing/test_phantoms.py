"""Rearranged batches keep together what belongs together."""

import dataclasses

import pytest
import torch

from contrabench.contracts.geometry import Geometry
from contrabench.contracts.views import Batch, SliceInfo, View
from contrabench.testing.phantoms import (
    exchange,
    exchange_masks,
    repeat_first_view,
    take,
    with_images_of,
)

COUNT = 5


def reverse(batch):
    return take(batch, torch.arange(COUNT).flip(0))


def numbered(*shape):
    """A tensor whose slice i holds i everywhere."""
    return torch.arange(COUNT).reshape(-1, *[1] * len(shape)).expand(COUNT, *shape).clone()


@pytest.fixture
def batch():
    def view():
        geometry = Geometry(numbered(2, 3).float(), numbered(2, 4, 4).float(), (8, 8))
        return View(numbered(1, 8, 8).float(), geometry, numbered(8, 8), hidden=numbered(8, 8) == 0)

    info = SliceInfo(**{field.name: numbered() for field in dataclasses.fields(SliceInfo)})
    return Batch((view(), view(), view()), info, seed=3)


def whose(view):
    """The slices that the parts of a view come from."""
    geometry = view.geometry
    return [
        [int(row.flatten()[0]) for row in part]
        for part in (view.image, geometry.affine, geometry.displacement)
    ]


def test_reversing_turns_everything(batch):
    turned = reverse(batch)
    for view in turned.views:
        assert whose(view) == [[4, 3, 2, 1, 0]] * 3
        assert view.masks[:, 0, 0].tolist() == [4, 3, 2, 1, 0]
        assert view.hidden[:, 0, 0].tolist() == [False] * 4 + [True]
        assert view.geometry.size == (8, 8)
    for field in dataclasses.fields(SliceInfo):
        assert getattr(turned.info, field.name).tolist() == [4, 3, 2, 1, 0]


@pytest.mark.parametrize("rearranged", [reverse, exchange, exchange_masks, repeat_first_view])
def test_random_numbers_stay(batch, rearranged):
    for changed in (rearranged(batch), with_images_of(batch, rearranged(batch))):
        assert changed.seed == batch.seed == 3


def test_the_first_two(batch):
    two = take(batch, torch.arange(2))
    assert two.size == 2
    assert whose(two.views[2]) == [[0, 1]] * 3
    assert two.info.patient.tolist() == [0, 1]


def test_an_exchange_breaks_pairs_and_labels(batch):
    broken = exchange(batch)
    first, second, third = broken.views
    assert whose(first) == [[0, 1, 2, 3, 4]] * 3
    assert whose(second) == whose(third) == [[4, 0, 1, 2, 3]] * 3
    for view in broken.views:
        assert view.masks[:, 0, 0].tolist() == [3, 4, 0, 1, 2]
    assert broken.info is batch.info


def test_an_exchange_of_masks_leaves_the_images(batch):
    moved = exchange_masks(batch)
    for view in moved.views:
        assert whose(view) == [[0, 1, 2, 3, 4]] * 3
        assert view.masks[:, 0, 0].tolist() == [3, 4, 0, 1, 2]


def test_a_repeated_first_view(batch):
    small = dataclasses.replace(batch.views[2], image=batch.views[2].image[..., :4, :4])
    batch = dataclasses.replace(batch, views=(*batch.views[:2], small))
    same = repeat_first_view(batch)
    assert same.views[1].image is same.views[0].image
    assert same.views[1].geometry is same.views[0].geometry
    assert same.views[1].hidden is batch.views[1].hidden
    assert same.views[2] is batch.views[2]


def test_other_images(batch):
    moved = with_images_of(batch, reverse(batch))
    image, affine, _ = whose(moved.views[1])
    assert (image, affine) == ([4, 3, 2, 1, 0], [0, 1, 2, 3, 4])


def test_views_without_masks_and_displacement(batch):
    bare = [View(v.image, dataclasses.replace(v.geometry, displacement=None)) for v in batch.views]
    for rearranged in (exchange, reverse):
        for view in rearranged(Batch(tuple(bare), batch.info)).views:
            assert view.masks is view.hidden is view.geometry.displacement is None
