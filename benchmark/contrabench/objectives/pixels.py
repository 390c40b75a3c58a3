"""Contrast of single pixels, shared by the methods that follow Hu et al. (MICCAI 2021)."""

from __future__ import annotations

import torch
from torch import Tensor

from contrabench.objectives.contrast import nt_xent, supervised_contrast

IGNORE = 255


def on_grid(maps: Tensor, side: int) -> Tensor:
    """Keeps every k-th pixel of (..., H, W), so that at most `side` remain per axis.

    Hu et al. keep every fourth pixel of 160, a grid of 40.
    """
    step = max(1, maps.shape[-1] // side)
    return maps[..., ::step, ::step]


def points(maps: Tensor) -> Tensor:
    """Lists the pixels of (B, D, h, w) as (B * h * w, D), slice by slice."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])


def supervised_pixels(
    first: Tensor, second: Tensor, labels: Tensor, temperature: float, group: int
) -> Tensor:
    """Pixels of one structure attract, within groups of slices (Hu et al., section 2.2).

    Foreground pixels of both views are the anchors; background pixels only repel.

    Args:
        first: (B, D, g, g) embeddings of one view.
        second: (B, D, g, g) of the other, of the same geometry.
        labels: (B, g, g) class indices, 255 for pixels that take no part.
        temperature: tau.
        group: slices contrasted with each other; their similarity matrix bounds memory.

    Returns:
        Mean over the groups that have an anchor.
    """
    losses = []
    for start in range(0, len(first), group):
        block = slice(start, start + group)
        marks = labels[block].reshape(-1).repeat(2)
        known = marks != IGNORE
        marks = marks[known]
        anchors = marks > 0
        embedded = torch.cat((points(first[block]), points(second[block])))[known]
        if bool(anchors.any()):
            losses.append(supervised_contrast(embedded, marks, anchors, temperature))
    if not losses:
        return (first.sum() + second.sum()).float() * 0.0
    return torch.stack(losses).mean()


def same_position(first: Tensor, second: Tensor, temperature: float, group: int) -> Tensor:
    """The same pixel of the two views attracts, all other pixels of the group repel.

    The branch of Hu's code that has no labels.

    Args:
        first: (B, D, g, g) embeddings of one view.
        second: (B, D, g, g) of the other, of the same geometry.
        temperature: tau.
        group: slices contrasted with each other.
    """
    losses = [
        nt_xent(points(first[i : i + group]), points(second[i : i + group]), temperature)
        for i in range(0, len(first), group)
    ]
    return torch.stack(losses).mean()
