"""Contrast with many positives: which embeddings attract is a matrix of pairs.

Supervised contrast (Khosla et al., NeurIPS 2020, L_out) where no classes but any relation
between slices says who is a positive of whom:

    l_ij = -log( exp(s_ij / tau) / sum_{a != i} exp(s_ia / tau) )
    L    = mean over i of (1 / |P(i)|) sum_{j in P(i)} l_ij

with s the cosine. Embeddings may carry leading dimensions, such as the pixels of a map,
each of which is a contrast of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from contrabench.objectives.contrast import exact

BASE_TEMPERATURE = 0.07
"""The temperature at which SupCon's published code leaves its loss unscaled."""

_ROUNDING = 1e-6


def near(position: Tensor, threshold: float) -> Tensor:
    """Which slices lie less than `threshold` apart, |p_j - p_i| < t; each is near itself.

    Positions are quotients in float32. Differences that equal the threshold but for the
    rounding are not less than it, so that whether two slices are near depends on their
    distance alone.

    Args:
        position: (B,) within the volumes, in (0, 1].
        threshold: t, well above the rounding of positions (1e-6).

    Returns:
        (B, B) bool, symmetric.
    """
    return (position[:, None] - position[None, :]).abs() < threshold - _ROUNDING


def same(label: Tensor) -> Tensor:
    """Which slices share a label: (B,) of any type gives (B, B) bool, true on the diagonal."""
    return label[:, None] == label[None, :]


def both_views(related: Tensor) -> Tensor:
    """Positives among the embeddings of two views, the second view's after the first's.

    Args:
        related: (B, B) bool, which slices attract; true on the diagonal, so that a slice
            attracts itself in the other view.

    Returns:
        (2B, 2B) bool, false on the diagonal.
    """
    tiled = related.repeat(2, 2)
    return tiled & ~torch.eye(len(tiled), dtype=torch.bool, device=tiled.device)


def pair_losses(embeddings: Tensor, temperature: float) -> Tensor:
    """The loss l_ij of every ordered pair, in float32 at least.

    Args:
        embeddings: (..., N, D), N at least 2; normalised here.
        temperature: tau.

    Returns:
        (..., N, N); the diagonal has no meaning.
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        points = functional.normalize(exact(embeddings), dim=-1)
        logits = points @ points.mT / temperature
        itself = torch.eye(logits.shape[-1], dtype=torch.bool, device=logits.device)
        others = logits.masked_fill(itself, float("-inf"))
        return torch.logsumexp(others, dim=-1, keepdim=True) - logits


def mean_over_positives(losses: Tensor, positives: Tensor) -> Tensor:
    """Averages pair losses over each anchor's positives, then over anchors.

    Args:
        losses: (..., N, N), row i those of anchor i.
        positives: (N, N) bool, false on the diagonal. Anchors without a positive are left
            out.

    Returns:
        Scalar, the mean over the leading dimensions too; zero, with a gradient of zero,
        where no anchor has a positive.
    """
    count = positives.sum(dim=-1)
    total = torch.where(positives, losses, 0.0).sum(dim=-1)
    anchors = (count > 0).sum().clamp(min=1)
    return ((total / count.clamp(min=1)).sum(dim=-1) / anchors).mean()


def position_contrast(first: Tensor, second: Tensor, related: Tensor, temperature: float) -> Tensor:
    """Two views of related slices attract, all other slices repel (PCL, Zeng et al., 2021).

    (tau / 0.07) L over the 2B embeddings. The factor is that of SupCon's code, which the
    position contrasts keep: it rescales this loss against others, and its gradient against
    the rate of an optimiser that feels it.

    Args:
        first: (..., B, D) embeddings of one view.
        second: (..., B, D) of the other.
        related: (B, B) bool, true on the diagonal.
        temperature: tau.
    """
    losses = pair_losses(torch.cat((first, second), dim=-2), temperature)
    return mean_over_positives(losses, both_views(related)) * (temperature / BASE_TEMPERATURE)
