"""Reads slices at the coordinates of a view: grey values linearly, labels by pixel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORE = 255
"""Label of a pixel that has no reference, among them all outside of the slice."""


def sample_images(images: Tensor, grid: Tensor) -> Tensor:
    """Reads images bilinearly.

    Outside of the slice a view holds the slice's smallest value, which is background in
    a scan; repeating the border instead would smear anatomy into stripes.

    Args:
        images: (B, 1, H, W) float32.
        grid: (B, H', W', 2) float32, normalised slice coordinates.

    Returns:
        (B, 1, H', W').
    """
    sampled = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return torch.where(_inside(grid)[:, None], sampled, images.amin((1, 2, 3), keepdim=True))


def sample_masks(masks: Tensor, grid: Tensor) -> Tensor:
    """Reads the label of the pixel that each point lies in, so that no value is new.

    Args:
        masks: (B, H, W) integer, 0 to 255.
        grid: (B, H', W', 2) float32, normalised slice coordinates.

    Returns:
        (B, H', W') long; 255 outside of the slice.
    """
    labels = F.grid_sample(
        masks[:, None].float(), grid, mode="nearest", padding_mode="border", align_corners=False
    )
    return labels[:, 0].masked_fill_(~_inside(grid), IGNORE).long()


def _inside(grid: Tensor) -> Tensor:
    """Whether each point lies within the slice, (B, H', W')."""
    return torch.maximum(grid[..., 0].abs(), grid[..., 1].abs()) <= 1
