"""How alike many points are to each other, in memory that is linear in their number.

The similarities of all pairs are computed block by block, and each block gives at once its part of
the sum and of the gradient, which is all that is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_CACHED, _BUSY = 2**19, 2**26
"""Pairs in a block: as many as a processor's cache holds, and as keep a device busy."""


def repulsion(
    points: Tensor,
    known: Tensor,
    weights: Tensor,
    temperature: float,
    labels: Tensor | None = None,
    count: Tensor | None = None,
) -> Tensor:
    """sum_i w_i log sum_{a != i} exp(s_ia / tau) over all points of some sets that are known.

    With labels less w_i / n_i times the sum of s_ij / tau over the n_i least similar points of i's
    label, where n_i is not 0. On the CPU it is faster where what counts comes first in each set.

    Args:
        points: (P, N, D) unit vectors of P sets, which never meet.
        known: (P, N) bool, true for the points that count; the weights of others are 0.
        weights: (P, N), without a gradient.
        temperature: tau.
        labels: (P, N) long.
        count: (P, N) long, at most the number of other points of the label.

    Returns:
        The sum, whose gradient can't be differentiated again.
    """
    total: Tensor = _Repulsion.apply(points, known, weights, temperature, labels, count)
    return total


class _Repulsion(torch.autograd.Function):
    """The sum, and its gradient, which but for a factor does not depend on what follows."""

    @staticmethod
    def forward(
        ctx: Any,
        points: Tensor,
        known: Tensor,
        weights: Tensor,
        temperature: float,
        labels: Tensor | None,
        count: Tensor | None,
    ) -> Tensor:
        total, gradient = points.new_zeros(()), torch.zeros_like(points)
        for part, row, column in _blocks(weights != 0, known):
            own, all_ = points[part, row], points[part, column]
            logits = torch.bmm(own / temperature, all_.mT)
            logits.masked_fill_(~known[part, None, column], float("-inf"))
            logits.diagonal(row.start, 1, 2).fill_(float("-inf"))
            weight = weights[part, row, None]
            share = weights.new_zeros(())
            if labels is not None and count is not None:
                strange = labels[part, row, None] != labels[part, None, column]
                strange |= logits == float("-inf")
                mean, share = _farthest(logits, strange, count[part, row, None])
                total -= (weight * mean).where(weight != 0, 0.0).sum()
            # A point without another has a weight of 0, and must not give what is no number.
            highest = logits.amax(-1, keepdim=True).clamp_(min=torch.finfo(logits.dtype).min)
            summed = logits.sub_(highest).exp_().sum(-1, keepdim=True)
            total += (weight * (summed.log() + highest)).where(weight != 0, 0.0).sum()
            slope = logits.div_(summed.clamp(min=torch.finfo(logits.dtype).tiny))
            slope = slope.sub_(share).mul_(weight / temperature)
            gradient[part, row] += slope @ all_
            gradient[part, column] += slope.mT @ own
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, factor: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * factor, None, None, None, None, None


def _farthest(logits: Tensor, strange: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of so many least similar ones in each row, (..., 1), and each one's share in it.

    Where several are equally far, each counts by the share of them that is wanted.
    """
    own = logits.masked_fill(strange, float("inf"))
    ordered = own.sort(-1).values
    wanted, some = torch.arange(own.shape[-1], device=own.device) < count, count.clamp(min=1)
    mean = ordered.where(wanted, 0.0).sum(-1, keepdim=True) / some
    last = ordered.gather(-1, some - 1)
    nearer, level = own < last, own == last
    part = (count - nearer.sum(-1, keepdim=True)) / level.sum(-1, keepdim=True).clamp(min=1)
    return mean, torch.where(level, part, nearer.to(part.dtype)).where(count > 0, 0.0) / some


def _blocks(anchors: Tensor, known: Tensor) -> Iterator[tuple[slice, slice, slice]]:
    """Sets, rows of them and columns whose pairs make a block, of two masks (P, N)."""
    room = _CACHED if known.device.type == "cpu" else _BUSY
    number = 0
    for (rows, columns), alike in groupby(zip(_reach(anchors), _reach(known), strict=True)):
        end = number + len(list(alike))
        high = max(1, min(rows, room // max(1, columns)))
        deep = max(1, room // max(1, rows * columns)) if high == rows else 1
        for part in range(number, end, deep):
            for row in range(0, rows, high):
                yield (
                    slice(part, min(part + deep, end)),
                    slice(row, min(row + high, rows)),
                    slice(columns),
                )
        number = end


def _reach(mask: Tensor) -> list[int]:
    """Where the last true one of each set lies, counted from 1; the end, if asking would wait."""
    sets, length = mask.shape
    if mask.device.type != "cpu":
        return [length] * sets
    found: list[int] = (mask * torch.arange(1, length + 1)).amax(1).tolist()
    return found
