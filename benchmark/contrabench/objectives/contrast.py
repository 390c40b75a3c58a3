"""Contrastive losses that several methods share; in float32 at least, whatever the autocast."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def exact(values: Tensor) -> Tensor:
    """Half-precision values as float32; others as they are."""
    return values if values.dtype == torch.float64 else values.float()


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Normalised temperature-scaled cross-entropy of SimCLR (Chen et al., ICML 2020, eq. 1).

    For 2B normalised embeddings, the mean over i of
    -log( exp(s(z_i, z_i+) / tau) / sum_{a != i} exp(s(z_i, z_a) / tau) ).
    Computed by lightly's `NTXentLoss`.

    Args:
        first: (B, D) embeddings of one view; they are normalised here.
        second: (B, D) of the other.
        temperature: tau.
    """
    # lightly pulls torchvision, seconds that only this loss should cost.
    from lightly.loss import NTXentLoss

    with torch.autocast(first.device.type, enabled=False):
        loss: Tensor = NTXentLoss(temperature=temperature)(exact(first), exact(second))
    return loss


def supervised_contrast(
    embeddings: Tensor, labels: Tensor, anchors: Tensor, temperature: float
) -> Tensor:
    """Supervised contrast of points (Khosla et al., NeurIPS 2020, L_out; Hu et al., MICCAI 2021).

    L = mean over anchors i of
    -(1 / |P(i)|) sum_{q in P(i)} log( exp(z_i.z_q / tau) / sum_{a != i} exp(z_i.z_a / tau) ),
    with P(i) the other points of i's label. Points that are no anchor stay in the
    denominator. Anchors without a positive are left out.

    Args:
        embeddings: (N, D); normalised here.
        labels: (N,) long.
        anchors: (N,) bool.
        temperature: tau.

    Returns:
        Scalar; zero, with a gradient of zero, where no anchor has a positive.
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        points = functional.normalize(exact(embeddings), dim=1)
        rows = torch.nonzero(anchors).squeeze(1)
        logits = points[rows] @ points.T / temperature
        same = labels[rows][:, None] == labels[None, :]
        itself = torch.zeros_like(same)
        itself[torch.arange(len(rows), device=rows.device), rows] = True
        logits = logits.masked_fill(itself, float("-inf"))
        denominator = torch.logsumexp(logits, dim=1)
        positives = same & ~itself
        count = positives.sum(dim=1)
        total = torch.where(positives, logits, 0.0).sum(dim=1)
        usable = count > 0
        if not bool(usable.any()):
            return (points * 0.0).sum()
        each = denominator[usable] - total[usable] / count[usable]
        return each.mean()


def pair_contrast(positive: Tensor, negatives: Tensor, keep: Tensor | None = None) -> Tensor:
    """-log( e^p / (e^p + sum_n e^n) ), the pair loss of Chaitanya et al. (NeurIPS 2020, eq. 1).

    Args:
        positive: (N,) similarity of each pair, already divided by the temperature.
        negatives: (N, M) similarities to the negatives, likewise.
        keep: (N, M) bool, which of them count; all if None.

    Returns:
        (N,) losses.
    """
    if keep is not None:
        negatives = negatives.masked_fill(~keep, float("-inf"))
    together = torch.cat((positive[:, None], negatives), dim=1)
    return torch.logsumexp(together, dim=1) - positive
