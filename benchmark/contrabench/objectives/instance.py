"""Objectives that contrast whole slices: a pooled map, a head, and one of the losses."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from contrabench.contracts.backbone import Backbone
from contrabench.contracts.objective import Objective, StepResult
from contrabench.contracts.views import Batch, SliceInfo
from contrabench.objectives.contrast import nt_xent, position_contrast, same
from contrabench.objectives.heads import GlobalHead


class InstanceContrast(Objective):
    """NT-Xent of the two views of each slice, as in SimCLR.

    Of embeddings of length `dim` of a pooled `tap` (None: the deepest); `linear`: no ReLU in it.
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

    def embed(self, backbone: Backbone, batch: Batch) -> list[Tensor]:
        """An embedding (B, dim) of each view."""
        return [
            self.head(backbone.pooled(view.image, (self.tap,))[self.tap]) for view in batch.views
        ]

    def forward(self, backbone: Backbone, batch: Batch) -> StepResult:
        """The loss of one batch of two views."""
        first, second = self.embed(backbone, batch)
        return StepResult(nt_xent(first, second, self.temperature))


class RelationContrast(InstanceContrast):
    """Contrast with many positives, where a relation says which slices attract, as in PCL.

    `related` leads from what is known of B slices to (B, B) bool, true on the diagonal. Slices
    of two orientations never attract, where several are pooled.
    """

    def __init__(
        self,
        backbone: Backbone,
        related: Callable[[SliceInfo], Tensor],
        temperature: float,
        dim: int,
    ) -> None:
        super().__init__(backbone, temperature, dim)
        self.related = related

    def forward(self, backbone: Backbone, batch: Batch) -> StepResult:
        """The loss of one batch of two views."""
        first, second = self.embed(backbone, batch)
        related = self.related(batch.info) & same(batch.info.orientation)
        return StepResult(position_contrast(first, second, related, self.temperature))
