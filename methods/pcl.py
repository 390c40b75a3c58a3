"""PCL: slices at nearby positions of any volumes attract, all others repel.

Zeng, Wu, Hu, Xu, Yuan, Huang, Zhuang, Hu, Shi: Positional contrastive learning for volumetric
medical image segmentation. MICCAI 2021, arXiv 2106.09157.

    L = (tau / 0.07) (1 / 2B) sum_i -(1 / |P(i)|) sum_{j in P(i)}
            log( exp(s(z_i, z_j) / tau) / sum_{a != i} exp(s(z_i, z_a) / tau) )
    P(i) = { j != i : |p_j - p_i| < t }

over the 2B embeddings of a batch of two views. p is the slice's number divided by the
number of slices of its volume; the other view of a slice is always one of its positives.
Whose volume a slice comes from plays no part: patients are expected to show the same at the
same position.
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
    register_method,
)
from contrabench.objectives.contrast import near
from contrabench.objectives.instance import RelationContrast

if TYPE_CHECKING:
    from contrabench import Backbone


class PCLOptions(Options):
    """Options of PCL."""

    threshold: float = Field(
        0.1,
        ge=0.001,
        le=1,
        description="t, in volumes; authors: 0.1 for whole hearts in CT with their many slices, "
        "0.35 for short-axis stacks such as ACDC's, of whose ten slices no two are nearer than 0.1",
    )
    temperature: float = Field(0.1, gt=0, description="tau (authors' script: 0.1)")
    dim: int = Field(512, gt=0, description="length of the embedding (authors' script: 512)")


@register_method("pcl")
class PCL(Method):
    """Positional contrast of whole slices."""

    info = MethodInfo(
        title="PCL",
        family="contrast before",
        kind="position contrast",
        paper="Zeng et al., MICCAI 2021, arXiv 2106.09157",
        fidelity="re-implementation",
        needs=("position of a slice in its volume, and volumes that show about the same",),
        inferred=(
            "AdamW and the common augmentation of the protocol instead of SGD and strong "
            "geometry with mirrors and without changes of grey values",
            "slices of two orientations are never near, where several are pooled",
            "one threshold by default, that of whole hearts in CT; give threshold=0.35 for "
            "short-axis stacks, as the authors do",
            "the common backbone of the protocol",
        ),
    )
    Options = PCLOptions
    options: PCLOptions
    published = Published(
        stages={
            "global": Optimisation(
                optimizer="sgd",
                lr=0.1,
                batch=32,
                weight_decay=1e-5,
                source="authors' script for whole hearts in CT",
            )
        },
        unknown=(
            "the authors' augmentation, geometry alone with mirrors and any rotation",
            "the threshold, which the authors give by data set: 0.35 instead of 0.1 for ACDC",
        ),
    )

    def stages(self) -> tuple[Stage, ...]:
        """One stage on the encoder."""
        return (Stage(name="global"),)

    def objective(self, stage: Stage, backbone: Backbone) -> Objective:
        """The position contrast with its head."""
        options = self.options
        return RelationContrast(
            backbone,
            lambda info: near(info.position, options.threshold),
            options.temperature,
            options.dim,
        )
