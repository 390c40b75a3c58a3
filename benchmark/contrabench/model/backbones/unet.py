"""The default backbone: a 2D U-Net with named taps, assembled from MONAI's blocks.

The shape is that of the picture of MMGL (Zhao et al., ICIP 2022): four levels of two
convolutions and a max-pooling, a centre, and transposed convolutions back up with skip
connections; 64 to 1024 channels at the `paper` budget, proportionally fewer in others.
"""

from __future__ import annotations

import torch
from monai.networks.blocks.dynunet_block import UnetBasicBlock, get_conv_layer
from torch import Tensor, nn

from contrabench.contracts.backbone import Backbone, BackboneInfo
from contrabench.contracts.registry import register_backbone
from contrabench.protocol import TAPS, BackboneSpec, Options

LEVELS = 4
_NORM = ("instance", {"affine": True})
_ACT = ("leakyrelu", {"inplace": True, "negative_slope": 0.01})


def _block(inputs: int, outputs: int) -> nn.Module:
    """Two 3 x 3 convolutions, each with instance normalisation and leaky ReLU."""
    block: nn.Module = UnetBasicBlock(2, inputs, outputs, 3, 1, norm_name=_NORM, act_name=_ACT)
    return block


def _upsample(inputs: int, outputs: int) -> nn.Module:
    """A 2 x 2 transposed convolution of stride 2."""
    layer: nn.Module = get_conv_layer(
        2, inputs, outputs, kernel_size=2, stride=2, act=None, norm=None, is_transposed=True
    )
    return layer


@register_backbone("unet")
class UNet(Backbone):
    """Feature network without a segmentation head.

    Instance normalisation keeps no running statistics, so that a frozen part really
    stays as it is and nothing but parameters is handed from stage to stage.
    """

    info = BackboneInfo(
        title="U-Net",
        source="the network of MMGL's picture (Zhao et al., ICIP 2022), from MONAI's blocks",
    )

    def __init__(self, spec: BackboneSpec, options: Options) -> None:
        super().__init__(spec, options)
        widths = [spec.width * 2**level for level in range(LEVELS + 1)]
        inputs = [spec.in_channels, *widths[:-2]]
        for i in range(LEVELS):
            setattr(self, f"enc{i + 1}", _block(inputs[i], widths[i]))
        self.pool = nn.MaxPool2d(2)
        self.centre = _block(widths[-2], widths[-1])
        self.centre_up = _upsample(widths[-1], widths[-2])
        for level in range(LEVELS, 0, -1):
            width = widths[level - 1]
            layers = nn.ModuleDict({"block": _block(2 * width, width)})
            if level < LEVELS:
                layers["up"] = _upsample(2 * width, width)
            setattr(self, f"dec{level}", layers)
        self.channels = {
            **{f"enc{i + 1}": widths[i] for i in range(LEVELS)},
            **{f"pool{i + 1}": widths[i] for i in range(LEVELS)},
            "centre": widths[-1],
            "centre_up": widths[-2],
            **{f"dec{i + 1}": widths[i] for i in range(LEVELS)},
        }

    def forward(self, image: Tensor, taps: tuple[str, ...] = ("dec1",)) -> dict[str, Tensor]:
        """As `features`, unchecked: the entry that `torch.compile` and Fabric wrap."""
        last = max(TAPS.index(name) for name in taps)
        every = dict(zip(TAPS, self._maps(image, last), strict=False))
        return {name: every[name] for name in taps}

    def _maps(self, image: Tensor, last: int) -> list[Tensor]:
        """Computes the taps up to number `last`, in the order of `TAPS`."""
        maps: list[Tensor] = []
        x = image
        for level in range(1, LEVELS + 1):
            maps.append(getattr(self, f"enc{level}")(x))
            if len(maps) > last:
                return maps
            x = self.pool(maps[-1])
            maps.append(x)
        if len(maps) > last:
            return maps
        maps.append(self.centre(x))
        if len(maps) > last:
            return maps
        x = self.centre_up(maps[-1])
        maps.append(x)
        for level in range(LEVELS, 0, -1):
            if len(maps) > last:
                return maps
            layers: nn.ModuleDict = getattr(self, f"dec{level}")
            if level < LEVELS:
                x = layers["up"](x)
            x = layers["block"](torch.cat((x, maps[2 * (level - 1)]), dim=1))
            maps.append(x)
        return maps
