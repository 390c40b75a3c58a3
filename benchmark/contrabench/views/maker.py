"""Makes the views of a mini-batch of slices, on the device the slices are on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from contrabench.contracts.backbone import Backbone
from contrabench.contracts.geometry import Geometry
from contrabench.contracts.views import View, ViewSpec
from contrabench.errors import RequestError
from contrabench.protocol import seed_for
from contrabench.views.intensity import alter_intensity, deviation, draw_hidden, hide
from contrabench.views.spatial import draw_geometry, sample_images, sample_masks


def view_side(side: int, scale: float, multiple: int = Backbone.multiple) -> int:
    """Side of a view in pixels; that of the slice, whatever it is, for a scale of 1.

    Else a multiple of the backbone's, whose deepest map must keep 2 pixels a side.
    """
    if scale == 1:
        return side
    return min(side, max(2 * multiple, multiple * round(scale * side / multiple)))


def make_views(
    images: Tensor,
    masks: Tensor | None,
    specs: Sequence[ViewSpec],
    seed: int,
    multiple: int = Backbone.multiple,
) -> tuple[View, ...]:
    """Makes all views of a mini-batch, a pure function of its arguments.

    Each parameter is drawn for each image, by its place in the batch and `seed`; no global random
    state is read or changed. Crop, resizing, mirror, rotation and displacement are composed into
    one map, so that an image is interpolated once; blocks are hidden last.

    Args:
        images: (B, C, H, W) float32; left untouched.
        masks: (B, H, W) integer, `IGNORE` where unlabelled, or None.
        specs: one for each view; RequestError if it asks for the geometry of one not earlier.
        multiple: of the backbone, for views that are smaller than their slice.

    Returns:
        Views that share no image memory with another or with `images`; their masks, if given,
        are long, with `IGNORE` outside of the slice.
    """
    views: list[View] = []
    sampled: list[tuple[Tensor, Tensor | None]] = []
    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        unit = deviation(images)
        for index, spec in enumerate(specs):
            stream = seed_for("geometry", seed, index)
            geometry = _geometry(images, spec, views, multiple, stream)
            shared = spec.geometry_of
            if shared is not None and geometry is views[shared].geometry:
                image, labels = sampled[shared]
            elif spec.spatial is None and shared is None and geometry.size == images.shape[2:]:
                image, labels = images, masks
            else:
                grid = geometry.grid()
                image = sample_images(images, grid)
                labels = None if masks is None else sample_masks(masks, grid)
            sampled.append((image, labels))
            if spec.intensity is None:
                image = image.clone()
            else:
                image = alter_intensity(
                    image, spec.intensity, unit, seed_for("intensity", seed, index)
                )
            hidden = None
            if spec.occlusion is not None:
                stream = seed_for("occlusion", seed, index)
                hidden = draw_hidden(
                    spec.occlusion, len(images), geometry.size, stream, images.device
                )
                image = hide(image, hidden)
            labels = None if labels is None else labels.to(torch.long, copy=True)
            views.append(View(image, geometry, labels, hidden))
    return tuple(views)


def _geometry(
    images: Tensor, spec: ViewSpec, views: Sequence[View], multiple: int, seed: int
) -> Geometry:
    """The geometry of the next view: another's, the whole slice, or a drawn one."""
    batch, _, height, width = images.shape
    high, wide = (view_side(side, spec.scale, multiple) for side in (height, width))
    size = (high, wide)
    if spec.geometry_of is not None:
        if spec.geometry_of >= len(views):
            raise RequestError(
                f"view {len(views)} shares the geometry of view {spec.geometry_of}, which is not "
                "made before it; let `geometry_of` name an earlier view of the same stage"
            )
        geometry = views[spec.geometry_of].geometry
        return geometry if geometry.size == size else replace(geometry, size=size)
    if spec.spatial is None:
        return Geometry.identity(batch, size, images.device)
    return draw_geometry(spec.spatial, batch, (height, width), size, seed, images.device)
