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
from contrabench.objectives.momentum import ClassQueues
from contrabench.objectives.pixels import on_grid, points


def regions_of(batch: int, size: tuple[int, int], per_axis: int) -> Tensor:
    """Which region of which slice each cell of (B, h, w) maps lies in, of so many per axis.

    (B h w,) long; with none per axis all cells of a batch lie in one.
    """
    if not per_axis:
        return torch.zeros(batch * size[0] * size[1], dtype=torch.long)
    rows, columns = (torch.arange(side) * per_axis // side for side in size)
    place = rows[:, None] * per_axis + columns
    return (torch.arange(batch)[:, None, None] * per_axis**2 + place).reshape(-1)


def pick(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """So many of some rows, with replacement."""
    return rows[torch.randint(len(rows), (count,), generator=generator).to(rows.device)]


def some(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """At most so many of some rows, without replacement; all of them, in order, if they are few."""
    if len(rows) <= count:
        return rows
    return rows[torch.randperm(len(rows), generator=generator)[:count].to(rows.device)]


def stratified(rows: Tensor, strata: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """So many of some rows, with replacement, equally many of each stratum that has any.

    What is left over of `count` goes to as many strata, drawn anew each time. `strata` (N,) names
    that of each row; with one, it is `pick` (stratified sampling of ARCO, arXiv 2302.01735).
    """
    _, number, sizes = torch.unique(strata, return_inverse=True, return_counts=True)
    if (found := len(sizes)) == 1:
        return pick(rows, count, generator)
    sizes = sizes.cpu()
    rest = torch.randperm(found, generator=generator)[: count % found]
    chosen = torch.cat((torch.arange(found).repeat(count // found), rest))
    within = torch.randint(2**62, (count,), generator=generator) % sizes[chosen]
    ordered = rows[torch.argsort(number, stable=True)]
    return ordered[((sizes.cumsum(0) - sizes)[chosen] + within).to(rows.device)]


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
        ends = torch.tensor((part, 1 - part), device=uncertain.device, dtype=uncertain.dtype)
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
        self.queues = ClassQueues(classes, rule.size, dim)

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
        low, high = rule.ranks
        free = torch.arange(len(marks), device=marks.device) >= known.labelled * size[0] * size[1]
        strata = regions_of(len(embedded), size, rule.regions).to(marks.device)
        terms, present = [], 0
        for number, queue in enumerate(self.queues):
            own, rank = marks == number, likelier[:, number]
            other = ~own & (marks != IGNORE)
            taken = torch.where(free, (rank >= low) & (rank < high), rank < low)
            wrong = unsure & taken & other & (shares[:, number] < rule.below)
            entering = some(torch.nonzero(wrong).squeeze(1), rule.fresh, generator)
            memory = queue.entries.to(query)
            queue.hold(functional.normalize(keys[entering], dim=1))
            members = torch.nonzero(sure & own).squeeze(1)
            present += int(len(members) > 0)
            anchors = members[shares[members, number] > rule.certain]
            if not len(anchors) or not len(memory):
                continue
            chosen = query[stratified(anchors, strata[anchors], rule.anchors, generator)]
            positive = functional.normalize(keys[members].mean(0), dim=0)
            shape = (rule.anchors, rule.negatives)
            drawn = torch.randint(len(memory), shape, generator=generator).to(marks.device)
            # Through all that is queued: negatives one by one would take as much for each anchor.
            rest = (chosen @ memory.T).gather(1, drawn)
            each = pair_contrast(chosen @ positive / rule.temperature, rest / rule.temperature)
            terms.append(each.mean())
        if present < 2 or not terms:
            return query.sum() * 0.0
        return torch.stack(terms).sum() / present

    def push(self) -> None:
        """Lets in what the step has held back."""
        self.queues.push()
