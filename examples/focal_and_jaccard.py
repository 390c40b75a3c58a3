"""A fine-tuning loss and a metric of one's own, in one file.

    bench run --method simclr --labels 10% --plugin examples/focal_and_jaccard.py \
        --loss focal --metrics jaccard

The loss is a deviation: a study runs a scratch with it beside each method. The metric stands beside
those of the metric contract in every row, and neither ranks nor decides.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from contrabench import (
    Loss,
    LossInfo,
    Mask,
    Metric,
    MetricInfo,
    Options,
    Spacing,
    register_loss,
    register_metric,
)
from contrabench.contracts.views import IGNORE


class FocalOptions(Options):
    """Options of the loss, as `--loss focal[gamma=1]`."""

    gamma: float = Field(2.0, ge=0, description="how much less a pixel counts that is right")


@register_loss("focal")
class Focal(Loss):
    """Cross-entropy that looks away from what is right already."""

    info = LossInfo(title="focal loss", source="Lin et al., ICCV 2017, equation 4")
    Options = FocalOptions
    options: FocalOptions

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The mean over the pixels that are known."""
        known = target != IGNORE
        each = functional.cross_entropy(logits, torch.where(known, target, 0), reduction="none")
        weight = (1 - (-each).exp()) ** self.options.gamma
        return (weight * each * known).sum() / known.sum()


@register_metric("jaccard")
class Jaccard(Metric):
    """Intersection over union of the voxels."""

    info = MetricInfo(title="Jaccard index", source="Jaccard, 1912")

    def score(self, prediction: Mask, reference: Mask, spacing: Spacing) -> float:
        """0 where one mask is empty; never asked where both are."""
        return float((prediction & reference).sum() / (prediction | reference).sum())
