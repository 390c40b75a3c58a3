"""Contrastive losses that several methods share; in float32 at least, whatever the autocast."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_CLASSES = 256


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
        labels: (N,) long, 0 to 255.
        anchors: (N,) bool.
        temperature: tau.

    Returns:
        Scalar; zero, with a gradient of zero, where no anchor has a positive.
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        points = functional.normalize(exact(embeddings), dim=1)
        if len(points) < 2:
            return (points * 0.0).sum()
        rows = torch.nonzero(anchors).squeeze(1)
        chosen, marks = points[rows], labels[rows]
        logits = chosen @ points.T / temperature
        itself = torch.zeros_like(logits, dtype=torch.bool)
        itself[torch.arange(len(rows), device=rows.device), rows] = True
        denominator = torch.logsumexp(logits.masked_fill(itself, float("-inf")), dim=1)
        # The sum of the similarities to all positives is the similarity to their sum, so
        # that no second N x N matrix is needed.
        sums = points.new_zeros(_CLASSES, points.shape[1]).index_add(0, labels, points)
        count = torch.bincount(labels, minlength=_CLASSES)[marks] - 1
        total = (chosen * (sums[marks] - chosen)).sum(dim=1) / temperature
        usable = count > 0
        each = torch.where(usable, denominator - total / count.clamp(min=1), 0.0)
        return each.sum() / usable.sum().clamp(min=1)


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


def info_nce(query: Tensor, key: Tensor, memory: Tensor, temperature: float) -> Tensor:
    """InfoNCE against a memory of negatives, as in MoCo (He et al., CVPR 2020, eq. 1).

    The mean over i of
    -log( exp(q_i.k_i / tau) / ( exp(q_i.k_i / tau) + sum_j exp(q_i.m_j / tau) ) );
    the keys of other rows are no negatives.

    Args:
        query: (N, D) embeddings; normalised here.
        key: (N, D), the positive of each row; normalised here.
        memory: (K, D) negatives of all rows; normalised here.
        temperature: tau.
    """
    with torch.autocast(query.device.type, enabled=False):
        queries, keys, negatives = (
            functional.normalize(exact(points), dim=1) for points in (query, key, memory)
        )
        alike = (queries * keys).sum(dim=1) / temperature
        return pair_contrast(alike, queries @ negatives.T / temperature).mean()
