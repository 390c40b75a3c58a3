"""VICRegL against a loop over its definition, and against lightly's loss where they agree."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from lightly.loss import VICRegLLoss

from contrabench.contracts import registry
from contrabench.views.spatial import cell_positions

from .conftest import agree, pretrain_task

VICRegL = registry.methods.get("vicregl")
module = __import__(VICRegL.__module__, fromlist=["x"])


def literal_spread(points):
    """Variance and covariance terms of a list of B vectors."""
    count, width = len(points), len(points[0])
    mean = [sum(p[i] for p in points) / count for i in range(width)]

    def covariance(i, j):
        return sum((p[i] - mean[i]) * (p[j] - mean[j]) for p in points) / (count - 1)

    variance = (
        sum(torch.relu(1 - torch.sqrt(covariance(i, i) + 1e-4)) for i in range(width)) / width
    )
    off = sum(covariance(i, j) ** 2 for i in range(width) for j in range(width) if i != j) / width
    return variance, off


def literal_vicreg(first, second):
    """V of two lists of B vectors."""
    count, width = len(first), len(first[0])
    invariance = sum(((a - b) ** 2).sum() for a, b in zip(first, second, strict=True))
    (var_a, cov_a), (var_b, cov_b) = literal_spread(first), literal_spread(second)
    return 25 * invariance / (count * width) + 25 * (var_a + var_b) / 2 + (cov_a + cov_b) / 2


def literal_matches(cells, others, apart, keep):
    """Per image the k best (cell, match) pairs, in the order of the cells."""
    found = []
    for b in range(len(cells)):
        nearest = [
            min(range(len(others[b])), key=lambda j, b=b, i=i: float(apart(b, i, j)))
            for i in range(len(cells[b]))
        ]
        ranked = sorted(range(len(nearest)), key=lambda i, b=b, n=nearest: float(apart(b, i, n[i])))
        found.append([(cells[b][i], others[b][nearest[i]]) for i in sorted(ranked[:keep])])
    return found


def literal_matched_vicreg(cells, others, apart, keep):
    """Mean over the matches of V over the batch."""
    pairs = literal_matches(cells, others, apart, keep)
    terms = [
        literal_vicreg([image[k][0] for image in pairs], [image[k][1] for image in pairs])
        for k in range(keep)
    ]
    return sum(terms) / keep


def literal_local(first, second, places, keep):
    def apart(one, other):
        return lambda b, i, j: (one[b][i] - other[b][j]).detach().norm()

    by_features = literal_matched_vicreg(
        first, second, apart(first, second), len(first[0])
    ) + literal_matched_vicreg(second, first, apart(second, first), len(second[0]))
    by_position = literal_matched_vicreg(
        first, second, apart(*places), keep
    ) + literal_matched_vicreg(second, first, apart(*places[::-1]), keep)
    return by_features / 2 + by_position / 2


def draw(*shape, seed, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)


def compare(ours, literal, *leaves):
    for leaf in leaves:
        leaf.requires_grad_()
    agree(ours(*leaves), literal(*leaves), leaves)


@pytest.mark.parametrize("batch", [2, 3, 6])
@pytest.mark.parametrize("scale", [0.3, 2.0])
def test_the_global_loss(batch, scale):
    compare(
        module.vicreg,
        literal_vicreg,
        draw(batch, 4, seed=0, scale=scale),
        draw(batch, 4, seed=1, scale=scale),
    )


@pytest.mark.parametrize(("batch", "cells", "keep"), [(2, 1, 1), (2, 4, 2), (3, 6, 6), (4, 9, 4)])
@pytest.mark.parametrize("scale", [0.4, 2.0])
def test_the_local_loss(batch, cells, keep, scale):
    places = draw(batch, cells, 2, seed=2), draw(batch, cells, 2, seed=3)
    compare(
        lambda a, b: module.local_loss(a, b, places, keep),
        lambda a, b: literal_local(a, b, places, keep),
        draw(batch, cells, 3, seed=4, scale=scale),
        draw(batch, cells, 3, seed=5, scale=scale),
    )


def test_lightly_agrees_on_maps_of_one_cell():
    # With one cell there is nothing to choose or to order, in which the two differ.
    batch, width = 5, 3
    local = [draw(batch, 1, width, seed=s) for s in (0, 1)]
    whole = [draw(batch, 6, seed=s) for s in (2, 3)]
    grids = [draw(batch, 1, 1, 2, seed=s) for s in (4, 5)]
    expected = VICRegLLoss(alpha=0.6)(
        [(z, c[:, :, None]) for z, c in zip(whole, local, strict=True)], grids
    )
    places = tuple(g.flatten(1, 2) for g in grids)
    found = 0.6 * module.vicreg(*whole) + 0.4 * module.local_loss(*local, places, 1)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("keep", [3, 9])
def test_lightly_keeps_the_same_matches(keep):
    # Without variance and covariance the order of the matches does not matter.
    local = [draw(4, 9, 3, seed=s) for s in (0, 1)]
    grids = [draw(4, 3, 3, 2, seed=s) for s in (4, 5)]
    places = tuple(g.flatten(1, 2) for g in grids)
    criterion = VICRegLLoss(alpha=0.0, mu_param=0, nu_param=0, num_matches=(keep, keep))
    expected = criterion([(c.mean(1), c.unflatten(1, (3, 3))) for c in local], grids)
    total = 0.0
    for one, other in ((0, 1), (1, 0)):
        for space in (local, places):
            apart = torch.cdist(space[one], space[other])
            a, b = module.nearest_cells(local[one], local[other], apart, keep)
            assert a.shape == b.shape == (4, keep, 3)
            total += 25 * (a - b).square().mean() / 2
    assert float(total) == pytest.approx(expected.item(), rel=1e-6)


def test_equal_views_and_positions_match_every_cell_with_itself():
    cells = draw(2, 8, 3, seed=0)
    a, b = module.nearest_cells(cells, cells, torch.cdist(cells, cells), 8)
    assert torch.equal(a, cells)
    assert torch.equal(b, cells)


@pytest.mark.parametrize("cells", [1, 4, 16, 49, 64, 100])
@pytest.mark.parametrize("matches", [1, 20, 49])
def test_matches_in_proportion_never_exceed_the_cells(cells, matches):
    kept = module.matches_kept(cells, matches)
    assert 1 <= kept <= cells
    assert kept == math.ceil(matches * cells / 49)


def make_task(cases, **options):
    return pretrain_task(VICRegL(VICRegL.Options(**options)), cases)


def literal_projection(layers, maps):
    """Linear, batch norm, ReLU, twice, and linear, of all cells of a batch: (B, C, h, w) to lists.

    As the authors' code has it for ResNets; the statistics are those of all cells together.
    """
    batch, cells = len(maps), maps[0, 0].numel()
    rows = torch.stack([maps[b, :, y, x] for b, y, x in np.ndindex(batch, *maps.shape[2:])])
    linear = [layer for layer in layers if isinstance(layer, torch.nn.Linear)]
    for layer in linear[:2]:
        rows = rows @ layer.weight.T
        spread = ((rows - rows.mean(0)) ** 2).mean(0)
        rows = ((rows - rows.mean(0)) / torch.sqrt(spread + 1e-5)).clamp(min=0)
    return (rows @ linear[2].weight.T).double().unflatten(0, (batch, cells))


def test_the_loss_by_hand_on_a_step(cases):
    task = make_task(cases, alpha=0.6, local_width=3, width=5)
    batch, objective = task.batch(0, 0, 1), task.objective
    with torch.no_grad():
        found = [task.backbone.features(v.image, ("centre",))["centre"] for v in batch.views]
        whole = [objective.expander(m.mean(dim=(2, 3))).double() for m in found]
        cells = [literal_projection(objective.local_projector.layers, m) for m in found]
    places = tuple(cell_positions(v.geometry, (2, 2)).double() for v in batch.views)
    expected = 0.6 * literal_vicreg(*whole) + 0.4 * literal_local(*cells, places, 2)
    assert task(batch).loss.item() == pytest.approx(float(expected), rel=1e-4)


def test_a_batch_of_two_and_no_leftover_bias(cases):
    task = make_task(cases)
    batch = task.batch(0, 0, 4)
    assert batch.size == 2
    result = task(batch)
    result.loss.backward()
    assert torch.isfinite(result.loss)
    assert task.objective.expander.layers[-1].bias is None
    assert task.objective.local_projector.layers[-1].bias is None


def test_the_positions_of_the_cells_matter(cases):
    task = make_task(cases)
    batch = task.batch(0, 0, 1)
    moved = replace(batch.views[1].geometry, affine=batch.views[1].geometry.affine.flip(0))
    other = replace(batch, views=(batch.views[0], replace(batch.views[1], geometry=moved)))
    assert task(batch).loss.item() != task(other).loss.item()
