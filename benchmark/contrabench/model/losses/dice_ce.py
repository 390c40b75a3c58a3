"""Cross-entropy plus soft Dice, the loss of every method's fine-tuning."""

from __future__ import annotations

import torch
from torch import Tensor

from contrabench.contracts.loss import Loss, LossInfo
from contrabench.contracts.registry import register_loss
from contrabench.contracts.views import IGNORE

_SMOOTH = 1e-5


@register_loss("dice_ce")
class DiceCrossEntropy(Loss):
    """Cross-entropy plus batch soft Dice over the foreground.

    Pixels to be ignored count as background in the Dice term and not at all in the cross-entropy.
    """

    info = LossInfo(
        title="cross-entropy + soft Dice",
        source="Milletari et al., 3DV 2016, with the cross-entropy beside it as in nnU-Net",
    )

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The sum of both terms."""
        # By masks rather than `nll_loss`, which gives other bits each time on a GPU.
        logs, known = torch.log_softmax(logits, dim=1), target != IGNORE
        classes = torch.arange(logits.shape[1], device=logits.device)[:, None, None]
        masks = (torch.where(known, target, 0)[:, None] == classes).to(logits.dtype)
        each = (logs * masks).sum(1).masked_fill(~known, 0.0)
        return soft_dice_loss(logs.exp()[:, 1:], masks[:, 1:]) - each.sum() / known.sum()


def soft_dice_loss(probabilities: Tensor, masks: Tensor) -> Tensor:
    """One minus the soft Dice of each class over all pixels of a batch, the mean over classes.

    Both are (B, classes, H, W); Milletari et al., 3DV 2016, with plain sums below the line, as
    MONAI's `DiceLoss(batch=True)` to the value. A class that is nowhere and predicted nowhere costs
    nothing.
    """
    pixels = (0, 2, 3)
    overlap = (probabilities * masks).sum(pixels)
    total = probabilities.sum(pixels) + masks.sum(pixels)
    return (1 - (2 * overlap + _SMOOTH) / (total + _SMOOTH)).mean()
