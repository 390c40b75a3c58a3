"""Masked reconstruction: the whole network learns to fill in blocks that are hidden from it.

Tian, Jiang, Diao, Lin, Wang, Yuan: Designing BERT for convolutional networks: sparse and
hierarchical masked modeling (SparK). ICLR 2023, arXiv 2301.03580. Reconstruction as
pre-training of a medical U-Net: Zhou et al., Models Genesis, MICCAI 2019, arXiv 1908.06912.

    L = mean over hidden pixels p of ( f(x_visible)_p - t_p )^2
    t_p = ( x_p - mean_b ) / sqrt( var_b + 1e-6 )      b: the block that p lies in

This is the control for contrast itself: the same images, network and views, and a loss that
compares no two embeddings. Both views have one geometry and the slice's own grey values, so
that the visible pixels are those of the target and what is filled in is the anatomy alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field
from torch import nn

from contrabench import (
    Batch,
    Method,
    MethodInfo,
    Objective,
    Options,
    RunError,
    Stage,
    StepResult,
    ViewSpec,
    register_method,
)
from contrabench.contracts.views import Occlusion
from contrabench.objectives.reconstruction import (
    hidden_error,
    normalised_blocks,
)
from contrabench.protocol import PARTS

if TYPE_CHECKING:
    from contrabench import Backbone


class MaskedOptions(Options):
    """Options of masked reconstruction."""

    share: float = Field(0.6, gt=0, lt=1, description="of the blocks hidden (SparK: 0.6)")
    cells: int = Field(8, ge=2, description="blocks per axis (SparK: 7, of 32 pixels at 224)")
    normalise: bool = Field(
        True, description="scale each block of the target to mean 0 and deviation 1 (SparK)"
    )


class Reconstruction(Objective):
    """Mean squared error on hidden pixels, through a 1 x 1 convolution."""

    def __init__(self, backbone: Backbone, options: MaskedOptions) -> None:
        super().__init__()
        self.options = options
        self.head = nn.Conv2d(backbone.channels["dec1"], backbone.in_channels, 1)

    def forward(self, backbone: Backbone, batch: Batch) -> StepResult:
        """The loss of one batch of a whole and an occluded view.

        Raises:
            RunError: if nothing of the second view is hidden.
        """
        whole, occluded = batch.views
        if occluded.hidden is None:
            raise RunError(
                "the second view hides nothing, so there is nothing to reconstruct; give it an "
                "occlusion in Stage.views"
            )
        predicted = self.head(backbone.features(occluded.image, ("dec1",))["dec1"])
        target = whole.image
        if self.options.normalise:
            target = normalised_blocks(target, (self.options.cells, self.options.cells))
        return StepResult(hidden_error(predicted, target, occluded.hidden))


@register_method("masked")
class Masked(Method):
    """Masked reconstruction by the whole network."""

    info = MethodInfo(
        title="Masked reconstruction",
        family="reconstruction",
        kind="masked modelling",
        paper="Tian et al. (SparK), ICLR 2023, arXiv 2301.03580",
        fidelity="re-implementation",
        against_collapse="nothing",
        inferred=(
            "ordinary convolutions see a hidden block as the mean of its image; SparK's sparse "
            "ones skip it",
            "the decoder and its skip connections are the U-Net's, and are handed over; SparK "
            "throws its decoder away",
            "8 blocks per axis, which divides every budget's slices, instead of 7",
            "crop, rotation and displacement of the protocol, and no change of grey values, as "
            "SparK has none",
            "the common optimiser and schedule of the protocol instead of LAMB",
        ),
    )
    Options = MaskedOptions
    options: MaskedOptions

    def stages(self) -> tuple[Stage, ...]:
        """One stage on the whole network."""
        occlusion = Occlusion(share=self.options.share, cells=self.options.cells)
        views = (
            ViewSpec(intensity=None),
            ViewSpec(intensity=None, geometry_of=0, occlusion=occlusion),
        )
        return (Stage(name="reconstruction", views=views, trains=PARTS),)

    def objective(self, stage: Stage, backbone: Backbone) -> Objective:
        """Mean squared error with its head."""
        return Reconstruction(backbone, self.options)
