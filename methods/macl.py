"""MACL: position contrast of whole slices and of every pixel, in two unequal branches.

Zeng, Zhu, Zhang, Chen, He, Jin, Tian, Xie, Nnamdi, Shi, Tamo, Wang, Lu: Multi-level
asymmetric contrastive learning for medical image segmentation pre-training. IEEE JBHI 2026,
doi 10.1109/JBHI.2026.3669549; earlier as arXiv 2309.11876.

    L    = L_g + 0.5 L_d + L_ER
    L_g  = PCL( h(E(x3)), h'(D(x4)) )                     of the pooled maps
    L_d  = mean over pixels u of PCL( q(E(x1))_u, D(x2)_u )
    L_ER = mean | down(E(x1)) - E(x2) |

PCL is the contrast of slices by position (Zeng et al., MICCAI 2021): all slices nearer than
t attract, whatever their volume. E is the encoder up to the centre, D = E and two decoder
blocks; both branches share all weights. The auxiliary branch (x1, x3) sees whole slices and
only E; the dominant one (x2, x4) sees slices shrunk to a quarter and D, so that both maps
have about the same size. x1 and x2 keep the slice's geometry, for their pixels must
correspond; x3 and x4 do not. In L_d a pixel meets the same pixel of the other slices alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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
from contrabench.objectives.contrast import exact, near, position_contrast, same
from contrabench.objectives.heads import GlobalHead
from contrabench.protocol import ENCODER

if TYPE_CHECKING:
    from contrabench import Backbone

_SCALE = 0.25


class MACLOptions(Options):
    """Options of MACL."""

    threshold: float = Field(
        0.1,
        ge=0.001,
        le=1,
        description="t, in volumes; authors: 0.1 for whole hearts and kidneys in CT, 0.05 for "
        "brains in MR; for short-axis stacks such as ACDC's they have none here, and 0.35 in PCL",
    )
    temperature: float = Field(0.1, gt=0, description="tau (authors' script: 0.1)")
    weight_pixel: float = Field(0.5, ge=0, description="of L_d (paper: 0.5); 0 leaves it out")
    weight_equivariance: float = Field(1.0, ge=0, description="of L_ER (paper: 1); 0 leaves it out")
    dim: int = Field(128, gt=0, description="length of the slice's embedding (code: 128)")


class PixelProjector(nn.Sequential):
    """q: two 3 x 3 convolutions with batch normalisation and leaky ReLU, as in the code.

    Args:
        channels: of the auxiliary branch's map.
        dim: channels of the dominant branch's, which has no projector.
    """

    def __init__(self, channels: int, dim: int) -> None:
        layers: list[nn.Module] = []
        for inputs in (channels, dim):
            layers += [
                nn.Conv2d(inputs, dim, 3, padding=1, bias=False),
                nn.BatchNorm2d(dim),
                nn.LeakyReLU(inplace=True),
            ]
        super().__init__(*layers)


def pixel_contrast(
    auxiliary: Tensor, dominant: Tensor, related: Tensor, temperature: float
) -> Tensor:
    """L_d: at each place of the map, related slices attract and all others repel.

    Args:
        auxiliary: (B, D, h, w) of one branch.
        dominant: (B, D, h', w') of the other, of the same part of the slices; the finer of
            the two maps is averaged to the grid of the coarser.
        related: (B, B) bool, true on the diagonal.
        temperature: tau.
    """
    side = min(auxiliary.shape[-1], dominant.shape[-1])
    first, second = (
        functional.adaptive_avg_pool2d(exact(maps), side).flatten(2).permute(2, 0, 1)
        for maps in (auxiliary, dominant)
    )
    return position_contrast(first, second, related, temperature)


def equivariance(auxiliary: Tensor, dominant: Tensor) -> Tensor:
    """L_ER: the encoding of a shrunk slice should be the shrunk encoding of the slice.

    Args:
        auxiliary: (B, C, h, w), of the whole slices; averaged to the other's grid.
        dominant: (B, C, h', w'), of the shrunk ones.
    """
    shrunk = functional.adaptive_avg_pool2d(exact(auxiliary), dominant.shape[-1])
    return (shrunk - exact(dominant)).abs().mean()


class MultiLevelContrast(Objective):
    """L_g, L_d and L_ER in one step."""

    def __init__(self, backbone: Backbone, options: MACLOptions) -> None:
        super().__init__()
        self.options = options
        centre, decoded = backbone.channels["centre"], backbone.channels["dec3"]
        self.auxiliary_head = GlobalHead(centre, options.dim, hidden=decoded)
        self.dominant_head = GlobalHead(decoded, options.dim)
        if options.weight_pixel:
            self.pixel_projector = PixelProjector(centre, decoded)

    def forward(self, backbone: Backbone, batch: Batch) -> StepResult:
        """The loss of one batch of x1, x2, x3, x4."""
        options, info = self.options, batch.info
        x1, x2, x3, x4 = (view.image for view in batch.views)
        # Each input has a pass of its own, and so its own statistics of the batch, as in the code.
        centre1 = backbone.features(x1, ("centre",))["centre"]
        pooled3 = backbone.pooled(x3, ("centre",))["centre"]
        shrunk = backbone.features(x2, ("centre", "dec3"))
        centre2, decoded2 = shrunk["centre"], shrunk["dec3"]
        pooled4 = backbone.pooled(x4, ("dec3",))["dec3"]

        related = near(info.position, options.threshold) & same(info.orientation)
        first, second = self.auxiliary_head(pooled3), self.dominant_head(pooled4)
        loss = position_contrast(first, second, related, options.temperature)
        logs = {"image": loss.detach()}
        if options.weight_pixel:
            projected = self.pixel_projector(centre1)
            term = pixel_contrast(projected, decoded2, related, options.temperature)
            loss = loss + options.weight_pixel * term
            logs["pixel"] = term.detach()
        if options.weight_equivariance:
            term = equivariance(centre1, centre2)
            loss = loss + options.weight_equivariance * term
            logs["equivariance"] = term.detach()
        return StepResult(loss, logs)


@register_method("macl")
class MACL(Method):
    """Position contrast on several levels of an encoder with half a decoder."""

    info = MethodInfo(
        title="MACL",
        family="contrast before",
        kind="position contrast",
        paper="Zeng et al., IEEE JBHI 2026, doi 10.1109/JBHI.2026.3669549",
        fidelity="re-implementation",
        needs=("position of a slice in its volume, and volumes that show about the same",),
        inferred=(
            "a shrunk slice has at least 32 pixels and a multiple of 16, so that the two maps "
            "differ in size at most budgets; the finer is averaged to the coarser one's grid, "
            "where the authors' agree at 512 pixels and shrink bilinearly",
            "only the two decoder blocks that are trained are handed on; the authors also copy "
            "the two that stayed random",
            "AdamW and the common augmentation of the protocol instead of SGD, darkening and "
            "strong geometry with mirrors",
            "x3 and x4 are altered in grey values anew rather than being x1 and x2 moved",
            "slices of two orientations are never near, where several are pooled",
            "one threshold by default, that of CT; give threshold=0.35 for short-axis stacks, as "
            "the authors do in PCL",
            "the common backbone of the protocol, whose deepest map is normalised; the authors' is "
            "not",
        ),
        version=2,
    )
    Options = MACLOptions
    options: MACLOptions
    published = Published(
        stages={
            "multi-level": Optimisation(
                optimizer="sgd",
                lr=0.1,
                batch=32,
                weight_decay=1e-5,
                source="paper and README; the released script has a rate of 0.01",
            )
        },
        unknown=(
            "the loss sees all slices of a batch; the authors' sees the 16 of one GPU of two",
            "the authors' augmentation, darkening alone and any rotation",
            "the threshold, which the authors give by data set: 0.05 instead of 0.1 for brains",
        ),
    )

    def stages(self) -> tuple[Stage, ...]:
        """One stage; x1 to x4, the encoder and the decoder blocks that x2 and x4 reach."""
        return (
            Stage(
                name="multi-level",
                views=(
                    ViewSpec(spatial=None),
                    ViewSpec(spatial=None, scale=_SCALE),
                    ViewSpec(),
                    ViewSpec(scale=_SCALE),
                ),
                trains=(*ENCODER, "centre_up", "dec4", "dec3"),
            ),
        )

    def objective(self, stage: Stage, backbone: Backbone) -> Objective:
        """The three losses with their heads."""
        return MultiLevelContrast(backbone, self.options)
