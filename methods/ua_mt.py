"""UA-MT: mean teacher where the teacher is certain.

Yu et al., MICCAI 2019, arXiv 1907.07034; as in SSL4MIS. The teacher predicts a slice under several
noises; m is the mean of its probabilities and H = -sum_c m log m their entropy. Added is

    w(t) sum_pixels [H < h(t)] mean_c (p - q)^2 / sum_pixels [H < h(t)]

with h(t) = (0.75 + 0.25 exp(-5 (1 - t)^2)) log C. The authors' h has log 2, and their sum over
classes is divided by 2, both from the two classes of their first data: `literal` does so.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from contrabench import (
    JointBatch,
    JointMethod,
    JointObjective,
    JointStage,
    MethodInfo,
    Network,
    Options,
    StepResult,
    Stream,
    Supervised,
    register_method,
)
from contrabench.contracts.views import FINETUNE_VIEW
from contrabench.objectives.consistency import Teacher, certain_below, entropy, noisy, ramp


class UAMTOptions(Options):
    """Options of UA-MT; defaults as in SSL4MIS, scaled to the supervised loss here."""

    weight: float = Field(0.2, ge=0, description="w, at the end of its ramp")
    ramp: float = Field(1.0, ge=0, le=1, description="share of the training that the ramp lasts")
    keep: float = Field(0.99, ge=0, le=1, description="share that the teacher keeps of itself")
    noise: float = Field(
        0.7, ge=0, description="deviation of the noise, in deviations of the image"
    )
    passes: int = Field(8, ge=1, description="of the teacher, for its entropy")
    literal: bool = Field(False, description="log 2 and a division by 2, whatever the classes")


class CertainConsistency(JointObjective):
    """Squared difference of probabilities where the teacher's entropy is low."""

    def __init__(self, network: Network, options: UAMTOptions) -> None:
        super().__init__()
        self.options = options
        self.average = Teacher(network, options.keep)

    def forward(self, network: Network, batch: JointBatch, supervised: Supervised) -> StepResult:
        """The term of one batch."""
        options, image = self.options, batch.streams[0].views[0].image
        generator = batch.generator("noise")

        def taught() -> Tensor:
            logits = self.average.logits(noisy(image, options.noise, generator))
            return torch.softmax(logits, dim=1)

        target = taught()
        mean = torch.stack([taught() for _ in range(options.passes)]).mean(0)
        classes = 2 if options.literal else network.classes
        sure = entropy(mean) < certain_below(batch.progress, classes)
        square = (torch.softmax(network.logits(image), dim=1) - target).square().sum(1) / classes
        term = (square * sure).sum() / sure.sum().clamp(min=1)
        return StepResult(term, {"certain": sure.float().mean()})

    def weight_at(self, progress: float) -> float:
        """w(t)."""
        return self.options.weight * ramp(progress, self.options.ramp)

    def after_step(self, network: Network, progress: float) -> None:
        """The teacher follows."""
        self.average.update(network)

    def teacher(self) -> Network:
        """The average."""
        return self.average.copied


@register_method("ua_mt")
class UAMT(JointMethod):
    """Consistency with an averaged teacher where it is certain."""

    info = MethodInfo(
        title="UA-MT",
        family="consistency",
        kind="averaged teacher",
        paper="Yu et al., MICCAI 2019, arXiv 1907.07034; SSL4MIS",
        fidelity="re-implementation",
        inferred=(
            "threshold and division follow the number of classes",
            "no dropout in the network: the passes differ by their noise alone",
            "the teacher averages running statistics too and predicts by them",
            "noise of 0.7 deviations of the image: the authors' 0.1 of images in [0, 1], whose "
            "own deviation is 0.135 (median of ten volumes of ACDC)",
        ),
        against_collapse="nothing",
        version=2,
    )
    Options = UAMTOptions
    options: UAMTOptions

    def joint_stages(self) -> tuple[JointStage, ...]:
        """One, with one view of each slice without a label."""
        return (JointStage(name="consistency", streams=(Stream(views=(FINETUNE_VIEW,)),)),)

    def joint_objective(self, stage: JointStage, network: Network) -> JointObjective:
        """The consistency term with its teacher."""
        return CertainConsistency(network, self.options)
