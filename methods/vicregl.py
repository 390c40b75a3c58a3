"""VICRegL: VICReg of whole slices and of the cells of their maps, matched twice.

Bardes, Ponce, LeCun: VICRegL: self-supervised learning of local visual features.
NeurIPS 2022, arXiv 2210.01571.

    L = alpha V(z, z') + (1 - alpha) (F + P)
    F = 1/2 [ V(c, c'_near) + V(c', c_near) ]        nearest by the embeddings themselves
    P = 1/2 [ V_k(c, c'_near) + V_k(c', c_near) ]    nearest by position in the slice
    V(a, b) = 25 mean (a - b)^2
              + 25 mean_j 1/2 [ max(0, 1 - sd(a_j)) + max(0, 1 - sd(b_j)) ]
              + 1/2 (1 / D) sum_{i != j} [ cov(a_i, a_j)^2 + cov(b_i, b_j)^2 ]

z, z' embed the two views of a slice and c, c' their cells. Each cell is matched to the
nearest of the other view; P keeps the k cells of a view whose match is nearest, F keeps all,
as the authors' code does. Statistics run over the batch, for each of the matches apart, in
the order of the cells. The authors' code averages the losses of all ordered pairs of views, of two
large ones that is L, but for k: there the second view of a pair keeps the 4 of small crops.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor

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
from contrabench.objectives.decorrelation import vicreg_terms
from contrabench.objectives.heads import expander
from contrabench.objectives.pixels import points
from contrabench.views.spatial import cell_positions

if TYPE_CHECKING:
    from contrabench import Backbone

_TAP = "centre"
_PAPERS_CELLS = 49
_NARROWER = 4


class VICRegLOptions(Options):
    """Options of VICRegL."""

    alpha: float = Field(
        0.75, gt=0, lt=1, description="weight of the global loss (authors' README: 0.75)"
    )
    matches: int = Field(
        20,
        gt=0,
        le=_PAPERS_CELLS,
        description="k, matches by position kept of 7 x 7 cells, in proportion on other maps "
        "(paper: 20 for large views)",
    )
    width: int | None = Field(
        None,
        gt=0,
        description="of the global expander's three layers; None: four times the channels of "
        "the bottleneck, as 8192 to 2048 in the paper, but at most 2048",
    )
    local_width: int | None = Field(
        None,
        gt=0,
        description="of the local projector's three layers; None: a quarter of the channels of "
        "the bottleneck, as 512 to 2048 in the paper",
    )


def vicreg(first: Tensor, second: Tensor) -> Tensor:
    """V of the module's text.

    Args:
        first: (B, D), or (B, k, D) with statistics for each of the k apart; B at least 2.
        second: as `first`.
    """
    # VICRegL's code has half the covariance term of VICReg's.
    return vicreg_terms(first, second, invariance=25.0, variance=25.0, covariance=0.5)


def nearest_cells(cells: Tensor, others: Tensor, apart: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """Matches every cell of one view to the nearest of the other and keeps the best matches.

    Args:
        cells: (B, N, D) of one view.
        others: (B, M, D) of the other.
        apart: (B, N, M) distances, in whatever space.
        keep: k, matches kept for each image.

    Returns:
        Two (B, k, D): the kept cells in their own order, and the match of each.
    """
    distance, nearest = apart.min(dim=2)
    kept = distance.topk(keep, dim=1, largest=False).indices.sort(dim=1).values
    matched = nearest.gather(1, kept)
    width = cells.shape[2]
    return (
        cells.gather(1, kept[:, :, None].expand(-1, -1, width)),
        others.gather(1, matched[:, :, None].expand(-1, -1, width)),
    )


def _distances(one: Tensor, other: Tensor) -> Tensor:
    """Euclidean distances (B, N, M), not by a matrix product, whose rounding makes ties."""
    return torch.cdist(one, other, compute_mode="donot_use_mm_for_euclid_dist")


def local_loss(first: Tensor, second: Tensor, places: tuple[Tensor, Tensor], keep: int) -> Tensor:
    """F + P of the module's text.

    Args:
        first: (B, N, D) embedded cells of one view.
        second: (B, N, D) of the other.
        places: (B, N, 2) positions in the slice of the cells of either view.
        keep: k, matches by position kept for each image and view.
    """
    one, other = exact(first), exact(second)
    with torch.no_grad(), torch.autocast(first.device.type, enabled=False):
        alike = _distances(one, other)
        near = _distances(*places)
    terms = [
        vicreg(*nearest_cells(one, other, alike, one.shape[1])),
        vicreg(*nearest_cells(other, one, alike.transpose(1, 2), other.shape[1])),
        vicreg(*nearest_cells(one, other, near, keep)),
        vicreg(*nearest_cells(other, one, near.transpose(1, 2), keep)),
    ]
    return torch.stack(terms).sum() / 2


def matches_kept(cells: int, matches: int) -> int:
    """Matches kept of so many cells: the share that `matches` is of 7 x 7, rounded up."""
    return math.ceil(matches * cells / _PAPERS_CELLS)


class GlobalAndLocal(Objective):
    """VICReg on the pooled bottleneck and on its cells."""

    def __init__(self, backbone: Backbone, options: VICRegLOptions) -> None:
        super().__init__()
        self.options = options
        channels = backbone.channels[_TAP]
        narrow = options.local_width or max(1, channels // _NARROWER)
        self.expander = expander(channels, options.width)
        self.local_projector = expander(channels, narrow)

    def forward(self, backbone: Backbone, batch: Batch) -> StepResult:
        """The loss of one batch of two views."""
        options = self.options
        maps = [backbone.features(view.image, (_TAP,))[_TAP] for view in batch.views]
        height, width = maps[0].shape[2:]
        first, second = (self.expander(found.mean(dim=(2, 3))) for found in maps)
        whole = vicreg(first, second)
        cells, others = (
            self.local_projector(points(found)).unflatten(0, (batch.size, -1)) for found in maps
        )
        one, other = (cell_positions(view.geometry, (height, width)) for view in batch.views)
        keep = matches_kept(height * width, options.matches)
        local = local_loss(cells, others, (one, other), keep)
        loss = options.alpha * whole + (1 - options.alpha) * local
        return StepResult(loss, {"global": whole.detach(), "local": local.detach()})


@register_method("vicregl")
class VICRegL(Method):
    """VICReg of whole slices and of matched cells."""

    info = MethodInfo(
        title="VICRegL",
        family="contrast before",
        kind="decorrelation",
        paper="Bardes et al., NeurIPS 2022, arXiv 2210.01571",
        fidelity="re-implementation",
        against_collapse="decorrelation",
        inferred=(
            "both heads sit on the U-Net's bottleneck; the paper has no U-Net",
            "heads in proportion to its channels, the global one at most 2048 wide",
            "matches by position in proportion to the cells: 20 of 7 x 7, 7 of 4 x 4",
            "two large views and no small ones, as the paper trains ResNets",
            "both large views keep as many matches; in the authors' code the second of a pair "
            "keeps 4, as a small crop does",
            "the common optimiser, schedule and augmentation of the protocol",
        ),
        version=2,
    )
    Options = VICRegLOptions
    options: VICRegLOptions
    published = Published(
        stages={
            "global-local": Optimisation(
                optimizer="lars",
                lr=0.3,
                lr_batch=256,
                batch=512,
                weight_decay=1e-6,
                warmup=0.1,
                source="authors' README, ResNet-50 for 100 epochs: 10 of them warm-up",
            )
        },
        unknown=(
            "the cosine ends at a thousandth of the peak rate, here at zero",
            "crops from 0.08 of the area and colour jitter: the common augmentation stays",
            "the heads keep their proportion; 8192 goes with batches of 512",
        ),
    )

    def stages(self) -> tuple[Stage, ...]:
        """One stage on the encoder."""
        return (Stage(name="global-local"),)

    def objective(self, stage: Stage, backbone: Backbone) -> Objective:
        """Both losses with their heads."""
        return GlobalAndLocal(backbone, self.options)
