"""PixPro: pixels of two views that show the same place agree, after smoothing one of them.

Xie, Lin, Zhang, Cao, Lin, Hu: Propagate yourself: exploring pixel-level consistency for
unsupervised visual representation learning. CVPR 2021, arXiv 2011.10043.

    y_i = sum_j max(cos(x_i, x_j), 0)^gamma g(x_j) / |g(x_j)|        (pixel propagation)
    L = - mean over pairs (i, j) of cos(y_i, x'_j) - the same with the views exchanged

x are the projected cells of one view, x' those of the other under a momentum encoder that
gets no gradient. A pair is positive if its two positions in the slice lie nearer than 0.7
times the diagonal of the larger view's cells; positions are exact under crop, rotation and
displacement alike. Pairs are averaged within an image, then images. The authors' code
doubles both terms, as 2 - 2 cos would; here each counts once, as the paper writes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from contrabench import (
    Batch,
    Method,
    MethodInfo,
    Objective,
    Optimisation,
    Options,
    Published,
    Stage,
    StepResult,
    register_method,
)
from contrabench.objectives.contrast import exact
from contrabench.objectives.momentum import MomentumCopy, cosine_momentum
from contrabench.objectives.pixels import points
from contrabench.objectives.prediction import spread
from contrabench.protocol import PARTS
from contrabench.views.spatial import cell_diagonals, cell_positions

if TYPE_CHECKING:
    from contrabench import Backbone
    from contrabench.contracts.geometry import Geometry


class PixProOptions(Options):
    """Options of PixPro."""

    tap: Literal["centre", "dec4", "dec3"] = Field(
        "centre",
        description="map that is contrasted, the last part trained and handed over: the "
        "bottleneck (paper: last encoder map), or a decoder block on 1/8 or 1/4 of the pixels",
    )
    distance: float = Field(
        0.7, gt=0, description="of a positive pair at most, in diagonals of a cell (paper: 0.7)"
    )
    sharpness: float = Field(2.0, ge=1, description="gamma of the propagation (paper: 2)")
    momentum: float = Field(
        0.99, ge=0, lt=1, description="share the target keeps at first; rises to 1 (paper: 0.99)"
    )
    dim: int = Field(256, gt=0, description="length of the embeddings (paper: 256)")


def positive_pairs(
    first: Geometry, second: Geometry, shape: tuple[int, int], distance: float
) -> Tensor:
    """Which cells of two views show the same place of the slice.

    Args:
        first: geometry of one view.
        second: geometry of the other.
        shape: height and width of both maps.
        distance: below which a pair is positive, in diagonals of the larger view's cells.

    Returns:
        (B, h * w, h * w) bool; false wherever one of the two lies outside of the slice.
    """
    one, other = (cell_positions(geometry, shape) for geometry in (first, second))
    largest = torch.maximum(cell_diagonals(first, shape), cell_diagonals(second, shape))
    # Differences rather than a matrix product, which would round what is compared.
    apart = (one[:, :, None] - other[:, None]).square().sum(dim=3).sqrt()
    shown = [(places.abs() <= 1).all(dim=2) for places in (one, other)]
    near = apart < distance * largest[:, None, None]
    return near & shown[0][:, :, None] & shown[1][:, None]


def propagate(cells: Tensor, values: Tensor, sharpness: float) -> Tensor:
    """Pixel propagation: every cell becomes a sum over the cells that resemble it.

    Args:
        cells: (B, D, h, w) embeddings that are compared; normalised here.
        values: (B, D, h, w) what is summed; normalised here, as the authors' code does.
        sharpness: gamma, exponent of the similarity.

    Returns:
        (B, D, h, w).
    """
    with torch.autocast(cells.device.type, enabled=False):
        keys, summands = (
            functional.normalize(exact(maps.flatten(2)), dim=1) for maps in (cells, values)
        )
        alike = (keys.transpose(1, 2) @ keys).clamp(min=0) ** sharpness
        return (summands @ alike.transpose(1, 2)).reshape(cells.shape)


def agreement(predicted: Tensor, target: Tensor, pairs: Tensor) -> Tensor:
    """Mean cosine over the positive pairs of an image, then over the images.

    Args:
        predicted: (B, D, h, w) of one view.
        target: (B, D, h, w) of the other.
        pairs: (B, h * w, h * w) bool, cells of `predicted` by cells of `target`.

    Returns:
        Scalar in [-1, 1]; an image without a pair counts as zero, as in the authors' code.
    """
    with torch.autocast(predicted.device.type, enabled=False):
        one, other = (
            functional.normalize(exact(maps.flatten(2)), dim=1) for maps in (predicted, target)
        )
        cosines = one.transpose(1, 2) @ other
        total = torch.where(pairs, cosines, 0.0).sum(dim=(1, 2))
        return (total / pairs.sum(dim=(1, 2)).clamp(min=1)).mean()


class PixelConsistency(Objective):
    """Both directions of the loss, with the projection, its target and the propagation."""

    def __init__(self, backbone: Backbone, options: PixProOptions) -> None:
        super().__init__()
        self.options = options
        channels = backbone.channels[options.tap]
        self.projection = nn.Sequential(
            # BatchNorm takes away what a bias adds, which would never get a gradient.
            nn.Conv2d(channels, 2 * channels, 1, bias=False),
            nn.BatchNorm2d(2 * channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(2 * channels, options.dim, 1),
        )
        self.values = nn.Conv2d(options.dim, options.dim, 1)
        self.target_backbone = MomentumCopy(backbone)
        self.target_projection = MomentumCopy(self.projection)

    def forward(self, backbone: Backbone, batch: Batch) -> StepResult:
        """The loss of one batch of two views."""
        first, second = batch.views
        smooth = [self._propagated(backbone, view.image) for view in batch.views]
        with torch.no_grad():
            targets = [self._target(view.image) for view in batch.views]
            height, width = targets[0].shape[2:]
            pairs = positive_pairs(
                first.geometry, second.geometry, (height, width), self.options.distance
            )
        there = agreement(smooth[0], targets[1], pairs)
        back = agreement(smooth[1], targets[0], pairs.transpose(1, 2))
        logs = {
            "pairs": pairs.float().sum(dim=(1, 2)).mean(),
            "spread": spread(points(targets[0])),
        }
        return StepResult(-there - back, logs)

    def _propagated(self, backbone: Backbone, image: Tensor) -> Tensor:
        """Online cells after propagation, (B, dim, h, w)."""
        tap = self.options.tap
        cells = self.projection(backbone.features(image, (tap,))[tap])
        return propagate(cells, self.values(cells), self.options.sharpness)

    def _target(self, image: Tensor) -> Tensor:
        """Cells under the momentum encoder, (B, dim, h, w)."""
        tap = self.options.tap
        maps = self.target_backbone.copied.features(image, (tap,))[tap]
        cells: Tensor = self.target_projection.copied(maps)
        return cells

    def after_step(self, backbone: Backbone, progress: float) -> None:
        """Moves the target."""
        keep = cosine_momentum(self.options.momentum, progress)
        self.target_backbone.follow(backbone, keep)
        self.target_projection.follow(self.projection, keep)


@register_method("pixpro")
class PixPro(Method):
    """Consistency of pixels at the same place."""

    info = MethodInfo(
        title="PixPro",
        family="contrast before",
        kind="dense contrast",
        paper="Xie et al., CVPR 2021, arXiv 2011.10043",
        fidelity="re-implementation",
        against_collapse="asymmetry",
        inferred=(
            "the bottleneck stands for the paper's last ResNet map, so that the encoder is "
            "trained as by the other methods; the option `tap` reaches into the decoder",
            "a hidden layer of twice the map's channels, the paper's proportion",
            "under a rotation the cell's diagonal is that of the turned cell, and cells outside "
            "of the slice form no pair; the paper only crops and mirrors",
            "the common optimiser, schedule and augmentation of the protocol",
        ),
    )
    Options = PixProOptions
    options: PixProOptions
    published = Published(
        stages={
            "pixels": Optimisation(
                optimizer="lars",
                lr=1.0,
                lr_batch=256,
                batch=1024,
                momentum=0.9,
                weight_decay=1e-5,
                warmup=0.05,
                source="authors' script for 100 epochs (5 of them warm-up)",
            )
        },
        unknown=(
            "crops from 0.08 of the area and the colours of BYOL: the common augmentation stays",
        ),
    )

    def stages(self) -> tuple[Stage, ...]:
        """One stage on everything up to the tap."""
        parts = PARTS[: PARTS.index(self.options.tap) + 1]
        return (Stage(name="pixels", trains=parts),)

    def objective(self, stage: Stage, backbone: Backbone) -> Objective:
        """The loss with its heads and its target."""
        return PixelConsistency(backbone, self.options)
