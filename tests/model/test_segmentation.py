import math

import pytest
import torch
from torch.nn import functional

from contrabench.model.losses.dice_ce import soft_dice_loss
from contrabench.model.segmentation import SegmentationLoss, build_segmenter
from contrabench.model.weights import build_backbone
from contrabench.protocol import BackboneSpec


def literal_loss(logits, target, classes):
    """Cross-entropy plus batch soft Dice over the foreground, pixel by pixel."""
    probabilities = torch.softmax(logits.double(), 1)
    entropy, known = 0.0, 0
    overlap, mass = [0.0] * classes, [0.0] * classes
    for b, y, x in torch.cartesian_prod(*(torch.arange(n) for n in target.shape)).tolist():
        label = int(target[b, y, x])
        if label != 255:
            entropy -= math.log(probabilities[b, label, y, x])
            known += 1
        label = 0 if label == 255 else label
        for c in range(1, classes):
            overlap[c] += float(probabilities[b, c, y, x]) * (label == c)
            mass[c] += float(probabilities[b, c, y, x]) + (label == c)
    dice = [(2 * overlap[c] + 1e-5) / (mass[c] + 1e-5) for c in range(1, classes)]
    return entropy / known + 1 - sum(dice) / len(dice)


def test_loss_is_cross_entropy_plus_soft_dice():
    torch.manual_seed(0)
    logits, target = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))
    target[0, 0, :2] = 255
    value = SegmentationLoss()({"dec1": logits}, target)
    assert float(value) == pytest.approx(literal_loss(logits, target, 3), abs=1e-5)


def test_deep_supervision_weighs_upsampled_heads():
    torch.manual_seed(0)
    target = torch.randint(0, 3, (2, 8, 8))
    logits = {
        "dec1": torch.randn(2, 3, 8, 8),
        "dec2": torch.randn(2, 3, 4, 4),
        "dec3": torch.randn(2, 3, 2, 2),
    }
    loss = SegmentationLoss()
    expected = sum(
        weight * loss({"dec1": functional.interpolate(value, (8, 8), mode="bilinear")}, target)
        for weight, value in zip((0.6, 0.3, 0.1), logits.values(), strict=True)
    )
    assert float(loss(logits, target)) == pytest.approx(float(expected), rel=1e-6)


def test_the_full_resolution_head_is_the_same_with_and_without_deep_supervision():
    plain = build_segmenter(build_backbone(BackboneSpec(width=8), 0), 4, deep=False, init_seed=0)
    deep = build_segmenter(build_backbone(BackboneSpec(width=8), 0), 4, deep=True, init_seed=0)
    image = torch.randn(1, 1, 32, 32)
    assert torch.equal(plain.predict(image), deep.predict(image))
    assert set(deep(image)) == {"dec1", "dec2", "dec3"}
    assert plain.predict(image).sum(1).allclose(torch.ones(1, 32, 32))


def test_the_soft_dice_is_monais():
    losses = pytest.importorskip("monai.losses")
    torch.manual_seed(0)
    probabilities = torch.softmax(torch.randn(3, 4, 6, 5, dtype=torch.float64), 1)[:, 1:]
    masks = functional.one_hot(torch.randint(0, 3, (3, 6, 5)), 4).movedim(-1, 1)[:, 1:].double()
    expected = losses.DiceLoss(batch=True)(probabilities, masks)
    assert float(soft_dice_loss(probabilities, masks)) == pytest.approx(float(expected), abs=1e-12)
