"""A ResNet as the encoder of a U-Net, with or without what it learned on ImageNet.

He, Zhang, Ren, Sun: Deep residual learning for image recognition. CVPR 2016, arXiv 1512.03385; as
an encoder of a U-Net as in `segmentation_models_pytorch`. Layers and weights are timm's.

Slices are small, so the first convolution keeps their size, as is usual for small images: its
weights fit all the same, and every map has the size of the U-Net's, whose names it takes. A ResNet
has one max-pooling alone; the other taps that are called pool are the map before them, pooled.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from contrabench.contracts.backbone import Backbone, BackboneInfo, Counterpart
from contrabench.contracts.method import Checkpoint
from contrabench.contracts.registry import register_backbone
from contrabench.errors import RequestError
from contrabench.files import expanded
from contrabench.model.blocks import Block, normalisation, upsample
from contrabench.model.checkpoints import fitted, read_checkpoint
from contrabench.protocol import DECODER, ENCODER, BackboneSpec, Options

NONE, IMAGENET = "none", "imagenet"
_LEVELS = 4
_GENUINE = 32
"""The width at which the encoder's channels are those of the paper."""


class ResNetUNetOptions(Options):
    """Options of the ResNet U-Net."""

    depth: Literal[18, 34, 50] = Field(18, description="layers of the ResNet")
    weights: str = Field(
        NONE,
        pattern=r"^[a-z0-9][a-z0-9_.-]{0,24}$",
        description="what the encoder begins with: none for the seed's own, imagenet for what timm "
        "downloads once, or the name of the data that those of `pretrained` have seen; then its "
        "channels are those of the paper at every budget's width",
    )
    pretrained: str = Field(
        "",
        description="file of such weights, of safetensors or a state_dict saved by torch, under "
        "the names of timm and torchvision; where there is no network, ImageNet's, too",
    )

    @field_validator("pretrained")
    @classmethod
    def _absolute(cls, file: str) -> str:
        return str(expanded(file)) if file else file

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.pretrained and self.weights == NONE:
            raise ValueError(
                "'pretrained' needs the name of the data that the weights have seen, such as "
                f"weights={IMAGENET}"
            )
        if not self.pretrained and self.weights not in (NONE, IMAGENET):
            raise ValueError(
                f"timm has no weights of '{self.weights}' for this network; name a file of them "
                "with pretrained=FILE"
            )
        return self


@register_backbone("resnet_unet")
class ResNetUNet(Backbone):
    """Feature network without a segmentation head."""

    info = BackboneInfo(
        title="ResNet U-Net",
        source="He et al., CVPR 2016, arXiv 1512.03385; timm's layers and weights",
    )
    Options = ResNetUNetOptions
    files = ("pretrained",)

    parts = (*ENCODER, *DECODER)
    taps = (
        *(name for level in range(1, _LEVELS + 1) for name in (f"enc{level}", f"pool{level}")),
        "centre",
        *DECODER,
    )
    deepest, finest = "centre", "dec1"
    deep_taps = ("dec1", "dec2", "dec3")
    multiple = 2**_LEVELS
    # torchvision's and timm's own names.
    aliases = (
        *(("conv1", "enc1.0"), ("bn1", "enc1.1"), ("layer1", "enc2")),
        *(("layer2", "enc3"), ("layer3", "enc4"), ("layer4", "centre")),
    )

    def __init__(self, spec: BackboneSpec, options: ResNetUNetOptions) -> None:
        super().__init__(spec, options)
        self.genuine = _name(options), _planes(spec, options)
        encoder, widths = _resnet(spec, options)
        self.enc1 = nn.Sequential(encoder.conv1, encoder.bn1, encoder.act1)
        self.first_pool, self.pool = encoder.maxpool, nn.MaxPool2d(2)
        self.enc2, self.enc3, self.enc4 = encoder.layer1, encoder.layer2, encoder.layer3
        self.centre = encoder.layer4
        up = [spec.width * 2**level for level in range(_LEVELS)]
        self.centre_up = nn.Sequential(
            upsample(widths[-1], up[-1]), normalisation("batch", up[-1]), nn.ReLU(inplace=True)
        )
        for level in range(_LEVELS, 0, -1):
            width = up[level - 1]
            layers = nn.ModuleDict({"block": Block(width + widths[level - 1], width, "batch")})
            if level < _LEVELS:
                layers["up"] = upsample(2 * width, width)
            setattr(self, f"dec{level}", layers)
        self.channels = {
            **{f"enc{i + 1}": widths[i] for i in range(_LEVELS)},
            **{f"pool{i + 1}": widths[i] for i in range(_LEVELS)},
            "centre": widths[-1],
            "centre_up": up[-1],
            **{f"dec{i + 1}": up[i] for i in range(_LEVELS)},
        }

    def counterpart(self, library: str, whole: bool) -> Counterpart | None:
        """The encoder is timm's ResNet with a first stride of one; the way up is not."""
        if library != "timm" or whole:
            return None
        weights = {
            theirs + name.removeprefix(ours): value
            for name, value in self.state_dict().items()
            for theirs, ours in self.aliases
            if name.startswith(f"{ours}.")
        }
        name, planes = self.genuine
        return Counterpart(
            weights,
            (
                "import timm",
                f"widths = dict(channels={planes}, in_chans={self.in_channels}, num_classes=0)",
                f"network = timm.create_model({name!r}, **widths)",
                "network.conv1.stride = (1, 1)",
            ),
            (
                "found = [network.act1(network.bn1(network.conv1(image)))]",
                "found.append(network.layer1(network.maxpool(found[0])))",
                "for level in (network.layer2, network.layer3, network.layer4):",
                "    found.append(level(found[-1]))",
            ),
        )

    def begin(self, options: ResNetUNetOptions) -> None:
        """Gives the encoder the weights that it has learnt elsewhere, if any are asked for."""
        if options.weights == NONE:
            return
        own = self.state_dict()
        for name, value in _learnt(options, self.in_channels).items():
            beginning = next(old for old, _ in self.aliases if name.startswith(f"{old}."))
            own[dict(self.aliases)[beginning] + name.removeprefix(beginning)].copy_(value)

    @classmethod
    def outside(cls, options: ResNetUNetOptions) -> str:
        """Which data they have seen."""
        if options.weights == NONE:
            return ""
        whence = "of a file of the user" if options.pretrained else "as timm has them"
        return f"the network begins with weights of {options.weights}, {whence}"

    def forward(
        self, image: Tensor, taps: tuple[str, ...], given: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """As `features`, unchecked: the entry that `torch.compile` wraps."""
        maps: dict[str, Tensor] = {}
        x = image
        for name in self.taps[: 1 + max(self.taps.index(tap) for tap in taps)]:
            if name.startswith("pool") and name != "pool1":
                # Beside the way: the next level strides by itself.
                if name in taps:
                    maps[name] = given[name] if name in given else self.pool(x)
                continue
            if name in given:
                found = given[name]
            elif name == "pool1":
                found = self.first_pool(x)
            elif name.startswith("dec"):
                layers: nn.ModuleDict = getattr(self, name)
                below = layers["up"](x) if "up" in layers else x
                beside = maps[name.replace("dec", "enc")]
                found = layers["block"](torch.cat((below, beside), dim=1))
            else:
                found = getattr(self, name)(x)
            x = maps[name] = found
        return {name: maps[name] for name in taps}


def _resnet(spec: BackboneSpec, options: ResNetUNetOptions) -> tuple[Any, list[int]]:
    """The ResNet with the seed's weights, and the channels of its stem and levels."""
    encoder: Any = _timm().create_model(
        _name(options),
        in_chans=spec.in_channels,
        num_classes=0,
        channels=_planes(spec, options),
    )
    encoder.conv1.stride = (1, 1)
    levels = (getattr(encoder, f"layer{level}") for level in range(1, _LEVELS + 1))
    return encoder, [encoder.conv1.out_channels, *map(_outputs, levels)]


def _planes(spec: BackboneSpec, options: ResNetUNetOptions) -> tuple[int, ...]:
    """The channels of the ResNet's levels, as timm counts them."""
    width = spec.width if options.weights == NONE else _GENUINE
    return tuple(2 * width * 2**level for level in range(_LEVELS))


def _timm() -> Any:
    """The library; RequestError if it is not there."""
    try:
        import timm
    except ImportError as error:
        raise RequestError(
            "the backbone 'resnet_unet' needs timm: pip install 'contrabench[backbones]'"
        ) from error
    return timm


def _name(options: ResNetUNetOptions) -> str:
    return f"resnet{options.depth}"


@lru_cache(maxsize=1)
def _downloaded(name: str) -> dict[str, Tensor]:
    """ImageNet's weights of a ResNet under timm's names; RequestError if they cannot be had."""
    chatter = logging.getLogger("huggingface_hub")
    before = chatter.level
    chatter.setLevel(logging.CRITICAL)
    try:
        found: dict[str, Tensor] = _timm().create_model(name, pretrained=True).state_dict()
    except RequestError:
        raise
    # Whatever a download ends with: no network, no space, a changed address.
    except Exception as error:
        reason = " ".join(str(error).split())[:100].rstrip(". ")
        raise RequestError(
            f"ImageNet's weights of {name} cannot be had ({reason}); run once where there is a "
            "network, name a file of them with -b pretrained=FILE, or begin with -b weights=none"
        ) from error
    finally:
        chatter.setLevel(before)
    return found


def _learnt(options: ResNetUNetOptions, channels: int) -> dict[str, Tensor]:
    """Weights of the ResNet from a file or timm under its names, for images of so many channels.

    Those for colours are summed for images of one channel, and repeated for others, as by timm.
    """
    name, timm = _name(options), _timm()
    file = options.pretrained
    found = read_checkpoint(Path(file)) if file else _downloaded(name)
    stems = {value.shape[1:2] for key, value in found.items() if key.endswith("conv1.weight")}
    colours = (3,) in stems
    wanted = timm.create_model(name, in_chans=3 if colours else channels, num_classes=0)
    asked = Checkpoint(file=file or "timm")
    cure = f"Name one of a {name} as timm or torchvision has it"
    fitting = fitted(found, wanted.state_dict(), asked, cure=cure)
    if colours:
        first = fitting["conv1.weight"]
        fitting["conv1.weight"] = timm.models.adapt_input_conv(channels, first)
    return fitting


def _outputs(layer: nn.Module) -> int:
    """Channels that a level of a ResNet gives."""
    *_, last = (module for module in layer.modules() if isinstance(module, nn.BatchNorm2d))
    return int(last.num_features)
