"""Mini-batches that are rearranged, whatever tensors a batch holds."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from contrabench.contracts.views import Batch


def take(value: Any, rows: Tensor) -> Any:
    """Picks slices out of a batch, a view or any other holder of tensors of shape (B, ...).

    Args:
        value: a dataclass, a tuple or a tensor; anything else is returned as it is.
        rows: (b,) long, places in the batch.
    """
    if isinstance(value, Tensor):
        return value[rows]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
        return dataclasses.replace(
            value, **{name: take(item, rows) for name, item in fields.items()}
        )
    return tuple(take(item, rows) for item in value) if isinstance(value, tuple) else value


def reverse(batch: Batch) -> Batch:
    """The same slices from the last to the first."""
    reversed_batch: Batch = take(batch, torch.arange(batch.size).flip(0))
    return reversed_batch


def first_two(batch: Batch) -> Batch:
    """The first two slices alone."""
    two: Batch = take(batch, torch.arange(2))
    return two


def exchange_masks(batch: Batch) -> Batch:
    """Gives each slice the masks of another one; the same other in every view."""
    rows = torch.arange(batch.size).roll(2)
    views = tuple(
        view if view.masks is None else dataclasses.replace(view, masks=view.masks[rows])
        for view in batch.views
    )
    return dataclasses.replace(batch, views=views)


def exchange(batch: Batch) -> Batch:
    """Breaks every pair: later views come from the next slice, masks from one further on.

    What is known of the slices stays with the first view.
    """
    rows = torch.arange(batch.size).roll(1)
    first, *later = exchange_masks(batch).views
    moved = (dataclasses.replace(take(view, rows), masks=view.masks) for view in later)
    return dataclasses.replace(batch, views=(first, *moved))


def repeat_first_view(batch: Batch) -> Batch:
    """Makes every pair perfect: later views of the first view's size become that view."""
    first = batch.views[0]
    views = tuple(
        dataclasses.replace(view, image=first.image, geometry=first.geometry, masks=first.masks)
        if view.image.shape == first.image.shape
        else view
        for view in batch.views
    )
    return dataclasses.replace(batch, views=views)


def with_images_of(batch: Batch, other: Batch) -> Batch:
    """A batch that shows the images of another of the same stage, and is else as it was."""
    views = tuple(
        dataclasses.replace(own, image=strange.image)
        for own, strange in zip(batch.views, other.views, strict=True)
    )
    return dataclasses.replace(batch, views=views)
