"""Mean teacher: predictions that agree with those of an averaged network under noise.

Tarvainen and Valpola, NeurIPS 2017, arXiv 1703.01780; for segmentation as in SSL4MIS
(Luo et al., code/train_mean_teacher_2D.py). Added to the supervised loss is

    w(t) mean_{B, C, H, W} ( softmax f(u) - softmax f'(u + n) )^2

with u a slice without a label, f' the average of the student f, n noise on the teacher's input
alone, clipped at twice its deviation, and w(t) = w exp(-5 (1 - t)^2) over the whole training. The
authors weigh half the supervised loss, so that w is 0.2 here.
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
from contrabench.objectives.consistency import Teacher, noisy, ramp


class MeanTeacherOptions(Options):
    """Options of mean teacher; defaults as in SSL4MIS, scaled to the supervised loss here."""

    weight: float = Field(0.2, ge=0, description="w, at the end of its ramp")
    ramp: float = Field(1.0, ge=0, le=1, description="share of the training that the ramp lasts")
    keep: float = Field(0.99, ge=0, le=1, description="share that the teacher keeps of itself")
    noise: float = Field(
        0.7, ge=0, description="deviation of the noise, in deviations of the image"
    )


class Consistency(JointObjective):
    """Squared difference of the probabilities of student and teacher."""

    def __init__(self, network: Network, options: MeanTeacherOptions) -> None:
        super().__init__()
        self.options = options
        self.average = Teacher(network, options.keep)

    def forward(self, network: Network, batch: JointBatch, supervised: Supervised) -> StepResult:
        """The term of one batch."""
        image = batch.streams[0].views[0].image
        seen = noisy(image, self.options.noise, batch.generator("noise"))
        term = disagreement(network.logits(image), self.average.logits(seen))
        return StepResult(term, {"disagreement": term.detach()})

    def weight_at(self, progress: float) -> float:
        """w(t)."""
        return self.options.weight * ramp(progress, self.options.ramp)

    def after_step(self, network: Network, progress: float) -> None:
        """The teacher follows."""
        self.average.update(network)

    def teacher(self) -> Network:
        """The average."""
        return self.average.copied


def disagreement(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the softmax of logits (B, C, H, W), over all four axes."""
    return (torch.softmax(student, 1) - torch.softmax(teacher, 1)).square().mean()


@register_method("mean_teacher")
class MeanTeacher(JointMethod):
    """Consistency with an averaged teacher during fine-tuning."""

    info = MethodInfo(
        title="Mean teacher",
        family="consistency",
        kind="averaged teacher",
        paper="Tarvainen and Valpola, NeurIPS 2017, arXiv 1703.01780; SSL4MIS",
        fidelity="re-implementation",
        inferred=(
            "the teacher averages running statistics too and is used by them",
            "no dropout in the network: the noise alone makes the two differ",
            "no pause of the term in the first 1000 steps",
            "noise of 0.7 deviations of the image: the authors' 0.1 of images in [0, 1], whose "
            "own deviation is 0.135 (median of ten volumes of ACDC)",
        ),
        against_collapse="nothing",
        version=2,
    )
    Options = MeanTeacherOptions
    options: MeanTeacherOptions

    def joint_stages(self) -> tuple[JointStage, ...]:
        """One, with one view of each slice without a label."""
        return (JointStage(name="consistency", streams=(Stream(views=(FINETUNE_VIEW,)),)),)

    def joint_objective(self, stage: JointStage, network: Network) -> JointObjective:
        """The consistency term with its teacher."""
        return Consistency(network, self.options)
