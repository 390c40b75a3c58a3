"""MMGL: global and local contrast at several scales, on slices of three orientations.

Zhao, Hu, Zeng, Yang, Qian, Veeravalli, Guan: MMGL: multi-scale multi-view global-local
contrastive learning for semi-supervised cardiac image segmentation. ICIP 2022, pp. 401-405,
doi 10.1109/ICIP46576.2022.9897591, arXiv 2207.01883.

    L_g = (1/3) sum_k NTXent( h_k(g_k(x)), h_k(g_k(x')) )        g in pool3, pool4, centre_up
    L_l = (1/3) sum_j Loc( q_j(l_j(x)), q_j(l_j(x')), y )         l in dec3, dec2, dec1

then fine-tuning with deep supervision of the same three decoder levels. The taps are those
of the paper's picture; losses, constants and the order of training are reconstructed from
the code of Hu et al. (MICCAI 2021), which MMGL extends. No number of the paper is
reproduced here or can be claimed to be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from contrabench import (
    Batch,
    Deviations,
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
from contrabench.contracts.views import IGNORE
from contrabench.objectives.contrast import nt_xent, pair_contrast, same, unit
from contrabench.objectives.heads import GlobalHead, PixelHead
from contrabench.objectives.pixels import (
    Reach,
    Sampling,
    same_position,
    supervised_pixels,
)
from contrabench.protocol import ENCODER

if TYPE_CHECKING:
    from contrabench import Backbone

GlobalTap = Literal["pool3", "pool4", "centre_up"]
LocalTap = Literal["dec3", "dec2", "dec1"]
_DEPTH = {"dec4": 1, "dec3": 2, "dec2": 3, "dec1": 4}


class MMGLOptions(Options):
    """Options of MMGL; the defaults are the reconstruction, the rest its ablation."""

    variant: Literal["S", "U", "SU"] = Field(
        "S",
        description="local pairs from labels (S), from equal positions without labels (U), "
        "or from both (SU); inferred: S",
    )
    stages: Literal["both", "global", "local"] = Field(
        "both", description="which contrasts are trained"
    )
    global_taps: tuple[GlobalTap, ...] = Field(
        ("pool3", "pool4", "centre_up"), min_length=1, description="scales of L_g (picture)"
    )
    local_taps: tuple[LocalTap, ...] = Field(
        ("dec3", "dec2", "dec1"), min_length=1, description="scales of L_l (picture)"
    )
    temperature_global: float = Field(0.5, gt=0, description="tau of L_g (Hu's config)")
    temperature_local: float = Field(0.1, gt=0, description="tau of L_l (Hu's script)")
    negatives: Literal["any", "same orientation"] = Field(
        "any", description="slices that repel in L_g; inferred: any"
    )
    freeze_encoder: bool = Field(
        False, description="train the decoder alone in L_l, as Chaitanya et al. do"
    )
    linear_heads: bool = Field(False, description="global heads without a ReLU, as in Hu's code")
    sampling: Sampling = Field(
        "stride", description="every k-th pixel, or all of them within blocks; inferred: stride"
    )
    grid: int = Field(40, gt=0, description="pixels per axis at most; 160 / stride 4")
    block: int = Field(16, gt=0, description="side of a block in pixels of each scale (Hu's code)")
    group: int = Field(4, gt=0, description="slices contrasted with each other in L_l (Hu's batch)")


class MultiScaleGlobal(Objective):
    """L_g."""

    def __init__(self, backbone: Backbone, options: MMGLOptions) -> None:
        super().__init__()
        self.options = options
        self.heads = nn.ModuleDict(
            {
                tap: GlobalHead(backbone.channels[tap], 256, linear=options.linear_heads)
                for tap in options.global_taps
            }
        )

    def forward(self, backbone: Backbone, batch: Batch) -> StepResult:
        """Mean of NT-Xent over the taps."""
        taps = self.options.global_taps
        first, second = (backbone.pooled(view.image, taps) for view in batch.views)
        terms: dict[str, Tensor] = {
            tap: self._contrast(self.heads[tap](first[tap]), self.heads[tap](second[tap]), batch)
            for tap in taps
        }
        logs = {tap: term.detach() for tap, term in terms.items()}
        return StepResult(torch.stack(list(terms.values())).mean(), logs)

    def _contrast(self, first: Tensor, second: Tensor, batch: Batch) -> Tensor:
        temperature = self.options.temperature_global
        if self.options.negatives == "any":
            return nt_xent(first, second, temperature)
        with torch.autocast(batch.device.type, enabled=False):
            points = unit(torch.cat((first, second)))
            itself = torch.eye(len(first), dtype=torch.bool, device=batch.device).repeat(2, 2)
            repel = same(batch.info.orientation).repeat(2, 2) & ~itself
            positive = (points * points.roll(len(first), 0)).sum(1) / temperature
            return pair_contrast(positive, points @ points.T / temperature, repel).mean()


class MultiScaleLocal(Objective):
    """L_l."""

    def __init__(self, backbone: Backbone, options: MMGLOptions) -> None:
        super().__init__()
        self.options = options
        self.reach = Reach(options.sampling, options.grid, options.block, options.group)
        self.heads = nn.ModuleDict(
            {tap: PixelHead(backbone.channels[tap], 256, 128) for tap in options.local_taps}
        )

    def forward(self, backbone: Backbone, batch: Batch) -> StepResult:
        """Mean of the pixel contrast over the taps."""
        taps = self.options.local_taps
        first, second = (backbone.features(view.image, taps) for view in batch.views)
        # By stride every scale contributes the same grid, a quarter of the slice's side at most.
        side, begin = batch.views[0].image.shape[-1], self.reach.begin(batch)
        terms: dict[str, Tensor] = {}
        for tap in taps:
            a, b = (
                self.heads[tap](self.reach.sample(maps[tap], side, begin))
                for maps in (first, second)
            )
            terms[tap] = self._contrast(a, b, batch, first[tap].shape[-1], begin)
        logs = {tap: term.detach() for tap, term in terms.items()}
        return StepResult(torch.stack(list(terms.values())).mean(), logs)

    def _contrast(
        self, first: Tensor, second: Tensor, batch: Batch, level: int, begin: tuple[int, int]
    ) -> Tensor:
        """Of sampled maps of one scale, whose side is `level` before."""
        variant, tau = self.options.variant, self.options.temperature_local
        if variant == "U":
            return same_position(first, second, tau, self.reach)
        labels = self.reach.marks(batch.views[0].label, level, begin)
        if variant == "S":
            return supervised_pixels(first, second, labels, tau, self.reach)
        # Both terms share the groups of the whole batch. Groups of either kind of slice alone
        # would be ragged, and which slices are left over would depend on the batch's order.
        free = (batch.views[0].label == IGNORE).flatten(1).all(dim=1)
        unlabelled = free[:, None, None].expand_as(labels)
        return supervised_pixels(first, second, labels, tau, self.reach) + same_position(
            first, second, tau, self.reach, unlabelled
        )


@register_method("mmgl")
class MMGL(Method):
    """Multi-scale multi-view global-local contrast."""

    info = MethodInfo(
        title="MMGL",
        family="contrast before",
        kind="global-local contrast",
        paper="Zhao et al., ICIP 2022, doi 10.1109/ICIP46576.2022.9897591",
        fidelity="reconstruction",
        needs=(
            "known spacing, to re-slice the volumes in three orientations",
            "masks of the labelled patients in pre-training (variants S and SU)",
        ),
        inferred=(
            "no code and no body of the paper could be had; taps and stages are the picture's",
            "temperatures, heads, pixel grid and groups are those of Hu et al.",
            "the grid begins at another pixel in each step",
            "the local stage uses the labels (variant S), as the authors' slides suggest",
            "positives are two augmentations of one slice",
            "orientations are pooled in one set, each drawn as often as the others",
            "equal weights of the scales; half of the pre-training images for each stage",
            "deep supervision weighs full, half and quarter resolution 0.6, 0.3, 0.1, as in "
            "earlier work of the first author",
            "fine-tuning and testing on axial slices, as for every method",
            "the common optimiser, schedule, augmentation and backbone of the protocol",
        ),
        version=2,
    )
    Options = MMGLOptions
    options: MMGLOptions
    deviations = Deviations(views="all", deep_supervision=True)
    published = Published(
        stages={
            "global": Optimisation(
                optimizer="adam",
                lr=3e-4,
                batch=160,
                weight_decay=1e-5,
                source="the code of Hu et al., which MMGL extends",
            ),
            "local": Optimisation(
                optimizer="adam",
                lr=1e-4,
                batch=4,
                weight_decay=1e-4,
                schedule="constant",
                source="the code of Hu et al., which MMGL extends",
            ),
        },
        unknown=(
            "every value is that of Hu et al.; none of the paper's own could be had, nor can it "
            "be said that they are equal",
            "temperatures, weights of the scales and the number of epochs",
        ),
    )

    def stages(self) -> tuple[Stage, ...]:
        """Global on the encoder, then local on the whole network."""
        options = self.options
        look = ViewSpec(spatial=None)
        deepest = max(_DEPTH[tap] for tap in options.local_taps)
        decoder = ("centre_up", *(part for part, depth in _DEPTH.items() if depth <= deepest))
        reached = (*ENCODER, *decoder)
        supervised = options.variant != "U"
        planned = (
            Stage(name="global", trains=self._global_parts(options)),
            Stage(
                name="local",
                views=(look, look),
                trains=decoder if options.freeze_encoder else reached,
                labels=supervised,
                labelled_slices_only=options.variant == "S",
            ),
        )
        return tuple(stage for stage in planned if options.stages in ("both", stage.name))

    def objective(self, stage: Stage, backbone: Backbone) -> Objective:
        """The loss of either stage."""
        options = self.options
        if stage.name == "global":
            return MultiScaleGlobal(backbone, options)
        return MultiScaleLocal(backbone, options)

    @staticmethod
    def _global_parts(options: MMGLOptions) -> tuple[str, ...]:
        """The layers that the deepest global tap reaches."""
        if "centre_up" in options.global_taps:
            return (*ENCODER, "centre_up")
        return ENCODER[: 4 if "pool4" in options.global_taps else 3]
