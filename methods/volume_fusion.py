"""VolumeFusion: the whole network segments how much of a second patient each pixel shows.

Wang, Fu, Wu, Luo, Zhou, Liu, Li, Lin, Shen, Zhang: Volume fusion-based self-supervised
pretraining for 3D medical image segmentation. IEEE TIP 34, 2025, doi 10.1109/TIP.2025.3610249;
first as MIS-FM, arXiv 2306.16925. Numbers of the re-implementation in nnssl.

Of two slices b and f, of different patients where the batch has any,

    x_p = a_p f_p + (1 - a_p) b_p,    a_p = k_p / K,    k_p in {0, ..., K}
    L   = CE( g(x), k ) + 1 - Dice( g(x), k )

The mask k is 0 outside of some boxes, and in each box one class, any with the same probability;
later boxes cover earlier ones. Dice is the mean over classes, background included, and images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from contrabench import (
    Batch,
    Method,
    MethodInfo,
    Objective,
    Options,
    RunError,
    Stage,
    StepResult,
    ViewSpec,
    register_method,
)
from contrabench.objectives.boxes import between
from contrabench.objectives.contrast import exact
from contrabench.objectives.drawing import sent
from contrabench.protocol import PARTS

if TYPE_CHECKING:
    from contrabench import Backbone

_FEWEST, _MOST = 10, 39
_SMALLEST, _LARGEST = 8, 0.625


class VolumeFusionOptions(Options):
    """Options of VolumeFusion."""

    classes: int = Field(4, ge=1, le=50, description="K, classes beside the background (paper: 4)")


def draw_classes(
    count: int, size: tuple[int, int], classes: int, generator: torch.Generator
) -> Tensor:
    """Draws k: 10 to 39 boxes in each image, of side 8 to 0.625 of the image's; (count, H, W) long.

    On the CPU; the boxes lie wholly inside.
    """
    shape = (count, _MOST)
    number = between(_FEWEST, _MOST, (count,), generator)
    high, wide = (between(_SMALLEST, int(_LARGEST * side), shape, generator) for side in size)
    top = between(0, size[0] - high, shape, generator)
    left = between(0, size[1] - wide, shape, generator)
    kinds = between(0, classes, shape, generator)
    drawn = torch.stack((top, top + high, left, left + wide, kinds), dim=2).tolist()
    found = torch.zeros(count, *size, dtype=torch.long)
    # In place, box by box: far cheaper than to ask every pixel whether it lies in each box.
    for image, boxes, many in zip(found.numpy(), drawn, number.tolist(), strict=True):
        for first, last, start, end, kind in boxes[:many]:
            image[first:last, start:end] = kind
    return found


def partners(patient: Tensor) -> Tensor:
    """Places of the slice that each one is fused with: the next of another patient, (B,).

    The next one of all, if there is no other patient. RunError for a single slice.
    """
    count = len(patient)
    if count < 2:
        raise RunError(
            "a batch of one slice has none to be fused with; take larger batches or accumulate less"
        )
    steps = torch.arange(1, count, device=patient.device)
    ahead = (torch.arange(count, device=patient.device)[:, None] + steps) % count
    other = (patient[ahead] != patient[:, None]).long()
    return ahead.gather(1, other.argmax(1, keepdim=True))[:, 0]


def fused(back: Tensor, front: Tensor, classes: Tensor, most: int) -> Tensor:
    """Images (B, C, H, W) that show k / K of the front one, k of (B, H, W) and K the most."""
    return torch.lerp(back, front, classes[:, None].to(back) / most)


def fusion_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy and soft Dice, the mean over images and classes with a smoothing of 1e-5.

    Args:
        logits: (B, K + 1, H, W).
        classes: (B, H, W) long.
    """
    with torch.autocast(logits.device.type, enabled=False):
        logits = exact(logits)
        share = torch.softmax(logits, dim=1)
        hot = functional.one_hot(classes, logits.shape[1]).movedim(-1, 1)
        both, size = (share * hot).sum((2, 3)), share.sum((2, 3)) + hot.sum((2, 3))
        dice = (2 * both + 1e-5) / (size + 1e-5)
        return functional.cross_entropy(logits, classes) + 1 - dice.mean()


class Fusion(Objective):
    """Segmentation of the shares of two slices, through a 1 x 1 convolution."""

    def __init__(self, backbone: Backbone, options: VolumeFusionOptions) -> None:
        super().__init__()
        self.classes = options.classes
        self.head = nn.Conv2d(backbone.channels[backbone.finest], options.classes + 1, 1)

    def forward(self, backbone: Backbone, batch: Batch) -> StepResult:
        """The loss of one batch."""
        image, tap = batch.views[0].image, backbone.finest
        size = (image.shape[2], image.shape[3])
        drawn = draw_classes(batch.size, size, self.classes, batch.generator("boxes"))
        classes = sent(drawn, image.device)
        mixed = fused(image, image[partners(batch.info.patient)], classes, self.classes)
        logits = self.head(backbone.features(mixed, (tap,))[tap])
        return StepResult(fusion_loss(logits, classes))


@register_method("volume_fusion")
class VolumeFusion(Method):
    """Segmentation of fused slices by the whole network."""

    info = MethodInfo(
        title="VolumeFusion",
        family="reconstruction",
        kind="pseudo-segmentation",
        paper="Wang et al., IEEE TIP 34, 2025, doi 10.1109/TIP.2025.3610249",
        fidelity="re-implementation",
        against_collapse="nothing",
        inferred=(
            "slices instead of volumes, boxes with the sides that nnssl gives them in a plane",
            "every slice is the background of one pair and the foreground of another; nnssl reads "
            "two slices for one pair",
            "pairs from different patients; the authors' code cuts both crops from one volume",
            "the common augmentation of the protocol before the fusion",
            "the common optimiser and schedule of the protocol instead of Adam with a rate of 1e-3",
        ),
        needs=("slices of several patients in a batch",),
    )
    Options = VolumeFusionOptions
    options: VolumeFusionOptions

    def stages(self) -> tuple[Stage, ...]:
        """One stage on the whole network, with one view of each slice."""
        return (Stage(name="fusion", views=(ViewSpec(),), trains=PARTS),)

    def objective(self, stage: Stage, backbone: Backbone) -> Objective:
        """Cross-entropy and Dice with their head."""
        return Fusion(backbone, self.options)
