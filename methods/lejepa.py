"""LeJEPA: the views of a slice meet in one point, and all points together are a Gaussian cloud.

Balestriero, LeCun: LeJEPA: provable and scalable self-supervised learning without the
heuristics. 2025, arXiv 2511.08544; as lightly computes it.

    L = lambda * G + (1 - lambda) * A
    A = mean over views v, slices b and dimensions of ( m_b - z_vb )^2,  m_b = mean_{full v} z_vb
    G = mean over views v and random directions a of
            B * integral_{-3}^{3} | (1 / B) sum_b e^{i t <a, z_vb>} - e^{-t^2 / 2} |^2
                                  e^{-t^2 / 2} dt

with embeddings z that are not normalised. G is the test of Epps and Pulley that the shadow of a
view's embeddings on a direction is a standard normal sample; the integral is a trapezoidal rule.
No teacher, no stopped gradient, no negatives: collapsed embeddings fail the test.

Independent Gaussian embeddings cost G = 1.052 whatever the batch, all zeros 0.402 B: B stands
before the integral, so that lambda weighs more with larger batches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor, nn

from contrabench import (
    Batch,
    Method,
    MethodInfo,
    Objective,
    Optimisation,
    Options,
    Published,
    Spatial,
    Stage,
    StepResult,
    ViewSpec,
    register_method,
)
from contrabench.objectives.contrast import exact
from contrabench.objectives.drawing import sent
from contrabench.objectives.heads import pooled

if TYPE_CHECKING:
    from contrabench import Backbone

_FULL = 2
_SMALL_CROP = ViewSpec(scale=0.5, spatial=Spatial(crop_area=(0.1, 0.4)))
_KNOTS, _FURTHEST = 17, 3.0


class LeJEPAOptions(Options):
    """Options of LeJEPA."""

    weight: float = Field(
        0.05, ge=0, le=1, description="lambda (lightly: 0.05; in the paper 0.01 to 0.1)"
    )
    directions: int = Field(1024, gt=0, description="drawn anew in every step (lightly: 1024)")
    dim: int = Field(64, gt=0, description="length of the embedding (lightly: 64)")
    small_crops: int = Field(4, ge=0, le=8, description="beside the two full views (lightly: 6)")


class GaussianTest(nn.Module):
    """G, with so many directions."""

    knots: Tensor
    normal: Tensor
    weights: Tensor

    def __init__(self, directions: int) -> None:
        super().__init__()
        self.directions = directions
        knots = torch.linspace(0, _FURTHEST, _KNOTS)
        # Both halves of the integral are alike.
        weights = torch.full((_KNOTS,), 2 * _FURTHEST / (_KNOTS - 1))
        weights[0] = weights[-1] = _FURTHEST / (_KNOTS - 1)
        normal = (-knots.square() / 2).exp()
        for name, values in (("knots", knots), ("normal", normal), ("weights", weights * normal)):
            self.register_buffer(name, values, persistent=False)

    def forward(self, views: Tensor, generator: torch.Generator) -> Tensor:
        """Scalar for embeddings (V, B, D) of float32 at least."""
        shape = (views.shape[2], self.directions)
        drawn = torch.randn(shape, generator=generator, dtype=views.dtype)
        shadow = views @ sent(drawn / drawn.norm(dim=0), views.device)
        phases = shadow[..., None] * self.knots
        real, imaginary = phases.cos().mean(-3), phases.sin().mean(-3)
        error = (real - self.normal).square() + imaginary.square()
        return (error @ self.weights.to(error.dtype)).mean() * views.shape[1]


def attraction(views: Tensor, full: int) -> Tensor:
    """A of embeddings (V, B, D), of which the first `full` views make the meeting points."""
    return (views[:full].mean(dim=0) - views).square().mean()


class GaussianViews(Objective):
    """LeJEPA on the pooled bottleneck."""

    def __init__(self, backbone: Backbone, options: LeJEPAOptions) -> None:
        super().__init__()
        # lightly's head has its layers and batch normalisation; imported here for its cost.
        from lightly.models.modules.heads import LeJEPAProjectionHead

        channels = backbone.channels[backbone.deepest]
        self.weight = options.weight
        self.head: nn.Module = LeJEPAProjectionHead(channels, 2 * channels, options.dim)
        self.gaussian = GaussianTest(options.directions)

    def forward(self, backbone: Backbone, batch: Batch) -> StepResult:
        """The loss of one batch of two full views and small crops."""
        images = [view.image for view in batch.views]
        # One pass of the head, so that its batch normalisation sees all crops together.
        embedded = self.head(pooled(backbone, images[:_FULL], images[_FULL:]))
        with torch.autocast(batch.device.type, enabled=False):
            views = exact(embedded).reshape(len(images), batch.size, -1)
            test = self.gaussian(views, batch.generator("directions"))
            apart = attraction(views, _FULL)
            loss = self.weight * test + (1 - self.weight) * apart
        return StepResult(loss, {"gaussian": test.detach(), "attraction": apart.detach()})


@register_method("lejepa")
class LeJEPA(Method):
    """Gaussian embeddings of whole slices, with small crops."""

    info = MethodInfo(
        title="LeJEPA",
        family="contrast before",
        kind="decorrelation",
        paper="Balestriero and LeCun, 2025, arXiv 2511.08544",
        fidelity="re-implementation",
        against_collapse="decorrelation",
        inferred=(
            "loss and head as in lightly 1.6, not checked against the authors' code; the head "
            "sits on the U-Net's pooled bottleneck and is twice as wide as that has channels",
            "lambda as lightly has it for any batch, although the test grows with the batch",
            "the head normalises full views and small crops together",
            "four small crops of half the side, but at least 32 pixels, and 0.1 to 0.4 of the area",
            "the common optimiser and augmentation of the protocol: no recipe for a convolutional "
            "network is known",
        ),
        version=2,
    )
    Options = LeJEPAOptions
    options: LeJEPAOptions
    published = Published(
        stages={
            "global": Optimisation(
                optimizer="adamw",
                lr=4e-4,
                batch=128,
                weight_decay=0.05,
                warmup=0.1,
                source="stable-pretraining, the authors' library: ViT-S on ImageNet-10, 2 of 20 "
                "epochs of warm-up",
            )
        },
        options={"small_crops": 6},
        unknown=(
            "there lambda is 0.02 of a loss of another scale, which tests all views as one sample",
            "crops of 0.3 to 1 and 0.05 to 0.3 of a photograph, jitter, solarisation: the views "
            "here stay",
            "the cosine ends at a hundredth of the peak rate, here at zero",
        ),
    )

    def stages(self) -> tuple[Stage, ...]:
        """One stage on the encoder, with several crops of each slice."""
        views = (ViewSpec(), ViewSpec(), *(_SMALL_CROP,) * self.options.small_crops)
        return (Stage(name="global", views=views),)

    def objective(self, stage: Stage, backbone: Backbone) -> Objective:
        """Both terms with their head."""
        return GaussianViews(backbone, self.options)
