"""Projection heads that several methods share."""

from __future__ import annotations

from torch import Tensor, nn


class GlobalHead(nn.Module):
    """Global average pooling, then Linear - ReLU - Linear: one vector for a slice.

    Args:
        channels: of the map.
        dim: of the embedding.
        hidden: width between the layers; the map's channels if None.
        linear: leave out the ReLU, as the code of Hu et al. does.
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

    def forward(self, features: Tensor) -> Tensor:
        """Maps (B, C, h, w) to (B, dim)."""
        pooled: Tensor = self.layers(features.mean(dim=(2, 3)))
        return pooled


class PixelHead(nn.Module):
    """Two 1 x 1 convolutions: one vector for each pixel of a map.

    Args:
        channels: of the map.
        hidden: channels between the layers.
        dim: of the embedding.
        linear: no ReLU between, as the code of Hu et al. does.
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


def expander(inputs: int, width: int) -> nn.Module:
    """Three linear layers with batch normalisation and ReLU between them: (N, inputs) wide.

    The head of methods that decorrelate dimensions, made by lightly's builder. It ends without
    a bias, to which their losses are blind, so that it would never get a gradient.

    Args:
        inputs: channels of what is embedded.
        width: of every layer.
    """
    # lightly pulls torchvision, seconds that only these heads should cost.
    from lightly.models.modules.heads import ProjectionHead

    head: nn.Module = ProjectionHead(
        [
            (inputs, width, nn.BatchNorm1d(width), nn.ReLU()),
            (width, width, nn.BatchNorm1d(width), nn.ReLU()),
            (width, width, None, None, False),
        ]
    )
    return head
