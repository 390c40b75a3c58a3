"""Contrast of single pixels, shared by the methods that follow Hu et al. (MICCAI 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from contrabench.contracts.backbone import Backbone
from contrabench.contracts.objective import Objective, StepResult
from contrabench.contracts.views import IGNORE, Batch
from contrabench.objectives.contrast import nt_xent, supervised_contrast
from contrabench.objectives.heads import PixelHead

Sampling = Literal["stride", "block"]


@dataclass(frozen=True)
class Reach:
    """Which pixels of a map take part in the contrast, and which meet each other.

    Hu et al. hold memory down in one of two ways: `stride` keeps every fourth pixel of 160, at
    most `grid` per axis, `block` keeps all pixels and contrasts them within tiles of 16 or 32.
    `group` slices meet each other; each grid or tile is cut into `regions` per axis, which don't.
    """

    sampling: Sampling = "stride"
    grid: int = 40
    block: int = 16
    group: int = 4
    regions: int = 1

    def sample(self, maps: Tensor, side: int) -> Tensor:
        """Keeps the pixels of maps (..., h, w) that take part, of slices of `side` pixels.

        By stride, those at every k-th pixel of the slice: k is the least multiple of four that
        leaves at most `grid`, so that maps of the upper three levels keep the same places.
        """
        if self.sampling == "block":
            return maps
        step = 4 * -(-side // (4 * self.grid)) * maps.shape[-1] // side
        return maps[..., ::step, ::step]

    def parts(self, maps: Tensor) -> list[Tensor]:
        """Cuts (B, ..., g, g) sampled maps into the parts that are contrasted by themselves.

        Each is the same place of `group` slices. At the right and lower border they may be smaller.
        """
        whole = maps.shape[-1] if self.sampling == "stride" else self.block
        side = -(-whole // self.regions)
        return [
            tile
            for slices in torch.split(maps, self.group)
            for band in torch.split(slices, side, dim=-2)
            for tile in torch.split(band, side, dim=-1)
        ]


def on_grid(maps: Tensor, side: int) -> Tensor:
    """Keeps every k-th pixel of (..., H, W), the least k that leaves at most `side` per axis."""
    step = -(-maps.shape[-1] // side)
    return maps[..., ::step, ::step]


def points(maps: Tensor) -> Tensor:
    """Lists the pixels of (B, D, h, w) as (B * h * w, D), slice by slice."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])


def _nothing(first: Tensor, second: Tensor) -> Tensor:
    """A loss of zero, with gradients of zero, where a batch has nothing to contrast."""
    return (first.sum() + second.sum()).float() * 0.0


def supervised_pixels(
    first: Tensor,
    second: Tensor,
    labels: Tensor,
    temperature: float,
    reach: Reach,
    hardest: float = 1.0,
) -> Tensor:
    """Pixels of one structure attract, within the parts of a batch (Hu et al., section 2.2).

    The views, of the same geometry, are (B, D, g, g), labels (B, g, g) class indices, `IGNORE` for
    pixels that take no part. Foreground pixels of both are the anchors; background only repels.
    The mean over the parts of `reach`, which bound memory, that have an anchor. `hardest` is the
    share of the positives that attract, the least similar ones.
    """
    cuts = [reach.parts(maps) for maps in (first, second, labels)]
    known = [part != IGNORE for part in cuts[2]]
    held = torch.stack([((y > 0) & ok).any() for y, ok in zip(cuts[2], known, strict=True)])
    losses = []
    for a, b, y, ok, wanted in zip(*cuts, known, held.tolist(), strict=True):
        if not wanted:
            continue
        use = ok.reshape(-1).repeat(2)
        marks = y.reshape(-1).repeat(2)[use]
        embedded = torch.cat((points(a), points(b)))[use]
        losses.append(supervised_contrast(embedded, marks, marks > 0, temperature, hardest))
    return torch.stack(losses).mean() if losses else _nothing(first, second)


def same_position(
    first: Tensor,
    second: Tensor,
    temperature: float,
    reach: Reach,
    keep: Tensor | None = None,
) -> Tensor:
    """The same pixel of the two views attracts, all other pixels of the part repel.

    The branch of Hu's code without labels, of maps as for `supervised_pixels`; the mean over the
    parts of `reach` that have a pixel that `keep` (B, g, g) names.
    """
    pairs = [
        (points(a), points(b)) for a, b in zip(reach.parts(first), reach.parts(second), strict=True)
    ]
    if keep is not None:
        kept = [part.reshape(-1) for part in reach.parts(keep)]
        pairs = [(a[use], b[use]) for (a, b), use in zip(pairs, kept, strict=True)]
    losses = [nt_xent(a, b, temperature) for a, b in pairs if len(a)]
    return torch.stack(losses).mean() if losses else _nothing(first, second)


class PixelContrast(Objective):
    """Supervised contrast of the finest map's pixels: the second stage of Hu et al.

    `reach` says which pixels meet, and `hardest` which share of the positives attract.
    """

    def __init__(
        self, backbone: Backbone, temperature: float, reach: Reach, hardest: float = 1.0
    ) -> None:
        super().__init__()
        self.temperature, self.reach, self.hardest = temperature, reach, hardest
        self.tap = backbone.finest
        self.head = PixelHead(backbone.channels[self.tap], 256, 128)

    def forward(self, backbone: Backbone, batch: Batch) -> StepResult:
        """The loss of one batch of two views of the same geometry."""
        side = batch.views[0].image.shape[-1]
        first, second = (
            self.head(self.reach.sample(backbone.features(view.image, (self.tap,))[self.tap], side))
            for view in batch.views
        )
        labels = self.reach.sample(batch.views[0].label, side)
        return StepResult(
            supervised_pixels(first, second, labels, self.temperature, self.reach, self.hardest)
        )
