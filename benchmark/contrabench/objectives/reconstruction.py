"""What methods share that rebuild an image: the target and the error."""

from __future__ import annotations

import torch
from torch import Tensor

from contrabench.objectives.contrast import exact

_FLAT = 1e-6


def normalised_blocks(images: Tensor, grid: tuple[int, int]) -> Tensor:
    """Scales each channel of each block to mean 0 and variance 1, and what is flat to 0.

    As the target of SparK (Tian et al., ICLR 2023): 1e-6 is added to the unbiased variance.

    Args:
        images: (B, C, H, W); both sides are multiples of the grid's.
        grid: rows and columns of blocks.

    Returns:
        (B, C, H, W) in float32 at least.
    """
    with torch.autocast(images.device.type, enabled=False):
        count, channels, height, width = images.shape
        rows, columns = grid
        shape = (count, channels, rows, height // rows, columns, width // columns)
        blocks = exact(images).reshape(shape)
        variance, mean = torch.var_mean(blocks, dim=(3, 5), keepdim=True)
        return ((blocks - mean) / torch.sqrt(variance + _FLAT)).reshape(images.shape)


def hidden_error(predicted: Tensor, target: Tensor, hidden: Tensor) -> Tensor:
    """Mean squared error over the hidden pixels of all images; 0 without any.

    Args:
        predicted: (B, C, H, W).
        target: (B, C, H, W).
        hidden: (B, H, W) bool.
    """
    with torch.autocast(predicted.device.type, enabled=False):
        error = (exact(predicted) - exact(target)).square().mean(1)
        return (error * hidden).sum() / hidden.sum().clamp(min=1)
