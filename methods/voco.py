"""VoCo in 2D: a random crop says how much it overlaps each cell of a grid over its slice.

Wu, Zhuang, Chen: VoCo: a simple-yet-effective volume contrastive learning framework for 3D
medical image analysis. CVPR 2024, arXiv 2402.17300.

    L = P + N + R
    P = sum_{t,p} -y_tp log( 1 - |y_tp - l_tp| + 1e-6 ) / sum_{t,p} y_tp
    N = mean over t, p with y_tp = 0 of l_tp^2
    R = mean over pairs p < q of relu( cos(b_p, sg b_q) )^2
    l_tp = ( relu( cos(x_t, b'_p) ) + relu( cos(x'_t, b_p) ) ) / 2

with embeddings b of the 4 x 4 base crops that tile a slice and x of targets of their size
anywhere in it, x' and b' those of the teacher, a moving average, and y_tp the share of target t
that lies in base p. All sums and means run over the slices of the batch too. What holds the
slice together is where things lie in it, not what it looks like.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    Optimisation,
    Options,
    Published,
    Stage,
    StepResult,
    ViewSpec,
    register_method,
)
from contrabench.objectives.contrast import exact
from contrabench.objectives.drawing import sent
from contrabench.objectives.momentum import MomentumCopy
from contrabench.views.maker import view_side

if TYPE_CHECKING:
    from contrabench import Backbone

Corner = tuple[int, int]

_GRID = 4
_TINY = 1e-6
_WIDER, _WIDEST = 2, 2048


class VoCoOptions(Options):
    """Options of VoCo."""

    targets: int = Field(4, ge=1, le=8, description="crops to be placed (authors' code: 2)")
    scale: float = Field(
        0.4,
        gt=0,
        le=1,
        description="side that a crop is resized to / side of the slice: 64 of 160, and 32 pixels "
        "at least (authors' code: 64 voxels, of 96)",
    )
    width: int | None = Field(
        None,
        gt=0,
        description="of the head's three layers; None: twice the channels of the encoder's "
        "maps, as 1152 to 2048 in the authors' code nearly, but at most 2048",
    )
    momentum: float = Field(
        0.9, ge=0, lt=1, description="share that the teacher keeps of itself (authors' code: 0.9)"
    )


def grid_corners(side: int) -> list[Corner]:
    """Upper left corners of the 16 base crops, a quarter of the slice's `side` each, in pixels."""
    step = side // _GRID
    return [(row * step, column * step) for row in range(_GRID) for column in range(_GRID)]


def random_corners(count: int, side: int, generator: torch.Generator) -> list[Corner]:
    """Corners of targets as large as a base, anywhere within a slice of `side` pixels."""
    furthest = side - side // _GRID
    drawn = torch.randint(furthest + 1, (count, 2), generator=generator)
    return [(row, column) for row, column in drawn.tolist()]


def overlaps(targets: Sequence[Corner], bases: Sequence[Corner], side: int) -> Tensor:
    """The share of each target that lies in each base, (T, P), of squares of one `side`.

    A target within the grid that the bases tile has shares that sum to 1.
    """
    first, second = (torch.tensor(list(corners)).float() for corners in (targets, bases))
    apart = (first[:, None] - second[None]).abs()
    return (1 - apart / side).clamp(min=0).prod(dim=2)


def cut(images: Tensor, corners: Sequence[Corner], side: int, size: int) -> Tensor:
    """Square crops of all images, resized: (K * B, C, size, size) of (B, C, H, W), by corner."""
    crops = [images[..., row : row + side, left : left + side] for row, left in corners]
    return functional.interpolate(torch.cat(crops), size=(size, size), mode="bilinear")


def likeness(targets: Tensor, bases: Tensor) -> Tensor:
    """relu(cos) of unit vectors (T, B, D) and (P, B, D) of the same slice: (B, T, P)."""
    return torch.einsum("tbd,pbd->btp", targets, bases).relu()


def placing(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """P and N for predicted (B, T, P) and true overlaps (T, P).

    Each target has a base that it does not touch.
    """
    missed = (labels - logits).abs()
    positive = -(labels * (1 - missed + _TINY).log()).sum(dim=(1, 2)) / labels.sum()
    empty = labels == 0
    negative = (logits.square() * empty).sum(dim=(1, 2)) / empty.sum()
    return positive.mean(), negative.mean()


def regulariser(bases: Tensor) -> Tensor:
    """R of the unit vectors (P, B, D) of the bases; 0 if those of a slice are orthogonal."""
    alike = likeness(bases, bases.detach()).square()
    first, second = torch.triu_indices(len(bases), len(bases), offset=1, device=bases.device)
    return alike[:, first, second].mean()


def _head(channels: int, width: int | None) -> nn.Module:
    """As in the authors' code: three layers, batch normalisation that neither learns nor keeps."""
    wide = width or min(_WIDER * channels, _WIDEST)
    layers: list[nn.Module] = []
    for inputs in (channels, wide):
        # No bias: the normalisation takes it away again.
        norm = nn.BatchNorm1d(wide, affine=False, track_running_stats=False)
        layers += [nn.Linear(inputs, wide, bias=False), norm, nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(wide, wide))


class Placement(Objective):
    """VoCo on the pooled maps of all levels of the encoder."""

    def __init__(self, backbone: Backbone, options: VoCoOptions) -> None:
        super().__init__()
        self.options = options
        channels = sum(backbone.channels[tap] for tap in backbone.encoder)
        self.head = _head(channels, options.width)
        self.teacher_backbone = MomentumCopy(backbone)
        self.teacher_head = MomentumCopy(self.head)

    def forward(self, backbone: Backbone, batch: Batch) -> StepResult:
        """The loss of one batch of two views of one geometry: for the bases, for the targets.

        All slices of a batch have their targets at the same corners.
        """
        grounds, sources = (view.image for view in batch.views)
        whole = grounds.shape[-1]
        side, size = whole // _GRID, view_side(whole, self.options.scale, backbone.multiple)
        places = grid_corners(whole)
        corners = random_corners(self.options.targets, whole, batch.generator("corners"))
        crops = torch.cat((cut(grounds, places, side, size), cut(sources, corners, side, size)))
        count = len(places)
        student = _embed(backbone, self.head, crops, batch.size)
        with torch.no_grad():
            copies = self.teacher_backbone.copied, self.teacher_head.copied
            teacher = _embed(*copies, crops, batch.size)
        with torch.autocast(batch.device.type, enabled=False):
            forth = likeness(student[count:], teacher[:count])
            back = likeness(teacher[count:], student[:count])
            labels = sent(overlaps(corners, places, side), forth.device).to(forth.dtype)
            positive, negative = placing((forth + back) / 2, labels)
            crowded = regulariser(student[:count])
        logs = {"positive": positive, "negative": negative, "bases": crowded}
        return StepResult(
            positive + negative + crowded, {name: term.detach() for name, term in logs.items()}
        )

    def after_step(self, backbone: Backbone, progress: float) -> None:
        """The teacher follows."""
        self.teacher_backbone.follow(backbone, self.options.momentum)
        self.teacher_head.follow(self.head, self.options.momentum)


def _embed(backbone: Backbone, head: nn.Module, crops: Tensor, slices: int) -> Tensor:
    """Unit vectors (K, B, D) of K crops of each of B slices."""
    levels = backbone.pooled(crops, backbone.encoder)
    embedded = head(torch.cat([levels[tap] for tap in backbone.encoder], dim=1))
    with torch.autocast(crops.device.type, enabled=False):
        points = functional.normalize(exact(embedded), dim=1)
        return points.reshape(-1, slices, points.shape[1])


@register_method("voco")
class VoCo(Method):
    """Placing of crops within their slice."""

    info = MethodInfo(
        title="VoCo",
        family="contrast before",
        kind="position contrast",
        paper="Wu, Zhuang, Chen, CVPR 2024, arXiv 2402.17300",
        fidelity="re-implementation",
        inferred=(
            "slices in place of volumes: bases and targets are squares of a quarter of the side",
            "the maps pooled for the head are those of the U-Net's encoder; the paper has a Swin "
            "transformer",
            "four targets a slice, at the same corners in all slices of a batch",
            "crops are cut from the protocol's view, the targets in grey values of their own; "
            "neither mirrored nor turned by 90 degrees",
            "the teacher starts as the student; in the authors' code from weights of its own",
            "AdamW and the common augmentation of the protocol",
        ),
    )
    Options = VoCoOptions
    options: VoCoOptions
    published = Published(
        stages={
            "local": Optimisation(
                optimizer="adamw",
                lr=1e-4,
                weight_decay=0.01,
                warmup=0.02,
                source="authors' code: 250 000 steps, 5000 of warm-up; the decay is torch's own",
            )
        },
        options={"targets": 2},
        unknown=(
            "batches of two volumes say nothing of a number of slices: the budget's",
            "AMSGrad, a variant of AdamW that is not here",
        ),
    )

    def stages(self) -> tuple[Stage, ...]:
        """One stage on the encoder, with two appearances of one part of the slice."""
        crops = _GRID**2 + self.options.targets
        return (Stage(name="local", views=(ViewSpec(), ViewSpec(geometry_of=0)), passes=crops),)

    def objective(self, stage: Stage, backbone: Backbone) -> Objective:
        """The three terms with their head and teacher."""
        return Placement(backbone, self.options)
