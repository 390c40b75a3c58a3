"""Contrast of single pixels, shared by the methods that follow Hu et al. (MICCAI 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

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

    Where the grid begins is drawn anew in each step. A decoder that doubles its map by a kernel of
    stride two has weights of its own for each place of a cell, and what it learns at one pixel in
    sixteen does not hold at the others (`docs/instrument.md`).
    """

    sampling: Sampling = "stride"
    grid: int = 40
    block: int = 16
    group: int = 4
    regions: int = 1

    def stride(self, side: int) -> int:
        """Pixels of a slice of `side` from one that takes part to the next.

        The least multiple of four that leaves at most `grid` per axis, so that maps of the upper
        three levels keep the same places.
        """
        return 4 * -(-side // (4 * self.grid))

    def begin(self, batch: Batch) -> tuple[int, int]:
        """Row and column of a slice's first pixel that takes part in a step."""
        most = self.stride(batch.views[0].image.shape[-1])
        row, column = torch.randint(most, (2,), generator=batch.generator("grid")).tolist()
        return row, column

    def sample(self, maps: Tensor, side: int, begin: tuple[int, int]) -> Tensor:
        """Keeps the pixels of maps (..., h, w) that take part, of slices of `side` pixels.

        By stride, those of a grid that begins at row and column `begin` of the slice.
        """
        if self.sampling == "block":
            return maps
        size = maps.shape[-1]
        step = self.stride(side) * size // side
        row, column = (first * size // side for first in begin)
        return maps[..., row::step, column::step]

    def marks(self, labels: Tensor, level: int, begin: tuple[int, int]) -> Tensor:
        """Labels (B, H, W) of what `sample` keeps of a map of side `level`.

        By stride, those of the slice's own pixels: which pixel of a coarse map's cell speaks for it
        changes with the grid, so that none of its corners does.
        """
        if self.sampling == "block":
            return on_grid(labels, level)
        return self.sample(labels, labels.shape[-1], begin)

    def parts(self, maps: Tensor) -> Tensor:
        """Which pixels of (B, D, h, w) sampled maps, as `points` lists them, meet each other.

        (P, N) numbers: each row is the same place of `group` slices, with -1 for what would lie
        beyond the last slice, or the right and lower border.
        """
        count, _, high, wide = maps.shape
        whole = wide if self.sampling == "stride" else self.block
        tile, group = min(-(-whole // self.regions), max(high, wide)), min(self.group, count)
        numbers = torch.arange(count * high * wide, device=maps.device).view(count, high, wide)
        beyond = (0, -wide % tile, 0, -high % tile, 0, -count % group)
        numbers = functional.pad(numbers, beyond, value=-1)
        high, wide = (size // tile for size in numbers.shape[1:])
        cut = numbers.view(-1, group, high, tile, wide, tile).permute(0, 2, 4, 1, 3, 5)
        return cut.reshape(-1, group * tile * tile)


def on_grid(maps: Tensor, side: int) -> Tensor:
    """Keeps every k-th pixel of (..., H, W), the least k that leaves at most `side` per axis."""
    step = -(-maps.shape[-1] // side)
    return maps[..., ::step, ::step]


def points(maps: Tensor) -> Tensor:
    """Lists the pixels of (B, D, h, w) as (B * h * w, D), slice by slice."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])


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
    marks = labels.reshape(-1)
    parts = reach.parts(first)
    parts = parts.where(marks[parts.clamp(min=0)] != IGNORE, -1)
    both = torch.cat((parts, torch.where(parts < 0, -1, parts + len(marks))), dim=1)
    embedded, marks = torch.cat((points(first), points(second))), marks.repeat(2)
    return supervised_contrast(embedded, marks, marks > 0, temperature, hardest, both)


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
    parts = reach.parts(first)
    if keep is not None:
        parts = parts.where(keep.reshape(-1)[parts.clamp(min=0)], -1)
    return nt_xent(points(first), points(second), temperature, parts)


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
        side, begin = batch.views[0].image.shape[-1], self.reach.begin(batch)
        maps = (backbone.features(view.image, (self.tap,))[self.tap] for view in batch.views)
        first, second = (self.head(self.reach.sample(each, side, begin)) for each in maps)
        labels = self.reach.marks(batch.views[0].label, side, begin)
        return StepResult(
            supervised_pixels(first, second, labels, self.temperature, self.reach, self.hardest)
        )
