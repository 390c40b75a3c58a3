"""Instance contrast of whole slices, as in SimCLR."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from contrabench.contracts.objective import Objective, StepResult
from contrabench.objectives.contrast import nt_xent, position_contrast, same
from contrabench.objectives.heads import GlobalHead

if TYPE_CHECKING:
    from contrabench.contracts.backbone import Backbone
    from contrabench.contracts.views import Batch, SliceInfo


class InstanceContrast(Objective):
    """NT-Xent on a pooled map.

    Args:
        backbone: gives the channels.
        temperature: tau.
        dim: length of the embedding.
        tap: the map; the deepest if None.
        linear: a head without a ReLU.
    """

    def __init__(
        self,
        backbone: Backbone,
        temperature: float,
        dim: int,
        tap: str | None = None,
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.temperature, self.tap = temperature, tap or backbone.deepest
        self.head = GlobalHead(backbone.channels[self.tap], dim, linear=linear)

    def forward(self, backbone: Backbone, batch: Batch) -> StepResult:
        """The loss of one batch of two views."""
        first, second = (
            self.head(backbone.features(view.image, (self.tap,))[self.tap]) for view in batch.views
        )
        return StepResult(nt_xent(first, second, self.temperature))


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
