"""SimSiam: each view's embedding is predicted from the other's, and the gradient stops there.

Chen, He: Exploring simple Siamese representation learning. CVPR 2021, arXiv 2011.10566.

    L = -1/2 mean_i cos(h(z1_i), stop(z2_i))  -  1/2 mean_i cos(h(z2_i), stop(z1_i))

with z the projection of a view and h the predictor. There are neither negatives nor a
second network: what keeps the embeddings apart is the stopped gradient and the predictor.
That is little on small data, so the spread of the embeddings is logged: near 1 they point
everywhere, at 0 they have collapsed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from contrabench import (
    Batch,
    Method,
    MethodInfo,
    Objective,
    Optimisation,
    Published,
    Stage,
    StepResult,
    register_method,
)
from contrabench.objectives.prediction import negative_cosine, spread

if TYPE_CHECKING:
    from contrabench import Backbone


def siamese_loss(predictions: tuple[Tensor, Tensor], projections: tuple[Tensor, Tensor]) -> Tensor:
    """Negative cosine of prediction and the other view's projection, mean of both directions.

    Args:
        predictions: (B, D) for the first and the second view.
        projections: (B, D) of the same views; they get no gradient as targets.
    """
    forth = negative_cosine(predictions[0], projections[1])
    back = negative_cosine(predictions[1], projections[0])
    return (forth + back) / 2


class Siamese(Objective):
    """Mutual prediction of two views, on the pooled bottleneck."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        # lightly pulls torchvision, seconds that only these heads should cost.
        from lightly.models.modules.heads import SimSiamPredictionHead, SimSiamProjectionHead

        width = backbone.channels["centre"]
        self.projector = SimSiamProjectionHead(width, width, width)
        self.predictor = SimSiamPredictionHead(width, width // 4, width)

    def forward(self, backbone: Backbone, batch: Batch) -> StepResult:
        """The loss of one batch of two views."""
        first, second = (
            self.projector(backbone.pooled(view.image, ("centre",))["centre"])
            for view in batch.views
        )
        predictions = self.predictor(first), self.predictor(second)
        return StepResult(siamese_loss(predictions, (first, second)), {"spread": spread(first)})


@register_method("simsiam")
class SimSiam(Method):
    """Siamese prediction of whole slices without negatives."""

    info = MethodInfo(
        title="SimSiam",
        family="contrast before",
        kind="self-distillation",
        paper="Chen and He, CVPR 2021, arXiv 2011.10566",
        fidelity="re-implementation",
        against_collapse="asymmetry",
        inferred=(
            "the heads sit on the U-Net's pooled bottleneck and are as wide as it has channels, "
            "the predictor a quarter of that (paper: 2048 and 512, on 2048 channels)",
            "the predictor's rate falls with all others instead of staying constant",
            "AdamW and the common augmentation of the protocol instead of SGD and colour jitter",
        ),
    )
    published = Published(
        stages={
            "global": Optimisation(
                optimizer="sgd",
                lr=0.05,
                lr_batch=256,
                batch=512,
                weight_decay=1e-4,
                source="authors' code, main_simsiam.py",
            )
        },
        unknown=(
            "the predictor's constant rate: the harness has one rate for all parameters",
            "colour jitter, grey and blur for photographs: the common augmentation stays",
        ),
    )

    def stages(self) -> tuple[Stage, ...]:
        """One stage on the encoder."""
        return (Stage(name="global"),)

    def objective(self, stage: Stage, backbone: Backbone) -> Objective:
        """The loss with its heads."""
        return Siamese(backbone)
