"""What a stage's objective is given: the views of one mini-batch of slices."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from contrabench.errors import RunError
from contrabench.views.geometry import Geometry


@dataclass(frozen=True)
class View:
    """One augmented view of every slice of a mini-batch.

    Attributes:
        image: (B, 1, H, W) float.
        geometry: where each pixel of the view lies in its slice.
        masks: (B, H, W) long, class indices; 255 where the slice is unlabelled or the
            pixel lies outside it. None unless the stage declares labels.
        hidden: (B, H, W) bool, true where the view's occlusion hides the image; None for
            a view without one.
    """

    image: Tensor
    geometry: Geometry
    masks: Tensor | None = None
    hidden: Tensor | None = None

    @property
    def label(self) -> Tensor:
        """The masks of the view.

        Raises:
            RunError: if the stage does not declare `labels=True`.
        """
        if self.masks is None:
            raise RunError(
                "the objective asked for labels, but its stage declares labels=False; "
                "declare them, and the stage is keyed by its label manifest"
            )
        return self.masks


@dataclass(frozen=True)
class SliceInfo:
    """Where the slices of a mini-batch come from; every tensor has shape (B,).

    Attributes:
        volume: index of the case, long.
        patient: index of the patient, long.
        orientation: 0 axial, 1 coronal, 2 sagittal, long.
        position: normalised position within the volume, in (0, 1], float.
        index: the slice's row in the bank, long.
        partition: position's part of the volume under the stage's `partitions`, long;
            zeros where the stage has none.
    """

    volume: Tensor
    patient: Tensor
    orientation: Tensor
    position: Tensor
    index: Tensor
    partition: Tensor


@dataclass(frozen=True)
class Batch:
    """The views of one mini-batch, and where its slices come from."""

    views: tuple[View, ...]
    info: SliceInfo

    @property
    def size(self) -> int:
        """Number of slices."""
        return int(self.views[0].image.shape[0])

    @property
    def device(self) -> torch.device:
        """Device of all tensors."""
        return self.views[0].image.device
