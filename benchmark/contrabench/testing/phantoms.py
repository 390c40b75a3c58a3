"""What methods are checked on: small phantoms made in memory, and batches rearranged."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from contrabench.contracts.objective import JointBatch
from contrabench.contracts.views import Batch
from contrabench.data.prepare import PreparedCase
from contrabench.data.synthetic import make_case as make_case  # noqa: PLC0414 - a public name

_PATIENTS = 8
_DEPTH = 8


@lru_cache(maxsize=2)
def practice_cases(channels: int = 1) -> tuple[PreparedCase, ...]:
    """The cases that every check trains on: one volume of each of eight patients."""
    return tuple(
        make_case(number, depth=_DEPTH, variety=1.0, channels=channels)
        for number in range(_PATIENTS)
    )


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
    views = tuple(replace(v, masks=take(v.masks, rows)) for v in batch.views)
    return replace(batch, views=views)


def exchange(batch: Batch) -> Batch:
    """Breaks every pair: later views come from the next slice, masks from one further on.

    What is known of the slices stays with the first view.
    """
    rows = torch.arange(batch.size).roll(1)
    first, *later = exchange_masks(batch).views
    moved = (replace(take(view, rows), masks=view.masks) for view in later)
    return replace(batch, views=(first, *moved))


def repeat_first_view(batch: Batch) -> Batch:
    """Makes every pair perfect: later views of the first view's size become that view."""
    first = batch.views[0]
    views = (
        replace(view, image=first.image, geometry=first.geometry, masks=first.masks)
        if view.image.shape == first.image.shape
        else view
        for view in batch.views
    )
    return replace(batch, views=tuple(views))


def with_images_of(batch: Any, other: Any) -> Any:
    """A batch that shows the images of another of the same stage, and is else as it was."""
    if isinstance(batch, JointBatch):
        streams = zip(batch.streams, other.streams, strict=True)
        mixed = tuple(with_images_of(*pair) for pair in streams)
        return replace(
            batch, labelled=with_images_of(batch.labelled, other.labelled), streams=mixed
        )
    pairs = zip(batch.views, other.views, strict=True)
    views = tuple(replace(own, image=strange.image) for own, strange in pairs)
    return replace(batch, views=views)
