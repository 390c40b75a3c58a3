"""VoCo: overlaps by counting pixels, its three terms in loops, its crops, and its teacher."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from contrabench.contracts import registry

from .conftest import agree, exactly, image_normed, learn, pretrain_task

cls = registry.methods.get("voco")
module = __import__(cls.__module__, fromlist=["x"])
SIDE = 32
LEVELS = ("enc1", "enc2", "enc3", "enc4", "centre")


def make(cases, batch=8, **options):
    return pretrain_task(
        cls(cls.Options(**{"width": 24, "targets": 2, **options})), cases, batch, net=image_normed()
    )


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def counted(target, base, side, whole):
    """The share of a target's pixels that lie in a base, one by one."""
    inside = 0
    for row in range(target[0], target[0] + side):
        for column in range(target[1], target[1] + side):
            assert 0 <= row < whole
            assert 0 <= column < whole
            down, across = row - base[0], column - base[1]
            inside += 0 <= down < side and 0 <= across < side
    return inside / side**2


@pytest.mark.parametrize("whole", [16, 32, 48])
def test_overlaps_are_counted_pixels(whole):
    bases, side = module.grid_corners(whole), whole // 4
    targets = module.random_corners(6, whole, seeded(whole))
    found = module.overlaps(targets, bases, side)
    expected = [[counted(target, base, side, whole) for base in bases] for target in targets]
    torch.testing.assert_close(found, torch.tensor(expected))
    assert (found >= 0).all()
    torch.testing.assert_close(found.sum(dim=1), torch.ones(6))


def test_a_target_that_is_a_base_has_its_label_alone():
    bases = module.grid_corners(SIDE)
    assert torch.equal(module.overlaps(bases, bases, SIDE // 4), torch.eye(16))


def test_corners_reach_both_ends_and_no_further():
    drawn = torch.tensor(module.random_corners(4000, SIDE, seeded(0)))
    for axis in (0, 1):
        assert drawn[:, axis].unique().tolist() == list(range(SIDE - SIDE // 4 + 1))


def test_bases_tile_the_slice():
    images = torch.randn(2, 3, SIDE, SIDE)
    crops = module.cut(images, module.grid_corners(SIDE), 8, 8).unflatten(0, (4, 4, 2))
    tiled = torch.cat([torch.cat(list(row), dim=-1) for row in crops], dim=-2)
    assert torch.equal(tiled, images)


def test_crops_are_resized_about_their_middle():
    ramp = torch.arange(float(SIDE)).expand(1, 1, SIDE, SIDE)
    crop = module.cut(ramp, [(3, 5)], 8, 32)
    assert crop.shape == (1, 1, 32, 32)
    expected = (5 + (torch.arange(32) + 0.5) / 4 - 0.5).clamp(5, 12)
    torch.testing.assert_close(crop[0, 0, 7], expected)


def literal_placing(logits, labels):
    """P and N of every slice, by element; their means."""
    positives, negatives = [], []
    for own in logits:
        pairs = list(zip((y for ys in labels for y in ys), own.flatten(), strict=True))
        weight = sum(y for y, _ in pairs)
        positives.append(sum(-y * torch.log(1 - abs(y - x) + 1e-6) for y, x in pairs) / weight)
        empty = [x**2 for y, x in pairs if y == 0]
        negatives.append(sum(empty) / len(empty))
    return sum(positives) / len(positives), sum(negatives) / len(negatives)


def literal_regulariser(bases):
    """Every pair of bases of every slice, the second without a gradient."""
    terms = []
    for own in bases.unbind(dim=1):
        for i in range(len(own)):
            for j in range(i + 1, len(own)):
                cosine = functional.cosine_similarity(own[i], own[j].detach(), dim=0)
                terms.append(cosine.clamp(min=0) ** 2)
    return sum(terms) / len(terms)


@pytest.mark.parametrize(("slices", "targets"), [(1, 1), (3, 4)])
def test_placing(slices, targets):
    logits = torch.rand(slices, targets, 16, generator=seeded(1)).double().requires_grad_()
    corners = module.random_corners(targets, SIDE, seeded(2))
    labels = module.overlaps(corners, module.grid_corners(SIDE), 8).double()
    for found, expected in zip(
        module.placing(logits, labels), literal_placing(logits, labels.tolist()), strict=True
    ):
        agree(found, expected, [logits])


def test_perfect_placing_costs_nothing():
    labels = module.overlaps([(0, 0), (5, 9)], module.grid_corners(SIDE), 8)
    positive, negative = module.placing(labels[None], labels)
    assert float(positive) == pytest.approx(0, abs=1e-5)
    assert float(negative) == 0
    positive, negative = module.placing(torch.zeros(1, 1, 16), torch.eye(16)[:1])
    assert float(positive) == pytest.approx(-math.log(1e-6), rel=1e-3)


@pytest.mark.parametrize(("bases", "slices", "dim"), [(3, 2, 4), (16, 1, 3)])
def test_regulariser(bases, slices, dim):
    leaves = torch.randn(bases, slices, dim, generator=seeded(bases)).double().requires_grad_()
    found = module.regulariser(functional.normalize(leaves, dim=2))
    agree(found, literal_regulariser(leaves), [leaves])


def test_orthogonal_and_opposite_bases_are_left_alone():
    assert float(module.regulariser(torch.eye(16)[:, None])) == 0
    opposite = torch.tensor([[[1.0, 0.0]], [[-1.0, 0.0]]])
    assert float(module.regulariser(opposite)) == 0
    assert float(module.regulariser(torch.ones(16, 2, 1))) == 1


def test_likeness_compares_crops_of_one_slice():
    targets, bases = torch.randn(2, 3, 5), torch.randn(4, 3, 5)
    found = module.likeness(targets, bases)
    for b in range(3):
        for t in range(2):
            for p in range(4):
                expected = max(0.0, float(targets[t, b] @ bases[p, b]))
                assert float(found[b, t, p]) == pytest.approx(expected, abs=1e-6)


def test_steps_by_hand(cases):
    """Crops one by one, both directions, and a teacher that follows after every step."""
    task = make(cases, 3, momentum=0.6).double()
    student = copy.deepcopy(torch.nn.ModuleList([task.backbone, task.objective.head]))
    teacher = copy.deepcopy(student)
    learnt = [p for p in student.parameters() if p.requires_grad]
    optimizers = [
        torch.optim.SGD([p for p in each if p.requires_grad], lr=0.05)
        for each in (learnt, task.parameters())
    ]
    bases = [(row, left) for row in (0, 8, 16, 24) for left in (0, 8, 16, 24)]

    def embed(pair, batch, corners):
        crops = []
        for view, places in zip(batch.views, (bases, corners), strict=True):
            for row, left in places:
                crop = view.image[:, :, row : row + 8, left : left + 8]
                crops.append(functional.interpolate(crop, size=(32, 32), mode="bilinear"))
        maps = [pair[0].features(crop, LEVELS) for crop in crops]
        levels = [torch.cat([m[tap].mean((2, 3)) for tap in LEVELS], dim=1) for m in maps]
        return functional.normalize(pair[1](torch.cat(levels)), dim=1).unflatten(0, (-1, 3))

    for step in range(3):
        batch = exactly(task.batch(step, 0, 1))
        corners = module.random_corners(2, SIDE, batch.generator("corners"))
        ours = embed(student, batch, corners)
        with torch.no_grad():
            theirs = embed(teacher, batch, corners)
        logits = torch.zeros(3, 2, 16).double()
        for b in range(3):
            for t in range(2):
                for p in range(16):
                    forth, back = ours[16 + t, b] @ theirs[p, b], theirs[16 + t, b] @ ours[p, b]
                    logits[b, t, p] = (forth.clamp(min=0) + back.clamp(min=0)) / 2
        labels = [[counted(corner, base, 8, SIDE) for base in bases] for corner in corners]
        expected = sum(literal_placing(logits, labels)) + literal_regulariser(ours[:16])
        found = task(batch)
        assert found.loss.item() == pytest.approx(expected.item(), rel=1e-6)
        assert sum(map(float, found.logs.values())) == pytest.approx(expected.item(), rel=1e-6)
        for optimizer, loss in zip(optimizers, (expected, found.loss), strict=True):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            for a, b in zip(teacher.parameters(), student.parameters(), strict=True):
                a.copy_(0.6 * a + 0.4 * b)
        task.after_step((step + 1) / 3)


def test_targets_are_placed_by_seed_and_step(cases):
    task, again = make(cases), make(cases)
    batch = task.batch(3, 0, 1)
    torch.manual_seed(1)
    first = task(batch).loss.item()
    torch.manual_seed(2)
    assert again(again.batch(3, 0, 1)).loss.item() == first
    assert task(replace(batch, seed=task.batch(4, 0, 1).seed)).loss.item() != first


def test_no_gradient_reaches_the_teacher(cases):
    task = make(cases)
    task(task.batch(0, 0, 1)).loss.backward()
    assert all(value.grad is None and not value.requires_grad for value in task.objective.buffers())


def test_both_views_show_the_same_place(cases):
    first, second = make(cases).batch(0, 0, 1).views
    assert torch.equal(first.geometry.affine, second.geometry.affine)
    assert not torch.equal(first.image, second.image)


def test_everything_learns(cases):
    results = learn(make(cases, 4), 6, 1e-2)
    assert results[-1].loss < results[0].loss


def test_the_head_is_twice_as_wide_as_the_encoder_s_maps(cases):
    head = make(cases, width=None).objective.head
    assert (head[0].in_features, head[0].out_features, head[-1].out_features) == (124, 248, 248)


def test_published_settings_are_options_of_stages_that_exist():
    options = cls.Options.model_validate(cls.published.options)
    assert options.targets == 2
    assert set(cls.published.stages) == {stage.name for stage in cls(options).stages()}
