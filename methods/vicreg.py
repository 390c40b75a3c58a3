"""VICReg: two views of a slice agree, while every dimension varies and none repeats another.

Bardes, Ponce, LeCun: VICReg: variance-invariance-covariance regularization for
self-supervised learning. ICLR 2022, arXiv 2105.04906.

    L = 25 * S + 25 * V + 1 * K
    S = (1 / BD) sum_b ||z_b - z'_b||^2
    V = mean over dimensions j and both views of max(0, 1 - sqrt(var(z_j) + 1e-4))
    K = sum over both views of (1 / D) sum_{i != j} cov(z_i, z_j)^2

with variance and covariance over the batch, divided by B - 1. This is what the authors'
code computes; the paper's equations have S without 1 / D and V as a sum over the views.
B embeddings span B - 1 directions, so that with D far above B some covariance always
remains and the deviations settle below 1.
"""

from __future__ import annotations

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

if TYPE_CHECKING:
    from contrabench import Backbone


class VICRegOptions(Options):
    """Options of VICReg."""

    invariance: float = Field(25.0, ge=0, description="weight of S (paper: 25)")
    variance: float = Field(25.0, ge=0, description="weight of V (paper: 25)")
    covariance: float = Field(1.0, ge=0, description="weight of K (paper: 1)")
    width: int | None = Field(
        None,
        gt=0,
        description="of the expander's three layers; None: four times the channels of the "
        "bottleneck, as 8192 to 2048 in the paper, but at most 2048",
    )


def mean_deviation(first: Tensor, second: Tensor) -> Tensor:
    """Mean standard deviation of the dimensions of two (B, D) views; V asks for at least 1."""
    return torch.stack([exact(z).std(dim=0).mean() for z in (first, second)]).mean()


class VarianceInvarianceCovariance(Objective):
    """VICReg on the pooled bottleneck."""

    def __init__(self, backbone: Backbone, options: VICRegOptions) -> None:
        super().__init__()
        self.options = options
        self.head = expander(backbone.channels["centre"], options.width)

    def forward(self, backbone: Backbone, batch: Batch) -> StepResult:
        """The loss of one batch of two views."""
        first, second = (
            self.head(backbone.pooled(view.image, ("centre",))["centre"]) for view in batch.views
        )
        options = self.options
        loss = vicreg_terms(first, second, options.invariance, options.variance, options.covariance)
        return StepResult(loss, {"deviation": mean_deviation(first.detach(), second.detach())})


@register_method("vicreg")
class VICReg(Method):
    """Variance, invariance and covariance of whole slices."""

    info = MethodInfo(
        title="VICReg",
        family="contrast before",
        kind="decorrelation",
        paper="Bardes et al., ICLR 2022, arXiv 2105.04906",
        fidelity="re-implementation",
        against_collapse="decorrelation",
        inferred=(
            "the expander sits on the U-Net's pooled bottleneck; the paper has no U-Net",
            "an expander four times as wide as the bottleneck, at most 2048, instead of 8192",
            "the terms are scaled as in the authors' code, which differs from the equations",
            "AdamW and the common augmentation of the protocol instead of LARS, colour jitter, "
            "and solarised or blurred views",
        ),
    )
    Options = VICRegOptions
    options: VICRegOptions
    published = Published(
        stages={
            "global": Optimisation(
                optimizer="lars",
                lr=0.2,
                lr_batch=256,
                batch=2048,
                weight_decay=1e-6,
                warmup=0.01,
                source="authors' code, as run for 1000 epochs: 10 of them warm-up",
            )
        },
        unknown=(
            "the cosine ends at a thousandth of the peak rate, here at zero",
            "the expander keeps its proportion; 8192 goes with batches of 2048",
        ),
    )

    def stages(self) -> tuple[Stage, ...]:
        """One stage on the encoder."""
        return (Stage(name="global"),)

    def objective(self, stage: Stage, backbone: Backbone) -> Objective:
        """The three terms with their expander."""
        return VarianceInvarianceCovariance(backbone, self.options)
