"""Cross pseudo supervision: two networks label the slices for each other.

Chen et al., CVPR 2021, arXiv 2106.01226; as in SSL4MIS (train_cross_pseudo_supervision_2D.py). With
f the network that is tested and g a second one of other initial weights, the supervised loss of f
gets beside it that of g, and on slices without a label

    w(t) [ CE(f(u), argmax g(u)) + CE(g(u), argmax f(u)) ]

with w(t) = w exp(-5 (1 - t)^2). The authors weigh half the supervised loss, so that w is 0.2 here.
"""

from __future__ import annotations

import copy

from pydantic import Field
from torch.nn import functional

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
from contrabench.objectives.consistency import ramp


class CPSOptions(Options):
    """Options of cross pseudo supervision; defaults as in SSL4MIS, scaled to the loss here."""

    weight: float = Field(0.2, ge=0, description="w, at the end of its ramp")
    ramp: float = Field(1.0, ge=0, le=1, description="share of the training that the ramp lasts")


class CrossSupervision(JointObjective):
    """The second network, its supervision, and the labels that the two give each other."""

    def __init__(self, network: Network, options: CPSOptions) -> None:
        super().__init__()
        self.options = options
        self.second = copy.deepcopy(network)
        for module in self.second.modules():
            # Equal networks would stay equal for ever.
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()

    def forward(self, network: Network, batch: JointBatch, supervised: Supervised) -> StepResult:
        """The second network's supervised loss, and the weighted cross terms."""
        view, image = batch.labelled.views[0], batch.streams[0].views[0].image
        own = supervised(self.second(view.image), view.label.long())
        if not (weight := self.options.weight * ramp(batch.progress, self.options.ramp)):
            return StepResult(own)
        first, second = network.logits(image), self.second.logits(image)
        cross = functional.cross_entropy(first, second.detach().argmax(1))
        cross = cross + functional.cross_entropy(second, first.detach().argmax(1))
        return StepResult(own + weight * cross, {"cross": cross.detach()})


@register_method("cps")
class CPS(JointMethod):
    """Co-training of two networks; the first one is tested."""

    info = MethodInfo(
        title="Cross pseudo supervision",
        family="consistency",
        kind="co-training",
        paper="Chen et al., CVPR 2021, arXiv 2106.01226; SSL4MIS",
        fidelity="re-implementation",
        inferred=(
            "the first network is tested; the papers do not say which",
            "the second one begins with weights of its own, also where the first is pre-trained",
        ),
        against_collapse="nothing",
    )
    Options = CPSOptions
    options: CPSOptions

    def joint_stages(self) -> tuple[JointStage, ...]:
        """One, with one view of each slice without a label."""
        return (JointStage(name="cross", streams=(Stream(views=(FINETUNE_VIEW,)),)),)

    def joint_objective(self, stage: JointStage, network: Network) -> JointObjective:
        """The second network and the cross terms."""
        return CrossSupervision(network, self.options)
