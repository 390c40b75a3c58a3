"""The contract of a backbone: named feature maps, and named parts that are trained and handed over.

A method asks for maps by name and never touches layers; a stage names the parts that it trains.
The engine asks a network which names it has; a method for any U-shaped one keeps to
`contrabench.protocol.PARTS`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

from pydantic import Field
from torch import Tensor, nn

from contrabench.errors import RequestError
from contrabench.protocol import PARTS, BackboneSpec, Frozen
from contrabench.protocol import Options as _Options


class BackboneInfo(Frozen):
    """What a reader must know about a network."""

    title: str
    source: str = Field(description="paper or library that it follows")
    version: int = Field(1, description="raised when the same weights give other maps")


class Counterpart(NamedTuple):
    """A network's weights under the names of another library.

    Lines of Python: one kind builds that library's `network`, for the weights to be loaded into,
    the other asks it what is `found` in an `image`.
    """

    weights: Mapping[str, Tensor]
    builds: tuple[str, ...]
    asks: tuple[str, ...]


class Backbone(nn.Module, ABC):
    """A 2D feature network without a segmentation head.

    No layer but batch normalisation may mix the images of a batch, which may be shared out among
    several devices: the engine takes its statistics over all of them.

    Attributes:
        parts: names of what is trained and handed over, from the image on; each is a child
            module, and the tap that it ends with.
        taps: names of the feature maps, in the order in which they are computed.
        deepest: the tap whose cells see most of the image, pooled where a slice is one vector.
        finest: the tap at the image's own resolution, which the segmentation head reads.
        deep_taps: what heads read under deep supervision: `finest`, then the taps at a half
            and at a quarter of its resolution.
        multiple: height and width of an image are multiples of this, and at least twice it.
        channels: number of channels of every tap.
        in_channels: number of channels of an image.
        aliases: beginnings of the names that other programs give its tensors, and its own.
        files: options that name a file: what is in it tells runs apart, and not where it lies.
    """

    info: ClassVar[BackboneInfo]
    Options: ClassVar[type[_Options]] = _Options
    parts: tuple[str, ...] = PARTS
    taps: tuple[str, ...]
    deepest: str
    finest: str
    deep_taps: tuple[str, str, str]
    multiple: int = 16
    channels: Mapping[str, int]
    in_channels: int
    aliases: tuple[tuple[str, str], ...] = ()
    files: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def __init__(self, spec: BackboneSpec, options: _Options) -> None:
        """Builds the layers; the options are of the class's own `Options`."""
        super().__init__()
        self.in_channels = spec.in_channels

    def begin(self, options: Any) -> None:
        """Puts weights from outside in the place of the seed's; called once, before any training.

        The options are of the class's own `Options`; RequestError if the weights cannot be had.
        """

    @classmethod
    def outside(cls, options: Any) -> str:
        """What is known of weights from outside that it begins with; empty where it has none."""
        return ""

    @abstractmethod
    def forward(
        self, image: Tensor, taps: tuple[str, ...], given: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """As `features`, unchecked: the entry that `torch.compile` wraps."""

    def features(
        self, image: Tensor, taps: Collection[str], given: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Computes feature maps by tap, and no layer behind the last of them.

        For an image (B, C, H, W) a map is (B, channels[name], h, w); RequestError for others. Maps
        that are `given` are taken as they are, and what lies behind them is computed from them: the
        decoder's answer to an encoder that was disturbed.
        """
        if unknown := {*taps, *(given or ())} - set(self.taps):
            raise RequestError(
                f"no tap named {sorted(unknown)}; the taps are {', '.join(self.taps)}"
            )
        maps: dict[str, Tensor] = self(image, tuple(taps), given or {})
        return maps

    def pooled(self, image: Tensor, taps: Collection[str]) -> dict[str, Tensor]:
        """The maps of `features` pooled, the mean over their cells: (B, channels[name]) by tap.

        Several devices exchange these vectors and not the maps; ask for no more than is needed.
        """
        maps = self.features(image, taps)
        return {name: value.mean(dim=(2, 3)) for name, value in maps.items()}

    def counterpart(self, library: str, whole: bool) -> Counterpart | None:
        """The same network in a library such as `monai`; None where it has none, as by default.

        `whole` or the encoder alone, whose counterpart may be a part of a larger network.
        """
        return None

    def part(self, name: str) -> nn.Module:
        """One of the `parts` that stages train and hand over; RequestError if it is none."""
        if name not in self.parts:
            raise RequestError(f"no part named '{name}'; the parts are {', '.join(self.parts)}")
        part: nn.Module = getattr(self, name)
        return part

    @property
    def encoder(self) -> tuple[str, ...]:
        """The parts up to the deepest tap."""
        end = self.taps.index(self.deepest)
        return tuple(part for part in self.parts if self.taps.index(part) <= end)

    def last(self, parts: Iterable[str]) -> str:
        """The part, of some of them, whose map is computed after those of the others."""
        return max(parts, key=self.taps.index)


@contextmanager
def standing_in(
    module: nn.Module, function: Callable[..., Any], method: str = "forward"
) -> Iterator[None]:
    """Lets a function stand in for a module's method in the block, over one that does already."""
    before = vars(module).get(method)
    vars(module)[method] = function
    try:
        yield
    finally:
        if before is None:
            del vars(module)[method]
        else:
            vars(module)[method] = before
