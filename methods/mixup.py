"""MixUp: supervised slices blended with another one, their losses blended alike.

Zhang et al., ICLR 2018, arXiv 1710.09412. With x' = l x + (1 - l) x_other and one l of Beta(a, a)
for each batch, as in the authors' code, because the Dice is that of a batch,

    l L(f(x'), y) + (1 - l) L(f(x'), y_other)

A reference for methods that mix: it sees no slice without a label.
"""

from __future__ import annotations

import torch
from pydantic import Field

from contrabench import (
    JointBatch,
    JointMethod,
    JointObjective,
    JointStage,
    MethodInfo,
    Network,
    Options,
    StepResult,
    Supervised,
    register_method,
)


class MixUpOptions(Options):
    """Options of MixUp."""

    alpha: float = Field(
        0.1, gt=0, le=4, description="of the Beta distribution (0.1: as Chaitanya)"
    )


class Blended(JointObjective):
    """The supervised losses of blended slices."""

    supervises = True

    def __init__(self, options: MixUpOptions) -> None:
        super().__init__()
        self.options = options

    def forward(self, network: Network, batch: JointBatch, supervised: Supervised) -> StepResult:
        """The loss of one batch."""
        view = batch.labelled.views[0]
        share = beta(self.options.alpha, batch.generator("share"))
        logits = network(share * view.image + (1 - share) * view.image.roll(1, 0))
        label, other = view.label.long(), view.label.long().roll(1, 0)
        return StepResult(
            share * supervised(logits, label) + (1 - share) * supervised(logits, other)
        )


def beta(alpha: float, generator: torch.Generator) -> float:
    """A number of Beta(alpha, alpha), by rejection (Joehnk, Metrika 1964)."""
    while True:
        first, second = torch.rand(2, generator=generator).double().pow(1 / alpha).tolist()
        if 0 < first + second <= 1:
            return float(first / (first + second))


@register_method("mixup")
class MixUp(JointMethod):
    """Supervised training on blended slices."""

    info = MethodInfo(
        title="MixUp",
        family="reference",
        paper="Zhang et al., ICLR 2018, arXiv 1710.09412",
        fidelity="re-implementation",
        inferred=(
            "a partner is the slice before in the batch",
            "one share for a batch, where Chaitanya draws one for each image",
        ),
        against_collapse="nothing",
    )
    Options = MixUpOptions
    options: MixUpOptions

    def joint_stages(self) -> tuple[JointStage, ...]:
        """One, of labelled slices alone."""
        return (JointStage(name="blended", streams=()),)

    def joint_objective(self, stage: JointStage, network: Network) -> JointObjective:
        """The losses of blended slices."""
        return Blended(self.options)
