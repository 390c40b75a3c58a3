"""My method: what it does during fine-tuning, in one line.

Who, title, venue and year, DOI or arXiv number; or that there is no paper yet. Until you
change it, this file is a mean teacher (Tarvainen and Valpola, NeurIPS 2017, arXiv 1703.01780)
whose student sees other grey values than its teacher. Added to the supervised loss is

    w(t) mean_{B, C, H, W} ( softmax f(u_s) - softmax f'(u_w) )^2

with u_w and u_s two views of one slice without a label, of the same geometry, f' the average of
the student f, and w(t) = w exp(-5 (1 - t)^2) over the training.

    bench methods check my_method.py
    bench run --method my_method --plugin my_method.py --labels 10%
    bench report
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from contrabench import (
    Intensity,
    JointBatch,
    JointMethod,
    JointObjective,
    JointStage,
    MethodInfo,
    Network,
    Options,
    Spatial,
    StepResult,
    Stream,
    Supervised,
    ViewSpec,
    register_method,
)
from contrabench.objectives.consistency import Teacher, ramp

WEAK = ViewSpec(spatial=Spatial(crop_area=(0.6, 1.0)), intensity=None)
STRONG = ViewSpec(spatial=None, intensity=Intensity(), geometry_of=0)


class MyMethodOptions(Options):
    """What `-o name=value` can set; each with a default and the source of the default."""

    weight: float = Field(0.2, ge=0, description="w, beside the supervised loss (a guess)")
    keep: float = Field(0.99, ge=0, le=1, description="share that the teacher keeps of itself")


def disagreement(student: Tensor, teacher: Tensor) -> Tensor:
    """The term itself, apart from networks, so that a test can call it.

    Args:
        student: (B, C, H, W) logits of the network that is trained.
        teacher: (B, C, H, W) of the one that it has to agree with.
    """
    return (torch.softmax(student, 1) - torch.softmax(teacher, 1)).square().mean()


class MyMethodTerm(JointObjective):
    """What the engine calls for every batch; it holds what is kept or trained beside the network.

    The engine adds it, times `weight`, to the supervised loss.
    """

    def __init__(self, network: Network, options: MyMethodOptions) -> None:
        super().__init__()
        self.options = options
        self.average = Teacher(network, options.keep)

    def forward(self, network: Network, batch: JointBatch, supervised: Supervised) -> StepResult:
        """The term of one batch."""
        # One stream is declared below; its views come in the order in which they stand there.
        weak, strong = (view.image for view in batch.streams[0].views)
        term = disagreement(network.logits(strong), self.average.logits(weak))
        # Anything worth watching can be logged; it stands in the run's record.
        return StepResult(term, {"disagreement": term.detach()})

    def weight_at(self, progress: float) -> float:
        """w(t); at 0 the engine does not compute the term at all."""
        return self.options.weight * ramp(progress)

    def after_step(self, network: Network, progress: float) -> None:
        """The teacher follows."""
        self.average.update(network)

    def teacher(self) -> Network:
        """What `--score teacher` tests in place of the student."""
        return self.average.copied


@register_method("my_method")
class MyMethod(JointMethod):
    """What a reader of the table should know, and the stages that take fine-tuning's place."""

    info = MethodInfo(
        title="My method",
        family="consistency",
        paper="none yet",
        # Of another's method: "re-implementation", or "reconstruction" where no code is known.
        fidelity="official",
        inferred=("the teacher predicts by running statistics that are averaged, too",),
        against_collapse="nothing",
    )
    Options = MyMethodOptions
    options: MyMethodOptions

    def joint_stages(self) -> tuple[JointStage, ...]:
        """One stage: a weak and a strong view of each slice without a label."""
        return (JointStage(name="consistency", streams=(Stream(views=(WEAK, STRONG)),)),)

    def joint_objective(self, stage: JointStage, network: Network) -> JointObjective:
        """The term of a stage with its teacher."""
        return MyMethodTerm(network, self.options)
