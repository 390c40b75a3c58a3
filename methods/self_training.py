"""Self-training: rounds of pseudo-labels, each of a network trained anew with those before.

As in ST++ (Yang et al., CVPR 2022, arXiv 2106.05095) without its choice of slices. A network from
scratch labels all slices without a mask; another one learns from the same initial weights

    L(x, y) + weight [ CE(f(u), y') + Dice(f(u), y') ]

with y' those labels and u the slice, strongly augmented; it labels the slices for the next round.
The first network and all rounds share the steps equally.
"""

from __future__ import annotations

from pydantic import Field

from contrabench import (
    Intensity,
    JointBatch,
    JointMethod,
    JointObjective,
    JointStage,
    MethodInfo,
    Network,
    Options,
    Predicted,
    Spatial,
    StepResult,
    Stream,
    Supervised,
    ViewSpec,
    register_method,
)
from contrabench.contracts.views import IGNORE
from contrabench.objectives.consistency import NothingAdded, masked_dice, masked_entropy

STRONG = ViewSpec(spatial=Spatial(crop_area=(0.6, 1.0)), intensity=Intensity())


class SelfTrainingOptions(Options):
    """Options of self-training."""

    rounds: int = Field(3, ge=0, description="of pseudo-labels, after a network from scratch")
    weight: float = Field(1.0, ge=0, description="of the pseudo-labels, beside the masks")
    threshold: float = Field(0.0, ge=0, le=1, description="probability that makes a label")
    largest: bool = Field(False, description="only the largest part of each structure, in 3D")


class FixedLabels(JointObjective):
    """Cross-entropy and Dice with labels that stay as they are for a round."""

    def __init__(self, options: SelfTrainingOptions) -> None:
        super().__init__()
        self.options = options

    def forward(self, network: Network, batch: JointBatch, supervised: Supervised) -> StepResult:
        """The term of one batch; zero without a labelled pixel."""
        view = batch.streams[0].views[0]
        labels = view.label.long()
        logits, kept = network.logits(view.image), labels != IGNORE
        term = masked_entropy(logits, labels, kept) + masked_dice(logits, labels, kept)
        return StepResult(term, {"labelled": kept.float().mean()})

    def weight_at(self, progress: float) -> float:
        """The same in every step."""
        return self.options.weight


@register_method("self_training")
class SelfTraining(JointMethod):
    """Training anew with the labels that the network before predicts."""

    info = MethodInfo(
        title="Self-training",
        family="consistency",
        kind="pseudo-labels",
        paper="Lee, ICML workshop 2013; Yang et al., CVPR 2022, arXiv 2106.05095",
        fidelity="re-implementation",
        inferred=(
            "three rounds, which with the first network share the steps of one training",
            "strong is the harness's own intensity family; labels are predicted without flips",
            "labelled and other slices are batches apart; ignored pixels count in neither term",
        ),
        against_collapse="nothing",
    )
    Options = SelfTrainingOptions
    options: SelfTrainingOptions

    def joint_stages(self) -> tuple[JointStage, ...]:
        """The labelled slices alone, then the rounds, each from the initial weights."""
        masks = Predicted(threshold=self.options.threshold, largest=self.options.largest)
        stream = Stream(views=(STRONG,), masks=masks)
        rounds = (
            JointStage(name=f"round {number}", streams=(stream,), restarts=True)
            for number in range(1, self.options.rounds + 1)
        )
        return (JointStage(name="labelled", streams=()), *rounds)

    def joint_objective(self, stage: JointStage, network: Network) -> JointObjective:
        """Nothing in the first stage, then the term with pseudo-labels."""
        return FixedLabels(self.options) if stage.streams else NothingAdded()
