"""FixMatch: confident predictions on a weak view are the labels of a strong one.

Sohn et al., NeurIPS 2020, arXiv 2001.07685, for segmentation as in the code of UniMatch (Yang et
al., CVPR 2023, more-scenarios). Added to the supervised loss, for a slice without a label, is

    (1 / N) sum over its pixels of [max p_w >= t] CE(f(u_s), argmax p_w)

with p_w the student's own prediction on the weak view, as it trains, u_s the strong view of the
same geometry, and N all pixels, so that few confident ones make a small loss. With `cutmix` the
strong view shows a box of another slice, and so do labels and confidence; with `keep` above 0 an
averaged teacher makes the labels.
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
    Stream,
    Supervised,
    register_method,
)
from contrabench.contracts.views import STRONG_VIEW, WEAK_VIEW
from contrabench.objectives.consistency import (
    Teacher,
    boxes,
    confident,
    masked_entropy,
    pasted,
)


class FixMatchOptions(Options):
    """Options of FixMatch; defaults of UniMatch's code."""

    weight: float = Field(1.0, ge=0, description="of the term, beside the supervised loss")
    threshold: float = Field(0.95, ge=0, description="probability from which on a label is taken")
    cutmix: float = Field(0.5, ge=0, le=1, description="share of the slices with a box of another")
    keep: float = Field(0.0, ge=0, lt=1, description="of an averaged teacher; 0: the student")


class PseudoLabels(JointObjective):
    """Cross-entropy on the strong view with the confident labels of the weak one."""

    def __init__(self, network: Network, options: FixMatchOptions) -> None:
        super().__init__()
        self.options = options
        self.average = Teacher(network, options.keep) if options.keep else None

    def forward(self, network: Network, batch: JointBatch, supervised: Supervised) -> StepResult:
        """The term of one batch."""
        weak, strong = (view.image for view in batch.streams[0].views)
        with torch.no_grad():
            guesses = self.average.logits(weak) if self.average else network.logits(weak)
        labels, sure = confident(guesses, self.options.threshold)
        size = (weak.shape[2], weak.shape[3])
        box = boxes(len(weak), size, batch.generator("cutmix"), self.options.cutmix)
        strong, labels, sure = (pasted(each, box) for each in (strong, labels, sure))
        term = masked_entropy(network.logits(strong), labels, sure)
        return StepResult(term, {"confident": sure.float().mean()})

    def weight_at(self, progress: float) -> float:
        """The same in every step."""
        return self.options.weight

    def after_step(self, network: Network, progress: float) -> None:
        """The teacher follows, if there is one."""
        if self.average:
            self.average.update(network)

    def teacher(self) -> Network | None:
        """The average, if there is one."""
        return self.average.copied if self.average else None


@register_method("fixmatch")
class FixMatch(JointMethod):
    """Pseudo-labels online, from weak to strong."""

    info = MethodInfo(
        title="FixMatch",
        family="consistency",
        kind="pseudo-labels",
        paper="Sohn et al., NeurIPS 2020, arXiv 2001.07685; code of UniMatch",
        fidelity="re-implementation",
        inferred=(
            "the term weighs as much as the supervised loss, cross-entropy and Dice together",
            "strong is the harness's own intensity family on the weak view's geometry",
            "CutMix partners come from the same batch",
        ),
        against_collapse="nothing",
    )
    Options = FixMatchOptions
    options: FixMatchOptions

    def joint_stages(self) -> tuple[JointStage, ...]:
        """One, with a weak and a strong view of each slice without a label."""
        return (
            JointStage(name="pseudo-labels", streams=(Stream(views=(WEAK_VIEW, STRONG_VIEW)),)),
        )

    def joint_objective(self, stage: JointStage, network: Network) -> JointObjective:
        """The term on pseudo-labels."""
        return PseudoLabels(network, self.options)
