"""SparK: an encoder that sees a part of the image alone lets a light decoder rebuild the rest.

Tian, Jiang, Diao, Lin, Wang, Yuan: Designing BERT for convolutional networks: sparse and
hierarchical masked modeling. ICLR 2023, arXiv 2301.03580.

The image is cut into cells, one for each position of the encoder's deepest map, and most of them
are hidden. What convolutions and poolings write into a hidden cell is set back to zero, and
normalisation counts visible positions only: so no hole is filled from its border, layer by layer,
and its zeros move no mean. Then each map E_i but the finest is filled up and summed into the
decoder D, from the deepest up,

    F_i = conv( norm(E_i) where visible, token_i where hidden )
    D_i = up( D_{i+1} + F_i ),    prediction f = conv(D_1)

    L = mean over hidden pixels p of ( f_p - t_p )^2
    t_p = ( x_p - mean_b ) / sqrt( var_b + 1e-6 )      b: the cell that p lies in

The weights are those of the dense encoder, which is handed over; tokens and decoder are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor, nn

from contrabench import (
    Batch,
    Method,
    MethodInfo,
    Objective,
    Options,
    RunError,
    Spatial,
    Stage,
    StepResult,
    ViewSpec,
    register_method,
)
from contrabench.contracts.backbone import standing_in
from contrabench.objectives.drawing import sent
from contrabench.objectives.reconstruction import hidden_error, normalised_blocks

if TYPE_CHECKING:
    from contrabench import Backbone

_LAYERS = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm, nn.InstanceNorm2d, nn.GroupNorm)
_TEXTURE = 0.1
_NARROWEST = 64


class SparKOptions(Options):
    """Options of SparK."""

    share: float = Field(0.6, gt=0, lt=1, description="of the cells hidden (paper: 0.6)")
    decoder: int | None = Field(
        None,
        ge=16,
        description="channels of the decoder's first map (paper: 768 of a ResNet's 2048); None: a "
        "quarter of the deepest map's, 64 at least",
    )


def draw_visible(
    count: int, grid: tuple[int, int], share: float, generator: torch.Generator
) -> Tensor:
    """Draws the cells of each image that are seen, as many in all: (count, 1, rows, columns) bool.

    Raises:
        RunError: if none would be hidden, or fewer than two seen: one has no variance.
    """
    total = grid[0] * grid[1]
    seen = round(total * (1 - share))
    if not 2 <= seen < total:
        raise RunError(
            f"of {total} cells {seen} would be seen, but some must be hidden and two be seen; "
            "set the option `share` to another value, or take larger slices"
        )
    order = torch.rand(count, total, generator=generator).argsort(dim=1, stable=True)
    visible = torch.zeros(count, total, dtype=torch.bool).scatter_(1, order[:, :seen], True)
    return visible.view(count, 1, *grid)


def enlarged(visible: Tensor, maps: Tensor) -> Tensor:
    """Cells (B, 1, rows, columns) at the size of some maps (B, C, h, w): (B, 1, h, w).

    Raises:
        RunError: if the cells do not divide the maps evenly.
    """
    rows, columns = (
        side // cells for side, cells in zip(maps.shape[2:], visible.shape[2:], strict=True)
    )
    large = visible.repeat_interleave(rows, dim=2).repeat_interleave(columns, dim=3)
    if large.shape[2:] != maps.shape[2:]:
        raise RunError(
            f"a map of {maps.shape[2]} x {maps.shape[3]} cannot be masked by "
            f"{visible.shape[2]} x {visible.shape[3]} cells; SparK needs an encoder whose maps "
            "all have a whole number of positions in each cell"
        )
    return large


def has_texture(images: Tensor, grid: tuple[int, int]) -> Tensor:
    """Cells (B, 1, rows, columns) that deviate by a tenth of what their image does, in any channel.

    Of others the target is noise, scaled up.
    """
    count, channels, height, width = images.shape
    cut = (count, channels, grid[0], height // grid[0], grid[1], width // grid[1])
    spread = images.reshape(cut).std((3, 5))
    return (spread > _TEXTURE * images.std((2, 3))[..., None, None]).any(1, keepdim=True)


def normalise_visible(
    norm: Callable[[Tensor], Tensor], visible: Tensor, seen: int, maps: Tensor
) -> Tensor:
    """A normalisation of the visible positions by their own statistics, and zero elsewhere.

    The layer sees a map (B, C, n, 1) of them, whichever its kind: those of a batch, of an image or
    of groups of channels. Every image has as many cells `seen`.
    """
    count, channels, height, width = maps.shape
    rows, columns = visible.shape[2:]
    cut = (count, channels, rows, height // rows, columns, width // columns)
    cells = maps.reshape(cut).transpose(3, 4).reshape(count, channels, rows * columns, -1)
    where = visible.flatten(1).long().argsort(dim=1, descending=True, stable=True)[:, :seen]
    where = where[:, None, :, None].expand(-1, channels, -1, cells.shape[3])
    table = norm(cells.gather(2, where).flatten(2)[..., None])
    found = table.new_zeros(cells.shape).scatter(2, where, table.view(where.shape))
    apart = (count, channels, rows, columns, height // rows, width // columns)
    return found.view(apart).transpose(3, 4).reshape(maps.shape)


class _Sight:
    """What the layers know of a pass: its visible cells, which the first of them reads.

    They come with the image, whose hidden pixels are not numbers, because a pass may be shared out
    among devices, and then sees some of the images.
    """

    def __init__(self, grid: tuple[int, int], seen: int) -> None:
        self.grid, self.seen = grid, seen
        self.visible: Tensor | None = None

    def _entering(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """The visible cells, and what a layer is given with zeros for what is hidden of it."""
        if self.visible is not None:
            return self.visible, maps
        rows, columns = (
            side // cells for side, cells in zip(maps.shape[2:], self.grid, strict=True)
        )
        self.visible = ~maps[:, :1, ::rows, ::columns].isnan()
        return self.visible, maps.where(enlarged(self.visible, maps), 0)

    def layer(self, forward: Callable[[Tensor], Tensor], maps: Tensor) -> Tensor:
        """A convolution or a pooling whose answer is zero where nothing is seen."""
        visible, maps = self._entering(maps)
        found = forward(maps)
        return found.where(enlarged(visible, found), 0)

    def norm(self, forward: Callable[[Tensor], Tensor], maps: Tensor) -> Tensor:
        """A normalisation of what is seen."""
        visible, maps = self._entering(maps)
        return normalise_visible(forward, visible, self.seen, maps)


@contextmanager
def _masking(backbone: Backbone, sight: _Sight) -> Iterator[None]:
    """Lets the layers of a backbone see visible cells only, in the block."""
    with ExitStack() as stack:
        # A compiled network would be compiled anew for every pass.
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        for module in backbone.modules():
            if isinstance(module, (*_LAYERS, *_NORMS)):
                change = sight.norm if isinstance(module, _NORMS) else sight.layer
                stack.enter_context(standing_in(module, partial(change, module.forward)))
        yield


def sparse_features(
    backbone: Backbone, image: Tensor, taps: tuple[str, ...], visible: Tensor, seen: int
) -> dict[str, Tensor]:
    """The maps of an encoder that sees some cells of the images alone, zero elsewhere.

    Args:
        image: (B, C, H, W).
        taps: of the encoder.
        visible: (B, 1, rows, columns) bool.
        seen: how many that is in every image.
    """
    marked = image.masked_fill(~enlarged(visible, image), torch.nan)
    with _masking(backbone, _Sight((visible.shape[2], visible.shape[3]), seen)):
        return backbone.features(marked, taps)


class _Densify(nn.Module):
    """Fills the hidden positions of a map with a token, and brings it to the decoder's width."""

    def __init__(self, channels: int, width: int, deepest: bool) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.token = nn.Parameter(nn.init.trunc_normal_(torch.zeros(1, channels, 1, 1), std=0.02))
        self.project: nn.Module = nn.Conv2d(channels, width, 3, padding=1)
        if deepest:
            same = channels == width
            self.project = nn.Identity() if same else nn.Conv2d(channels, width, 1)

    def forward(self, maps: Tensor, visible: Tensor, seen: int) -> Tensor:
        """Maps (B, C, h, w) with cells (B, 1, rows, columns) to (B, width, h, w)."""
        known = normalise_visible(self.norm, visible, seen, maps)
        filled: Tensor = self.project(
            torch.where(enlarged(visible, maps), known, self.token.to(known.dtype))
        )
        return filled


def _rise(channels: int, width: int) -> nn.Module:
    """Doubles the size of a map, (B, channels, h, w) to (B, width, 2h, 2w)."""
    return nn.Sequential(
        nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU6(inplace=True),
        nn.Conv2d(channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
    )


class SparseModelling(Objective):
    """The error of what a light decoder makes of the visible cells, on the hidden ones."""

    def __init__(self, backbone: Backbone, options: SparKOptions) -> None:
        super().__init__()
        self.share, self.patch = options.share, backbone.multiple
        # At the image's own size what is hidden holds tokens alone, and no context reaches it.
        self.taps = backbone.encoder[:0:-1]
        widest = options.decoder or max(_NARROWEST, backbone.channels[backbone.deepest] // 4)
        widths = [widest // 2**level for level in range(len(self.taps) + 1)]
        self.densify = nn.ModuleList(
            _Densify(backbone.channels[tap], width, tap == backbone.deepest)
            for tap, width in zip(self.taps, widths, strict=False)
        )
        self.rise = nn.ModuleList(_rise(*pair) for pair in pairwise(widths))
        self.head = nn.Conv2d(widths[-1], backbone.in_channels, 1)

    def forward(self, backbone: Backbone, batch: Batch) -> StepResult:
        """The loss of one batch.

        Raises:
            RunError: if the slices have too few cells, or the encoder does not halve its maps.
        """
        image = batch.views[0].image
        grid = (image.shape[2] // self.patch, image.shape[3] // self.patch)
        drawn = draw_visible(batch.size, grid, self.share, batch.generator("visible cells"))
        visible, seen = sent(drawn, image.device), int(drawn[0].sum())
        maps = sparse_features(backbone, image, self.taps, visible, seen)
        predicted = self.decode(maps, visible, seen)
        if predicted.shape != image.shape:
            raise RunError(
                f"the decoder makes {tuple(predicted.shape)} of images {tuple(image.shape)}; "
                "SparK needs an encoder each of whose parts halves the map before it"
            )
        target, hidden = normalised_blocks(image, grid), ~enlarged(visible, image)[:, 0]
        textured = hidden & enlarged(has_texture(image, grid), image)[:, 0]
        logs = {"textured": hidden_error(predicted.detach(), target, textured)}
        return StepResult(hidden_error(predicted, target, hidden), logs)

    def decode(self, maps: dict[str, Tensor], visible: Tensor, seen: int) -> Tensor:
        """Images from the maps of the visible cells."""
        risen: Tensor | None = None
        for tap, densify, rise in zip(self.taps, self.densify, self.rise, strict=True):
            filled = densify(maps[tap], visible, seen)
            risen = rise(filled if risen is None else risen + filled)
        image: Tensor = self.head(risen)
        return image


@register_method("spark")
class SparK(Method):
    """Sparse masked modelling by the encoder."""

    info = MethodInfo(
        title="SparK",
        family="reconstruction",
        kind="masked modelling",
        paper="Tian et al., ICLR 2023, arXiv 2301.03580",
        fidelity="re-implementation",
        against_collapse="nothing",
        inferred=(
            "the encoder is the U-Net's; its map at the image's own size is not handed to the "
            "decoder, and a ResNet has none",
            "any normalisation counts visible positions alone, where the paper's networks have "
            "that of the batch",
            "a decoder a quarter as wide as the encoder's deepest map, instead of three eighths",
            "each channel of a cell is normalised by itself; a photograph's three go together",
            "rotation and displacement of the protocol beside the paper's crops of 67 to 100 %, "
            "and no mirroring, which would change hearts",
            "the common optimiser and schedule of the protocol instead of LAMB",
        ),
    )
    Options = SparKOptions
    options: SparKOptions

    def stages(self) -> tuple[Stage, ...]:
        """One stage on the encoder, with one view in the slice's own grey values."""
        view = ViewSpec(spatial=Spatial(crop_area=(0.67, 1.0)), intensity=None)
        return (Stage(name="reconstruction", views=(view,)),)

    def objective(self, stage: Stage, backbone: Backbone) -> Objective:
        """The error on hidden cells, with tokens and decoder."""
        return SparseModelling(backbone, self.options)
