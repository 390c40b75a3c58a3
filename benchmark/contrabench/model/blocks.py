"""What U-shaped networks are made of: convolutions with normalisation, and the way up."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.01
"""Of the leaky ReLU."""


def normalisation(kind: str, channels: int) -> nn.Module:
    """Over a `batch` or within each image (`instance`), with a gain and a shift a channel."""
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    return nn.InstanceNorm2d(channels, affine=True)


class Block(nn.Module):
    """Two 3 x 3 convolutions, each with normalisation and leaky ReLU.

    As in MONAI's DynUNet, to the value; they stand here because importing MONAI takes longer than
    all else that a worker loads (`docs/speed.md`).
    """

    def __init__(self, inputs: int, outputs: int, norm: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm1, self.norm2 = normalisation(norm, outputs), normalisation(norm, outputs)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        # In place: no normalisation needs its own output for its gradient.
        maps = functional.leaky_relu(self.norm1(self.conv1(maps)), SLOPE, inplace=True)
        return functional.leaky_relu(self.norm2(self.conv2(maps)), SLOPE, inplace=True)


def upsample(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    """Doubles height and width."""
    return nn.ConvTranspose2d(inputs, outputs, 2, stride=2, bias=False)
