"""Slice order: where in its volume does a slice lie?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from contrabench import Batch, Method, MethodInfo, Objective, Options, Stage, StepResult, ViewSpec

if TYPE_CHECKING:
    from contrabench import Backbone


class SliceOrderOptions(Options):
    """What `-o key=value` can set."""

    tolerance: float = Field(
        0.05, gt=0, description="errors below this share of the volume count quadratically"
    )


class PositionLoss(Objective):
    """Smooth absolute error of the position in (0, 1], read off the pooled bottleneck."""

    def __init__(self, channels: int, tolerance: float) -> None:
        super().__init__()
        self.head = nn.Linear(channels, 1)
        self.tolerance = tolerance

    def forward(self, backbone: Backbone, batch: Batch) -> StepResult:
        """The loss of one mini-batch."""
        position: Tensor = batch.info.position
        centre = backbone.features(batch.views[0].image, ("centre",))["centre"]
        told = self.head(centre.mean(dim=(2, 3))).sigmoid().squeeze(1).float()
        loss = functional.smooth_l1_loss(told, position, beta=self.tolerance)
        return StepResult(loss, {"error": (told - position).abs().mean().detach()})


class SliceOrder(Method):
    """Pre-trains the encoder by telling the position of a slice."""

    info = MethodInfo(
        title="Slice order",
        family="pretext task",
        paper="none: an example of a plug-in package",
        fidelity="official",
        needs=("position of a slice in its volume",),
        against_collapse="nothing",
    )
    Options = SliceOrderOptions
    options: SliceOrderOptions

    def stages(self) -> tuple[Stage, ...]:
        """One stage on the encoder with one view of each slice."""
        return (Stage(name="position", views=(ViewSpec(),)),)

    def objective(self, stage: Stage, backbone: Backbone) -> Objective:
        """The loss with its head."""
        return PositionLoss(backbone.channels["centre"], self.options.tolerance)
