"""A method in one file, used without installing anything.

    bench methods check examples/loose_method.py
    bench run --method quarter_turns --plugin examples/loose_method.py --labels 10%

The network is shown each slice in its four quarter turns and told nothing; it has to say
which is which (Gidaris et al., ICLR 2018, arXiv 1803.07728).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from contrabench import (
    Batch,
    Method,
    MethodInfo,
    Objective,
    Options,
    Stage,
    StepResult,
    ViewSpec,
    register_method,
)

if TYPE_CHECKING:
    from contrabench import Backbone


class QuarterTurnOptions(Options):
    """What `-o key=value` can set."""

    smoothing: float = Field(0.0, ge=0, lt=1, description="label smoothing of the cross-entropy")


class QuarterTurnLoss(Objective):
    """Cross-entropy over the four turns of every slice."""

    def __init__(self, channels: int, smoothing: float) -> None:
        super().__init__()
        self.head = nn.Linear(channels, 4)
        self.smoothing = smoothing

    def forward(self, backbone: Backbone, batch: Batch) -> StepResult:
        """The loss of one mini-batch."""
        image = batch.views[0].image
        turned = torch.cat([torch.rot90(image, turn, dims=(2, 3)) for turn in range(4)])
        turns = torch.arange(4, device=batch.device).repeat_interleave(batch.size)
        centre = backbone.features(turned, ("centre",))["centre"]
        scores = self.head(centre.mean(dim=(2, 3)))
        loss = functional.cross_entropy(scores, turns, label_smoothing=self.smoothing)
        right = (scores.argmax(dim=1) == turns).float().mean()
        return StepResult(loss, {"accuracy": right.detach()})


@register_method("quarter_turns")
class QuarterTurns(Method):
    """Pre-trains the encoder by telling the four quarter turns of a slice apart."""

    info = MethodInfo(
        title="Quarter turns",
        family="pretext task",
        paper="Gidaris et al., ICLR 2018, arXiv 1803.07728",
        fidelity="re-implementation",
        inferred=("the head sits on the pooled bottleneck of the U-Net",),
        against_collapse="nothing",
    )
    Options = QuarterTurnOptions
    options: QuarterTurnOptions

    def stages(self) -> tuple[Stage, ...]:
        """One stage on the encoder with one view of each slice, of which four turns are made."""
        return (Stage(name="turns", views=(ViewSpec(),), passes=4),)

    def objective(self, stage: Stage, backbone: Backbone) -> Objective:
        """The loss with its head."""
        return QuarterTurnLoss(backbone.channels["centre"], self.options.smoothing)
