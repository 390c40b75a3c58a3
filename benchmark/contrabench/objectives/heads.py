"""Projection heads that several methods share, and the pooled maps that they are given."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from contrabench.contracts.backbone import Backbone

_WIDER = 4
_WIDEST = 2048


def pooled(backbone: Backbone, *groups: Sequence[Tensor]) -> Tensor:
    """The deepest map, pooled, of every view, (V * B, C), view by view.

    The views of a group have one size and take one pass; a group may be empty.
    """
    tap = backbone.deepest
    return torch.cat([backbone.pooled(torch.cat(tuple(g)), (tap,))[tap] for g in groups if g])


class GlobalHead(nn.Module):
    """Linear - ReLU - Linear on a pooled map: one vector for a slice.

    `hidden` is the width between, the map's channels if None; `linear` as Hu et al.: no ReLU.
    """

    def __init__(
        self, channels: int, dim: int, hidden: int | None = None, linear: bool = False
    ) -> None:
        super().__init__()
        middle = hidden or channels
        self.layers = nn.Sequential(
            nn.Linear(channels, middle),
            nn.Identity() if linear else nn.ReLU(inplace=True),
            nn.Linear(middle, dim),
        )

    def forward(self, vectors: Tensor) -> Tensor:
        """Pooled maps (B, C), as of `Backbone.pooled`, to (B, dim)."""
        embedded: Tensor = self.layers(vectors)
        return embedded


class PixelHead(nn.Module):
    """Two 1 x 1 convolutions, `hidden` wide between: one vector for each pixel of a map.

    Without a ReLU, as in the code of Hu et al., unless `linear` is false.
    """

    def __init__(self, channels: int, hidden: int, dim: int, linear: bool = True) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, hidden, 1),
            nn.Identity() if linear else nn.ReLU(inplace=True),
            nn.Conv2d(hidden, dim, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Maps (B, C, h, w) to (B, dim, h, w)."""
        projected: Tensor = self.layers(features)
        return projected


def expander(channels: int, width: int | None = None) -> nn.Module:
    """Three linear layers with batch normalisation and ReLU between them, (N, C) to (N, width).

    For methods that decorrelate dimensions; no last bias, to which their losses are blind and
    which would never get a gradient. All are `width` wide; if None, four times the channels, as
    8192 to 2048 in the papers, but at most 2048.
    """
    # lightly pulls torchvision, seconds that only these heads should cost.
    from lightly.models.modules.heads import ProjectionHead

    wide = width or min(_WIDER * channels, _WIDEST)
    head: nn.Module = ProjectionHead(
        [
            (channels, wide, nn.BatchNorm1d(wide), nn.ReLU()),
            (wide, wide, nn.BatchNorm1d(wide), nn.ReLU()),
            (wide, wide, None, None, False),
        ]
    )
    return head
