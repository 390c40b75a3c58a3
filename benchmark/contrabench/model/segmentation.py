"""The backbone with segmentation heads, and its loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from contrabench.contracts.backbone import Backbone
from contrabench.contracts.loss import Loss
from contrabench.contracts.objective import Network
from contrabench.model.losses.dice_ce import DiceCrossEntropy
from contrabench.protocol import seed_for

DEEP_WEIGHTS = (0.6, 0.3, 0.1)
"""Weights of full, half and quarter resolution, as in DSAL by MMGL's first author."""


class Segmenter(Network):
    """One 1 x 1 convolution on the finest tap; with deep supervision on each of `deep_taps`.

    Predictions are always those of the full-resolution head.
    """

    def __init__(self, backbone: Backbone, classes: int, deep: bool) -> None:
        super().__init__()
        self.backbone, self.classes = backbone, classes
        self.taps = backbone.deep_taps if deep else (backbone.finest,)
        # By place, not by name: a tap may be called as one of torch's own methods, such as `half`.
        self.heads = nn.ModuleList(nn.Conv2d(backbone.channels[t], classes, 1) for t in self.taps)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Logits (B, classes, h, w) for each head, by tap."""
        maps = self.backbone.features(image, self.taps)
        return {tap: head(maps[tap]) for tap, head in zip(self.taps, self.heads, strict=True)}

    def decide(self, maps: Mapping[str, Tensor]) -> Tensor:
        """The logits of the finest head from a backbone's maps, in float32."""
        logits: Tensor = self.heads[0](maps[self.taps[0]])
        return logits.float()

    def predict(self, image: Tensor) -> Tensor:
        """Class probabilities (B, classes, H, W) in float32."""
        return torch.softmax(self.logits(image), dim=1)


def build_segmenter(backbone: Backbone, classes: int, deep: bool, init_seed: int) -> Segmenter:
    """Adds heads whose weights depend on the seed alone; the finest is the same either way."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for("segmentation heads", init_seed))
        return Segmenter(backbone, classes, deep)


class SegmentationLoss(nn.Module):
    """A loss over the heads: the common one, cross-entropy plus soft Dice, if none is given.

    Lower heads are upsampled to full resolution.
    """

    def __init__(self, loss: Loss | None = None) -> None:
        super().__init__()
        self.loss = DiceCrossEntropy() if loss is None else loss

    def forward(self, logits: dict[str, Tensor], target: Tensor) -> Tensor:
        """The loss of logits (B, classes, h, w) by tap, the finest first, for (B, H, W) classes."""
        return over_heads(logits, lambda each: self.loss(each, target))


def over_heads(logits: Mapping[str, Tensor], loss: Callable[[Tensor], Tensor]) -> Tensor:
    """A loss of logits (B, classes, H, W) in float32, weighted over the heads, the finest first.

    Those of lower heads are brought to the size of the finest.
    """
    finest, *lower = (value.float() for value in logits.values())
    if not lower:
        return loss(finest)
    size = finest.shape[-2:]
    full = [finest] + [
        functional.interpolate(value, size, mode="bilinear", align_corners=False) for value in lower
    ]
    terms = [weight * loss(value) for weight, value in zip(DEEP_WEIGHTS, full, strict=True)]
    return torch.stack(terms).sum()
