"""The metric contract: what every structure of every case is scored by.

In 3D, on the grid of the reference, in mm. Whoever changes a number computed here raises
`METRIC_CONTRACT`; rows of different contracts never share a table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from contrabench.errors import RequestError
from contrabench.evaluation.surface import (
    AXIAL_AXIS,
    asd_medpy_voxel,
    asd_slice2d,
    surface_distances,
)
from contrabench.protocol import METRIC_CONTRACT

SURFACE_DICE_TOLERANCE_MM = 2.0
EMPTY_DICE = 0.0
"""Where one of prediction and reference holds a structure and the other does not."""

Flag = Literal["", "prediction empty", "reference empty", "not applicable"]


@dataclass(frozen=True)
class StructureScore:
    """The scores of one structure in one case.

    Attributes:
        dice: 2 |P and R| / (|P| + |R|), in [0, 1].
        asd: symmetric average surface distance, pooled over both surfaces, mm.
        hd95: larger of the two directed 95th percentiles of the distances, mm.
        surface_dice_2mm: share of surface voxels within 2 mm of the other surface.
        asd_medpy_voxel: directed mean, prediction to reference, in voxel units.
        asd_slice2d: mean over axial slices of the 2D average surface distance, mm.
        flag: "" if both hold the structure; else see `_empty_score`.
    """

    structure: str
    dice: float
    asd: float
    hd95: float
    surface_dice_2mm: float
    asd_medpy_voxel: float
    asd_slice2d: float
    reference_voxels: int
    prediction_voxels: int
    flag: Flag = ""

    def columns(self, spacing_known: bool) -> dict[str, Any]:
        """The columns of a result row that this score fills.

        Where the spacing was unknown, those in mm are empty, and the ASD stands under `asd_voxel`.
        """
        return {
            "structure": self.structure,
            "dice": self.dice,
            "asd_mm": self.asd if spacing_known else None,
            "hd95_mm": self.hd95 if spacing_known else None,
            "surface_dice_2mm": self.surface_dice_2mm if spacing_known else None,
            "asd_voxel": None if spacing_known else self.asd,
            "asd_medpy_voxel": self.asd_medpy_voxel,
            "asd_slice2d_mm": self.asd_slice2d if spacing_known else None,
            "reference_voxels": self.reference_voxels,
            "prediction_voxels": self.prediction_voxels,
            "flag": self.flag,
            "metric_contract": METRIC_CONTRACT,
        }


def score_case(
    prediction: NDArray[np.uint8],
    reference: NDArray[np.uint8],
    structures: Sequence[str],
    spacing: Sequence[float],
) -> list[StructureScore]:
    """Scores one predicted volume by the metric contract: one score for each structure.

    On the reference's grid (X, Y, Z), axial slices along Z; 0 is background, k + 1 structure k.
    `spacing` is in mm, or (1, 1, 1) for distances in voxels. RequestError if these don't fit.
    """
    _check(prediction, reference, spacing)
    overlap = _joint_histogram(prediction, reference, len(structures) + 1)
    dice = _dice(overlap)
    boxes = [ndimage.find_objects(labels, len(structures)) for labels in (prediction, reference)]
    scores = []
    for value, name in enumerate(structures, start=1):
        predicted, expected = int(overlap[value].sum()), int(overlap[:, value].sum())
        if predicted == 0 or expected == 0:
            scores.append(_empty_score(name, expected, predicted, reference.shape, spacing))
            continue
        # The smallest box that holds the structure of both.
        sides = zip(*(found[value - 1] for found in boxes), strict=True)
        box = tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in sides)
        mask, truth = prediction[box] == value, reference[box] == value
        distances = surface_distances(mask, truth, spacing)
        by_slice = asd_slice2d(mask, truth, spacing)
        scores.append(
            StructureScore(
                structure=name,
                dice=dice[value - 1],
                asd=distances.average(),
                hd95=distances.hausdorff95(),
                surface_dice_2mm=distances.surface_dice(SURFACE_DICE_TOLERANCE_MM),
                asd_medpy_voxel=asd_medpy_voxel(mask, truth),
                # No slice in common is a miss, and must not leave an average better off.
                asd_slice2d=_slice_diagonal(reference.shape, spacing)
                if math.isnan(by_slice)
                else by_slice,
                reference_voxels=expected,
                prediction_voxels=predicted,
            )
        )
    return scores


def dice_of(
    prediction: NDArray[np.uint8], reference: NDArray[np.uint8], structures: int
) -> list[float]:
    """The Dice of `score_case` alone, of each structure; NaN where it does not apply."""
    _check(prediction, reference, (1.0, 1.0, 1.0))
    return _dice(_joint_histogram(prediction, reference, structures + 1))


def _dice(overlap: NDArray[np.int64]) -> list[float]:
    """2 |P and R| / (|P| + |R|) of every structure; NaN where both are empty."""
    sizes = overlap.sum(0) + overlap.sum(1)
    return [
        2 * int(overlap[value, value]) / int(sizes[value]) if sizes[value] else math.nan
        for value in range(1, len(overlap))
    ]


def _check(
    prediction: NDArray[np.uint8], reference: NDArray[np.uint8], spacing: Sequence[float]
) -> None:
    if prediction.shape != reference.shape or prediction.ndim != 3:
        raise RequestError(
            f"the prediction has shape {prediction.shape} and the reference {reference.shape}; "
            "a case is scored in 3D on the reference's own grid, so resample the prediction to it"
        )
    if len(spacing) != 3 or not all(math.isfinite(step) and step > 0 for step in spacing):
        raise RequestError(
            f"the voxel spacing {tuple(spacing)} is not three positive numbers; "
            "distances would be meaningless, so mend the file's header"
        )


def _joint_histogram(
    prediction: NDArray[np.uint8], reference: NDArray[np.uint8], classes: int
) -> NDArray[np.int64]:
    """Counts voxels by (predicted class, reference class); shape (classes, classes)."""
    largest = int(max(prediction.max(initial=0), reference.max(initial=0)))
    if largest >= classes:
        raise RequestError(
            f"a label map holds the value {largest} but only {classes - 1} structures are named; "
            "the values must be 0 for background and k + 1 for structure k"
        )
    counts = np.zeros(classes * classes, dtype=np.int64)
    # One slab at a time: counting widens the labels to 8 bytes each.
    for ours, theirs in zip(prediction, reference, strict=True):
        codes = ours.astype(np.int64) * classes + theirs
        counts += np.bincount(codes.ravel(), minlength=counts.size)
    return counts.reshape(classes, classes)


def _slice_diagonal(shape: Sequence[int], spacing: Sequence[float]) -> float:
    return math.hypot(*(shape[axis] * spacing[axis] for axis in range(3) if axis != AXIAL_AXIS))


def _empty_score(
    name: str, expected: int, predicted: int, shape: Sequence[int], spacing: Sequence[float]
) -> StructureScore:
    """Scores a structure that at least one of the two label maps does not hold.

    One empty: overlaps are 0 and every distance is the image's diagonal, in its own unit. Both:
    all are NaN and must not be averaged.
    """
    if expected == predicted == 0:
        nan = math.nan
        return StructureScore(name, nan, nan, nan, nan, nan, nan, 0, 0, "not applicable")
    diagonal = math.hypot(*(size * step for size, step in zip(shape, spacing, strict=True)))
    return StructureScore(
        structure=name,
        dice=EMPTY_DICE,
        asd=diagonal,
        hd95=diagonal,
        surface_dice_2mm=0.0,
        asd_medpy_voxel=math.hypot(*shape),
        asd_slice2d=_slice_diagonal(shape, spacing),
        reference_voxels=expected,
        prediction_voxels=predicted,
        flag="reference empty" if expected == 0 else "prediction empty",
    )
