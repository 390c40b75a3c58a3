"""Contrast of pixels with regions of other classes, for methods that contrast in fine-tuning.

ReCo, U2PL, MONA and UGPCL read labels at the cells of a coarser map and draw pixels q of a class,
which its mean m attracts and others n repel,

    l(q) = -log( exp(s(q, m)/tau) / ( exp(s(q, m)/tau) + sum_n exp(s(q, n)/tau) ) )

with s the cosine. Random numbers come from a generator on the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from contrabench.contracts.views import IGNORE
from contrabench.objectives.contrast import exact, pair_contrast
from contrabench.objectives.drawing import sent, some, stratified
from contrabench.objectives.momentum import GrowingQueues
from contrabench.objectives.pixels import on_grid, points


def regions_of(batch: int, size: tuple[int, int], per_axis: int, device: torch.device) -> Tensor:
    """Which region of which slice each cell of (B, h, w) maps lies in, of so many per axis.

    (B h w,) long; with none per axis all cells of a batch lie in one.
    """
    if not per_axis:
        return torch.zeros(batch * size[0] * size[1], dtype=torch.long, device=device)
    rows, columns = (torch.arange(side, device=device) * per_axis // side for side in size)
    place = rows[:, None] * per_axis + columns
    slices = torch.arange(batch, device=device)[:, None, None]
    return (slices * per_axis**2 + place).reshape(-1)


def one_hot(marks: Tensor, classes: int) -> Tensor:
    """Whether places (N,) are of each of so many classes: (classes, N) bool."""
    return marks == torch.arange(classes, device=marks.device)[:, None]


_MANY = 2**31


@dataclass(frozen=True)
class Known:
    """What is known of the pixels of a batch, of which the first `labelled` slices have masks.

    Attributes:
        labels: (B, H, W) long, with `IGNORE`: masks, then pseudo-labels.
        shares: (B, C, H, W), the teacher's probabilities.
        sure: (B, H, W), where a label is relied on.
        unsure: (B, H, W), where pixels are looked for that are taken for what they are not.
    """

    labels: Tensor
    shares: Tensor
    sure: Tensor
    unsure: Tensor
    labelled: int

    @classmethod
    def by_entropy(
        cls, masks: Tensor, guessed: Tensor, shares: Tensor, uncertain: Tensor, part: float
    ) -> Known:
        """Relies on masks, and of the pseudo-labels on a part of least entropy.

        Looks for mistakes among all labelled pixels, and the same part, of most entropy, of others.
        """
        device, dtype = uncertain.device, uncertain.dtype
        ends = torch.linspace(part, 1 - part, 2, device=device, dtype=dtype)
        low, high = torch.quantile(uncertain.flatten(), ends)
        known = masks != IGNORE
        return cls(
            torch.cat((masks, guessed)),
            shares,
            torch.cat((known, uncertain <= low)),
            torch.cat((known, uncertain >= high)),
            len(masks),
        )


@dataclass(frozen=True)
class QueueRule:
    """Which pixels meet in the contrast with queues, and which enter them.

    `ranks` (a, b): a pixel without a mask enters the queue of a class that a or more classes are
    likelier than, but fewer than b; one with a mask that of a wrong class among the a likeliest.
    """

    anchors: int
    negatives: int
    temperature: float
    certain: float = 0.3  # probability from which on a pixel of a class is an anchor
    below: float = 1.0  # a pixel more probably of a class doesn't enter its queue
    ranks: tuple[int, int] = (1, 8)
    size: int = 2048
    fresh: int = 256  # pixels that enter a queue in a step, at most
    regions: int = 0  # per axis of a slice, from which anchors are drawn equally


class QueueContrast(nn.Module):
    """Contrast of a class's pixels with its mean and a queue of pixels taken for it, as in U2PL.

    The mean is the teacher's, and so is what stands in the queues. What enters in a step is met by
    later ones, after `push`.
    """

    def __init__(self, classes: int, dim: int, rule: QueueRule) -> None:
        super().__init__()
        self.rule = rule
        self.queues = GrowingQueues(classes, rule.size, dim)

    def forward(
        self, embedded: Tensor, averaged: Tensor, known: Known, generator: torch.Generator
    ) -> Tensor:
        """The sum of the mean l of each class, divided by the number of classes present.

        Of maps (B, D, h, w) of student and teacher. A class without an anchor, or whose queue is
        empty, has a loss of zero; so has a batch with fewer than two classes.
        """
        with torch.autocast(embedded.device.type, enabled=False):
            maps = exact(embedded), exact(averaged).detach()
            return self._contrast(*maps, known, generator)

    def _contrast(
        self, embedded: Tensor, averaged: Tensor, known: Known, generator: torch.Generator
    ) -> Tensor:
        rule, size = self.rule, (embedded.shape[2], embedded.shape[3])
        query, keys = functional.normalize(points(embedded), dim=1), points(averaged)
        marks, sure, unsure = (
            on_grid(each, size[1]).reshape(-1) for each in (known.labels, known.sure, known.unsure)
        )
        shares = points(on_grid(known.shares, size[1]))
        likelier = shares.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        # From here on class by class: (C, N) of cells, and (C, anchors) of draws.
        rank, shares, own = likelier.T, shares.T, one_hot(marks, shares.shape[1])
        low, high = rule.ranks
        free = torch.arange(len(marks), device=marks.device) >= known.labelled * size[0] * size[1]
        taken = torch.where(free, (rank >= low) & (rank < high), rank < low)
        wrong = unsure & taken & ~own & (marks != IGNORE) & (shares < rule.below)
        entering, real = some(wrong, rule.fresh, rule.fresh, generator)
        self.queues.hold(functional.normalize(keys[entering], dim=2), real)
        memory, filled = self.queues.memory.to(query), self.queues.sizes[:, None]
        members = own & sure
        anchors = members & (shares > rule.certain)
        strata = regions_of(len(embedded), size, rule.regions, marks.device)
        number = len(embedded) * rule.regions**2 or 1
        chosen = query[stratified(anchors, strata, number, rule.anchors, generator)]
        mean = functional.normalize(members.to(keys) @ keys, dim=1)
        shape = (len(memory), rule.anchors * rule.negatives)
        drawn = sent(torch.randint(_MANY, shape, generator=generator), marks.device)
        drawn = (drawn % filled.clamp(min=1)).view(len(memory), rule.anchors, rule.negatives)
        # Through all that is queued: negatives one by one would take as much for each anchor.
        rest = (chosen @ memory.mT).gather(2, drawn) / rule.temperature
        alike = (chosen @ mean[:, :, None])[..., 0] / rule.temperature
        each = pair_contrast(alike.flatten(), rest.flatten(0, 1)).view(alike.shape).mean(1)
        present = members.any(1).sum()
        counted = anchors.any(1) & (filled[:, 0] > 0) & (present > 1)
        return each.where(counted, 0.0).sum() / present.clamp(min=1)

    def push(self) -> None:
        """Lets in what the step has held back."""
        self.queues.push()
