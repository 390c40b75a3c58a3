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
    Method,
    MethodInfo,
    Objective,
    Optimisation,
    Options,
    Published,
    Stage,
    register_method,
)
from contrabench.objectives.instance import InstanceContrast

if TYPE_CHECKING:
    from contrabench import Backbone


class SimCLROptions(Options):
    """Options of SimCLR."""

    temperature: float = Field(0.1, gt=0, description="tau; 0.1 in the authors' code, 0.5 in Hu's")
    dim: int = Field(128, gt=0, description="length of the embedding (paper: 128)")


@register_method("simclr")
class SimCLR(Method):
    """Instance contrast of whole slices."""

    info = MethodInfo(
        title="SimCLR",
        family="contrast before",
        kind="instance contrast",
        paper="Chen et al., ICML 2020, arXiv 2002.05709",
        fidelity="re-implementation",
        inferred=(
            "the head sits on the U-Net's pooled bottleneck; the paper has no U-Net",
            "AdamW and the common augmentation of the protocol instead of LARS and colour jitter",
        ),
    )
    Options = SimCLROptions
    options: SimCLROptions
    published = Published(
        stages={
            "global": Optimisation(
                optimizer="lars",
                lr=0.3,
                lr_batch=256,
                batch=512,
                weight_decay=1e-4,
                warmup=0.1,
                source="authors' code: ImageNet command of the README, 100 epochs, 10 of warm-up",
            )
        },
        unknown=(
            "batches up to 4096 and up to 1000 epochs, for ImageNet's million images",
            "the code's head of three layers with batch normalisation; two layers as in the paper",
            "colour jitter, grey and crops down to 8% of a photograph; the protocol's views",
        ),
    )

    def stages(self) -> tuple[Stage, ...]:
        """One stage on the encoder."""
        return (Stage(name="global"),)

    def objective(self, stage: Stage, backbone: Backbone) -> Objective:
        """NT-Xent with its head."""
        return InstanceContrast(backbone, self.options.temperature, self.options.dim)
