"""Instance contrast of whole slices, as in SimCLR."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contrabench.objectives.base import Objective, StepResult
from contrabench.objectives.contrast import nt_xent
from contrabench.objectives.heads import GlobalHead

if TYPE_CHECKING:
    from contrabench.model.unet import UNet
    from contrabench.views.batch import Batch


class InstanceContrast(Objective):
    """NT-Xent on a pooled map.

    Args:
        backbone: gives the channels.
        temperature: tau.
        dim: length of the embedding.
        tap: the map; the bottleneck, unless told otherwise.
        linear: a head without a ReLU.
    """

    def __init__(
        self,
        backbone: UNet,
        temperature: float,
        dim: int,
        tap: str = "centre",
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.head = GlobalHead(backbone.channels[tap], dim, linear=linear)
        self.temperature, self.tap = temperature, tap

    def forward(self, backbone: UNet, batch: Batch) -> StepResult:
        """The loss of one batch of two views."""
        first, second = (
            self.head(backbone.features(view.image, (self.tap,))[self.tap]) for view in batch.views
        )
        return StepResult(nt_xent(first, second, self.temperature))
