"""The views of a mini-batch: drawn on the CPU ahead of time, made on the slices' device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from contrabench.contracts.backbone import Backbone
from contrabench.contracts.geometry import Geometry
from contrabench.contracts.views import View, ViewSpec
from contrabench.errors import RequestError
from contrabench.protocol import seed_for
from contrabench.views.intensity import (
    alter_intensity,
    deviation,
    draw_hidden,
    draw_intensity,
    hide,
    spread,
)
from contrabench.views.spatial import draw_geometry, sample_images, sample_masks
from contrabench.views.travel import moved


def view_side(side: int, scale: float, multiple: int = Backbone.multiple) -> int:
    """Side of a view in pixels; that of the slice, whatever it is, for a scale of 1.

    Else a multiple of the backbone's, whose deepest map must keep 2 pixels a side.
    """
    if scale == 1:
        return side
    return min(side, max(2 * multiple, multiple * round(scale * side / multiple)))


@dataclass(frozen=True)
class Drawn:
    """The random part of one view: small tensors, drawn on the CPU before they are needed.

    Attributes:
        geometry: where the view lies in the slice.
        intensity: (B, C, 5) as `draw_intensity` gives them; None if grey values stay.
        blocks: (B, cells, cells) bool, hidden ones; None without an occlusion.
        noise: seed of the noise.
    """

    geometry: Geometry
    intensity: Tensor | None
    blocks: Tensor | None
    noise: int


def draw_views(
    shape: tuple[int, int, int, int],
    specs: Sequence[ViewSpec],
    seed: int,
    multiple: int = Backbone.multiple,
) -> tuple[Drawn, ...]:
    """Draws all views of a mini-batch of images (B, C, H, W): a pure function of its arguments.

    Each parameter is drawn for each image, by its place in the batch and `seed`; no global random
    state is read or changed. `multiple` is that of the backbone, for views that are smaller than
    their slice. RequestError if a view asks for the geometry of one not earlier.
    """
    batch, channels, height, width = shape
    views: list[Drawn] = []
    with torch.autocast("cpu", enabled=False):
        for index, spec in enumerate(specs):
            high, wide = (view_side(side, spec.scale, multiple) for side in (height, width))
            geometry = _geometry(spec, views, batch, (height, width), (high, wide), seed)
            intensity = blocks = None
            noise = seed_for("intensity", seed, index)
            if spec.intensity is not None:
                intensity = draw_intensity(spec.intensity, batch, channels, noise)
            if spec.occlusion is not None:
                stream = seed_for("occlusion", seed, index)
                blocks = draw_hidden(spec.occlusion, batch, geometry.size, stream)
            views.append(Drawn(geometry, intensity, blocks, noise))
    return tuple(views)


def _geometry(
    spec: ViewSpec,
    views: Sequence[Drawn],
    batch: int,
    slice_size: tuple[int, int],
    size: tuple[int, int],
    seed: int,
) -> Geometry:
    """The geometry of the next view: another's, the whole slice, or a drawn one."""
    if spec.geometry_of is not None:
        if spec.geometry_of >= len(views):
            raise RequestError(
                f"view {len(views)} shares the geometry of view {spec.geometry_of}, which is not "
                "made before it; let `geometry_of` name an earlier view of the same stage"
            )
        geometry = views[spec.geometry_of].geometry
        return geometry if geometry.size == size else replace(geometry, size=size)
    if spec.spatial is None:
        return Geometry.identity(batch, size)
    stream = seed_for("geometry", seed, len(views))
    return draw_geometry(spec.spatial, batch, slice_size, size, stream)


def render_views(
    images: Tensor, masks: Tensor | None, specs: Sequence[ViewSpec], drawn: Sequence[Drawn]
) -> tuple[View, ...]:
    """Makes all views of a mini-batch from what was drawn for them, on the device of both.

    Crop, resizing, mirror, rotation and displacement are composed into one map, so that an image is
    interpolated once; blocks are hidden last.

    Args:
        images: (B, C, H, W) float32; left untouched.
        masks: (B, H, W) integer, `IGNORE` where unlabelled, or None.
        specs: one for each view.
        drawn: by `draw_views` for these specs.

    Returns:
        Views that share no image memory with another or with `images`; their masks, if given,
        are long, with `IGNORE` outside of the slice.
    """
    views: list[View] = []
    sampled: list[tuple[Tensor, Tensor | None]] = []
    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        unit = deviation(images)
        for spec, own in zip(specs, drawn, strict=True):
            geometry, shared = own.geometry, spec.geometry_of
            if shared is not None and geometry.size == drawn[shared].geometry.size:
                # One object for both, so that a loss sees that they agree.
                geometry, (image, labels) = views[shared].geometry, sampled[shared]
            elif spec.spatial is None and shared is None and geometry.size == images.shape[2:]:
                image, labels = images, masks
            else:
                grid = geometry.grid()
                image = sample_images(images, grid)
                labels = None if masks is None else sample_masks(masks, grid)
            sampled.append((image, labels))
            if spec.intensity is None or own.intensity is None:
                image = image.clone()
            else:
                image = alter_intensity(image, spec.intensity, own.intensity, unit, own.noise)
            hidden = None
            if own.blocks is not None:
                hidden = spread(own.blocks, geometry.size)
                image = hide(image, hidden)
            labels = None if labels is None else labels.to(torch.long, copy=True)
            views.append(View(image, geometry, labels, hidden))
    return tuple(views)


def make_views(
    images: Tensor,
    masks: Tensor | None,
    specs: Sequence[ViewSpec],
    seed: int,
    multiple: int = Backbone.multiple,
) -> tuple[View, ...]:
    """Draws the views of a mini-batch and makes them: `draw_views`, then `render_views`."""
    batch, channels, height, width = images.shape
    drawn = draw_views((batch, channels, height, width), specs, seed, multiple)
    return render_views(images, masks, specs, moved(drawn, images.device))
