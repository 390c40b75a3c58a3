"""A backbone on trial: built anew as often as a check wants, at tiny size."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cached_property

import torch
from torch import Tensor

from contrabench.contracts.backbone import Backbone
from contrabench.model.weights import built
from contrabench.protocol import BackboneSpec, Options

WIDTH = 4
_BATCH = 3
_MOVED = 0.5
_RELATIVE, _ABSOLUTE = 1e-4, 1e-5


class NetworkTrial:
    """A backbone on trial, with its defaults if it has no options given."""

    def __init__(self, kind: type[Backbone], options: Options | None = None) -> None:
        self.kind, self.options = kind, options

    def build(self, seed: int = 0, width: int = WIDTH, channels: int = 1) -> Backbone:
        """The network with the initial weights of a seed, in evaluation."""
        options = self.options.model_dump(mode="json") if self.options else {}
        spec = BackboneSpec(name="check", options=options, width=width, in_channels=channels)
        return built(self.kind, spec, seed).eval()

    @cached_property
    def network(self) -> Backbone:
        """One that checks look at and leave as it is."""
        return self.build()

    def image(self, factors: tuple[int, int] = (4, 4), channels: int = 1) -> Tensor:
        """Noise (B, channels, H, W), the sides so many times the network's `multiple`."""
        height, width = (factor * self.network.multiple for factor in factors)
        return noise((_BATCH, channels, height, width))

    @cached_property
    def maps(self) -> dict[str, Tensor]:
        """All maps of `network` for `image`."""
        return self.ask(self.network)

    def ask(
        self,
        network: Backbone,
        taps: Collection[str] | None = None,
        given: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Maps of a network for the image, all if no taps are named, without a graph."""
        with torch.no_grad():
            taps = network.taps if taps is None else taps
            return network.features(self.image(), taps, given)


def noise(shape: tuple[int, ...] | torch.Size, seed: int = 0) -> Tensor:
    """Normal numbers of a seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def alike(first: Tensor, second: Tensor) -> bool:
    """Whether two maps are equal up to what another order of sums may change."""
    return first.shape == second.shape and torch.allclose(first, second, _RELATIVE, _ABSOLUTE)


def differing(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> list[str]:
    """The names, in the order of the first, whose tensors are not alike, or not in both."""
    return [
        name for name, one in first.items() if name not in second or not alike(one, second[name])
    ]


def move(network: Backbone, part: str) -> None:
    """Changes every weight of a part."""
    with torch.no_grad():
        for number, weight in enumerate(network.part(part).parameters()):
            weight.add_(_MOVED * noise(weight.shape, number))
