"""Instance contrast of whole slices, the loss of SimCLR and of the control beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contrabench.objectives.base import Objective, StepResult
from contrabench.objectives.contrast import nt_xent
from contrabench.objectives.heads import GlobalHead

if TYPE_CHECKING:
    from contrabench.model.unet import UNet
    from contrabench.views.batch import Batch


class InstanceContrast(Objective):
    """NT-Xent on the pooled bottleneck.

    Args:
        backbone: gives the channels.
        temperature: tau.
        dim: length of the embedding.
    """

    def __init__(self, backbone: UNet, temperature: float, dim: int) -> None:
        super().__init__()
        self.head = GlobalHead(backbone.channels["centre"], dim)
        self.temperature = temperature

    def forward(self, backbone: UNet, batch: Batch) -> StepResult:
        """The loss of one batch of two views."""
        first, second = (
            self.head(backbone.features(view.image, ("centre",))["centre"]) for view in batch.views
        )
        return StepResult(nt_xent(first, second, self.temperature))
