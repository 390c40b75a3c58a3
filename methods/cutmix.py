"""CutMix: supervised slices that show a box of another one, labels included.

Yun et al., ICCV 2019, arXiv 1905.04899; for segmentation with boxes inside the image (French et
al., BMVC 2020, arXiv 1906.01916). A reference for methods that mix: it sees no slice without a
label. The loss is the supervised one of the mixed slices, whose labels stay hard.
"""

from __future__ import annotations

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
from contrabench.objectives.consistency import boxes, pasted


class CutMixOptions(Options):
    """Options of CutMix."""

    probability: float = Field(0.5, ge=0, le=1, description="share of the slices with a box")
    area: float = Field(0.5, ge=0, le=1, description="share of the slice that a box covers")


class Mixed(JointObjective):
    """The supervised loss of mixed slices."""

    supervises = True

    def __init__(self, options: CutMixOptions) -> None:
        super().__init__()
        self.options = options

    def forward(self, network: Network, batch: JointBatch, supervised: Supervised) -> StepResult:
        """The loss of one batch."""
        view, options = batch.labelled.views[0], self.options
        size = (view.image.shape[2], view.image.shape[3])
        area, drawn = (options.area, options.area), batch.generator("box")
        box = boxes(len(view.image), size, drawn, options.probability, area)
        image, label = pasted(view.image, box), pasted(view.label, box)
        return StepResult(supervised(network(image), label.long()))


@register_method("cutmix")
class CutMix(JointMethod):
    """Supervised training on mixed slices."""

    info = MethodInfo(
        title="CutMix",
        family="reference",
        paper="Yun et al., ICCV 2019, arXiv 1905.04899; French et al., BMVC 2020",
        fidelity="re-implementation",
        inferred=("a partner is the slice before in the batch",),
        against_collapse="nothing",
    )
    Options = CutMixOptions
    options: CutMixOptions

    def joint_stages(self) -> tuple[JointStage, ...]:
        """One, of labelled slices alone."""
        return (JointStage(name="mixed", streams=()),)

    def joint_objective(self, stage: JointStage, network: Network) -> JointObjective:
        """The loss of mixed slices."""
        return Mixed(self.options)
