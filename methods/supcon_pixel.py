"""Supervised contrast of pixels alone: Hu's second stage from random weights.

Hu, Zeng, Xu, Shi: Semi-supervised contrastive learning for label-efficient medical image
segmentation. MICCAI 2021, arXiv 2109.07407. For a foreground pixel i of structure c_i

    L_i = -(1 / |H(i)|) sum_{q in H(i)} log( exp(z_i.z_q / tau) / sum_{a != i} exp(z_i.z_a / tau) )

with H(i) the other pixels of c_i in both views, or the least similar share of them, as in
Tang et al., Semi-supervised medical image segmentation via hard positives oriented contrastive
learning (BHPC), Pattern Recognition 146, 2024, doi 10.1016/j.patcog.2023.110020. L is the mean
over i. Background pixels are no anchors, but repel.

The methods that end with this loss begin with another. Here it stands by itself, on the
labelled slices, so that a table can tell what it is worth without what goes before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from contrabench import (
    Method,
    MethodInfo,
    Objective,
    Optimisation,
    Options,
    Published,
    Stage,
    ViewSpec,
    register_method,
)
from contrabench.objectives.pixels import PixelContrast, Reach, Sampling
from contrabench.protocol import PARTS

if TYPE_CHECKING:
    from contrabench import Backbone


class SupConPixelOptions(Options):
    """Options of supervised pixel contrast."""

    temperature: float = Field(0.1, gt=0, description="tau (scripts of Hu and of BHPC)")
    sampling: Sampling = Field(
        "stride", description="every k-th pixel (Hu's script), or all of them within blocks (BHPC)"
    )
    grid: int = Field(40, gt=0, description="pixels per axis at most; 160 / stride 4 (Hu)")
    block: int = Field(16, gt=0, description="side of a block in pixels (BHPC: 16; Hu: 16 or 32)")
    regions: int = Field(
        1, gt=0, description="parts per axis of a grid or block, each by itself (BHPC: 2)"
    )
    hardest: float = Field(
        1.0, gt=0, le=1, description="share of the positives that attract (BHPC's code: 0.25)"
    )
    group: int = Field(4, gt=0, description="slices contrasted with each other (Hu's batch)")


@register_method("supcon_pixel")
class SupConPixel(Method):
    """Supervised local contrast of the whole network, and nothing before it."""

    info = MethodInfo(
        title="Supervised pixel contrast",
        family="contrast before",
        kind="local contrast",
        paper="Hu et al., MICCAI 2021, arXiv 2109.07407 (second stage)",
        fidelity="re-implementation",
        needs=("masks of the labelled patients in pre-training",),
        inferred=(
            "all pre-training images go to this one stage, from random weights",
            "the common optimiser, schedule and augmentation of the protocol",
            "the two views differ; in Hu's code they share memory and are equal",
            "the grid of pixels begins at another one in each step; in Hu's code at the first",
            "hardest < 1: each anchor's least similar positives, with every other pixel in the "
            "denominator; BHPC's released loss has its choice of hard positives commented out, "
            "and weighs the pairs by the class index instead",
            "regions > 1: quarters of the map or block; BHPC's released loss cuts the matrix of "
            "similarities, view by view, and not the map",
        ),
        version=2,
    )
    Options = SupConPixelOptions
    options: SupConPixelOptions
    published = Published(
        stages={
            "local": Optimisation(
                optimizer="adam",
                lr=1e-4,
                batch=4,
                weight_decay=1e-4,
                schedule="constant",
                source="run_coseg.sh and main_coseg.py of Hu et al.",
            )
        },
        unknown=("60 epochs; the images seen are the budget's",),
    )

    def stages(self) -> tuple[Stage, ...]:
        """One stage on the labelled slices; one mask serves both views."""
        look = ViewSpec(spatial=None)
        return (
            Stage(
                name="local",
                views=(look, look),
                trains=PARTS,
                labels=True,
                labelled_slices_only=True,
            ),
        )

    def objective(self, stage: Stage, backbone: Backbone) -> Objective:
        """Pixel contrast with its head."""
        options = self.options
        reach = Reach(options.sampling, options.grid, options.block, options.group, options.regions)
        return PixelContrast(backbone, options.temperature, reach, options.hardest)
