"""Barlow Twins: the same dimension of two views agrees, different dimensions do not.

Zbontar, Jing, Misra, LeCun, Deny: Barlow Twins: self-supervised learning via redundancy
reduction. ICML 2021, arXiv 2103.03230.

    L = sum_i (1 - C_ii)^2 + lambda * sum_{i != j} C_ij^2

where C_ij is the correlation, over the batch, of dimension i of one view's embedding with
dimension j of the other's. There are no negatives and no second network: embeddings that
are all equal have no correlation, and copies of one dimension are punished. The rank of C is
at most B - 1, so that with D far above B the second sum stays well above zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor
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
from contrabench.objectives.heads import expander

if TYPE_CHECKING:
    from contrabench import Backbone


class BarlowTwinsOptions(Options):
    """Options of Barlow Twins."""

    redundancy: float = Field(
        0.0051, ge=0, description="lambda, the weight of the second sum (authors' code: 0.0051)"
    )
    width: int | None = Field(
        None,
        gt=0,
        description="of the projector's three layers; None: four times the channels of the "
        "bottleneck, as 8192 to 2048 in the paper, but at most 2048",
    )


def barlow_twins_loss(first: Tensor, second: Tensor, redundancy: float) -> Tensor:
    """Cross-correlation against the identity (Zbontar et al., ICML 2021, eq. 1 and 2).

    Every dimension is standardised over the batch with its biased variance plus 1e-5, as
    the authors' code does. Computed by lightly's `BarlowTwinsLoss`.

    Args:
        first: (B, D) embeddings of one view, B at least 2.
        second: (B, D) of the other.
        redundancy: lambda.

    Returns:
        Scalar; it grows with D.
    """
    # lightly pulls torchvision, seconds that only this loss should cost.
    from lightly.loss import BarlowTwinsLoss

    with torch.autocast(first.device.type, enabled=False):
        loss: Tensor = BarlowTwinsLoss(lambda_param=redundancy)(exact(first), exact(second))
    return loss


def mean_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Mean of C_ii: 1 where every dimension of the two (B, D) views agrees, 0 by chance."""
    a, b = (functional.normalize(exact(z - z.mean(dim=0)), dim=0) for z in (first, second))
    return (a * b).sum(dim=0).mean()


class CrossCorrelation(Objective):
    """Barlow Twins on the pooled bottleneck."""

    def __init__(self, backbone: Backbone, options: BarlowTwinsOptions) -> None:
        super().__init__()
        self.redundancy = options.redundancy
        self.head = expander(backbone.channels["centre"], options.width)

    def forward(self, backbone: Backbone, batch: Batch) -> StepResult:
        """The loss of one batch of two views."""
        first, second = (
            self.head(backbone.pooled(view.image, ("centre",))["centre"]) for view in batch.views
        )
        loss = barlow_twins_loss(first, second, self.redundancy)
        return StepResult(loss, {"correlation": mean_correlation(first.detach(), second.detach())})


@register_method("barlow_twins")
class BarlowTwins(Method):
    """Redundancy reduction of whole slices."""

    info = MethodInfo(
        title="Barlow Twins",
        family="contrast before",
        kind="decorrelation",
        paper="Zbontar et al., ICML 2021, arXiv 2103.03230",
        fidelity="re-implementation",
        against_collapse="decorrelation",
        inferred=(
            "the projector sits on the U-Net's pooled bottleneck; the paper has no U-Net",
            "a projector four times as wide as the bottleneck, at most 2048, instead of 8192",
            "AdamW and the common augmentation of the protocol instead of LARS, colour jitter, "
            "and solarised or blurred views",
        ),
    )
    Options = BarlowTwinsOptions
    options: BarlowTwinsOptions
    published = Published(
        stages={
            "global": Optimisation(
                optimizer="lars",
                lr=0.2,
                lr_batch=256,
                batch=2048,
                weight_decay=1e-6,
                warmup=0.01,
                source="authors' code: 10 of 1000 epochs of warm-up",
            )
        },
        unknown=(
            "biases and gains have a rate of their own, 0.0048 per 256 images",
            "the cosine ends at a thousandth of the peak rate, here at zero",
            "the projector keeps its proportion; 8192 goes with batches of 2048",
        ),
    )

    def stages(self) -> tuple[Stage, ...]:
        """One stage on the encoder."""
        return (Stage(name="global"),)

    def objective(self, stage: Stage, backbone: Backbone) -> Objective:
        """Cross-correlation with its projector."""
        return CrossCorrelation(backbone, self.options)
