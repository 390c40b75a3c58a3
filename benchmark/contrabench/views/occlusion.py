"""Hides square blocks of a view: which ones, and with what.

The blocks are those of a regular grid over the view. A fixed number of them is hidden in
each image, so that every image asks for the same amount of reconstruction.
"""

from __future__ import annotations

import torch
from torch import Tensor

from contrabench.contracts.views import Occlusion
from contrabench.errors import RequestError


def draw_hidden(
    spec: Occlusion,
    batch: int,
    size: tuple[int, int],
    seed: int,
    *,
    device: torch.device | None = None,
) -> Tensor:
    """Draws the hidden pixels of each image of a batch.

    Image i has the same blocks hidden whatever the batch's size and the view's, on every
    device.

    Args:
        spec: share and number of the blocks.
        batch: number of images.
        size: height and width of the view in pixels.
        seed: settles which blocks.
        device: where the result is put.

    Returns:
        (B, H, W) bool, true where hidden.

    Raises:
        RequestError: if the view cannot be divided into equal blocks.
    """
    if any(length % spec.cells for length in size):
        raise RequestError(
            f"a view of {size[0]} x {size[1]} pixels has no {spec.cells} equal blocks per axis; "
            "give `cells` a divisor of both sides, such as 8"
        )
    generator = torch.Generator().manual_seed(seed)
    chance = torch.rand(batch, spec.cells**2, generator=generator)
    chosen = chance.argsort(dim=1, stable=True)[:, : spec.hidden]
    blocks = torch.zeros_like(chance, dtype=torch.bool).scatter_(1, chosen, True)
    height, width = (length // spec.cells for length in size)
    hidden = blocks.view(batch, spec.cells, spec.cells).to(device)
    return hidden.repeat_interleave(height, dim=1).repeat_interleave(width, dim=2)


def hide(images: Tensor, hidden: Tensor) -> Tensor:
    """Replaces the hidden pixels of each image by its mean.

    Args:
        images: (B, 1, H, W) float; left untouched.
        hidden: (B, H, W) bool.

    Returns:
        (B, 1, H, W) in new memory.
    """
    return torch.where(hidden[:, None], images.mean((1, 2, 3), keepdim=True), images)
