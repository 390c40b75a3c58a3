"""Repulsion of many points against its definition over all pairs, in float64, and its memory."""

import pytest
import torch
from torch.nn import functional

from contrabench.contracts.views import IGNORE
from contrabench.objectives import blockwise
from contrabench.objectives.blockwise import repulsion
from contrabench.objectives.pixels import Reach, same_position, supervised_pixels
from contrabench.training.step import saved_for_backward

from .conftest import agree


def literal(points, known, weights, tau, labels=None, count=None):
    total = 0
    for p in range(len(points)):
        for i in weights[p].nonzero().flatten().tolist():
            others = [a for a in range(len(points[p])) if known[p, a] and a != i]
            similar = points[p, others] @ points[p, i] / tau
            each = torch.log(torch.exp(similar).sum())
            if labels is not None and count[p, i]:
                own = similar[[bool(labels[p, a] == labels[p, i]) for a in others]]
                each = each - own.sort().values[: count[p, i]].mean()
            total = total + weights[p, i] * each
    return total


@pytest.fixture
def sets():
    """Three sets of nine points, of which some take no part, and some are no anchors."""
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(3, 9, 4, generator=generator)
    known = torch.rand(3, 9, generator=generator) < 0.7
    weights = torch.rand(3, 9, generator=generator).double() * known
    weights[:, 5:] = 0
    labels = torch.randint(0, 3, (3, 9), generator=generator)
    return points, known, weights, labels


@pytest.mark.parametrize("pairs", [1, 9, 20, 40, 200])
@pytest.mark.parametrize("attracting", [False, True])
def test_blocks_of_any_size_give_the_sum_over_all_pairs(sets, pairs, attracting, monkeypatch):
    monkeypatch.setattr(blockwise, "_CACHED", pairs)
    points, known, weights, labels = sets
    more = ()
    if attracting:
        same = (labels[:, :, None] == labels[:, None]) & known[:, None]
        more = labels, (same.sum(2) - 1).clamp(min=0).minimum(torch.tensor(2))
    agree(
        lambda x: repulsion(functional.normalize(x, dim=-1), known, weights, 0.1, *more),
        lambda x: literal(functional.normalize(x, dim=-1), known, weights, 0.1, *more),
        points,
    )


@pytest.mark.parametrize("hardest", [None, 1.0, 0.25])
def test_what_does_not_count_changes_nothing_where_the_device_is_not_asked(hardest, monkeypatch):
    """Elsewhere than on the host all of a set is in its blocks, and not only what counts."""
    maps = torch.randn(2, 3, 4, 5, 5, generator=torch.Generator().manual_seed(0)).double()
    labels = torch.arange(75).view(3, 5, 5) % 7 - 1
    labels = labels.where(labels >= 0, IGNORE).where(labels < 4, 0)
    labels[2] = IGNORE

    def loss(first, second):
        reach = Reach(group=2, regions=2)
        if hardest is None:
            return same_position(first, second, 0.1, reach, labels == 1)
        return supervised_pixels(first, second, labels, 0.1, reach, hardest)

    maps.requires_grad_()
    expected = loss(*maps)
    (wanted,) = torch.autograd.grad(expected, maps)
    monkeypatch.setattr(blockwise, "_reach", lambda mask: [mask.shape[1]] * len(mask))
    found = loss(*maps)
    (gradient,) = torch.autograd.grad(found, maps)
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    torch.testing.assert_close(gradient, wanted, rtol=1e-10, atol=1e-14)


def test_a_set_of_which_nothing_counts_gives_nothing(sets):
    points, known, weights, _ = sets
    points = points.double().requires_grad_()
    gone = torch.zeros_like(known)
    total = repulsion(points, gone, weights * 0, 0.1)
    total.backward()
    assert total.item() == 0
    assert not points.grad.any()


def test_equally_far_points_attract_alike():
    points = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]], requires_grad=True)
    ones = torch.ones(1, 4, dtype=torch.long)
    weights = torch.tensor([[1.0, 0, 0, 0]])
    repulsion(points, ones.bool(), weights, 1.0, ones, ones).backward()
    # Each repels by a third, and attracts by a third of the one that is wanted.
    torch.testing.assert_close(points.grad, torch.zeros_like(points))


@pytest.mark.parametrize("hardest", [None, 1.0, 0.25])
def test_memory_is_linear_in_the_anchors(hardest):
    kept = []
    for side in (8, 16):
        maps = torch.randn(2, 4, 8, side, side, requires_grad=True)
        labels = torch.arange(side * side).view(side, side).expand(4, -1, -1) % 3
        with saved_for_backward() as saved:
            if hardest is None:
                same_position(*maps, 0.1, Reach())
            else:
                supervised_pixels(*maps, labels, 0.1, Reach(), hardest)
        kept.append(sum(saved.values()))
    assert kept[1] / kept[0] < 4.1
    assert kept[1] < 2 * (4 * 16 * 16 * 2) ** 2
