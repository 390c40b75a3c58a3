"""The modules that a method returns for its stages, what they are given and what they return."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from contrabench.contracts.backbone import Backbone
from contrabench.contracts.views import Batch, Seeded


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

    def classify(self, classes: int) -> None:
        """Hook before training, for heads that classify: structures in the masks, and background.

        Their weights are drawn here, from torch's global generator, as in the constructor.
        """

    def segmentation_head(self) -> nn.Module | None:
        """The 1 x 1 convolution from the finest map to the classes; None without one.

        It is handed over where `transfers()` names `head`.
        """
        return None

    def after_step(self, backbone: Backbone, progress: float) -> None:
        """Hook after every optimiser step, for momentum encoders and queues.

        The backbone is as just updated; `progress` is the share of steps done, in (0, 1].
        """


class Network(nn.Module, ABC):
    """What is fine-tuned: a backbone with segmentation heads, the first at the finest tap."""

    backbone: Backbone
    classes: int  # structures and background

    @abstractmethod
    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Logits (B, classes, h, w) of images (B, C, H, W) for each head, by tap."""

    def logits(self, image: Tensor) -> Tensor:
        """Those of the finest head, (B, classes, H, W) in float32."""
        return self.decide(self.backbone.features(image, (self.backbone.finest,)))

    @abstractmethod
    def decide(self, maps: Mapping[str, Tensor]) -> Tensor:
        """The logits of the finest head from a backbone's maps, in float32."""


@dataclass(frozen=True)
class JointBatch(Seeded):
    """What a joint stage sees in a step."""

    holder = "joint"

    labelled: Batch  # one view, with masks
    streams: tuple[Batch, ...]  # as the stage declares them; masks are pseudo-labels, if it asks
    progress: float  # share of the steps done before this one, in [0, 1)
    seed: int  # of this step and micro-batch


Supervised = Callable[[Mapping[str, Tensor], Tensor], Tensor]
"""The loss of fine-tuning: logits by tap and classes (B, H, W), of which 255 is ignored."""


class JointObjective(nn.Module, ABC):
    """What a method adds to the supervised loss of fine-tuning, with the networks that it owns.

    Parameters are trained beside the whole network; buffers (a teacher, queues) are saved and
    restored with every checkpoint. `supervises` says that the labelled slices are mixed here, and
    that the engine adds no supervised loss of its own.
    """

    supervises: ClassVar[bool] = False

    @abstractmethod
    def forward(self, network: Network, batch: JointBatch, supervised: Supervised) -> StepResult:
        """Computes what is added to the supervised loss of a mini-batch, or takes its place."""

    def weight_at(self, progress: float) -> float:
        """What the engine weighs an added loss by in a step, `progress` as of its batch.

        At 0 it is not computed: the network, its running statistics included, is that of training
        without it.
        """
        return 1.0

    def after_step(self, network: Network, progress: float) -> None:
        """Hook after every optimiser step; `progress` is the share of steps done, in (0, 1]."""

    def teacher(self) -> Network | None:
        """The network that may be tested in place of the student; None without one."""
        return None
