"""The default backbone: a 2D U-Net with named taps.

The shape is that of the picture of MMGL (Zhao et al., ICIP 2022): four levels of two
convolutions and a max-pooling, a centre, and transposed convolutions back up with skip
connections; 64 to 1024 channels at the `paper` budget, proportionally fewer in others. Batch
normalisation, as in the papers of the field: instance normalisation of the deepest map leaves
almost nothing of a slice when that map is pooled, see `docs/instrument.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from contrabench.contracts.backbone import Backbone, BackboneInfo, Counterpart
from contrabench.contracts.registry import register_backbone
from contrabench.model.blocks import SLOPE, Block, normalisation, upsample
from contrabench.protocol import DECODER, ENCODER, BackboneSpec, Options

LEVELS = 4
_MONAI_NORM = {"batch": "batch", "instance": ("instance", {"affine": True})}


class UNetOptions(Options):
    """Options of the U-Net."""

    norm: Literal["batch", "instance"] = Field(
        "batch",
        description="normalisation behind every convolution: over a batch, as in all papers of the "
        "field, or within each image",
    )


@register_backbone("unet")
class UNet(Backbone):
    """Feature network without a segmentation head."""

    info = BackboneInfo(
        title="U-Net",
        source="the network of MMGL's picture (Zhao et al., ICIP 2022)",
        version=3,
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
        self.norm = options.norm
        widths = [spec.width * 2**level for level in range(LEVELS + 1)]
        inputs = [spec.in_channels, *widths[:-2]]
        for i in range(LEVELS):
            setattr(self, f"enc{i + 1}", Block(inputs[i], widths[i], options.norm))
        self.pool = nn.MaxPool2d(2)
        self.centre = Block(widths[-2], widths[-1], options.norm)
        # With the ReLU of Hu's `DownsampleUnet.center`: the mean of a linear map knows no place.
        # Normalised before it as every other map that is pooled, or its mean tells little.
        self.centre_up = nn.Sequential(
            upsample(widths[-1], widths[-2]),
            normalisation(options.norm, widths[-2]),
            nn.ReLU(inplace=True),
        )
        for level in range(LEVELS, 0, -1):
            width = widths[level - 1]
            layers = nn.ModuleDict({"block": Block(2 * width, width, options.norm)})
            if level < LEVELS:
                layers["up"] = upsample(2 * width, width)
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
        """As `features`, unchecked: the entry that `torch.compile` wraps."""
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

    def counterpart(self, library: str, whole: bool) -> Counterpart | None:
        """The encoder is that of MONAI's BasicUNet; the way up is not, from `centre_up` on."""
        if library != "monai" or whole:
            return None
        names = ["conv_0", *(f"down_{level}.convs" for level in range(1, LEVELS + 1))]
        inside = {"conv": "conv", "norm": "adn.N"}
        weights = {
            f"{name}.conv_{place}.{inside[kind]}.{tensor}": value
            for name, part in zip(names, self.encoder, strict=True)
            for key, value in self.part(part).state_dict().items()
            for layer, tensor in [key.split(".")]
            for kind, place in [(layer[:4], int(layer[4:]) - 1)]
        }
        widths = ", ".join(str(self.channels[part]) for part in self.encoder)
        return Counterpart(
            weights,
            (
                "from monai.networks.nets import BasicUNet",
                f"widths, slope = ({widths}, 8), {{'negative_slope': {SLOPE}}}",
                f"inside = {{'act': ('leakyrelu', slope), 'norm': {_MONAI_NORM[self.norm]!r}}}",
                f"network = BasicUNet(2, {self.in_channels}, 2, widths, bias=False, **inside)",
            ),
            (
                "found = [network.conv_0(image)]",
                f"for level in range(1, {LEVELS + 1}):",
                '    found.append(getattr(network, f"down_{level}")(found[-1]))',
            ),
        )
