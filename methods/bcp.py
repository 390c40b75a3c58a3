"""BCP: labelled slices with a square of unlabelled ones, and the other way round.

Bai et al., CVPR 2023, arXiv 2305.00673; ACDC as in the authors' code. M is zero in a square of two
thirds of the side, one elsewhere. First the network learns labelled slices mixed with each other.
Then, with an averaged teacher's labels of the slices u without one,

    A = u_a M + x_a (1 - M),    B = x_b M + u_b (1 - M)

and for both the loss of the labelled region, and half that of the other one; the loss of a region
is the mean of its cross-entropy and its Dice. Of each class the teacher's largest piece counts. No
labelled slice is seen unmixed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from pydantic import Field
from scipy import ndimage
from torch import Tensor

from contrabench import (
    JointBatch,
    JointMethod,
    JointObjective,
    JointStage,
    MethodInfo,
    Network,
    Options,
    StepResult,
    Stream,
    Supervised,
    register_method,
)
from contrabench.contracts.views import FINETUNE_VIEW, IGNORE
from contrabench.model.segmentation import over_heads
from contrabench.objectives.consistency import Teacher, masked_dice, masked_entropy
from contrabench.objectives.drawing import sent

_NEIGHBOURS = np.ones((3, 3))


class BCPOptions(Options):
    """Options of BCP; defaults of the authors' code for ACDC."""

    side: float = Field(2 / 3, ge=0, le=1, description="of the square, as a share of the slice's")
    unlabelled: float = Field(0.5, ge=0, description="weight of the regions without a label")
    keep: float = Field(0.99, ge=0, le=1, description="share that the teacher keeps of itself")
    first: float = Field(0.25, gt=0, lt=1, description="share of the steps on labelled slices")


class Slices(NamedTuple):
    """Images (B, C, H, W) with labels (B, H, W)."""

    image: Tensor
    label: Tensor

    def halves(self, count: int) -> tuple[Slices, Slices]:
        """First and second half of so many slices, repeated where there are fewer.

        The one in the middle of an odd number is in both.
        """
        rows = torch.arange(count, device=self.image.device) % len(self.image)
        first, last = rows[: (count + 1) // 2], rows[count // 2 :]
        return Slices(*(value[first] for value in self)), Slices(*(value[last] for value in self))


class CopyPaste(JointObjective):
    """The losses of mixed slices, labelled ones alone or with others."""

    supervises = True

    def __init__(self, network: Network, options: BCPOptions, is_joint: bool) -> None:
        super().__init__()
        self.options = options
        self.average = Teacher(network, options.keep, ramped=False) if is_joint else None

    def forward(self, network: Network, batch: JointBatch, supervised: Supervised) -> StepResult:
        """The loss of one batch."""
        view = batch.labelled.views[0]
        known = Slices(view.image, view.label.long())
        side = view.image.shape[2]
        inside = square(side, self.options.side, batch.generator("square"))
        inside = sent(inside, view.image.device)

        def mixed(outer: Slices, inner: Slices, around: float, within: float) -> Tensor:
            """The loss of slices that show others in the square."""
            heads = network(torch.where(inside, inner.image, outer.image))
            parts = ((outer.label, ~inside, around), (inner.label, inside, within))
            return over_heads(heads, lambda logits: region_losses(logits, parts))

        if self.average is None:
            first, last = known.halves(len(known.image))
            return StepResult(mixed(first, last, 1.0, 1.0))
        image = batch.streams[0].views[0].image
        guessed = Slices(image, largest_pieces(self.average.logits(image).argmax(1)))
        # Of labelled and other slices, the fewer are repeated.
        count = max(len(known.image), len(image))
        (known_a, known_b), (guessed_a, guessed_b) = known.halves(count), guessed.halves(count)
        light = self.options.unlabelled
        loss = mixed(guessed_a, known_a, light, 1.0) + mixed(known_b, guessed_b, 1.0, light)
        return StepResult(loss)

    def after_step(self, network: Network, progress: float) -> None:
        """The teacher follows, if there is one."""
        if self.average:
            self.average.update(network)

    def teacher(self) -> Network | None:
        """The average, if there is one."""
        return self.average.copied if self.average else None


def square(side: int, share: float, generator: torch.Generator) -> Tensor:
    """A square of floor(share * side) pixels anywhere in an image of that side, (side, side)."""
    length = int(share * side)
    top, left = (int(torch.randint(side - length + 1, (), generator=generator)) for _ in range(2))
    inside = torch.zeros(side, side, dtype=torch.bool)
    inside[top : top + length, left : left + length] = True
    return inside


def region_losses(logits: Tensor, parts: Iterable[tuple[Tensor, Tensor, float]]) -> Tensor:
    """Sum over regions of half their weighted cross-entropy and Dice, over their own pixels.

    Logits are (B, C, H, W); a part is labels (B, H, W), where they hold (H, W), and a weight.
    """
    losses = []
    for labels, where, weight in parts:
        kept = where.expand_as(labels)
        own = labels.where(kept, IGNORE)
        each = masked_entropy(logits, own, kept) + masked_dice(logits, own, kept)
        losses.append(0.5 * weight * each)
    return torch.stack(losses).sum()


def largest_pieces(labels: Tensor) -> Tensor:
    """Keeps the largest piece of each class in each slice (B, H, W); the rest is background."""
    # The one wait of a step: pieces are found on the host.
    slices = labels.cpu().numpy()
    found = np.zeros_like(slices)
    for slice_, kept in zip(slices, found, strict=True):
        for value in np.unique(slice_[slice_ > 0]):
            pieces, count = ndimage.label(slice_ == value, _NEIGHBOURS)
            sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
            kept[pieces == 1 + sizes.argmax()] = value
    return sent(torch.from_numpy(found), labels.device)


@register_method("bcp")
class BCP(JointMethod):
    """Bidirectional copy-paste between labelled and other slices."""

    info = MethodInfo(
        title="BCP",
        family="consistency",
        kind="copy-paste",
        paper="Bai et al., CVPR 2023, arXiv 2305.00673",
        fidelity="re-implementation",
        inferred=(
            "the first stage is a quarter of the steps, its last weights are taken, and the "
            "optimiser begins anew after it; all other slices are seen in the second",
            "pixels outside of the slice count in no loss",
            "the teacher predicts by its averaged running statistics, the authors' by its batch",
            "smoothing of the Dice 1e-5, the authors' 1e-10",
            "the common schedule of the rate in each stage, the authors' is constant",
        ),
        against_collapse="nothing",
        version=2,
    )
    Options = BCPOptions
    options: BCPOptions

    def joint_stages(self) -> tuple[JointStage, ...]:
        """Labelled slices mixed with each other, then with others."""
        first = self.options.first
        return (
            JointStage(name="labelled", streams=(), share=first),
            JointStage(name="both", streams=(Stream(views=(FINETUNE_VIEW,)),), share=1 - first),
        )

    def joint_objective(self, stage: JointStage, network: Network) -> JointObjective:
        """The losses of mixed slices, with a teacher in the second stage."""
        return CopyPaste(network, self.options, is_joint=bool(stage.streams))
