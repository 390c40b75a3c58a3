"""My method: what it does, in one line.

Who, title, venue and year, DOI or arXiv number; or that there is no paper yet. Until you
change it, this file is SimCLR (Chen et al., ICML 2020, arXiv 2002.05709):

    L = (1 / 2B) sum_i -log( exp(s(z_i, z_i+) / tau) / sum_{a != i} exp(s(z_i, z_a) / tau) )

over the 2B embeddings of a batch; s is the cosine, and i+ is i's slice in the other view.

    bench methods check my_method.py
    bench run --method my_method --plugin my_method.py --labels 10%
    bench report
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from contrabench import (
    Batch,
    Method,
    MethodInfo,
    Objective,
    Options,
    Stage,
    StepResult,
    ViewSpec,
    register_method,
)
from contrabench.objectives.contrast import nt_xent
from contrabench.objectives.heads import GlobalHead

if TYPE_CHECKING:
    from contrabench import Backbone


class MyMethodOptions(Options):
    """What `-o name=value` can set; each with a default and the source of the default."""

    temperature: float = Field(0.1, gt=0, description="tau (0.1 in the authors' code)")


def contrast(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """The loss itself, apart from networks, so that a test can call it.

    Args:
        first: (B, D) embeddings of one view of each slice.
        second: (B, D) of the other.
        temperature: tau.
    """
    return nt_xent(first, second, temperature)


class MyMethodLoss(Objective):
    """What the engine calls for every batch; it holds what is trained beside the backbone."""

    def __init__(self, channels: int, options: MyMethodOptions) -> None:
        super().__init__()
        self.head = GlobalHead(channels, dim=128)
        self.options = options

    def forward(self, backbone: Backbone, batch: Batch) -> StepResult:
        """The loss of one batch."""
        # Ask the backbone for pooled maps by name; it computes nothing behind the last of them.
        first, second = (
            self.head(backbone.pooled(view.image, ("centre",))["centre"]) for view in batch.views
        )
        loss = contrast(first, second, self.options.temperature)
        # Anything worth watching can be logged; it stands in the run's record.
        agreement = functional.cosine_similarity(first, second).mean()
        return StepResult(loss, {"agreement": agreement.detach()})


@register_method("my_method")
class MyMethod(Method):
    """What a reader of the table should know, and the stages of the pre-training."""

    info = MethodInfo(
        title="My method",
        family="contrast before",
        kind="instance contrast",
        paper="none yet",
        # Of another's method: "re-implementation", or "reconstruction" where no code is known.
        fidelity="official",
        inferred=("the head sits on the pooled bottleneck of the U-Net",),
    )
    Options = MyMethodOptions
    options: MyMethodOptions

    def stages(self) -> tuple[Stage, ...]:
        """One stage: two views of each slice, and by default the encoder is trained."""
        return (Stage(name="contrast", views=(ViewSpec(), ViewSpec())),)

    def objective(self, stage: Stage, backbone: Backbone) -> Objective:
        """The loss of a stage with its head."""
        return MyMethodLoss(backbone.channels["centre"], self.options)
