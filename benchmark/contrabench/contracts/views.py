"""What a view is made of: the one augmentation family, as data.

Strengths are those of the common protocol; what a method narrows or drops is part of its stage
and so of its hash. Those of intensity are in units of the image's own standard deviation, because
prepared images are z-scored per volume and channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import AfterValidator, Field, model_validator

from contrabench.errors import RunError
from contrabench.protocol import Frozen, seed_for

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from contrabench.contracts.geometry import Geometry


IGNORE = 255
"""Class of a pixel without a reference: of an unlabelled slice, or outside of its slice."""


def _ordered(interval: tuple[float, float]) -> tuple[float, float]:
    """Refuses an interval that is reversed or does not lie above zero."""
    if not 0 < interval[0] <= interval[1]:
        raise ValueError("give a range as (low, high) with 0 < low <= high")
    return interval


def _holds_one(interval: tuple[float, float]) -> tuple[float, float]:
    """Refuses an interval without 1: only that aspect fits a crop of every area."""
    if not interval[0] <= 1 <= interval[1]:
        raise ValueError("give a range that holds 1, the aspect of the whole slice")
    return interval


def _share(interval: tuple[float, float]) -> tuple[float, float]:
    """Refuses an interval that goes beyond 1, where a crop would leave the slice."""
    if interval[1] > 1:
        raise ValueError("give a range up to 1, the area of the whole slice")
    return interval


Range = Annotated[tuple[float, float], AfterValidator(_ordered)]


class Spatial(Frozen):
    """Geometry of a view; all parameters are drawn for each image of a batch."""

    crop_area: Annotated[Range, AfterValidator(_share)] = Field(
        (0.4, 1.0), description="area of the crop / slice"
    )
    aspect: Annotated[Range, AfterValidator(_holds_one)] = Field(
        (0.8, 1.25), description="width / height of the crop, relative to the slice's"
    )
    rotation_deg: float = Field(15.0, ge=0, description="largest angle to either side")
    flip: bool = Field(False, description="mirror left and right; hearts are not symmetric")
    elastic_sd: float = Field(
        0.02, ge=0, description="deviation of the smooth displacement / side, held short of folding"
    )
    elastic_cells: int = Field(5, ge=2, description="control points of the displacement per axis")


class Intensity(Frozen):
    """Appearance of a view; each part is applied to a channel with its own probability."""

    brightness_sd: float = Field(0.5, ge=0, description="largest shift, in image deviations")
    contrast: Range = Field((0.75, 1.25), description="factor about the image mean")
    gamma: Range = Field((0.7, 1.5), description="exponent on the image's own range")
    noise_sd: float = Field(0.1, ge=0, description="largest noise, in image deviations")
    blur_px: float = Field(1.0, ge=0, description="largest deviation of the Gaussian blur, pixels")
    probability: float = Field(
        0.8, ge=0, le=1, description="of each part, for each image and channel"
    )


class Occlusion(Frozen):
    """Blocks hidden from the network, drawn for each image; their number is fixed."""

    share: float = Field(0.6, gt=0, lt=1, description="of the blocks that are hidden")
    cells: int = Field(8, ge=2, description="blocks per axis")

    @property
    def hidden(self) -> int:
        """Number of hidden blocks."""
        return round(self.share * self.cells**2)

    @model_validator(mode="after")
    def _hides_some(self) -> Occlusion:
        """Refuses a share that hides no block or leaves none."""
        if not 0 < self.hidden < self.cells**2:
            raise ValueError(
                f"a share of {self.share} hides {self.hidden} of {self.cells**2} blocks; "
                "give one that hides some and leaves some, or more cells"
            )
        return self


class ViewSpec(Frozen):
    """One view of a slice; None keeps its geometry, or its grey values.

    `scale` is the side of the view divided by the side of the slice. `geometry_of` names an
    earlier view of the same stage whose geometry this one shares; the grey values are its
    own. `occlusion` hides blocks of the finished view.
    """

    spatial: Spatial | None = Spatial()
    intensity: Intensity | None = Intensity()
    scale: float = Field(1.0, gt=0, le=1)
    geometry_of: int | None = Field(None, ge=0)
    occlusion: Occlusion | None = None


FINETUNE_VIEW = ViewSpec(
    spatial=Spatial(crop_area=(0.6, 1.0)), intensity=Intensity(probability=0.3)
)
"""The view of fine-tuning, for every method: the same family, milder than pre-training's."""
FINETUNE_VIEWS = {
    "none": ViewSpec(spatial=None, intensity=None),
    "mild": FINETUNE_VIEW,
    "strong": ViewSpec(),
}
"""The ladder of augmentation on the labelled slices: mild is that of every method."""
WEAK_VIEW = ViewSpec(spatial=Spatial(crop_area=(0.6, 1.0)), intensity=None)
"""Its geometry in the slice's own grey values, which pseudo-labels are read from."""
STRONG_VIEW = ViewSpec(spatial=None, intensity=Intensity(), geometry_of=0)
"""The first view of a stream again, in other grey values."""


@dataclass(frozen=True)
class View:
    """One augmented view of every slice of a mini-batch.

    Attributes:
        image: (B, C, H, W) float.
        masks: (B, H, W) long, class indices or `IGNORE`; None unless the stage declares labels.
        hidden: (B, H, W) bool, true where an occlusion hides the image; None without one.
    """

    image: Tensor
    geometry: Geometry
    masks: Tensor | None = None
    hidden: Tensor | None = None

    @property
    def label(self) -> Tensor:
        """The masks of the view; RunError if the stage does not declare `labels=True`."""
        if self.masks is None:
            raise RunError(
                "the objective asked for labels, but its stage declares labels=False; "
                "declare them, and the stage is keyed by its label manifest"
            )
        return self.masks


@dataclass(frozen=True)
class SliceInfo:
    """Where the slices of a mini-batch come from; tensors of shape (B,), long but `position`.

    Attributes:
        volume: index of the case.
        patient: index of the patient.
        orientation: 0 axial, 1 coronal, 2 sagittal.
        position: normalised position within the volume, in (0, 1], float.
        index: the slice's row in the bank.
        partition: position's part of the volume under the stage's `partitions`, or zero.
    """

    volume: Tensor
    patient: Tensor
    orientation: Tensor
    position: Tensor
    index: Tensor
    partition: Tensor


class Seeded:
    """Brings random numbers to an objective, settled by the seed of a step and micro-batch."""

    seed: int
    holder: ClassVar[str]  # tells its numbers from those of another one with the same seed

    def generator(self, purpose: str) -> torch.Generator:
        """Random numbers on the CPU that are a function of seed, step and purpose alone."""
        import torch

        return torch.Generator().manual_seed(seed_for(self.holder, purpose, self.seed))


@dataclass(frozen=True)
class Batch(Seeded):
    """The views of one mini-batch, and where its slices come from."""

    holder = "batch"

    views: tuple[View, ...]
    info: SliceInfo
    seed: int = 0  # of this step and micro-batch

    @property
    def size(self) -> int:
        """Number of slices."""
        return int(self.views[0].image.shape[0])

    @property
    def device(self) -> torch.device:
        """Device of all tensors."""
        return self.views[0].image.device
