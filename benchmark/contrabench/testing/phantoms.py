"""What methods are checked on: small phantoms made in memory, and batches rearranged."""

from __future__ import annotations

import os
from dataclasses import fields, is_dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from contrabench.contracts.views import Batch
from contrabench.data.prepare import PreparedCase

_PATIENTS = 8
_DEPTH = 8
_WAVES = 6


def make_case(
    number: int,
    pixels: int = 32,
    depth: int = 6,
    patient: str | None = None,
    labelled: bool = True,
    variety: float = 0.0,
) -> PreparedCase:
    """A noisy bright ball with a shell, classes 1 and 2, for checks and tests without files.

    Args:
        number: settles the noise, and what `variety` draws.
        pixels: side of a slice.
        depth: number of slices.
        patient: name; one of its own for every number if None.
        variety: how far place, shape and texture differ from case to case; 0: not at all.
    """
    generator = np.random.default_rng(number)
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in (pixels, pixels, depth)), indexing="ij")
    body = np.random.default_rng((number, 1))
    shift = 0.2 * variety * body.uniform(-1, 1, 3)
    stretch = np.exp(0.3 * variety * body.uniform(-1, 1, 3))
    radius = np.sqrt(sum(((a - b) / c) ** 2 for a, b, c in zip(grid, shift, stretch, strict=True)))
    label = np.zeros(radius.shape, np.uint8)
    label[radius < 0.6] = 2
    label[radius < 0.4] = 1
    image = label.astype(np.float32) + 0.1 * generator.standard_normal(label.shape, np.float32)
    # A smooth pattern of its own for each case, of deviation 0.5.
    pattern = np.zeros(label.shape)
    for _ in range(_WAVES):
        frequency, phase = body.uniform(-6, 6, 3), body.uniform(0, 2 * np.pi)
        pattern += np.cos(sum(f * a for f, a in zip(frequency, grid, strict=True)) + phase)
    image += np.float32(variety) * (0.5 * pattern / np.sqrt(_WAVES / 2)).astype(np.float32)
    case = PreparedCase(
        case=f"case_{number:02d}",
        patient=patient or f"patient_{number:02d}",
        labelled=labelled,
        image=image,
        label=label if labelled else None,
        spacing=(4.0, 4.0, 8.0),
        affine=np.diag([4.0, 4.0, 8.0, 1.0]),
        native_affine=np.diag([4.0, 4.0, 8.0, 1.0]),
        native_shape=(pixels, pixels, depth),
        fingerprint=f"{number:032x}",
        image_hash="",
        outside=0.0,
        folder=Path(os.devnull),
    )
    # There is no file to read the native reference from.
    object.__setattr__(case, "native_label", label.copy)
    return case


@lru_cache(maxsize=1)
def practice_cases() -> tuple[PreparedCase, ...]:
    """The cases that every check trains on: one volume of each of eight patients."""
    return tuple(make_case(number, depth=_DEPTH, variety=1.0) for number in range(_PATIENTS))


def take(value: Any, rows: Tensor) -> Any:
    """Picks slices out of a batch, a view or any other holder of tensors of shape (B, ...).

    That is a dataclass, a tuple or a tensor; anything else is returned as it is. `rows` is (b,)
    long, places in the batch.
    """
    if isinstance(value, Tensor):
        return value[rows]
    if is_dataclass(value) and not isinstance(value, type):
        names = [item.name for item in fields(value)]
        return replace(value, **{name: take(getattr(value, name), rows) for name in names})
    return tuple(take(item, rows) for item in value) if isinstance(value, tuple) else value


def exchange_masks(batch: Batch) -> Batch:
    """Gives each slice the masks of another one; the same other in every view."""
    rows = torch.arange(batch.size).roll(2)
    return Batch(tuple(replace(v, masks=take(v.masks, rows)) for v in batch.views), batch.info)


def exchange(batch: Batch) -> Batch:
    """Breaks every pair: later views come from the next slice, masks from one further on.

    What is known of the slices stays with the first view.
    """
    rows = torch.arange(batch.size).roll(1)
    first, *later = exchange_masks(batch).views
    moved = (replace(take(view, rows), masks=view.masks) for view in later)
    return Batch((first, *moved), batch.info)


def repeat_first_view(batch: Batch) -> Batch:
    """Makes every pair perfect: later views of the first view's size become that view."""
    first = batch.views[0]
    views = (
        replace(view, image=first.image, geometry=first.geometry, masks=first.masks)
        if view.image.shape == first.image.shape
        else view
        for view in batch.views
    )
    return Batch(tuple(views), batch.info)


def with_images_of(batch: Batch, other: Batch) -> Batch:
    """A batch that shows the images of another of the same stage, and is else as it was."""
    pairs = zip(batch.views, other.views, strict=True)
    return Batch(tuple(replace(own, image=strange.image) for own, strange in pairs), batch.info)
