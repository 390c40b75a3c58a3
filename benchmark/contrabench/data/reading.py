"""Reading NIfTI files, and turning volumes to one orientation."""

from __future__ import annotations

import hashlib
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contrabench.contracts.dataset import Case, Dataset, Structure, Volume
from contrabench.errors import DataError

ENDINGS = (".nii.gz", ".nii")


def is_nifti(path: Path) -> bool:
    """Whether a path is a NIfTI file; hidden ones, such as the `._` files of macOS, are not."""
    return path.name.endswith(ENDINGS) and not path.name.startswith(".") and path.is_file()


def stem(path: Path) -> str:
    """File name without `.nii` or `.nii.gz`."""
    return path.name.removesuffix(".gz").removesuffix(".nii")


class NiftiDataset(Dataset):
    """Base class of datasets whose cases are NIfTI files."""

    def load(self, case: Case) -> Volume:
        """Reads the files of one case; see `read_case`."""
        return read_case(case)


def read_case(case: Case) -> Volume:
    """Reads the NIfTI files of a case.

    Args:
        case: with an image file and, unless it is unlabelled, a label file.

    Returns:
        Image and label in the orientation and grid in which they are stored.

    Raises:
        DataError: with one line for each file that is missing, damaged or not a volume.
    """
    faults: list[str] = []
    image, affine = _read(case, case.image, "image", faults)
    label, label_affine = None, None
    if case.label is not None:
        label, label_affine = _read(case, case.label, "label", faults)
    elif case.labelled:
        faults.append(f"{case.id}: has no label file, but the dataset lists it as labelled")
    if faults or image is None or affine is None:
        raise DataError(faults, where=case.id)
    return Volume(
        image=image,
        label=None if label is None else label.astype(np.int32),
        affine=affine,
        label_affine=label_affine,
    )


def _read(
    case: Case, path: Path | None, kind: str, faults: list[str]
) -> tuple[NDArray[np.float32] | None, NDArray[np.float64] | None]:
    """Reads one file; notes what is wrong with it and returns nothing then."""
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError

    if path is None:
        faults.append(f"{case.id}: has no {kind} file")
        return None, None
    try:
        file = nib.load(path)
        shape = tuple(int(side) for side in file.shape)
        if len(shape) != 3:
            faults.append(
                f"{case.id}: {path} has {len(shape)} dimensions {shape}; the {kind} must be one "
                "3D volume, so extract the frame or channel that is meant"
            )
            return None, None
        values = np.asarray(file.dataobj, dtype=np.float32)
        affine = np.asarray(file.affine, dtype=np.float64)
    except (OSError, EOFError, ValueError, zlib.error, ImageFileError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        faults.append(
            f"{case.id}: the {kind} {path} cannot be read ({reason}); copy or download it again"
        )
        return None, None
    if kind == "label" and (odd := int(np.count_nonzero(values % 1 != 0))):
        faults.append(
            f"{case.id}: the label {path} holds {odd} voxels that are no whole numbers; "
            "it was interpolated or is not a label"
        )
        return None, None
    return values, affine


def canonical(volume: Volume) -> Volume:
    """Turns a volume so that its axes point right, anterior and superior (RAS).

    Axes are swapped and mirrored only; no voxel changes its value. An oblique volume keeps
    its small rotation in the affine.
    """
    import torch
    from monai.data import MetaTensor
    from monai.transforms import Orientation

    turn = Orientation(axcodes="RAS", labels=(("L", "R"), ("P", "A"), ("I", "S")))
    affine = torch.from_numpy(np.array(volume.affine, dtype=np.float64))

    def turned(array: NDArray[np.generic]) -> tuple[NDArray[np.generic], NDArray[np.float64]]:
        tensor = torch.from_numpy(np.ascontiguousarray(array))[None]
        result = turn(MetaTensor(tensor, affine=affine))
        return np.ascontiguousarray(result[0].numpy()), result.affine.numpy()

    image, turned_affine = turned(volume.image)
    return Volume(
        image=image.astype(np.float32, copy=False),
        label=None if volume.label is None else turned(volume.label)[0].astype(np.int32),
        affine=turned_affine.astype(np.float64),
    )


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
