"""Contrast of whole slices in which a relation says who attracts whom, as in PCL."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from contrabench.contracts.objective import Objective, StepResult
from contrabench.objectives.heads import GlobalHead
from contrabench.objectives.positives import position_contrast, same

if TYPE_CHECKING:
    from contrabench.contracts.backbone import Backbone
    from contrabench.contracts.views import Batch, SliceInfo


class RelationContrast(Objective):
    """Many-positives contrast on the pooled bottleneck.

    Slices of two orientations never attract, where several are pooled.

    Args:
        backbone: gives the channels.
        related: from what is known of B slices to (B, B) bool, true on the diagonal.
        temperature: tau.
        dim: length of the embedding.
    """

    def __init__(
        self,
        backbone: Backbone,
        related: Callable[[SliceInfo], Tensor],
        temperature: float,
        dim: int,
    ) -> None:
        super().__init__()
        self.related, self.temperature = related, temperature
        self.tap = backbone.deepest
        self.head = GlobalHead(backbone.channels[self.tap], dim)

    def forward(self, backbone: Backbone, batch: Batch) -> StepResult:
        """The loss of one batch of two views."""
        first, second = (
            self.head(backbone.features(view.image, (self.tap,))[self.tap]) for view in batch.views
        )
        related = self.related(batch.info) & same(batch.info.orientation)
        return StepResult(position_contrast(first, second, related, self.temperature))
