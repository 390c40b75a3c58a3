"""VolumeFusion: boxes, pairs, fusion and loss against their definitions."""

import dataclasses
from collections import Counter

import pytest
import torch

from contrabench import RunError
from contrabench.contracts import registry
from contrabench.protocol import PARTS

from .conftest import agree, exactly, learn, pretrain_task

module = __import__(registry.methods.get("volume_fusion").__module__, fromlist=["x"])


def make_task(cases, **options):
    method = module.VolumeFusion(module.VolumeFusionOptions(**options))
    return pretrain_task(method, cases, patients=3, orientations=("axial",))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", [(16, 16), (32, 20)])
def test_boxes_against_a_pixel_by_pixel_search(monkeypatch, size):
    taken, between = [], module.between
    monkeypatch.setattr(
        module, "between", lambda *given: taken.append(between(*given)) or taken[-1]
    )
    found = module.draw_classes(3, size, 4, generator(2))
    number, high, wide, top, left, kinds = (values.tolist() for values in taken)
    for b, many in enumerate(number):
        boxes = list(zip(top[b], high[b], left[b], wide[b], kinds[b], strict=True))[:many]
        for y in range(size[0]):
            for x in range(size[1]):
                covering = [k for t, h, s, w, k in boxes if t <= y < t + h and s <= x < s + w]
                assert found[b, y, x] == (covering[-1] if covering else 0)


def test_boxes_have_the_numbers_and_sides_of_the_paper(monkeypatch):
    taken, between = [], module.between
    monkeypatch.setattr(
        module, "between", lambda *given: taken.append(between(*given)) or taken[-1]
    )
    module.draw_classes(400, (64, 48), 4, generator())
    number, high, wide, top, left, kinds = taken
    assert (number.min(), number.max()) == (10, 39)
    for length, start, side, most in ((high, top, 64, 40), (wide, left, 48, 30)):
        assert (length.min(), length.max()) == (8, most)
        assert (start.min(), (start + length).max()) == (0, side)
    counts = Counter(kinds.flatten().tolist())
    assert set(counts) == set(range(5))
    total = kinds.numel()
    assert all(abs(c - total / 5) < 6 * (total * 0.2 * 0.8) ** 0.5 for c in counts.values())


def test_the_same_step_draws_the_same_boxes():
    first, again, other = (module.draw_classes(4, (32, 32), 4, generator(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("patients", [[0, 0, 1, 1], [2, 0, 2, 2, 1], [0, 1], [3, 3, 3]])
def test_partners_are_the_next_slices_of_other_patients(patients):
    found = module.partners(torch.tensor(patients)).tolist()
    count = len(patients)
    for place, patient in enumerate(patients):
        ahead = [(place + step) % count for step in range(1, count)]
        others = [other for other in ahead if patients[other] != patient]
        assert found[place] == (others or ahead)[0]


def test_a_slice_alone_is_refused():
    with pytest.raises(RunError, match="batch of one"):
        module.partners(torch.tensor([3]))


@pytest.mark.parametrize("most", [1, 4, 5])
def test_fusion_pixel_by_pixel(most):
    torch.manual_seed(0)
    back, front = torch.randn(2, 2, 3, 4, 4, dtype=torch.float64)
    classes = torch.randint(most + 1, (2, 4, 4))
    found = module.fused(back, front, classes, most)
    for b, c, y, x in torch.ones_like(found).nonzero().tolist():
        share = classes[b, y, x].item() / most
        expected = share * front[b, c, y, x] + (1 - share) * back[b, c, y, x]
        assert found[b, c, y, x].item() == pytest.approx(expected.item(), abs=1e-12)


def test_fusions_that_are_plain_images():
    torch.manual_seed(0)
    back, front = torch.randn(2, 3, 1, 32, 32)
    classes = module.draw_classes(3, (32, 32), 4, generator())
    assert torch.equal(module.fused(back, back, classes, 4), back)
    assert torch.equal(module.fused(back, front, torch.zeros_like(classes), 4), back)
    assert torch.equal(module.fused(back, front, torch.full_like(classes, 4), 4), front)


@pytest.mark.parametrize("kinds", [2, 5])
def test_the_loss_and_its_gradients_are_those_of_its_definition(kinds):
    torch.manual_seed(kinds)
    logits = torch.randn(3, kinds, 5, 4, dtype=torch.float64, requires_grad=True)
    classes = torch.randint(kinds, (3, 5, 4))
    classes[0] = 0
    share, entropy, dice = logits.exp() / logits.exp().sum(1, keepdim=True), [], []
    for b in range(3):
        for y in range(5):
            for x in range(4):
                entropy.append(-share[b, classes[b, y, x], y, x].log())
        for kind in range(kinds):
            truth = (classes[b] == kind).double()
            both, size = (share[b, kind] * truth).sum(), (share[b, kind] + truth).sum()
            dice.append((2 * both + 1e-5) / (size + 1e-5))
    expected = sum(entropy) / len(entropy) + 1 - sum(dice) / len(dice)
    agree(module.fusion_loss(logits, classes), expected, [logits])


def test_a_batch_is_fused_and_segmented(cases):
    task = make_task(cases).double()
    batch = exactly(task.batch(0, 0, 1))
    image, patient = batch.views[0].image, batch.info.patient
    assert len(set(patient.tolist())) > 1
    classes = module.draw_classes(8, (32, 32), 4, batch.generator("boxes"))
    rows = module.partners(patient)
    assert (patient[rows] != patient).all()
    share = classes[:, None] / 4
    mixed = share * image[rows] + (1 - share) * image
    logits = task.objective.head(task.backbone.features(mixed, ("dec1",))["dec1"])
    assert logits.shape[1] == 5
    expected = module.fusion_loss(logits, classes)
    assert task(batch).loss.item() == pytest.approx(expected.item(), rel=1e-9)
    other = dataclasses.replace(batch, seed=batch.seed + 1)
    with torch.no_grad():
        assert task(batch).loss == task(batch).loss != task(other).loss


def test_it_sees_no_labels_and_hands_over_the_whole_network():
    method = module.VolumeFusion()
    assert not method.label_dependent()
    assert method.transfers() == PARTS


@pytest.mark.parametrize("options", [{}, {"classes": 1}])
def test_every_part_learns_to_segment(options, cases):
    first, *_, last = learn(make_task(cases, **options), 20, 3e-3)
    assert last.loss < 0.95 * first.loss
