"""Rectangles in images, for objectives that hide, shuffle, paste or fuse what lies in them."""

from __future__ import annotations

import torch
from torch import Tensor


def between(
    low: Tensor | int, high: Tensor | int, shape: tuple[int, ...], generator: torch.Generator
) -> Tensor:
    """Whole numbers from `low` to `high`, either of them included, long on the CPU.

    The bounds are numbers, or tensors that broadcast to the shape. Taken modulo the range, so that
    none can fall outside by rounding.
    """
    drawn = torch.randint(2**62, shape, generator=generator)
    return low + drawn % (high - low + 1)


def inside(
    top: Tensor, left: Tensor, height: Tensor, width: Tensor, size: tuple[int, int]
) -> Tensor:
    """Where boxes (...) lie in an image of a size (H, W): (..., H, W) bool."""
    rows = torch.arange(size[0], device=top.device)
    columns = torch.arange(size[1], device=top.device)
    across = (rows >= top[..., None]) & (rows < (top + height)[..., None])
    along = (columns >= left[..., None]) & (columns < (left + width)[..., None])
    return across[..., :, None] & along[..., None, :]
