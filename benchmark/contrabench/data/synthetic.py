"""Slices of nothing in particular, for measuring speed without a dataset."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from contrabench.data.bank import SliceBank
from contrabench.protocol import ORIENTATIONS, seed_for

PATIENTS = 4
DEPTH = 16
STRUCTURES = 7
_BLOCKS = 8


def synthetic_bank(pixels: int, labels: bool, device: torch.device, seed: int = 0) -> SliceBank:
    """Builds a bank of smooth random images with blocky random masks.

    Four patients, one volume each, cut in three orientations of 16 slices: every method
    finds its positives and negatives among them. Half of a mask is background, the rest
    is dealt evenly to seven structures.

    Args:
        pixels: side of a slice, a multiple of 8.
        labels: whether the masks are there.
        device: the training device, where the slices lie.
        seed: of the images and masks.
    """
    generator = torch.Generator().manual_seed(seed_for("synthetic", seed))
    volumes = PATIENTS * len(ORIENTATIONS)
    count = volumes * DEPTH
    coarse = torch.randn(count, 1, _BLOCKS, _BLOCKS, generator=generator)
    images = F.interpolate(coarse, size=(pixels, pixels), mode="bilinear", align_corners=False)
    images += 0.1 * torch.randn(images.shape, generator=generator)
    blocks = torch.randint(
        1 - STRUCTURES, STRUCTURES + 1, (count, _BLOCKS, _BLOCKS), generator=generator
    )
    fine = pixels // _BLOCKS
    masks = blocks.clamp(min=0).to(torch.uint8)
    masks = masks.repeat_interleave(fine, 1).repeat_interleave(fine, 2)
    names = tuple(f"synthetic_{number}" for number in range(PATIENTS))
    volume = torch.arange(volumes).repeat_interleave(DEPTH)
    return SliceBank(
        images=images.to(device),
        masks=masks.to(device) if labels else None,
        volume=volume,
        patient=volume // len(ORIENTATIONS),
        orientation=volume % len(ORIENTATIONS),
        position=(torch.arange(1, DEPTH + 1) / DEPTH).repeat(volumes),
        patients=names,
        labelled=names if labels else (),
        device=device,
    )
