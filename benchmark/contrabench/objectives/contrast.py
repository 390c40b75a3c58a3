"""Contrastive losses that several methods share; in float32 at least, whatever the autocast.

Contrast with many positives (Khosla et al., NeurIPS 2020, L_out) comes twice: of points by their
label, and of embeddings by any relation between slices,

    l_ij = -log( exp(s_ij / tau) / sum_{a != i} exp(s_ia / tau) )
    L    = mean over i of (1 / |P(i)|) sum_{j in P(i)} l_ij

with s the cosine and P(i) the positives of i. Anchors without a positive are left out.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from contrabench.objectives.blockwise import repulsion

BASE_TEMPERATURE = 0.07
"""The temperature at which SupCon's published code leaves its loss unscaled."""
_CLASSES = 256
_ZERO = 1e-12
_ROUNDING = 1e-6


def exact(values: Tensor) -> Tensor:
    """Half-precision values as float32; others as they are."""
    return values if values.dtype == torch.float64 else values.float()


def nt_xent(
    first: Tensor, second: Tensor, temperature: float, sets: Tensor | None = None
) -> Tensor:
    """Normalised temperature-scaled cross-entropy of SimCLR (Chen et al., ICML 2020, eq. 1).

    For the 2B embeddings of two views, (B, D) each and normalised here, the mean over i of
    -log( exp(s(z_i, z_i+) / tau) / sum_{a != i} exp(s(z_i, z_a) / tau) ).

    With `sets` (P, N) the numbers of the pairs that meet, -1 where a set has fewer: the mean over
    those sets that have any, and zero, with a gradient of zero, without.
    """
    count = len(first)
    with torch.autocast(first.device.type, enabled=False):
        points = unit(torch.cat((first, second)))
        if sets is None:
            sets = torch.arange(count, device=points.device)[None]
        known = sets >= 0
        sizes = known.sum(1, keepdim=True)
        weights = known / (sizes.clamp(min=1) * (sizes > 0).sum().clamp(min=1)).to(points)
        each = weights.new_zeros(count).index_add(0, sets.clamp(min=0).flatten(), weights.flatten())
        alike = (each * (points[:count] * points[count:]).sum(1)).sum() / temperature
        chosen, known, weights = _first(known.long(), sets, known, weights)
        chosen = points[torch.cat((chosen, chosen + count), dim=1).clamp(min=0)]
        known, weights = known.repeat(1, 2), weights.repeat(1, 2) / 2
        return repulsion(chosen, known, weights, temperature) - alike


def unit(points: Tensor) -> Tensor:
    """Points (..., D) normalised, in float32 at least; zero stays zero."""
    points = exact(points)
    length = torch.linalg.vector_norm(points, dim=-1, keepdim=True).clamp(min=_ZERO)
    # Faster backward than a quotient.
    return points * torch.reciprocal(length)


def _first(rank: Tensor, *each: Tensor) -> tuple[Tensor, ...]:
    """What (P, N) say of points, those of high rank first in each set."""
    order = rank.argsort(dim=1, descending=True, stable=True)
    return tuple(values.gather(1, order) for values in each)


def pair_contrast(positive: Tensor, negatives: Tensor, keep: Tensor | None = None) -> Tensor:
    """-log( e^p / (e^p + sum_n e^n) ), the pair loss of Chaitanya et al. (NeurIPS 2020, eq. 1).

    Of similarities already divided by the temperature: (N,) of the pairs and (N, M) to the
    negatives, of which those count that `keep` (N, M) names; returns (N,) losses.
    """
    if keep is not None:
        negatives = negatives.masked_fill(~keep, float("-inf"))
    together = torch.cat((positive[:, None], negatives), dim=1)
    return torch.logsumexp(together, dim=1) - positive


def info_nce(query: Tensor, key: Tensor, memory: Tensor, temperature: float) -> Tensor:
    """InfoNCE against a memory of negatives, as in MoCo (He et al., CVPR 2020, eq. 1).

    The mean over i of
    -log( exp(q_i.k_i / tau) / ( exp(q_i.k_i / tau) + sum_j exp(q_i.m_j / tau) ) ),
    with queries and their keys (N, D) and the memory (K, D), all normalised here; the keys of
    other rows are no negatives.
    """
    with torch.autocast(query.device.type, enabled=False):
        queries, keys, negatives = (
            functional.normalize(exact(points), dim=1) for points in (query, key, memory)
        )
        alike = (queries * keys).sum(dim=1) / temperature
        return pair_contrast(alike, queries @ negatives.T / temperature).mean()


def supervised_contrast(
    embeddings: Tensor,
    labels: Tensor,
    anchors: Tensor,
    temperature: float,
    hardest: float = 1.0,
    sets: Tensor | None = None,
) -> Tensor:
    """Supervised contrast of points (Hu et al., MICCAI 2021): P(i) are those of i's label.

    Points that are no anchor stay in the denominator. With `hardest` below 1, only the
    round(hardest * |P(i)|) positives, at least one, that are least similar to i attract it.
    Embeddings (N, D) are normalised here; labels (N,) are long, 0 to 255, anchors (N,) bool.
    With `sets` (P, M) the numbers of points that meet, -1 where a set has fewer, the mean over
    those sets that have an anchor. The loss is zero, with a gradient of zero, where no anchor has a
    positive.
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        if sets is None:
            sets = torch.arange(len(embeddings), device=embeddings.device)[None]
        known = sets >= 0
        wanted = anchors[sets.clamp(min=0)] & known
        sets, wanted, known = _first(wanted.long() + known.long(), sets, wanted, known)
        sets = sets.clamp(min=0)
        points, marks = unit(embeddings)[sets], labels[sets]
        # Elsewhere than on the host, asking how many classes there are would make it wait.
        classes = int(labels.max()) + 1 if labels.device.type == "cpu" else _CLASSES
        class_ = torch.arange(classes, device=marks.device)[:, None]
        member = ((marks[:, None] == class_) & known[:, None]).to(points)
        count = (member.sum(2).gather(1, marks) - 1).long()
        usable, held = wanted & (count > 0), wanted.any(1).sum().clamp(min=1)
        weights = (usable / (usable.sum(1, keepdim=True).clamp(min=1) * held)).to(points)
        if hardest < 1:
            count = (count * hardest).round().long().clamp(min=1).minimum(count)
            return repulsion(points, known, weights, temperature, marks, count)
        # The sum of the similarities to all positives is the similarity to their sum, less that
        # to itself, whose gradient does not turn a unit vector.
        share = weights / count.clamp(min=1)
        alike = (torch.bmm(member * share[:, None], points) * torch.bmm(member, points)).sum()
        itself = (share * points.detach().square().sum(2)).sum()
        return repulsion(points, known, weights, temperature) - (alike - itself) / temperature


def near(position: Tensor, threshold: float) -> Tensor:
    """Which slices lie less than `threshold` apart, |p_j - p_i| < t; each is near itself.

    (B,) positions in (0, 1] give (B, B) bool. They are quotients in float32: differences that
    equal t, well above 1e-6, but for the rounding are not less than it.
    """
    return (position[:, None] - position[None, :]).abs() < threshold - _ROUNDING


def same(label: Tensor) -> Tensor:
    """Which slices share a label: (B,) of any type gives (B, B) bool, true on the diagonal."""
    return label[:, None] == label[None, :]


def both_views(related: Tensor) -> Tensor:
    """Positives among the embeddings of two views, the second view's after the first's.

    (B, B), which slices attract, themselves among them, to (2B, 2B), false on the diagonal.
    """
    tiled = related.repeat(2, 2)
    return tiled & ~torch.eye(len(tiled), dtype=torch.bool, device=tiled.device)


def pair_losses(embeddings: Tensor, temperature: float) -> Tensor:
    """The loss l_ij of every ordered pair: (..., N, D), N at least 2, give (..., N, N).

    Normalised here; a leading place, such as a pixel, is a contrast of its own. The diagonal
    has no meaning.
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        points = functional.normalize(exact(embeddings), dim=-1)
        logits = points @ points.mT / temperature
        itself = torch.eye(logits.shape[-1], dtype=torch.bool, device=logits.device)
        others = logits.masked_fill(itself, float("-inf"))
        return torch.logsumexp(others, dim=-1, keepdim=True) - logits


def mean_over_positives(losses: Tensor, positives: Tensor) -> Tensor:
    """Averages pair losses (..., N, N) over each anchor's positives, then over all else.

    `positives` (N, N) is false on the diagonal; without one the mean and its gradient are zero.
    """
    count = positives.sum(dim=-1)
    total = torch.where(positives, losses, 0.0).sum(dim=-1)
    anchors = (count > 0).sum().clamp(min=1)
    return ((total / count.clamp(min=1)).sum(dim=-1) / anchors).mean()


def position_contrast(first: Tensor, second: Tensor, related: Tensor, temperature: float) -> Tensor:
    """Two views of related slices attract, all other slices repel (PCL, Zeng et al., 2021).

    (tau / 0.07) L over the 2B embeddings, of views (..., B, D); `related` (B, B) is true on the
    diagonal. The factor is that of SupCon's code, which the position contrasts keep: it rescales
    this loss against others, and its gradient against the rate of an optimiser that feels it.
    """
    losses = pair_losses(torch.cat((first, second), dim=-2), temperature)
    return mean_over_positives(losses, both_views(related)) * (temperature / BASE_TEMPERATURE)
