"""PixPro against loops over its definition: pairs, propagation, loss, target."""

import math

import pytest
import torch

from contrabench.contracts import registry
from contrabench.contracts.geometry import Geometry
from contrabench.contracts.views import Spatial
from contrabench.views.spatial import draw_geometry

from .conftest import agree, pretrain_task

PixPro = registry.methods.get("pixpro")
module = __import__(PixPro.__module__, fromlist=["x"])


def cosine(a, b):
    return (a * b).sum() / (a.norm() * b.norm())


def box(left, top, right, bottom, mirror=False):
    """An affine map whose view shows a box of the slice, in shares of its side."""
    width, height = right - left, bottom - top
    sign = -1 if mirror else 1
    return [[sign * width, 0, left + right - 1], [0, height, top + bottom - 1]]


def literal_box_pairs(first, second, side, ratio):
    """Pairs from the corners of two crops, cell by cell, in shares of the slice's side."""
    centres, diagonals = [], []
    for left, top, right, bottom, mirror in (first, second):
        width, height = (right - left) / side, (bottom - top) / side
        diagonals.append(math.hypot(width, height))
        order = range(side - 1, -1, -1) if mirror else range(side)
        centres.append(
            [
                (left + (c + 0.5) * width, top + (r + 0.5) * height)
                for r in range(side)
                for c in order
            ]
        )
    return [[math.dist(a, b) / max(diagonals) < ratio for b in centres[1]] for a in centres[0]]


@pytest.mark.parametrize("side", [2, 4, 7])
@pytest.mark.parametrize("ratio", [0.3, 0.7, 1.5])
def test_pairs_of_crops_and_mirror_images(side, ratio):
    first = [(0.0, 0.0, 0.7, 0.8, False), (0.1, 0.2, 0.9, 0.9, True), (0.0, 0.0, 0.3, 0.3, False)]
    second = [(0.2, 0.1, 1.0, 0.9, False), (0.0, 0.0, 0.8, 1.0, False), (0.6, 0.6, 1, 1, True)]
    one, other = (
        Geometry(torch.tensor([box(*each) for each in boxes], dtype=torch.float32), None, (64, 64))
        for boxes in (first, second)
    )
    expected = [literal_box_pairs(a, b, side, ratio) for a, b in zip(first, second, strict=True)]
    found = module.positive_pairs(one, other, (side, side), ratio)
    assert torch.equal(found, torch.tensor(expected))
    assert not found[2].any()


def test_pairs_under_rotation_and_displacement():
    spec = Spatial(elastic_sd=0.05, rotation_deg=40, flip=True)
    one, other = (draw_geometry(spec, 3, (64, 64), (64, 64), seed) for seed in (0, 1))
    side, count = 4, 16
    found = module.positive_pairs(one, other, (side, side), 0.7)
    for b in range(3):
        places, diagonals = [], []
        for geometry in (one, other):
            centres = [
                [(2 * c + 1) / side - 1, (2 * r + 1) / side - 1]
                for r in range(side)
                for c in range(side)
            ]
            places.append(geometry.source(torch.tensor([centres] * 3))[b].tolist())
            (a11, a12, _), (a21, a22, _) = geometry.affine[b].tolist()
            diagonals.append(math.sqrt(a11**2 + a12**2 + a21**2 + a22**2) * 2 / side)
        for i in range(count):
            for j in range(count):
                shown = max(map(abs, places[0][i] + places[1][j])) <= 1
                near = math.dist(places[0][i], places[1][j]) / max(diagonals) < 0.7
                assert bool(found[b, i, j]) == (near and shown)
    assert found.any()


def test_a_view_and_itself_pair_every_cell_with_itself():
    geometry = Geometry.identity(1, (64, 64))
    assert torch.equal(
        module.positive_pairs(geometry, geometry, (4, 4), 0.7)[0], torch.eye(4 * 4) > 0
    )


def test_cells_outside_of_the_slice_form_no_pair():
    geometry = Geometry(torch.tensor([[[2.0, 0, 0], [0, 2.0, 0]]]), None, (64, 64))
    pairs = module.positive_pairs(geometry, geometry, (4, 4), 0.7)[0]
    inner = torch.zeros(4, 4, dtype=torch.bool)
    inner[1:3, 1:3] = True
    assert torch.equal(pairs.diagonal(), inner.flatten())


def listed(maps, image):
    return [maps[image, :, y, x] for y in range(maps.shape[2]) for x in range(maps.shape[3])]


def literal_propagation(cells, values, gamma):
    out = torch.zeros_like(cells)
    for b in range(len(cells)):
        x, g = listed(cells, b), listed(values, b)
        for i in range(len(x)):
            total = sum(
                cosine(x[i], x[j]).clamp(min=0) ** gamma * g[j] / g[j].norm() for j in range(len(x))
            )
            out[b, :, i // cells.shape[3], i % cells.shape[3]] = total
    return out


def literal_agreement(predicted, target, pairs):
    images = []
    for b in range(len(predicted)):
        y, x = listed(predicted, b), listed(target, b)
        cosines = [
            cosine(y[i], x[j]) for i in range(len(y)) for j in range(len(x)) if pairs[b, i, j]
        ]
        images.append(sum(cosines) / len(cosines) if cosines else torch.tensor(0.0))
    return sum(images) / len(images)


def maps(batch, dim, height, width, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, dim, height, width, generator=generator, dtype=torch.float64)


def compare(ours, literal, *leaves):
    for leaf in leaves:
        leaf.requires_grad_()
    agree(ours(*leaves), literal(*leaves), leaves)


@pytest.mark.parametrize("shape", [(2, 2, 2), (1, 3, 2), (2, 4, 4)])
@pytest.mark.parametrize("gamma", [1.0, 2.0, 3.0])
def test_propagation_and_its_gradient(shape, gamma):
    cells, values, weights = (maps(shape[0], 5, *shape[1:], seed) for seed in (0, 1, 2))
    compare(
        lambda x, g: (module.propagate(x, g, gamma) * weights).sum(),
        lambda x, g: (literal_propagation(x, g, gamma) * weights).sum(),
        cells,
        values,
    )


@pytest.mark.parametrize("case", ["random", "one pair", "an image without a pair", "no pair"])
def test_agreement_and_its_gradient(case):
    pairs = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(0)) < 0.3
    if case == "one pair":
        pairs = torch.zeros_like(pairs)
        pairs[:, 2, 4] = True
    if case == "an image without a pair":
        pairs[1] = False
    if case == "no pair":
        pairs = torch.zeros_like(pairs)
        y = maps(3, 4, 2, 3, 0).requires_grad_()
        value = module.agreement(y, maps(3, 4, 2, 3, 1), pairs)
        assert value.item() == 0
        assert not torch.autograd.grad(value, y)[0].any()
        return
    compare(
        lambda y, x: module.agreement(y, x, pairs),
        lambda y, x: literal_agreement(y, x, pairs),
        maps(3, 4, 2, 3, 0),
        maps(3, 4, 2, 3, 1),
    )


def make_task(cases, **options):
    return pretrain_task(PixPro(PixPro.Options(**options)), cases)


def test_the_loss_is_both_directions_once(cases):
    task = make_task(cases)
    batch, objective = task.batch(0, 0, 1), task.objective
    with torch.no_grad():
        # The target begins as a copy, so that both come from one network.
        projected = [
            objective.projection(task.backbone.features(view.image, ("centre",))["centre"])
            for view in batch.views
        ]
        smooth = [
            literal_propagation(x.double(), objective.values(x).double(), 2.0) for x in projected
        ]
    first, second = (view.geometry for view in batch.views)
    pairs = module.positive_pairs(first, second, (2, 2), 0.7)
    expected = -literal_agreement(smooth[0], projected[1].double(), pairs)
    expected -= literal_agreement(smooth[1], projected[0].double(), pairs.transpose(1, 2))
    result = task(batch)
    assert result.loss.item() == pytest.approx(float(expected), rel=1e-4)
    assert float(result.logs["pairs"]) == pytest.approx(float(pairs.sum()) / 8)
    assert float(result.logs["pairs"]) > 1


def test_exchanging_the_views_changes_nothing(cases):
    task = make_task(cases)
    batch = task.batch(0, 0, 1)
    turned = type(batch)(views=batch.views[::-1], info=batch.info)
    assert task(batch).loss.item() == pytest.approx(task(turned).loss.item(), rel=1e-5)


def test_the_target_follows_ever_more_slowly_and_gets_no_gradient(cases):
    task = make_task(cases)
    objective = task.objective
    assert not [name for name, _ in objective.named_parameters() if "target" in name]
    copied = objective.target_projection.copied[0].weight
    for progress, keep in ((0.0, 0.99), (0.5, 0.995), (1.0, 1.0)):
        before = copied.clone()
        with torch.no_grad():
            objective.projection[0].weight.add_(1.0)
        online = objective.projection[0].weight.detach()
        task.after_step(progress)
        torch.testing.assert_close(copied, keep * before + (1 - keep) * online)


@pytest.mark.parametrize(
    ("tap", "last", "side"), [("centre", "centre", 2), ("dec4", "dec4", 4), ("dec3", "dec3", 8)]
)
def test_what_is_trained_follows_the_tap(cases, tap, last, side):
    task = make_task(cases, tap=tap)
    method = PixPro(PixPro.Options(tap=tap))
    (stage,) = method.stages()
    assert stage.trains[0] == "enc1"
    assert stage.trains[-1] == last
    assert method.transfers() == stage.trains
    batch = task.batch(0, 0, 1)
    result = task(batch)
    result.loss.backward()
    found = {n for n, p in task.named_parameters() if p.grad is not None and p.grad.any()}
    assert found == {n for n, p in task.named_parameters() if p.requires_grad}
    geometries = [view.geometry for view in batch.views]
    pairs = module.positive_pairs(*geometries, (side, side), 0.7)
    assert float(result.logs["pairs"]) == pytest.approx(float(pairs.sum()) / 8)
