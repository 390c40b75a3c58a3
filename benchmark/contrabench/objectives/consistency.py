"""What joint methods share: ramps, averaged teachers, masked losses on pseudo-labels, and cuts."""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from torch import Tensor
from torch.nn import functional

from contrabench.contracts.objective import (
    JointBatch,
    JointObjective,
    Network,
    StepResult,
    Supervised,
)
from contrabench.contracts.views import IGNORE
from contrabench.objectives.boxes import inside
from contrabench.objectives.drawing import sent
from contrabench.objectives.momentum import Module, MomentumCopy, Noted


def ramp(progress: float, length: float = 1.0) -> float:
    """exp(-5 (1 - r)^2), with r the share of a ramp that lasts `length` of the training, up to 1.

    From 0.0067 to 1 (Laine and Aila, ICLR 2017, as mean teacher has it).
    """
    share = min(progress / length, 1.0) if length > 0 else 1.0
    return math.exp(-5 * (1 - share) ** 2)


class NothingAdded(JointObjective):
    """A stage of supervision alone, such as the one before the first pseudo-labels."""

    def forward(self, network: Network, batch: JointBatch, supervised: Supervised) -> StepResult:
        """Zero."""
        return StepResult(batch.labelled.views[0].image.new_zeros(()))


class Average(MomentumCopy[Module]):
    """An average of a module, parameters and running statistics, without a gradient.

    Update n keeps min(1 - 1 / (n + 1), `keep`) of itself (Tarvainen and Valpola, NeurIPS 2017):
    the first one copies. It keeps as much from the first on if not `ramped`.
    """

    def __init__(self, module: Module, keep: float, ramped: bool = True) -> None:
        super().__init__(module)
        self.keep, self.ramped = keep, ramped
        self.updates = Noted(0)

    @torch.no_grad()
    def update(self, module: Module) -> None:
        """Follows the module after a step."""
        done = self.updates.value
        keep = min(1 - 1 / (done + 1), self.keep) if self.ramped else self.keep
        self.follow(module, keep, buffers=True)
        self.updates.note(done + 1)


class Teacher(Average[Network]):
    """An average of the student, which predicts by its averaged statistics."""

    @torch.no_grad()
    def logits(self, image: Tensor) -> Tensor:
        """Those of the finest head, (B, classes, H, W)."""
        self.copied.eval()
        return self.copied.logits(image)

    @torch.no_grad()
    def maps(self, image: Tensor, taps: Collection[str]) -> dict[str, Tensor]:
        """Those of its backbone, by tap."""
        self.copied.eval()
        return self.copied.backbone.features(image, taps)


def entropy(shares: Tensor) -> Tensor:
    """That of probabilities (B, C, H, W), (B, H, W)."""
    return -(shares * (shares + 1e-6).log()).sum(1)


def certain_below(progress: float, classes: int) -> float:
    """(0.75 + 0.25 exp(-5 (1 - t)^2)) log C: the entropy of a certain pixel (UA-MT, 2019)."""
    return (0.75 + 0.25 * ramp(progress)) * math.log(classes)


def noisy(image: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    """Images with Gaussian noise, clipped at twice its deviation (SSL4MIS)."""
    noise = deviation * torch.randn(image.shape, generator=generator)
    noise = noise.clamp(-2 * deviation, 2 * deviation)
    return image + sent(noise, image.device).to(image.dtype)


def confident(logits: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Pseudo-labels (B, H, W) of logits (B, C, H, W), and where they reach a probability."""
    highest, labels = torch.softmax(logits, dim=1).max(dim=1)
    return labels, highest >= threshold


def masked_entropy(logits: Tensor, labels: Tensor, kept: Tensor) -> Tensor:
    """Cross-entropy over kept pixels, as a mean over all that are not `IGNORE`; 0 without any."""
    valid = labels != IGNORE
    entropy = functional.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")
    return (entropy * (kept & valid)).sum() / valid.sum().clamp(min=1)


def weighted_entropy(logits: Tensor, labels: Tensor, sure: Tensor, strong: float) -> Tensor:
    """Cross-entropy of pseudo-labels, each image weighted by its share of confident pixels.

    A mean over the pixels whose entropy is not zero; 0 without any (ReCo, ICLR 2022).
    """
    share = (sure >= strong).float().mean((1, 2))
    each = functional.cross_entropy(logits, labels, reduction="none")
    return (each * share[:, None, None]).sum() / (each > 0).sum().clamp(min=1)


def masked_dice(logits: Tensor, labels: Tensor, kept: Tensor) -> Tensor:
    """1 - the mean soft Dice over all classes, background included, of the kept pixels of a batch.

    With squared denominators and a smoothing of 1e-5, as in the code of UniMatch (CVPR 2023), so
    that it is 0 where no pixel is kept.
    """
    kept = kept & (labels != IGNORE)
    share = torch.softmax(logits.float(), dim=1) * kept[:, None]
    classes = logits.shape[1]
    hot = functional.one_hot(labels.where(kept, 0), classes).movedim(-1, 1) * kept[:, None]
    axes = (0, 2, 3)
    both = (share * hot).sum(axes)
    size = share.square().sum(axes) + hot.sum(axes)
    return 1 - ((2 * both + 1e-5) / (size + 1e-5)).mean()


def boxes(
    batch: int,
    size: tuple[int, int],
    generator: torch.Generator,
    probability: float = 0.5,
    area: tuple[float, float] = (0.02, 0.4),
    aspect: tuple[float, float] = (0.3, 1 / 0.3),
) -> Tensor:
    """A box wholly inside each image with some probability, (B, H, W) bool, on the CPU.

    Its share of the image is uniform in `area`, its width / height in those of `aspect` with which
    a box of that share fits (CutMix as in UniMatch). A share of 0 is no box.
    """
    drawn = torch.rand(batch, 5, generator=generator)
    height, width = size
    share = area[0] + (area[1] - area[0]) * drawn[:, 0]
    low = (share * width / height).clamp(min=aspect[0])
    ratio = low + ((width / height / share).clamp(max=aspect[1]) - low) * drawn[:, 1]
    high = (share * height * width / ratio).sqrt().round().clamp(max=height)
    wide = (share * height * width * ratio).sqrt().round().clamp(max=width)
    top, left = (
        (drawn[:, 2] * (height - high + 1)).floor(),
        (drawn[:, 3] * (width - wide + 1)).floor(),
    )
    return inside(top, left, high, wide, size) & (drawn[:, 4] < probability)[:, None, None]


def pasted(values: Tensor, box: Tensor) -> Tensor:
    """(B, ...) of which a box shows the one before in the batch; (B, H, W) says where."""
    where = sent(box, values.device)
    if values.ndim == where.ndim + 1:
        where = where[:, None]
    return torch.where(where, values.roll(1, 0), values)
