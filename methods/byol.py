"""BYOL: the online network predicts what a slowly following target makes of another view.

Grill, Strub, Altché, Tallec, Richemond, Buchatskaya, Doersch, Avila Pires, Guo,
Gheshlaghi Azar, Piot, Kavukcuoglu, Munos, Valko: Bootstrap your own latent. NeurIPS 2020,
arXiv 2006.07733.

    L = mean_i ( 2 - 2 cos(q(z_i), z'_i) )  +  the same with the views exchanged

with z the online projection of one view, q the predictor, and z' the target's projection of
the other view. Target backbone and projector get no gradient; after step k of K they keep
1 - (1 - m) (cos(pi k / K) + 1) / 2 of themselves and take the rest from the online ones.

Nothing repels: what keeps the embeddings apart is the predictor, which the target lacks, the
target's slowness, and the batch normalisation in the heads. Their spread is logged: near 1
they point everywhere, at 0 they have collapsed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor, nn

from contrabench import (
    Batch,
    Intensity,
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
from contrabench.objectives.momentum import MomentumCopy, cosine_momentum
from contrabench.objectives.prediction import negative_cosine, spread

if TYPE_CHECKING:
    from contrabench import Backbone


class BYOLOptions(Options):
    """Options of BYOL."""

    dim: int = Field(
        128, gt=0, description="length of the embedding (paper: 256, of 2048 channels)"
    )
    momentum: float = Field(
        0.99,
        ge=0,
        lt=1,
        description="share that the target keeps of itself in the first step, on its way to 1 "
        "(authors' code: 0.99 for 100 epochs, 0.996 for 1000)",
    )


def bootstrap_loss(predictions: tuple[Tensor, Tensor], targets: tuple[Tensor, Tensor]) -> Tensor:
    """2 - 2 cos of prediction and the other view's target, summed over both directions.

    Args:
        predictions: (B, D) of the online network for the first and the second view.
        targets: (B, D) of the target network for the same views; they get no gradient.
    """
    forth = negative_cosine(predictions[0], targets[1])
    back = negative_cosine(predictions[1], targets[0])
    return 4 + 2 * (forth + back)


def _head(inputs: int, hidden: int, dim: int) -> nn.Module:
    """Linear - BN - ReLU - Linear; as in the authors' code the last layer has no bias."""
    # lightly pulls torchvision, seconds that only this head should cost.
    from lightly.models.modules.heads import ProjectionHead

    head: nn.Module = ProjectionHead(
        [
            (inputs, hidden, nn.BatchNorm1d(hidden), nn.ReLU(inplace=True)),
            (hidden, dim, None, None, False),
        ]
    )
    return head


class Bootstrap(Objective):
    """Prediction of the target's projection, on the pooled bottleneck."""

    def __init__(self, backbone: Backbone, options: BYOLOptions) -> None:
        super().__init__()
        channels = backbone.channels["centre"]
        self.projector = _head(channels, 2 * channels, options.dim)
        self.predictor = _head(options.dim, 2 * channels, options.dim)
        self.target_backbone = MomentumCopy(backbone)
        self.target_projector = MomentumCopy(self.projector)
        self.momentum = options.momentum

    def forward(self, backbone: Backbone, batch: Batch) -> StepResult:
        """The loss of one batch of two views."""
        first, second = (view.image for view in batch.views)
        online = (
            _project(backbone, self.projector, first),
            _project(backbone, self.projector, second),
        )
        predictions = self.predictor(online[0]), self.predictor(online[1])
        target = self.target_backbone.copied, self.target_projector.copied
        with torch.no_grad():
            targets = _project(*target, first), _project(*target, second)
        return StepResult(bootstrap_loss(predictions, targets), {"spread": spread(online[0])})

    def after_step(self, backbone: Backbone, progress: float) -> None:
        """The target follows, ever more slowly."""
        keep = cosine_momentum(self.momentum, progress)
        self.target_backbone.follow(backbone, keep)
        self.target_projector.follow(self.projector, keep)


def _project(backbone: Backbone, projector: nn.Module, image: Tensor) -> Tensor:
    """Embeds one view, (B, dim)."""
    embedding: Tensor = projector(backbone.pooled(image, ("centre",))["centre"])
    return embedding


@register_method("byol")
class BYOL(Method):
    """Self-distillation of whole slices."""

    info = MethodInfo(
        title="BYOL",
        family="contrast before",
        kind="self-distillation",
        paper="Grill et al., NeurIPS 2020, arXiv 2006.07733",
        fidelity="re-implementation",
        against_collapse="asymmetry",
        inferred=(
            "the heads sit on the U-Net's pooled bottleneck, twice as wide as that has channels",
            "an embedding of 128 instead of 256, for a bottleneck narrower than a ResNet's",
            "the second view is never blurred (paper: one in ten); nothing is solarised",
            "AdamW and the common augmentation of the protocol instead of LARS and colour jitter",
        ),
    )
    Options = BYOLOptions
    options: BYOLOptions
    published = Published(
        stages={
            "global": Optimisation(
                optimizer="lars",
                lr=0.45,
                lr_batch=256,
                batch=4096,
                weight_decay=1e-6,
                warmup=0.1,
                source="authors' configuration for 100 epochs",
            )
        },
        options={"dim": 256},
        unknown=(
            "colour jitter, grey and solarisation for photographs: the common augmentation stays",
        ),
    )

    def stages(self) -> tuple[Stage, ...]:
        """One stage on the encoder, with views of different appearance."""
        sharp = ViewSpec(intensity=Intensity(blur_px=0.0))
        return (Stage(name="global", views=(ViewSpec(), sharp)),)

    def objective(self, stage: Stage, backbone: Backbone) -> Objective:
        """The loss with its heads and its target."""
        return Bootstrap(backbone, self.options)
