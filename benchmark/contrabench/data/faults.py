"""Faults of the input data: all of them found, each told in one line, before any training."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from contrabench.contracts.dataset import Case, Dataset, Structure, Volume
from contrabench.data.nifti_io import canonical
from contrabench.errors import DataError

TOLERANCE = 1e-3
"""Largest distance between the corners of image and label, as a share of the diagonal."""


def list_cases(dataset: Dataset) -> list[Case]:
    """Lists the cases of a dataset; their ids are unique and there is at least one.

    Raises:
        DataError: for a folder that is missing or empty, missing or extra files, and ids
            that occur twice.
    """
    cases = dataset.cases()
    if not cases:
        raise dataset.misplaced("no case was found")
    faults = [
        f"{name}: {count} cases have this id; results could not be told apart, so rename them"
        for name, count in Counter(case.id for case in cases).items()
        if count > 1
    ]
    if faults:
        raise DataError(faults, where=dataset.info.title)
    return cases


def load_checked(dataset: Dataset, case: Case) -> Volume:
    """Reads a case and turns it to canonical orientation.

    Raises:
        DataError: naming every fault of its files.
    """
    try:
        volume = dataset.load(case)
    except OSError as error:
        raise DataError([f"{case.id}: cannot be read ({error})"], where=case.id) from error
    if faults := volume_faults(case, volume, dataset.structures):
        raise DataError(faults, where=case.id)
    return canonical(volume)


def check_cases(dataset: Dataset, progress: Callable[[int, int, str], None] | None = None) -> None:
    """Reads every case of a dataset and checks it.

    Args:
        dataset: the dataset.
        progress: called with the cases done, their number, and the last one's id.

    Raises:
        DataError: naming every fault of every case.
    """
    cases = list_cases(dataset)
    faults: list[str] = []
    images: list[tuple[Case, str]] = []
    for number, case in enumerate(cases, start=1):
        try:
            images.append((case, image_hash(load_checked(dataset, case))))
        except DataError as error:
            faults += error.faults
        if progress is not None:
            progress(number, len(cases), case.id)
    faults += shared_images(images)
    if faults:
        raise DataError(faults, where=dataset.info.title)


def volume_faults(case: Case, volume: Volume, structures: Sequence[Structure]) -> list[str]:
    """Everything that is wrong with one volume, a line for each fault."""
    faults: list[str] = []
    if volume.image.ndim != 3 or min(volume.image.shape) < 1:
        return [f"{case.id}: the image has shape {volume.image.shape} and is no 3D volume"]
    sides = np.linalg.norm(volume.affine[:3, :3], axis=0)
    if not np.isfinite(volume.affine).all() or abs(np.linalg.det(volume.affine)) < 1e-9:
        faults.append(
            f"{case.id}: the affine of the image has no volume (voxel sides {sides.round(6)}); "
            "its geometry is unknown, so write the right one into the header"
        )
    if bad := int(np.count_nonzero(~np.isfinite(volume.image))):
        faults.append(f"{case.id}: {bad} voxels of the image are NaN or infinite; replace them")
    elif volume.image.min() == volume.image.max():
        faults.append(
            f"{case.id}: all voxels of the image are {volume.image.flat[0]}; it is not a scan"
        )
    if not case.labelled:
        return faults
    if volume.label is None:
        return [*faults, f"{case.id}: has no label, but the dataset lists it as labelled"]
    if volume.label.shape != volume.image.shape:
        faults.append(
            f"{case.id}: image {volume.image.shape} and label {volume.label.shape} differ in "
            "shape; one of them belongs to another volume or was resampled"
        )
    elif volume.label_affine is not None:
        faults += _geometry_faults(case, volume, volume.label_affine)
    return faults + _value_faults(case, volume.label, structures)


def _geometry_faults(case: Case, volume: Volume, label_affine: NDArray[np.float64]) -> list[str]:
    """Compares the places that the two affines give to the corners of the volume."""
    corners = np.array([(*c, 1) for c in product(*((0, n) for n in volume.image.shape))])
    image = (corners @ volume.affine.T)[:, :3]
    label = (corners @ label_affine.T)[:, :3]
    apart = float(np.linalg.norm(image - label, axis=1).max())
    diagonal = float(np.linalg.norm(image[0] - image[-1]))
    if apart <= TOLERANCE * diagonal:
        return []
    return [
        f"{case.id}: the affines of image and label differ, by up to {apart:.1f} mm at a "
        "corner; one of them was moved, mirrored or written with another header"
    ]


def _value_faults(
    case: Case, label: NDArray[np.integer], structures: Sequence[Structure]
) -> list[str]:
    known = np.isin(label, [0, *(structure.value for structure in structures)])
    values, counts = np.unique(label[~known], return_counts=True)
    faults = [
        f"{case.id}: label value {value} ({count} voxels) is none of "
        f"{', '.join(f'{s.value} {s.name}' for s in structures)}; mend the label or the map"
        for value, count in zip(values, counts, strict=True)
    ]
    if not faults and not label.any():
        faults.append(
            f"{case.id}: the label has no foreground; an empty reference cannot be scored, "
            "so delineate it or leave the case out"
        )
    return faults


def image_hash(volume: Volume) -> str:
    """Hash of the voxels of an image in canonical orientation, whatever its file and header."""
    state = hashlib.sha256(repr(volume.image.shape).encode())
    state.update(np.ascontiguousarray(volume.image, dtype="<f4").data)
    return state.hexdigest()


def shared_images(images: Iterable[tuple[Case, str]]) -> list[str]:
    """Finds images that occur under several patients.

    Args:
        images: cases with the hash of their image.

    Returns:
        One line for each such image.
    """
    groups: dict[str, list[Case]] = defaultdict(list)
    for case, key in images:
        groups[key].append(case)
    faults = []
    for cases in groups.values():
        if len({case.patient for case in cases}) > 1:
            names = " and ".join(f"{case.id} (patient {case.patient})" for case in cases)
            faults.append(
                f"{names}: are the same image, voxel by voxel; it could be trained on and "
                "tested on at once, so keep one or give both one patient"
            )
    return faults
