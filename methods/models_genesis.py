"""Models Genesis: the whole network restores slices that were shuffled, distorted and painted over.

Zhou, Sodha, Rahman Siddiquee, Feng, Tajbakhsh, Gotway, Liang: Models Genesis: generic
autodidactic models for 3D medical image analysis. MICCAI 2019, arXiv 1908.06912; transformations
and probabilities of the authors' code.

    L = mean over all pixels p of ( f(T(x))_p - x_p )^2

T, drawn for each image: pixels change places within many small windows (p 0.5); grey values go
through a Bezier curve from (0, 0) to (1, 1) with two control points anywhere in the unit square,
or through its mirror image, which turns dark into bright (p 0.9); and noise is painted over some
boxes, or over all but some boxes (p 0.9, of it 0.2 and 0.8). Image and target are mirrored alike.

A curve and noise are of grey values in [0, 1]: here the image's own from the 0.1 to the 99.9
percentile, channel by channel, so that input and target are those that fine-tuning sees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from contrabench import (
    Batch,
    Method,
    MethodInfo,
    Objective,
    Options,
    Stage,
    StepResult,
    ViewSpec,
    register_method,
)
from contrabench.objectives.boxes import between, inside
from contrabench.objectives.contrast import exact
from contrabench.objectives.drawing import sent
from contrabench.protocol import PARTS

if TYPE_CHECKING:
    from contrabench import Backbone

_COVER = 1.87  # of 10 000 windows in the authors' cubes of 64 x 64 x 32
_CHANCE = 2**24
_LEVELS = 1000
_TAIL = 0.001
_BOXES, _ANOTHER, _MARGIN = 5, 0.95, 3
_MIRRORS = 3


class ModelsGenesisOptions(Options):
    """Options of Models Genesis; defaults of the authors' code."""

    flip: float = Field(0.4, ge=0, le=1, description="probability of mirroring, up to three times")
    shuffle: float = Field(0.5, ge=0, le=1, description="probability of local shuffling")
    curve: float = Field(0.9, ge=0, le=1, description="probability of other grey values")
    paint: float = Field(0.9, ge=0, le=1, description="probability of noise painted over")
    inner: float = Field(0.2, ge=0, le=1, description="share of it that is painted into boxes")


def mirrored(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Mirrors each image along one of its axes, and with the same probability again."""
    shape = (len(images), _MIRRORS)
    going = (torch.rand(shape, generator=generator) < probability).cumprod(1)
    axis = torch.randint(2, shape, generator=generator)
    for number in range(2):
        turned = (going * (axis == number)).sum(1) % 2 == 1
        where = sent(turned.view(-1, 1, 1, 1), images.device)
        images = torch.where(where, images.flip(2 + number), images)
    return images


def shuffled(images: Tensor, generator: torch.Generator) -> Tensor:
    """Lets pixels change places within windows, of which later ones cover earlier ones.

    As in a loop that permutes the pixels of the original image in a window and writes them into
    the result: a pixel of the result is settled by the last window over it. Sides are uniform up
    to a tenth of the image's, places anywhere, channels stay together; the windows cover each pixel
    1.87 times in the mean, as in the authors' cubes.
    """
    count, channels, height, width = images.shape
    largest = (max(1, height // 10), max(1, width // 10))
    shape = (count, round(4 * _COVER * height * width / ((largest[0] + 1) * (largest[1] + 1))))
    high, wide = (between(1, side, shape, generator).flatten() for side in largest)
    top = between(0, height - high.view(shape), shape, generator)
    left = between(0, width - wide.view(shape), shape, generator)
    first = torch.arange(count)[:, None] * height * width
    corner, area = (first + top * width + left).flatten(), high * wide
    total = int(area.sum())
    chance = torch.randint(_CHANCE, (total,), generator=generator)
    drawn = (corner, wide, area, chance, first)
    corner, wide, area, chance, first = (sent(each, images.device) for each in drawn)
    # One entry for each pixel of each window, window by window, and again with each one shuffled.
    window = torch.arange(len(area), device=area.device).repeat_interleave(area, output_size=total)
    entry = torch.arange(total, device=area.device)
    place, across = entry - (area.cumsum(0) - area)[window], wide[window]
    pixel = corner[window] + place // across * width + place % across
    source = pixel[(window * _CHANCE + chance).argsort(stable=True)]
    own = torch.arange(count * height * width, device=area.device)
    last = torch.full_like(own, -1).scatter_reduce(0, pixel, entry, "amax")
    settled = last >= 0
    own = torch.where(settled, source[last.clamp(min=0)], own)
    taken = own.view(count, 1, height * width) - first[..., None]
    mixed = images.flatten(2).gather(2, taken.expand(-1, channels, -1))
    return mixed.view(images.shape)


def curved(values: Tensor, control: Tensor, falling: Tensor) -> Tensor:
    """Sends values in [0, 1] through Bezier curves from (0, 0) to (1, 1), or through y(1 - t).

    Args:
        values: (B, N).
        control: (B, 2, 2), both points with their x and y, in [0, 1]: no such curve turns back.
        falling: (B,) bool, whether the order of the values is reversed.
    """
    t = torch.linspace(0, 1, _LEVELS + 1, device=values.device, dtype=values.dtype)
    weights = torch.stack((3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2))
    x, y = (control[:, :, axis].to(t) @ weights + t**3 for axis in range(2))
    y = torch.where(falling[:, None], y.flip(1), y)
    # A table of even steps first: a pixel then finds its place by a product.
    even = t.expand_as(x).contiguous()
    right = torch.searchsorted(x, even).clamp(1, _LEVELS)
    table = _between_samples(x, y, right, even)
    right = (values * _LEVELS).long().clamp(0, _LEVELS - 1) + 1
    return _between_samples(even, table, right, values)


def _between_samples(x: Tensor, y: Tensor, right: Tensor, at: Tensor) -> Tensor:
    """The line through (x, y) at some places, each to the left of sample `right`; all (B, N)."""
    x0, x1, y0, y1 = (line.gather(1, index) for line in (x, y) for index in (right - 1, right))
    share = (at - x0) / (x1 - x0).clamp_min(torch.finfo(x.dtype).tiny)
    return torch.lerp(y0, y1, share.clamp(0, 1))


def tails(images: Tensor) -> tuple[Tensor, Tensor]:
    """The 0.1 and 99.9 percentiles of each channel of each image, (B, C, 1, 1) each."""
    flat = images.flatten(2)
    rank = 1 + int(_TAIL * flat.shape[2])
    low, high = (flat.topk(rank, largest=up).values[..., -1] for up in (False, True))
    return low[..., None, None], high[..., None, None]


def painted(count: int, size: tuple[int, int], inner: Tensor, generator: torch.Generator) -> Tensor:
    """Where noise is painted over images: (count, H, W) bool on the CPU.

    Inside of up to five boxes a sixth to a third as long as the image, three pixels from its
    border at least; or, unless `inner`, outside of one to five boxes three to four sevenths shorter
    than the image. After each box another follows with probability 0.95.
    """
    shape = (count, _BOXES)
    drawn = torch.rand(shape, generator=generator)
    drawn[:, 0] = torch.where(inner, drawn[:, 0], 0)
    there = (drawn < _ANOTHER).cumprod(1) > 0
    place = []
    for side in size:
        small = between(side // 6, side // 3, shape, generator)
        large = side - between(3 * side // 7, 4 * side // 7, shape, generator)
        length = torch.where(inner[:, None], small, large)
        start = between(_MARGIN, side - length - _MARGIN, shape, generator)
        place.append((start, length))
    (top, high), (left, wide) = place
    boxes = (inside(top, left, high, wide, size) & there[:, :, None, None]).any(1)
    return boxes == inner[:, None, None]


def distorted(images: Tensor, options: ModelsGenesisOptions, generator: torch.Generator) -> Tensor:
    """What the network is to restore images (B, C, H, W) from, each within its own range."""
    count, device = len(images), images.device
    chance = torch.rand(4, count, generator=generator)
    shares = (options.shuffle, options.curve, options.paint, options.inner)
    mixes, bends, paints, inner = (one < share for one, share in zip(chance, shares, strict=True))
    low, high = tails(images)

    rows = sent(mixes.nonzero()[:, 0], device)
    found = images.index_copy(0, rows, shuffled(images[rows], generator))

    control = sent(torch.rand(count, 2, 2, generator=generator), device)
    falling = sent(torch.rand(count, generator=generator) < 0.5, device)
    unit = ((found - low) / (high - low).clamp_min(torch.finfo(found.dtype).tiny)).clamp(0, 1)
    bent = torch.lerp(low, high, curved(unit.flatten(1), control, falling).view(found.shape))
    found = torch.where(sent(bends, device)[:, None, None, None], bent, found)

    over = painted(count, (images.shape[2], images.shape[3]), inner, generator)
    over = sent(over & paints[:, None, None], device)
    noise = sent(torch.rand(images.shape, generator=generator), device).to(found.dtype)
    return torch.where(over[:, None], torch.lerp(low, high, noise), found)


class Restoration(Objective):
    """Mean squared error of the restored slice, through a 1 x 1 convolution."""

    def __init__(self, backbone: Backbone, options: ModelsGenesisOptions) -> None:
        super().__init__()
        self.options = options
        self.head = nn.Conv2d(backbone.channels[backbone.finest], backbone.in_channels, 1)

    def forward(self, backbone: Backbone, batch: Batch) -> StepResult:
        """The loss of one batch."""
        image, tap = batch.views[0].image, backbone.finest
        target = mirrored(image, self.options.flip, batch.generator("mirror"))
        given = distorted(target, self.options, batch.generator("distortion"))
        restored = self.head(backbone.features(given, (tap,))[tap])
        with torch.autocast(batch.device.type, enabled=False):
            return StepResult(functional.mse_loss(exact(restored), exact(target)))


@register_method("models_genesis")
class ModelsGenesis(Method):
    """Restoration of transformed slices by the whole network."""

    info = MethodInfo(
        title="Models Genesis",
        family="reconstruction",
        kind="restoration",
        paper="Zhou et al., MICCAI 2019, arXiv 1908.06912",
        fidelity="re-implementation",
        against_collapse="nothing",
        inferred=(
            "slices instead of cubes; the windows cover a pixel as often in the mean as a voxel "
            "in the authors' cubes",
            "z-scored slices, whose 0.1 to 99.9 percentiles stand for the authors' [0, 1], and a "
            "linear output instead of a sigmoid",
            "curves in tables of 1001 samples instead of 100 000",
            "the channels of an image share curve, windows and boxes",
            "crop, rotation and displacement of the protocol before the transformations",
            "the common optimiser and schedule of the protocol instead of SGD with a rate of 1",
        ),
    )
    Options = ModelsGenesisOptions
    options: ModelsGenesisOptions

    def stages(self) -> tuple[Stage, ...]:
        """One stage on the whole network, with one view in the slice's own grey values."""
        return (Stage(name="restoration", views=(ViewSpec(intensity=None),), trains=PARTS),)

    def objective(self, stage: Stage, backbone: Backbone) -> Objective:
        """Mean squared error with its head."""
        return Restoration(backbone, self.options)
