"""MONA and ARCO against their definitions: relations, neighbours, equivariance, and the stages."""

import math

import pytest
import torch
from tests.makers.joint import handmade, module_of

from contrabench.contracts import registry
from contrabench.objectives.consistency import boxes

from .conftest import agree

cls = registry.methods.get("mona")
module = module_of("mona")
NOTHING = {"unsupervised": 0.0, "contrast": 0.0, "neighbours": 0.0, "equivariance": 0.0}


def random(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


def cosine(a, b):
    return (a * b).sum() / (a.norm() * b.norm())


@pytest.mark.parametrize("side", [32, 64])
def test_windows(side):
    logits = random(2, 3, side, side)
    found = module.windows(logits)
    assert found.shape == (2, 49, 3, 8, 8)
    step, cell = side // 8, side // 32
    for number in range(49):
        top, left = number // 7 * step, number % 7 * step
        cut = logits[:, :, top : top + side // 4, left : left + side // 4]
        for y in range(8):
            for x in range(8):
                block = cut[:, :, y * cell : (y + 1) * cell, x * cell : (x + 1) * cell]
                torch.testing.assert_close(found[:, number, :, y, x], block.mean((2, 3)))


def test_relations_to_the_queue():
    student, teacher, queued = random(2, 3, 4), random(2, 3, 4, seed=1), random(5, 3, 4, seed=2)
    total = 0.0
    for b in range(2):
        for p in range(3):
            shares = []
            for own in (student, teacher):
                alike = [torch.exp(cosine(own[b, p], key[p]) / 0.1) for key in queued]
                shares.append([value / sum(alike) for value in alike])
            total = total + sum(t * torch.log(t / s) for s, t in zip(*shares, strict=True)) / 6
    agree(module.related_alike(student, teacher.detach(), queued.detach(), 0.1), total, (student,))
    same = module.related_alike(teacher, teacher, queued, 0.1)
    assert same.item() == pytest.approx(0, abs=1e-12)


def test_the_teacher_chooses_the_neighbours_and_the_student_moves_to_them():
    student, teacher, pool = random(3, 4), random(3, 4, seed=1).detach(), random(6, 4, seed=2)
    pool = torch.nn.functional.normalize(pool.detach(), dim=1)
    total = 0.0
    for own, other in zip(student, teacher, strict=True):
        far = [float(2 - 2 * cosine(other, key)) for key in pool]
        nearest = sorted(range(6), key=far.__getitem__)[:2]
        total = total + sum(2 - 2 * cosine(own, pool[k]) for k in nearest) / 2 / 3
    # Two places of the pool are not filled yet, though they would be nearest.
    pool, filled = torch.cat((pool, teacher[:2])), torch.arange(8) < 6
    found = module.to_neighbours(student, teacher, pool, filled, 2)
    agree(found, total, (student,))
    (gradient,) = torch.autograd.grad(found, student)
    assert (gradient.norm(dim=1) > 1e-3).all()
    few = module.to_neighbours(student, teacher, pool, torch.arange(8) < 1, 2)
    alone = module.to_neighbours(student, teacher, pool[:1], filled[:1], 1)
    assert few.item() == pytest.approx(alone.item(), rel=1e-12)
    assert module.to_neighbours(student, teacher, pool, filled & False, 2).item() == 0


def test_neighbours_reach_the_network():
    step = handmade("mona", stage=1, **(NOTHING | {"neighbours": 1.0}))
    result = step.take(rounds=2)
    result.loss.backward()
    assert result.loss.item() > 0
    assert all(w.grad.any() for w in step.objective.head.parameters())
    reached = {n.split(".")[0] for n, w in step.network.backbone.named_parameters()
               if w.grad is not None and w.grad.any()}  # fmt: skip
    assert reached == set(step.network.backbone.parts)


def test_turns_stay_in_their_ranges():
    theta = module.turns(2000, torch.Generator().manual_seed(0))
    turn = theta[:, :, :2]
    size = torch.linalg.det(turn).abs().sqrt()
    assert 0.8 <= size.min() < 0.82 < 1.18 < size.max() <= 1.2
    assert (torch.linalg.det(turn) < 0).float().mean().item() == pytest.approx(0.5, abs=0.05)
    angle = torch.atan2(turn[:, 0, 1], turn[:, 1, 1]).abs() * 180 / math.pi
    assert 58 < angle.max() <= 60 + 1e-3
    assert 0.099 < theta[:, :, 2].abs().max() <= 0.1
    torch.testing.assert_close(
        turn @ turn.mT, size[:, None, None] ** 2 * torch.eye(2).expand_as(turn)
    )


@pytest.mark.parametrize("mirrored", [False, True])
def test_equivariance(mirrored):
    step = handmade("mona", stage=1)
    image = step.batch.streams[0].views[0].image
    counted = torch.rand(image[:, 0].shape, generator=torch.Generator().manual_seed(0)) < 0.4
    counted[1] = False
    theta = torch.tensor([[-1.0 if mirrored else 1.0, 0, 0], [0, 1, 0]]).expand(2, 2, 3)
    logits = step.network.logits(image).detach()
    found = module.equivariance(step.network, image, logits, counted, theta)
    if not mirrored:
        assert found.item() == pytest.approx(0, abs=1e-6)
        return
    told = torch.log_softmax(step.network.logits(image.flip(3)), 1)
    total, count = 0.0, 0
    for y, x in torch.nonzero(counted[0]).tolist():
        share = torch.softmax(logits[0, :, y, x], 0)
        total += (share * (torch.log(share) - told[0, :, y, 31 - x])).sum().item()
        count += 1
    assert found.item() == pytest.approx(total / count / 2, rel=1e-4)


def test_the_pseudo_labels_of_the_second_stage():
    """An image's share of confident pixels weighs it; the mean is over pixels with a loss."""
    step = handmade("mona", stage=1, **(NOTHING | {"unsupervised": 1.0, "strong": 0.4}))
    weak, strong = (view.image for view in step.batch.streams[0].views)
    box = boxes(2, (32, 32), step.batch.generator("cutmix"), 1.0, (0.5, 0.5), (0.5, 2.0))
    sure, labels = torch.softmax(step.network.logits(weak), 1).max(1)
    mixed = torch.where(box[:, None], strong.roll(1, 0), strong)
    marks, sure = (torch.where(box, each.roll(1, 0), each) for each in (labels, sure))
    told = torch.log_softmax(step.network.logits(mixed), 1)
    total, count = 0.0, 0
    for b in range(2):
        share = (sure[b] >= 0.4).float().mean().item()
        assert 0 < share < 1
        for y in range(32):
            for x in range(32):
                total -= share * told[b, marks[b, y, x], y, x].item()
                count += 1
    assert step.take().loss.item() == pytest.approx(total / count, rel=1e-4)


def test_in_the_first_stage_the_teacher_alone_sees_the_strong_view():
    step = handmade("mona", stage=0)
    item, strong = step.objective, step.batch.streams[0].views[1]
    with torch.no_grad():
        maps = step.network.backbone.features(strong.image, ("centre", "dec1"))
        latent, places = item.heads(maps["centre"], step.network.decide(maps))
    first = step.take().loss.item()
    item.after_step(step.network, 0.5)
    for queue, wanted in ((item.latents, latent), (item.places, places.flatten(2))):
        found = queue.memory[:2].view(wanted.shape)
        torch.testing.assert_close(found, torch.nn.functional.normalize(wanted, dim=-1))
    again = handmade("mona", stage=0)
    again.batch.streams[0].views[0].image.add_(1.0)
    again.objective(again.network, again.batch, None)
    again.objective.after_step(again.network, 0.5)
    assert torch.equal(again.objective.latents.memory, item.latents.memory)
    assert first > 0


def test_the_stages_and_arco():
    stages = cls(cls.Options(first=0.2)).joint_stages()
    assert [(stage.name, stage.share) for stage in stages] == [
        ("relational", 0.2), ("anatomical", 0.8)]  # fmt: skip
    step = handmade("mona", stage=1, regions=4, equivariance=0)
    assert step.objective.contrast.rule.regions == 4
    assert torch.isfinite(step.take(rounds=2).loss)


@pytest.mark.parametrize("blank", [False, True])
@pytest.mark.parametrize("stage", [0, 1])
@pytest.mark.parametrize(("classes", "labelled", "others"), [(2, 2, 1), (8, 1, 2)])
def test_few_slices_and_any_number_of_classes(classes, labelled, others, stage, blank):
    sizes = {"classes": classes, "labelled": labelled, "others": others}
    result = handmade("mona", stage=stage, blank=blank, **sizes).take(rounds=2)
    assert torch.isfinite(result.loss)
    result.loss.backward()
