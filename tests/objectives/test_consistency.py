"""What joint methods share: each brick against a loop over its definition, and at its limits."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from contrabench.contracts.views import IGNORE
from contrabench.model.segmentation import build_segmenter
from contrabench.model.weights import build_backbone
from contrabench.objectives.consistency import (
    Teacher,
    boxes,
    confident,
    masked_dice,
    masked_entropy,
    pasted,
    ramp,
)
from contrabench.protocol import BackboneSpec

from .conftest import agree


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_ramp_is_that_of_laine_and_aila():
    told = {0: 0.0067, 0.25: 0.060, 0.5: 0.2865, 0.75: 0.732, 1: 1}
    for progress, value in told.items():
        assert ramp(progress) == pytest.approx(value, abs=5e-4)
    assert ramp(0.1, 0.2) == ramp(0.5)
    assert ramp(0.3, 0.2) == ramp(0.0, 0.0) == 1


# -- the teacher ----------------------------------------------------------------------


def student():
    """A segmenter whose layers are normalised by batch, with a counter of whole numbers."""
    net = build_backbone(BackboneSpec(width=4), 0)
    net.norm = nn.BatchNorm2d(4)
    net.register_forward_hook(
        lambda module, inputs, maps: {name: module.norm(value) for name, value in maps.items()}
    )
    return build_segmenter(net, 3, False, 0)


def nudge(module, seed):
    """Moves every weight and every running statistic, and counts one batch."""
    drawn = generator(seed)
    with torch.no_grad():
        for value in (*module.parameters(), *module.buffers()):
            if value.is_floating_point():
                value.add_(torch.rand(value.shape, generator=drawn))
            else:
                value.add_(1)


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize(
    ("ramped", "keep", "shares"),
    [
        (True, 0.6, [0, 1 / 2, 0.6, 0.6]),
        (True, 0.99, [0, 1 / 2, 2 / 3, 3 / 4]),
        (False, 0.6, [0.6, 0.6, 0.6, 0.6]),
    ],
)
def test_it_is_the_average_of_parameters_and_running_statistics(ramped, keep, shares):
    module = student()
    teacher = Teacher(module, keep, ramped)
    expected = state(module)
    for number, share in enumerate(shares):
        nudge(module, number)
        teacher.update(module)
        for name, value in state(module).items():
            if value.is_floating_point():
                expected[name] = share * expected[name] + (1 - share) * value
            else:
                expected[name] = value
        for name, value in teacher.copied.state_dict().items():
            torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-7)


def test_keeping_nothing_copies_and_keeping_all_stands_still():
    module = student()
    follows, stays = Teacher(module, 0.0), Teacher(module, 1.0, ramped=False)
    before = state(stays.copied)
    for number in range(3):
        nudge(module, number)
        follows.update(module)
        stays.update(module)
        own = module.state_dict()
        assert all(torch.equal(v, own[name]) for name, v in follows.copied.state_dict().items())
    for name, value in stays.copied.state_dict().items():
        if value.is_floating_point():
            assert torch.equal(value, before[name])


def test_the_first_update_of_the_schedule_forgets_the_beginning():
    module, other = student(), student()
    nudge(other, 9)
    teacher = Teacher(other, 0.99)
    teacher.update(module)
    own = module.state_dict()
    assert all(torch.equal(v, own[name]) for name, v in teacher.copied.state_dict().items())


def test_a_prediction_moves_no_statistic_and_takes_no_gradient():
    module = student().train()
    teacher = Teacher(module, 0.9).train()
    before = state(teacher)
    image = torch.randn(2, 1, 32, 32, requires_grad=True)
    logits = teacher.logits(image)
    assert not logits.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert list(teacher.parameters()) == []
    # By its statistics, not by the batch: each image is predicted as if it were alone.
    torch.testing.assert_close(teacher.logits(image[:1]), logits[:1])
    assert not torch.allclose(module.logits(image[:1]), module.logits(image)[:1])


def test_its_counter_is_saved_with_it():
    module = student()
    first, second = Teacher(module, 0.99), Teacher(module, 0.99)
    for number in range(2):
        nudge(module, number)
        first.update(module)
    second.load_state_dict(first.state_dict())
    nudge(module, 5)
    for teacher in (first, second):
        teacher.update(module)
    assert all(torch.equal(v, second.state_dict()[n]) for n, v in first.state_dict().items())


# -- losses on pseudo-labels ----------------------------------------------------------


def example(seed=0, classes=3):
    drawn = generator(seed)
    logits = torch.randn(2, classes, 3, 4, generator=drawn)
    labels = torch.randint(classes, (2, 3, 4), generator=drawn)
    labels[0, 0, 1] = labels[1, 2, 3] = IGNORE
    return logits, labels, torch.rand(2, 3, 4, generator=drawn) > 0.4


def pixels(logits):
    size = (range(length) for length in (logits.shape[0], *logits.shape[2:]))
    b, h, w = size
    return [(i, j, k) for i in b for j in h for k in w]


def test_confident_pixels_are_those_whose_highest_probability_reaches_the_threshold():
    logits, _, _ = example()
    labels, sure = confident(logits, 0.5)
    for i, j, k in pixels(logits):
        shares = [math.exp(value) for value in logits[i, :, j, k]]
        assert labels[i, j, k] == int(np.argmax(shares))
        assert bool(sure[i, j, k]) == (max(shares) / sum(shares) >= 0.5)
    assert 0 < sure.sum() < sure.numel()


def test_entropy_is_a_sum_over_kept_and_a_mean_over_known_pixels():
    logits, labels, kept = example()

    def literal(logits):
        total, known = 0, 0
        for i, j, k in pixels(logits):
            mark = int(labels[i, j, k])
            if mark == IGNORE:
                continue
            known += 1
            if kept[i, j, k]:
                values = logits[i, :, j, k]
                total = total + values.exp().sum().log() - values[mark]
        return total / known

    agree(lambda logits: masked_entropy(logits, labels, kept), literal, logits)


def test_dice_is_the_mean_over_all_classes_of_the_kept_pixels():
    logits, labels, kept = example()

    def literal(logits):
        classes, total = logits.shape[1], 0
        for c in range(classes):
            both, size = 0, 0
            for i, j, k in pixels(logits):
                mark = int(labels[i, j, k])
                if not kept[i, j, k] or mark == IGNORE:
                    continue
                values = logits[i, :, j, k].exp()
                share, hit = values[c] / values.sum(), float(mark == c)
                both, size = both + share * hit, size + share**2 + hit
            total = total + 1 - (2 * both + 1e-5) / (size + 1e-5)
        return total / classes

    # The loss is in single precision whatever it is given.
    logits = logits.requires_grad_()
    found, wanted = masked_dice(logits, labels, kept), literal(logits)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)
    ours, theirs = (torch.autograd.grad(loss, logits)[0] for loss in (found, wanted))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("loss", [masked_entropy, masked_dice])
def test_without_a_kept_pixel_loss_and_gradient_are_zero(loss):
    logits, labels, kept = example()
    logits.requires_grad_()
    nothing = [
        loss(logits, labels, torch.zeros_like(kept)),
        loss(logits, torch.full_like(labels, IGNORE), kept),
    ]
    for value in nothing:
        assert value.item() == 0
        assert not torch.autograd.grad(value, logits)[0].any()


def test_dice_of_a_perfect_prediction_misses_the_absent_classes_alone():
    _, labels, _ = example()
    labels = labels.clamp(max=1)
    logits = 100.0 * torch.nn.functional.one_hot(labels, 4).movedim(-1, 1)
    kept = torch.ones_like(labels, dtype=torch.bool)
    # Classes 2 and 3 are nowhere, in prediction and label alike: the smoothing makes them perfect.
    assert masked_dice(logits, labels, kept).item() == pytest.approx(0, abs=1e-6)
    flat = torch.zeros(2, 4, 3, 4)
    # Of a flat one each absent class costs 1.
    assert masked_dice(flat, torch.zeros_like(labels), kept).item() > 3 / 4


# -- boxes ----------------------------------------------------------------------------


def extent(box):
    """Height and width of each box; fails if one is not a full rectangle."""
    found = []
    for held in box:
        rows, columns = held.any(1).nonzero(), held.any(0).nonzero()
        high = int(rows.max() - rows.min()) + 1
        wide = int(columns.max() - columns.min()) + 1
        assert int(held.sum()) == high * wide
        found.append((high, wide))
    return np.array(found, float)


@pytest.mark.parametrize("size", [(128, 128), (96, 160)])
def test_boxes_have_the_areas_and_aspects_that_are_asked_for(size):
    box = boxes(2000, size, generator(), probability=1.0)
    high, wide = extent(box).T
    share = high * wide / (size[0] * size[1])
    # Uniform from 0.02 to 0.4: mean and deviation in closed form.
    assert share.mean() == pytest.approx(0.21, abs=0.01)
    assert share.std() == pytest.approx(0.38 / math.sqrt(12), abs=0.01)
    assert share.min() > 0.015
    assert share.max() < 0.41
    ratio = wide / high
    assert ratio.min() > 0.27
    assert ratio.max() < 3.7
    # They reach every row and every column.
    assert box.any(0).any(0).all()
    assert box.any(0).any(1).all()


def test_a_box_keeps_its_area_where_its_aspect_would_not_fit():
    share = boxes(500, (64, 64), generator(), 1.0, (0.5, 0.5)).float().mean((1, 2))
    assert float((share - 0.5).abs().max()) < 0.02


def test_limits_of_probability_and_area():
    size = (16, 16)
    assert not boxes(50, size, generator(), 0.0).any()
    assert not boxes(50, size, generator(), 1.0, (0.0, 0.0)).any()
    assert boxes(50, size, generator(), 1.0, (1.0, 1.0)).all()
    some = boxes(2000, size, generator(), 0.3).any(2).any(1).float().mean()
    assert float(some) == pytest.approx(0.3, abs=0.04)


def test_boxes_are_a_function_of_the_generator():
    first, again, other = (boxes(9, (32, 32), generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_what_is_pasted_is_another_one_of_the_batch_in_image_and_label_alike():
    images = torch.arange(4.0)[:, None, None, None].expand(4, 1, 6, 6)
    labels = torch.arange(4)[:, None, None].expand(4, 6, 6)
    box = torch.zeros(4, 6, 6, dtype=torch.bool)
    box[:2, 1:3, 2:5] = True
    mixed, marks = pasted(images, box), pasted(labels, box)
    assert torch.equal(mixed[:, 0].long(), marks)
    for i in range(4):
        for j in range(6):
            for k in range(6):
                assert marks[i, j, k] == ((i - 1) % 4 if box[i, j, k] else i)
