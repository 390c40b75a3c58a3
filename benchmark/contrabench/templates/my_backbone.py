"""My backbone: what it is, in one line.

Who, title, venue and year, DOI or arXiv number; or that there is no paper yet. Until you
change it, this file is a small U-Net: four levels of two convolutions, each with batch
normalisation and a ReLU, a centre, and the way back up with skip connections.

    bench backbones check my_backbone.py
    bench backbones show my_backbone --plugin my_backbone.py
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from contrabench import Backbone, BackboneInfo, BackboneSpec, Options, register_backbone
from contrabench.protocol import DECODER, ENCODER

LEVELS = 4


class MyBackboneOptions(Options):
    """What `-b name=value` can set; each with a default."""

    kernel: Literal[3, 5, 7] = Field(3, description="side of a convolution in pixels")


def layers(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Two convolutions, (B, inputs, h, w) to (B, outputs, h, w)."""
    return nn.Sequential(
        *(
            layer
            for first in (inputs, outputs)
            for layer in (
                nn.Conv2d(first, outputs, kernel, padding=kernel // 2, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(inplace=True),
            )
        )
    )


class Up(nn.Module):
    """A level of the way up: the map of below, twice as large, beside that of the way down."""

    def __init__(self, below: int, beside: int, outputs: int, kernel: int, scale: int) -> None:
        super().__init__()
        self.larger = nn.Upsample(scale_factor=scale) if scale > 1 else nn.Identity()
        self.layers = layers(below + beside, outputs, kernel)

    def forward(self, below: Tensor, beside: Tensor) -> Tensor:
        """(B, below, h, w) and (B, beside, scale h, scale w) to (B, outputs, scale h, scale w)."""
        found: Tensor = self.layers(torch.cat((self.larger(below), beside), dim=1))
        return found


@register_backbone("my_backbone")
class MyBackbone(Backbone):
    """Feature network without a segmentation head."""

    info = BackboneInfo(title="My backbone", source="none yet")
    Options = MyBackboneOptions

    # The names by which methods ask for parts and maps; each part ends with the map of its name.
    parts = (*ENCODER, *DECODER)
    taps = (
        *(name for level in range(1, LEVELS + 1) for name in (f"enc{level}", f"pool{level}")),
        "centre",
        *DECODER,
    )
    deepest, finest = "centre", "dec1"
    deep_taps = ("dec1", "dec2", "dec3")
    multiple = 2**LEVELS

    def __init__(self, spec: BackboneSpec, options: MyBackboneOptions) -> None:
        super().__init__(spec, options)
        # The budget gives the width of the first level; torch is seeded by the engine.
        widths = [spec.width * 2**level for level in range(LEVELS + 1)]
        self.pool = nn.MaxPool2d(2)
        inputs = spec.in_channels
        for name, width in zip(ENCODER, widths, strict=True):
            setattr(self, name, layers(inputs, width, options.kernel))
            inputs = width
        self.centre_up = nn.Sequential(
            nn.Upsample(scale_factor=2), nn.Conv2d(widths[-1], widths[-2], 1)
        )
        below = widths[-2]
        for level in range(LEVELS, 0, -1):
            width, scale = widths[level - 1], 1 if level == LEVELS else 2
            setattr(self, f"dec{level}", Up(below, width, width, options.kernel, scale))
            below = width
        self.channels = {
            **{
                f"{name}{i + 1}": widths[i]
                for name in ("enc", "pool", "dec")
                for i in range(LEVELS)
            },
            "centre": widths[-1],
            "centre_up": widths[-2],
        }

    def forward(
        self, image: Tensor, taps: tuple[str, ...], given: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The maps that are asked for, and no layer behind the last of them."""
        maps: dict[str, Tensor] = {}
        x = image
        for name in self.taps[: 1 + max(self.taps.index(tap) for tap in taps)]:
            if name in given:
                x = given[name]
            elif name.startswith("pool"):
                x = self.pool(x)
            elif name.startswith("dec"):
                x = self.part(name)(x, maps[name.replace("dec", "enc")])
            else:
                x = self.part(name)(x)
            maps[name] = x
        return {name: maps[name] for name in taps}
