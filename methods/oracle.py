"""The ceiling of every pre-training: supervised, with the masks of all training patients.

What fine-tuning loses of it, no method can be blamed for; and a study in which it does not stand
far above its row from scratch cannot tell methods apart. It breaks rule 2, says so, and is never
ranked. The loss is that of fine-tuning, in its view of a slice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field
from torch import nn

from contrabench import (
    Batch,
    Method,
    MethodInfo,
    Objective,
    Options,
    Published,
    Stage,
    StepResult,
    register_method,
)
from contrabench.contracts.views import FINETUNE_VIEW
from contrabench.model.segmentation import SegmentationLoss
from contrabench.protocol import ENCODER, HEAD, PARTS

if TYPE_CHECKING:
    from contrabench import Backbone


class OracleOptions(Options):
    """Options of the oracle."""

    parts: Literal["all", "encoder"] = Field(
        "all", description="what is handed over: the network with its head, or its encoder"
    )


class Supervision(Objective):
    """Cross-entropy and soft Dice of a head on the finest map."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.tap, self.criterion = backbone.finest, SegmentationLoss()
        self.channels = backbone.channels[self.tap]

    def classify(self, classes: int) -> None:
        """One 1 x 1 convolution, as in fine-tuning."""
        self.head = nn.Conv2d(self.channels, classes, 1)

    def segmentation_head(self) -> nn.Module:
        """That convolution."""
        return self.head

    def forward(self, backbone: Backbone, batch: Batch) -> StepResult:
        """The loss of one batch."""
        view = batch.views[0]
        logits = self.head(backbone.features(view.image, (self.tap,))[self.tap])
        return StepResult(self.criterion({self.tap: logits}, view.label.long()))


@register_method("oracle")
class Oracle(Method):
    """Pre-training that knows what no method may know."""

    info = MethodInfo(
        title="Oracle",
        family="control",
        paper="none: a control, pre-trained with the masks of all training patients",
        fidelity="official",
        needs=("masks of all training patients in pre-training",),
        against_collapse="nothing",
    )
    Options = OracleOptions
    options: OracleOptions
    of_hand_off = ("parts",)
    # A control is there under any recipe.
    published = Published(stages={})

    def stages(self) -> tuple[Stage, ...]:
        """One stage on every slice with a mask."""
        return (
            Stage(
                name="supervised",
                views=(FINETUNE_VIEW,),
                trains=PARTS,
                labels=True,
                labelled_slices_only=True,
                every_label=True,
            ),
        )

    def objective(self, stage: Stage, backbone: Backbone) -> Objective:
        """The loss of fine-tuning with a head of its own."""
        return Supervision(backbone)

    def transfers(self) -> tuple[str, ...]:
        """The whole network, or its encoder."""
        return (*PARTS, HEAD) if self.options.parts == "all" else ENCODER
