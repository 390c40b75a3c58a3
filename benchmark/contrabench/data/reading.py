"""From a dataset's files to sound volumes in one orientation.

All faults of the input are found, each told in one line, before any training.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contrabench.contracts.dataset import Case, Dataset, Structure, Volume
from contrabench.data.likeness import Likeness, likeness_of, shared_hearts
from contrabench.errors import DataError
from contrabench.progress import Reporter

_ENDINGS = (".nii.gz", ".nii")
_TOLERANCE = 1e-3
"""Largest distance between the corners of image and label, as a share of the diagonal."""


def is_nifti(path: Path) -> bool:
    """Whether a path is a NIfTI file; hidden ones, such as the `._` files of macOS, are not.

    A link that leads nowhere is one: its case must not pass for one that never had the file.
    """
    there = path.is_file() or path.is_symlink()
    return there and path.name.endswith(_ENDINGS) and not path.name.startswith(".")


def stem(path: Path) -> str:
    """File name without `.nii` or `.nii.gz`."""
    return path.name.removesuffix(".gz").removesuffix(".nii")


class NiftiDataset(Dataset):
    """Base class of datasets whose cases are NIfTI files."""

    def load(self, case: Case) -> Volume:
        """Reads the files of one case, in the orientation and grid in which they are stored.

        DataError with one line for each file that is missing, damaged or not a volume.
        """
        wanted = {"image": case.image, "label": case.label}
        if case.label is None and not case.labelled:
            del wanted["label"]
        read: dict[str, tuple[NDArray[np.float32], NDArray[np.float64]]] = {}
        faults: list[str] = []
        for kind, path in wanted.items():
            try:
                read[kind] = _read(path, kind, case.frame if kind == "image" else None)
            except ValueError as error:
                faults.append(f"{case.id}: {error}")
        if faults:
            raise DataError(faults, where=case.id)
        image, affine = read["image"]
        label, label_affine = read.get("label", (None, None))
        return Volume(
            image, None if label is None else label.astype(np.int32), affine, label_affine
        )


def _read(
    path: Path | None, kind: str, frame: int | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Voxels and affine of one file, or of one frame; what is wrong with it is a ValueError."""
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError

    if path is None:
        listed = ", but the dataset lists it as labelled" if kind == "label" else ""
        raise ValueError(f"has no {kind} file{listed}")
    try:
        file = nib.load(path)
        shape = tuple(int(side) for side in file.shape)
        values = None
        if len(shape) == 3 and frame is None:
            values = np.asarray(file.dataobj, dtype=np.float32)
        elif len(shape) == 4 and frame is not None and frame < shape[3]:
            values = np.asarray(file.dataobj[..., frame], dtype=np.float32)
        affine = np.asarray(file.affine, dtype=np.float64)
    except (OSError, EOFError, ValueError, zlib.error, ImageFileError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"the {kind} {path} cannot be read ({reason}); copy or download it again"
        ) from error
    if values is None and frame is not None:
        raise ValueError(f"{path} has shape {shape} and no frame {frame + 1}; it is no such series")
    if values is None:
        raise ValueError(
            f"{path} has {len(shape)} dimensions {shape}; the {kind} must be one 3D volume, so "
            "extract the frame or channel that is meant"
        )
    if kind == "label" and (odd := int(np.count_nonzero(values % 1 != 0))):
        raise ValueError(
            f"the label {path} holds {odd} voxels that are no whole numbers; it was interpolated "
            "or is not a label"
        )
    return values, affine


def frame_count(path: Path) -> int:
    """Frames of a series over time, told by its header; ValueError if it cannot be read."""
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError

    try:
        shape = tuple(int(side) for side in nib.load(path).shape)
    except (OSError, EOFError, ValueError, zlib.error, ImageFileError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"the series {path} cannot be read ({reason}); copy or download it again, or leave it "
            "out"
        ) from error
    if len(shape) != 4:
        raise ValueError(f"the series {path} has shape {shape}, not four dimensions")
    return shape[3]


def canonical(volume: Volume) -> Volume:
    """Turns a volume so that its axes point right, anterior and superior (RAS).

    Axes are swapped and mirrored only, so an oblique volume keeps a small rotation in the affine.
    """
    from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

    turn = io_orientation(volume.affine)

    def turned(array: NDArray[np.generic]) -> NDArray[np.generic]:
        return np.ascontiguousarray(apply_orientation(array, turn))

    return Volume(
        image=turned(volume.image).astype(np.float32, copy=False),
        label=None if volume.label is None else turned(volume.label).astype(np.int32),
        affine=volume.affine @ inv_ornt_aff(turn, volume.image.shape),
    )


def list_cases(dataset: Dataset) -> list[Case]:
    """Lists the cases of a dataset; DataError if there is none, and for ids that occur twice."""
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
    """Reads a case and turns it to canonical orientation; DataError naming every fault."""
    try:
        volume = dataset.load(case)
    except OSError as error:
        raise DataError([f"{case.id}: cannot be read ({error})"], where=case.id) from error
    if faults := list(volume_faults(volume, dataset.structures if case.labelled else None)):
        raise DataError([f"{case.id}: {fault}" for fault in faults], where=case.id)
    return canonical(volume)


def for_each_case(
    cases: Sequence[Case],
    where: str,
    work: Callable[[Case], Likeness],
    title: str,
    reporter: Reporter,
) -> None:
    """Works through all cases; at the end DataError names every fault of every case.

    `work` returns what a case is recognised by, or raises DataError; `where` names the dataset.
    """
    faults: list[str] = []
    seen: list[tuple[Case, Likeness]] = []
    with reporter.track(title, len(cases)) as track:
        for number, case in enumerate(cases, start=1):
            try:
                seen.append((case, work(case)))
            except DataError as error:
                faults += error.faults
            track.advance(number, case.id)
    if faults := [*faults, *shared_hearts(seen)]:
        raise DataError(faults, where=where)


def check_cases(dataset: Dataset, reporter: Reporter) -> None:
    """Reads every case of a dataset and checks it; raises as `for_each_case`."""

    def check(case: Case) -> Likeness:
        return likeness_of(load_checked(dataset, case))

    for_each_case(list_cases(dataset), dataset.info.title, check, "reading cases", reporter)


def volume_faults(volume: Volume, structures: Sequence[Structure] | None) -> Iterator[str]:
    """Everything that is wrong with one volume, a line for each fault.

    `structures` are those of its label; None for a volume whose label does not matter.
    """
    image, label = volume.image, volume.label
    if image.ndim != 3 or min(image.shape) < 1:
        yield f"the image has shape {image.shape} and is no 3D volume"
        return
    sides = np.linalg.norm(volume.affine[:3, :3], axis=0)
    if not np.isfinite(volume.affine).all() or abs(np.linalg.det(volume.affine)) < 1e-9:
        yield (
            f"the affine of the image has no volume (voxel sides {sides.round(6)}); its geometry "
            "is unknown, so write the right one into the header"
        )
    if bad := int(np.count_nonzero(~np.isfinite(image))):
        yield f"{bad} voxels of the image are NaN or infinite; replace them"
    elif image.min() == image.max():
        yield f"all voxels of the image are {image.flat[0]}; it is not a scan"
    if structures is None:
        return
    if label is None:
        yield "has no label, but the dataset lists it as labelled"
        return
    if label.shape != image.shape:
        yield (
            f"image {image.shape} and label {label.shape} differ in shape; one of them belongs to "
            "another volume or was resampled"
        )
    elif volume.label_affine is not None:
        corners = np.array([(*c, 1) for c in product(*((0, n) for n in image.shape))])
        one, other = ((corners @ a.T)[:, :3] for a in (volume.affine, volume.label_affine))
        apart = float(np.linalg.norm(one - other, axis=1).max())
        if apart > _TOLERANCE * float(np.linalg.norm(one[0] - one[-1])):
            yield (
                f"the affines of image and label differ, by up to {apart:.1f} mm at a corner; one "
                "of them was moved, mirrored or written with another header"
            )
    known = np.isin(label, [0, *(structure.value for structure in structures)])
    for value, count in zip(*np.unique(label[~known], return_counts=True), strict=True):
        yield (
            f"label value {value} ({count} voxels) is none of "
            f"{', '.join(f'{s.value} {s.name}' for s in structures)}; mend the label or the map"
        )
    if known.all() and not label.any():
        yield (
            "the label has no foreground; an empty reference cannot be scored, so delineate it or "
            "leave the case out"
        )
