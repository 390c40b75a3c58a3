"""The module that a method returns for a stage, and what it returns for a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from contrabench.contracts.backbone import Backbone
from contrabench.contracts.views import Batch


@dataclass(frozen=True)
class StepResult:
    """What one step computes: a scalar loss with a gradient.

    `logs` are named scalars for the record and the progress line, detached.
    """

    loss: Tensor
    logs: Mapping[str, Tensor] = field(default_factory=dict)


class Objective(nn.Module, ABC):
    """The loss of one stage with the heads it needs.

    Its parameters are trained beside the declared parts of the backbone; its buffers
    (queues, prototypes, momentum copies) are saved and restored with every checkpoint.
    """

    @abstractmethod
    def forward(self, backbone: Backbone, batch: Batch) -> StepResult:
        """Computes the loss of one mini-batch."""

    def after_step(self, backbone: Backbone, progress: float) -> None:
        """Hook after every optimiser step, for momentum encoders and queues.

        The backbone is as just updated; `progress` is the share of steps done, in (0, 1].
        """
