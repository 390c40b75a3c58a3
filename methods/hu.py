"""Semi-supervised contrastive learning: SimCLR, then supervised contrast of pixels.

Hu, Zeng, Xu, Shi: Semi-supervised contrastive learning for label-efficient medical image
segmentation. MICCAI 2021, arXiv 2109.07407.

Stage 1 is NT-Xent on the map that the centre's transposed convolution gives. Stage 2 runs
the whole U-Net on labelled slices; for a foreground pixel i of structure c_i

    L_i = -(1 / |P(i)|) sum_{q in P(i)} log( exp(z_i.z_q / tau) / sum_{a != i} exp(z_i.z_a / tau) )

with P(i) the other pixels of c_i in both views. Background pixels are no anchors. The two
views of stage 2 differ in intensity alone, so that one mask serves both.
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
    ViewSpec,
    register_method,
)
from contrabench.objectives.instance import InstanceContrast
from contrabench.objectives.pixels import PixelContrast, Reach, Sampling
from contrabench.protocol import ENCODER, PARTS

if TYPE_CHECKING:
    from contrabench import Backbone


class HuOptions(Options):
    """Options of Hu et al."""

    temperature_global: float = Field(0.5, gt=0, description="tau of stage 1 (authors' config)")
    temperature_local: float = Field(0.1, gt=0, description="tau of stage 2 (authors' script)")
    sampling: Sampling = Field(
        "stride",
        description="every k-th pixel, or all of them within blocks (authors' script: stride)",
    )
    grid: int = Field(40, gt=0, description="pixels per axis at most; 160 / stride 4")
    block: int = Field(16, gt=0, description="side of a block in pixels (authors' code: 16 or 32)")
    group: int = Field(4, gt=0, description="slices contrasted with each other (authors' batch)")


@register_method("hu")
class Hu(Method):
    """SimCLR on the encoder, then supervised local contrast of the whole network."""

    info = MethodInfo(
        title="Semi-supervised local contrast",
        family="contrast before",
        kind="local contrast",
        paper="Hu et al., MICCAI 2021, arXiv 2109.07407",
        fidelity="re-implementation",
        needs=("masks of the labelled patients in pre-training",),
        inferred=(
            "the common optimiser, schedule and augmentation of the protocol",
            "half of the pre-training images for each stage",
            "the two views differ; in the released code they share memory and are equal",
            "the grid of pixels begins at another one in each step; in Hu's code at the first",
        ),
        version=2,
    )
    Options = HuOptions
    options: HuOptions
    published = Published(
        stages={
            "global": Optimisation(
                optimizer="adam",
                lr=3e-4,
                batch=160,
                weight_decay=1e-5,
                source="authors' simclr_experiment.py and config_mmwhs.yaml",
            ),
            "local": Optimisation(
                optimizer="adam",
                lr=1e-4,
                batch=4,
                weight_decay=1e-4,
                schedule="constant",
                source="authors' run_coseg.sh and main_coseg.py",
            ),
        },
        unknown=(
            "the batch of the global stage is that of the MM-WHS file; the commands that are "
            "given, for another dataset, set 40 to 120",
            "the global stage falls by a cosine whose period the code counts in batches but "
            "steps by epochs, from the 11th on; here it falls once, over all steps",
            "the code optimises the global stage's encoder alone and leaves its head random; "
            "here the head is trained",
            "10 or 100 epochs of the global stage and 60 of the local one; the images seen are "
            "the budget's",
        ),
    )

    def stages(self) -> tuple[Stage, ...]:
        """Global on all slices, then local on the labelled ones."""
        look = ViewSpec(spatial=None)
        return (
            Stage(name="global", trains=(*ENCODER, "centre_up")),
            Stage(
                name="local",
                views=(look, look),
                trains=PARTS,
                labels=True,
                labelled_slices_only=True,
            ),
        )

    def objective(self, stage: Stage, backbone: Backbone) -> Objective:
        """The loss of either stage."""
        options = self.options
        if stage.name == "global":
            return InstanceContrast(
                backbone, options.temperature_global, 256, tap="centre_up", linear=True
            )
        reach = Reach(options.sampling, options.grid, options.block, options.group)
        return PixelContrast(backbone, options.temperature_local, reach)
