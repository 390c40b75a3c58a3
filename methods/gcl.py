"""GCL as in the tables of PCL and MACL: slices of one partition attract, all others repel.

Zeng et al.: Positional contrastive learning for volumetric medical image segmentation.
MICCAI 2021, arXiv 2106.09157, whose code names this baseline `gcl`.

    L = (tau / 0.07) (1 / 2B) sum_i -(1 / |P(i)|) sum_{j in P(i)}
            log( exp(s(z_i, z_j) / tau) / sum_{a != i} exp(s(z_i, z_a) / tau) )
    P(i) = { j != i : part(p_j) = part(p_i) },  part(p) = ceil(4 p)

This is *not* the method of Chaitanya et al. (NeurIPS 2020) after whose global step the
tables call it: it has no decoder, no local stage, and positives stay in the denominator
as SupCon has them. The numbers printed as "GCL" belong to this file, and say nothing about
Chaitanya's, which is `global_local`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field
from torch import Tensor

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
from contrabench.objectives.contrast import same
from contrabench.objectives.instance import RelationContrast

if TYPE_CHECKING:
    from contrabench import Backbone


class GCLOptions(Options):
    """Options of the partition contrast."""

    partitions: int = Field(4, ge=2, description="equal parts of a volume (authors' code: 4)")
    temperature: float = Field(0.1, gt=0, description="tau (authors' script: 0.1)")
    dim: int = Field(512, gt=0, description="length of the embedding (authors' script: 512)")


def parts(position: Tensor, partitions: int) -> Tensor:
    """Part of the volume, 1 to `partitions`, of positions (B,) in (0, 1]."""
    # Less than any distance of slices, so that a quotient that was rounded up at the end
    # of a part stays in it.
    return (position * partitions - 1e-6).ceil().clamp(min=1)


@register_method("gcl")
class GCL(Method):
    """Partition contrast of whole slices, the baseline that PCL and MACL print as GCL."""

    info = MethodInfo(
        title="GCL (partition contrast of the PCL tables)",
        family="contrast before",
        kind="position contrast",
        paper="baseline of Zeng et al., MICCAI 2021, arXiv 2106.09157; "
        "not Chaitanya et al., NeurIPS 2020",
        fidelity="re-implementation",
        needs=("position of a slice in its volume, and volumes that show about the same",),
        inferred=(
            "AdamW and the common augmentation of the protocol instead of SGD and strong "
            "geometry with mirrors and without changes of grey values",
            "a volume is cut exactly; the authors round its part to whole slices and give the "
            "rest to the last",
            "slices of two orientations never share a part, where several are pooled",
            "the common backbone of the protocol",
        ),
    )
    Options = GCLOptions
    options: GCLOptions
    published = Published(
        stages={
            "global": Optimisation(
                optimizer="sgd",
                lr=0.1,
                batch=32,
                weight_decay=1e-5,
                source="the same authors' script for PCL; they print none for this baseline",
            )
        },
        unknown=("the authors' augmentation, geometry alone with mirrors and any rotation",),
    )

    def stages(self) -> tuple[Stage, ...]:
        """One stage on the encoder; slices are drawn uniformly, as the authors draw them."""
        return (Stage(name="global"),)

    def objective(self, stage: Stage, backbone: Backbone) -> Objective:
        """The partition contrast with its head."""
        options = self.options
        return RelationContrast(
            backbone,
            lambda info: same(parts(info.position, options.partitions)),
            options.temperature,
            options.dim,
        )
