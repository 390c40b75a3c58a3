"""The default backbone: a 2D U-Net with named taps, assembled from MONAI's blocks.

The shape is that of the picture of MMGL (Zhao et al., ICIP 2022): four levels of two
convolutions and a max-pooling, a centre, and transposed convolutions back up with skip
connections; 64 to 1024 channels at the `paper` budget, proportionally fewer in others. Batch
normalisation, as in the papers of the field: instance normalisation of the deepest map leaves
almost nothing of a slice when that map is pooled, see `docs/instrument.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from monai.networks.blocks.dynunet_block import UnetBasicBlock, get_conv_layer
from pydantic import Field
from torch import Tensor, nn

from contrabench.contracts.backbone import Backbone, BackboneInfo
from contrabench.contracts.registry import register_backbone
from contrabench.protocol import DECODER, ENCODER, BackboneSpec, Options

LEVELS = 4
_ACT = ("leakyrelu", {"inplace": True, "negative_slope": 0.01})


class UNetOptions(Options):
    """Options of the U-Net."""

    norm: Literal["batch", "instance"] = Field(
        "batch",
        description="normalisation behind every convolution: over a batch, as in all papers of the "
        "field, or within each image",
    )


def _block(inputs: int, outputs: int, norm: str) -> nn.Module:
    """Two 3 x 3 convolutions, each with normalisation and leaky ReLU."""
    affine = (norm, {"affine": True})
    block: nn.Module = UnetBasicBlock(2, inputs, outputs, 3, 1, norm_name=affine, act_name=_ACT)
    return block


def _upsample(inputs: int, outputs: int, **then: Any) -> nn.Module:
    """A 2 x 2 transposed convolution of stride 2, and what stands behind it."""
    layer: nn.Module = get_conv_layer(
        2, inputs, outputs, kernel_size=2, stride=2, is_transposed=True, **then
    )
    return layer


@register_backbone("unet")
class UNet(Backbone):
    """Feature network without a segmentation head."""

    info = BackboneInfo(
        title="U-Net",
        source="the network of MMGL's picture (Zhao et al., ICIP 2022), from MONAI's blocks",
        version=2,
    )
    Options = UNetOptions

    parts = (*ENCODER, *DECODER)
    taps = (
        *(name for level in range(1, LEVELS + 1) for name in (f"enc{level}", f"pool{level}")),
        "centre",
        *DECODER,
    )
    deepest, finest = "centre", "dec1"
    deep_taps = ("dec1", "dec2", "dec3")
    multiple = 2**LEVELS

    def __init__(self, spec: BackboneSpec, options: UNetOptions) -> None:
        super().__init__(spec, options)
        widths = [spec.width * 2**level for level in range(LEVELS + 1)]
        inputs = [spec.in_channels, *widths[:-2]]
        for i in range(LEVELS):
            setattr(self, f"enc{i + 1}", _block(inputs[i], widths[i], options.norm))
        self.pool = nn.MaxPool2d(2)
        self.centre = _block(widths[-2], widths[-1], options.norm)
        # With the ReLU of Hu's `DownsampleUnet.center`: the mean of a linear map knows no place.
        # Normalised before it as every other map that is pooled, or its mean tells little.
        then = {"act": "relu", "norm": (options.norm, {"affine": True}), "conv_only": False}
        self.centre_up = _upsample(widths[-1], widths[-2], **then)
        for level in range(LEVELS, 0, -1):
            width = widths[level - 1]
            layers = nn.ModuleDict({"block": _block(2 * width, width, options.norm)})
            if level < LEVELS:
                layers["up"] = _upsample(2 * width, width, act=None, norm=None)
            setattr(self, f"dec{level}", layers)
        self.channels = {
            **{f"enc{i + 1}": widths[i] for i in range(LEVELS)},
            **{f"pool{i + 1}": widths[i] for i in range(LEVELS)},
            "centre": widths[-1],
            "centre_up": widths[-2],
            **{f"dec{i + 1}": widths[i] for i in range(LEVELS)},
        }

    def forward(
        self, image: Tensor, taps: tuple[str, ...], given: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """As `features`, unchecked: the entry that `torch.compile` and Fabric wrap."""
        maps: dict[str, Tensor] = {}
        x = image
        for name in self.taps[: 1 + max(self.taps.index(tap) for tap in taps)]:
            if name in given:
                x = given[name]
            elif name.startswith("pool"):
                x = self.pool(x)
            elif name.startswith("dec"):
                layers: nn.ModuleDict = getattr(self, name)
                if "up" in layers:
                    x = layers["up"](x)
                x = layers["block"](torch.cat((x, maps[name.replace("dec", "enc")]), dim=1))
            else:
                x = getattr(self, name)(x)
            maps[name] = x
        return {name: maps[name] for name in taps}
