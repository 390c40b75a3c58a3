"""SimCLR: two augmented views of a slice attract, all other slices of the batch repel.

Chen, Kornblith, Norouzi, Hinton: A simple framework for contrastive learning of visual
representations. ICML 2020, arXiv 2002.05709.

    L = (1 / 2B) sum_i -log( exp(s(z_i, z_i+) / tau) / sum_{a != i} exp(s(z_i, z_a) / tau) )

over the 2B normalised embeddings of a batch; s is the cosine. The embedding is a two-layer
head on the globally pooled bottleneck, which is where medical re-implementations attach it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from contrabench import (
    Batch,
    Method,
    MethodInfo,
    Objective,
    Options,
    Stage,
    StepResult,
    register_method,
)
from contrabench.objectives.contrast import nt_xent
from contrabench.objectives.heads import GlobalHead

if TYPE_CHECKING:
    from contrabench.model.unet import UNet


class SimCLROptions(Options):
    """Options of SimCLR."""

    temperature: float = Field(0.1, gt=0, description="tau; 0.1 in the authors' code, 0.5 in Hu's")
    dim: int = Field(128, gt=0, description="length of the embedding (paper: 128)")


class GlobalContrast(Objective):
    """NT-Xent on the pooled bottleneck."""

    def __init__(self, backbone: UNet, options: SimCLROptions) -> None:
        super().__init__()
        self.head = GlobalHead(backbone.channels["centre"], options.dim)
        self.temperature = options.temperature

    def forward(self, backbone: UNet, batch: Batch) -> StepResult:
        """The loss of one batch of two views."""
        first, second = (
            self.head(backbone.features(view.image, ("centre",))["centre"]) for view in batch.views
        )
        return StepResult(nt_xent(first, second, self.temperature))


@register_method("simclr")
class SimCLR(Method):
    """Instance contrast of whole slices."""

    info = MethodInfo(
        title="SimCLR",
        family="instance contrast",
        paper="Chen et al., ICML 2020, arXiv 2002.05709",
        fidelity="re-implementation",
        inferred=(
            "the head sits on the U-Net's pooled bottleneck; the paper has no U-Net",
            "AdamW and the common augmentation of the protocol instead of LARS and colour jitter",
        ),
    )
    Options = SimCLROptions
    options: SimCLROptions

    def stages(self) -> tuple[Stage, ...]:
        """One stage on the encoder."""
        return (Stage(name="global"),)

    def objective(self, stage: Stage, backbone: UNet) -> Objective:
        """NT-Xent with its head."""
        return GlobalContrast(backbone, self.options)
