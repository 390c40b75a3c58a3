"""Pixel contrast against literal loops over its definition, in float64, value and gradient."""

import math

import pytest
import torch

from contrabench.contracts.views import IGNORE, Batch, SliceInfo, View
from contrabench.objectives.contrast import supervised_contrast
from contrabench.objectives.pixels import (
    Reach,
    on_grid,
    points,
    same_position,
    supervised_pixels,
)

from .conftest import agree

REACHES = {
    "one group": Reach(group=8),
    "ragged groups": Reach(group=2),
    "quarters": Reach(group=8, regions=2),
    "blocks": Reach(sampling="block", block=2, group=8),
    "ragged blocks": Reach(sampling="block", block=3, group=2),
    "a block larger than the map": Reach(sampling="block", block=16, group=8),
    "regions of blocks": Reach(sampling="block", block=4, group=8, regions=2),
}
SIDES = {"one group": 4, "ragged groups": 4, "quarters": 2, "blocks": 2, "ragged blocks": 3}
SIDES |= {"a block larger than the map": 4, "regions of blocks": 2}


def literal_contrast(z, labels, anchors, tau, share=1.0):
    """Mean over the anchors that have a positive; zero without one."""
    unit, terms = z / z.norm(dim=1, keepdim=True), []
    for i in range(len(z)):
        similar = unit @ unit[i]
        others = [a for a in range(len(z)) if a != i]
        positives = [q for q in others if labels[q] == labels[i]]
        if not anchors[i] or not positives:
            continue
        positives.sort(key=lambda q: similar[q].item())
        positives = positives[: max(1, round(share * len(positives)))]
        denominator = torch.exp(similar[others] / tau).sum()
        logs = torch.log(torch.exp(similar[positives] / tau) / denominator)
        terms.append(-logs.sum() / len(positives))
    return sum(terms) / len(terms) if terms else 0 * z.sum()


def literal_parts(count, side, group, tile):
    """Lists (slice, y, x) of each part: a tile of a group of slices."""
    for start in range(0, count, group):
        for top in range(0, side, tile):
            for left in range(0, side, tile):
                yield [
                    (b, y, x)
                    for b in range(start, min(start + group, count))
                    for y in range(top, min(top + tile, side))
                    for x in range(left, min(left + tile, side))
                ]


def literal_pixels(first, second, labels, tau, group, tile, share=1.0):
    losses = []
    for part in literal_parts(len(first), first.shape[-1], group, tile):
        z, marks = [], []
        for maps in (first, second):
            for b, y, x in part:
                if labels[b, y, x] != IGNORE:
                    z.append(maps[b, :, y, x])
                    marks.append(int(labels[b, y, x]))
        if any(mark > 0 for mark in marks):
            anchors = [mark > 0 for mark in marks]
            losses.append(literal_contrast(torch.stack(z), marks, anchors, tau, share))
    return sum(losses) / len(losses)


def maps_and_labels(seed, count=3, side=4):
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, count, 3, side, side, generator=generator)
    labels = torch.randint(0, 3, (count, side, side), generator=generator)
    labels[0, 0, 0] = IGNORE
    labels[0, 2:, 2:] = 0
    labels[1, :2, :2] = IGNORE
    return first, second, labels


def test_grid_keeps_every_fourth_pixel_of_160():
    maps = torch.arange(160.0).expand(1, 1, 160, 160)
    assert on_grid(maps, 40)[0, 0, 0].tolist() == list(range(0, 160, 4))
    assert on_grid(maps, 500).shape == maps.shape


def test_a_grid_of_fewer_pixels_is_never_exceeded():
    for side in range(1, 60):
        for most in range(1, 60):
            kept = on_grid(torch.arange(side).expand(side, side), most)[0].tolist()
            steps = (k for k in range(1, side + 1) if len(range(0, side, k)) <= most)
            assert kept == list(range(0, side, next(steps)))


@pytest.mark.parametrize("grid", [40, 10, 7])
@pytest.mark.parametrize("side", range(32, 321, 16))
def test_by_stride_labels_and_three_levels_keep_the_same_places_and_by_block_all(side, grid):
    step = next(k for k in range(4, side + 1, 4) if len(range(0, side, k)) <= grid)
    reach, pixels = Reach(grid=grid), torch.arange(side * side).view(1, side, side)
    assert reach.stride(side) == step
    for begin in ((0, 0), (step - 1, 1), (2, step - 2)):
        rows, columns = (range(first, side, step) for first in begin)
        places = [(y, x) for y in rows for x in columns]
        for level in (1, 2, 4):
            # Each cell of a map says at which pixel of the slice it begins.
            along = torch.arange(0, side, level)
            maps = torch.stack(torch.meshgrid(along, along, indexing="ij"))
            kept = reach.sample(maps, side, begin).flatten(1).T.tolist()
            assert kept == [[y // level * level, x // level * level] for y, x in places]
            # A label is that of the pixel itself, wherever in its cell it lies.
            marks = reach.marks(pixels, side // level, begin).flatten().tolist()
            assert marks == [y * side + x for y, x in places]
            blocks = Reach(sampling="block")
            assert blocks.sample(maps, side, begin) is maps
            assert torch.equal(
                blocks.marks(pixels, side // level, begin), pixels[:, ::level, ::level]
            )


def test_in_some_steps_every_pixel_takes_part():
    """A grid at one place would leave fifteen pixels of sixteen without a loss."""
    info = SliceInfo(*(torch.zeros(1) for _ in range(6)))
    views, counts = (View(torch.zeros(1, 1, 48, 48), None, None),), torch.zeros(48, 48)
    for step in range(160):
        begin = Reach().begin(Batch(views, info, step))
        assert begin == Reach().begin(Batch(views, info, step))
        Reach().sample(counts, 48, begin).add_(1)
    # Sixteen places, each ten times but for chance.
    assert counts.min() > 0
    assert counts.sum() == 160 * 144


def test_points_are_listed_slice_by_slice():
    maps = torch.randn(2, 3, 4, 5)
    listed = points(maps)
    for b in range(2):
        for y in range(4):
            for x in range(5):
                assert torch.equal(listed[b * 20 + y * 5 + x], maps[b, :, y, x])


@pytest.mark.parametrize("name", REACHES)
def test_every_pixel_is_in_exactly_one_part(name):
    reach = REACHES[name]
    index = torch.arange(3 * 4 * 4).view(3, 4, 4)
    found = reach.parts(torch.empty(3, 1, 4, 4)).tolist()
    parts = [sorted(place for place in part if place >= 0) for part in found]
    expected = [
        sorted(int(index[place]) for place in part)
        for part in literal_parts(3, 4, reach.group, SIDES[name])
    ]
    assert parts == expected
    assert sorted(place for part in parts for place in part) == list(range(48))


@pytest.mark.parametrize("hardest", [1.0, 0.25])
@pytest.mark.parametrize("name", REACHES)
def test_supervised_pixels(name, hardest):
    first, second, labels = maps_and_labels(1)
    reach = REACHES[name]
    agree(
        lambda a, b: supervised_pixels(a, b, labels, 0.1, reach, hardest),
        lambda a, b: literal_pixels(a, b, labels, 0.1, reach.group, SIDES[name], hardest),
        first,
        second,
    )


def test_parts_without_foreground_do_not_count():
    first, second, labels = maps_and_labels(2)
    labels[:, :2] = 0
    blocks = Reach(sampling="block", block=2, group=8)
    below = [item[..., 2:, :] for item in (first, second, labels)]
    whole = supervised_pixels(first, second, labels, 0.1, blocks)
    assert float(whole) == pytest.approx(float(supervised_pixels(*below, 0.1, blocks)), rel=1e-6)


def test_slices_without_foreground_give_zero_with_a_gradient():
    first = torch.randn(2, 3, 2, 2, requires_grad=True)
    loss = supervised_pixels(first, first * 2, torch.zeros(2, 2, 2).long(), 0.1, Reach(group=2))
    loss.backward()
    assert loss.item() == 0
    assert first.grad is not None


def literal_position(first, second, keep, tau, group, tile):
    """In each part, the other view of a pixel attracts and all other pixels kept repel."""
    losses = []
    for part in literal_parts(len(first), first.shape[-1], group, tile):
        places = [place for place in part if keep[place]]
        z = [maps[b, :, y, x] for maps in (first, second) for b, y, x in places]
        if not z:
            continue
        partner = [*range(len(places), len(z)), *range(len(places))]
        anchors = [True] * len(z)
        pairs = [min(i, j) for i, j in enumerate(partner)]
        losses.append(literal_contrast(torch.stack(z), pairs, anchors, tau))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("kept", ["all", "some", "two slices"])
@pytest.mark.parametrize("name", REACHES)
def test_same_position(name, kept):
    first, second, labels = maps_and_labels(3)
    keep = {
        "all": torch.ones_like(labels).bool(),
        "some": labels == 1,
        "two slices": torch.tensor([True, False, True])[:, None, None].expand_as(labels),
    }[kept]
    reach = REACHES[name]
    agree(
        lambda a, b: same_position(a, b, 0.2, reach, None if kept == "all" else keep),
        lambda a, b: literal_position(a, b, keep, 0.2, reach.group, SIDES[name]),
        first,
        second,
    )


def test_without_a_pixel_the_loss_is_zero_with_a_gradient():
    first, second, labels = maps_and_labels(3)
    loss = same_position(first.requires_grad_(), second, 0.2, Reach(), labels < 0)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(first.grad, torch.zeros_like(first))


CASES = {
    "random": torch.randint(0, 4, (14,), generator=torch.Generator().manual_seed(0)),
    "one pixel of a class": torch.tensor([0, 1, 1, 1, 2, 0]),
    "two points": torch.tensor([1, 1]),
    "one class": torch.tensor([2] * 9),
}


@pytest.mark.parametrize("share", [0.05, 0.25, 0.6, 1.0])
@pytest.mark.parametrize("case", CASES)
def test_hardest_contrast(case, share):
    torch.manual_seed(1)
    labels = CASES[case]
    agree(
        lambda z: supervised_contrast(z, labels, labels > 0, 0.1, share),
        lambda z: literal_contrast(z, labels, labels > 0, 0.1, share),
        torch.randn(len(labels), 6),
    )


def test_the_hardest_positive_in_closed_form():
    # Anchor 0 sees one positive at similarity 1, one at 0, and a negative at 0.
    z = torch.tensor([[1.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    labels, anchors = torch.tensor([1, 1, 1, 0]), torch.tensor([True, False, False, False])
    denominator = math.log(math.exp(2) + 2)
    easy = supervised_contrast(z, labels, anchors, 0.5, 1.0)
    hard = supervised_contrast(z, labels, anchors, 0.5, 0.5)
    assert float(easy) == pytest.approx(denominator - 1, rel=1e-6)
    assert float(hard) == pytest.approx(denominator, rel=1e-6)


@pytest.mark.parametrize("labels", [[0, 0, 1, 2], [1]])
def test_without_a_positive_the_loss_is_zero_with_a_gradient(labels):
    labels = torch.tensor(labels)
    z = torch.randn(len(labels), 3, requires_grad=True)
    loss = supervised_contrast(z, labels, labels > 0, 0.1, 0.5)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(z.grad, torch.zeros_like(z))


def test_equal_points_give_a_finite_gradient():
    z = torch.ones(6, 3, requires_grad=True)
    loss = supervised_contrast(z, torch.tensor([1, 1, 1, 0, 0, 2]), torch.ones(6).bool(), 0.1, 0.5)
    loss.backward()
    assert bool(torch.isfinite(z.grad).all())


@pytest.mark.parametrize("hardest", [1.0, 0.25])
def test_bf16_maps_are_contrasted_in_float32(hardest):
    first, second, labels = maps_and_labels(4)
    first, second = first.bfloat16(), second.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        loss = supervised_pixels(first, second, labels, 0.1, Reach(), hardest)
    exact = supervised_pixels(first.double(), second.double(), labels, 0.1, Reach(), hardest)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(exact), rel=1e-4)
