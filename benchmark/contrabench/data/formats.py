"""The formats of volumes: which files are one, what reads it, and what is said of the others.

NIfTI is read by nibabel; NRRD, MetaImage and folders of DICOM slices by SimpleITK, which the extra
`formats` brings. Whatever the format, an affine leads from voxel index to RAS+ millimetres.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from contrabench.data.nifti import Stored, read_nifti, unreadable
from contrabench.errors import DataError
from contrabench.text import composed, counted, some

if TYPE_CHECKING:
    from SimpleITK import Image

_NIFTI = (".nii.gz", ".nii")
_ITK = (".nrrd", ".nhdr", ".mha", ".mhd")
_SLICES = (".dcm", ".ima")
_SCANS = (".mnc", ".gipl.gz", ".gipl", ".mgz", ".mgh", ".img")
"""Endings of volumes that nothing here reads."""
_STRANGE = (*_SCANS, ".vtk", ".tiff", ".tif", ".npz", ".npy", ".h5", ".hdf5", ".mat")
"""Endings of files that may hold a volume too, and that nothing here reads."""
VOLUMES = (*_NIFTI, *_ITK, *_SLICES, *_SCANS)
"""Endings that are those of volumes, read or not."""
_VOXELS = {".mhd": rb"^ElementDataFile\s*=\s*(.+?)\s*$", ".nhdr": rb"^data ?file:\s*(.+?)\s*$"}
"""Where a header says which file holds its voxels."""
_UNIT = rb"^(?:space units|DistanceUnits)\s*[:=]\s*(.+?)\s*$"
"""Where a header names its unit of length, which ITK does not look at."""
_HEADER = 4096
_MAGIC = slice(128, 132), b"DICM"
_TO_RAS = np.diag([-1.0, -1.0, 1.0])
"""ITK and DICOM count to the left and to the back."""
_INSTALL = "reading it needs SimpleITK: pip install 'contrabench[formats]'"
_ONE = "leave the slices of the one volume that is meant"
_UNEVEN = 0.1
"""Largest deviation of a gap between two slices, as a share of the usual one."""


def stem(path: Path) -> str:
    """The name of a volume without the ending of its format; a folder's name is its own.

    Letters with marks are composed, so that machines that spell them in two ways agree.
    """
    ending = "" if path.is_dir() else _ending(path, (*_NIFTI, *_ITK))
    return composed(path.name[: len(path.name) - len(ending)])


def volumes_in(folder: Path) -> list[Path]:
    """The volumes of a folder by name; none if there is no such folder.

    Hidden ones, such as the `._` files of macOS, are not among them.
    """
    return [path for path in _entries(folder) if is_volume(path)]


def unread(folders: Iterable[Path]) -> list[str]:
    """A line for each kind of image that some folders hold and that cannot be read."""
    found: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for path in (path for folder in folders for path in _entries(folder)):
        if trouble := _trouble(path):
            found[trouble].append(path)
    return [
        f"{counted(len(paths), what)} found ({some(paths)}); {advice}"
        for (what, advice), paths in sorted(found.items())
    ]


def files_of(path: Path) -> list[Path]:
    """The files that hold a volume: its own, the slices of a folder, a header and its voxels.

    ValueError if a header names no single file beside it.
    """
    if path.is_dir():
        return [file for file in _entries(path) if file.is_file()]
    if (where := _VOXELS.get(path.suffix.lower())) is None or not path.is_file():
        return [path]
    named = re.search(where, path.read_bytes(), re.MULTILINE | re.IGNORECASE)
    name = named[1].decode(errors="replace") if named else ""
    if name.upper() == "LOCAL":
        return [path]
    if not name or not (path.parent / name).is_file():
        raise ValueError(
            f"{path} has its voxels in '{name}', which is no file beside it; put it there, or "
            "write one .nrrd or .mha"
        )
    return [path, path.parent / name]


def read_volume(path: Path, frame: int | None = None, exact: bool = False) -> Stored:
    """Reads a volume of any of the formats, or a frame of a NIfTI series, counted from 0.

    Voxels are float32, or of the file's own type if they are wanted `exact`. ValueError with one
    line if that is not possible.
    """
    if _ending(path, _NIFTI):
        return read_nifti(path, frame, exact)
    if not find_spec("SimpleITK"):
        raise ValueError(f"{path}: {_INSTALL}")
    files = _series(path) if path.is_dir() else files_of(path)[:1]
    try:
        if not path.is_dir() and (unit := _foreign_unit(path)):
            raise ValueError(f"its unit is {unit}; write its geometry in mm")
        slices = [_converted(image, exact) for image in _read_itk(files)]
    except (OSError, ValueError, RuntimeError) as error:
        raise unreadable(path, error) from error
    return _stacked(path, slices) if len(slices) > 1 else slices[0]


def _ending(path: Path, endings: Iterable[str]) -> str:
    """Which of some endings a file has, in small letters; empty if none."""
    name = path.name.lower()
    return next((ending for ending in endings if name.endswith(ending)), "")


def _entries(folder: Path) -> list[Path]:
    """What a folder holds, by name; nothing if there is none.

    DataError if there is something else, or it cannot be listed: labels in it must not be missed.
    """
    if not os.path.lexists(folder):
        return []
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError([f"{folder} cannot be listed ({reason})"], where=str(folder)) from error


def is_volume(path: Path) -> bool:
    """Whether a path is a volume, by its name alone if it is a link that leads nowhere.

    Its case must not pass for one that never had the file.
    """
    if path.is_dir():
        return any(map(_is_slice, _entries(path)))
    there = path.is_file() or path.is_symlink()
    return there and bool(_ending(path, (*_NIFTI, *_ITK)))


def _is_slice(path: Path) -> bool:
    """Whether a file is of DICOM, which often goes without an ending."""
    if not path.is_file() or _ending(path, _SLICES):
        return path.is_file()
    where, mark = _MAGIC
    with path.open("rb") as file:
        return file.read(where.stop)[where] == mark


def _trouble(path: Path) -> tuple[str, str] | None:
    """What a path is and what to do about it, if it may be a volume and cannot be read."""
    if is_volume(path):
        if _ending(path, _NIFTI) or find_spec("SimpleITK"):
            return None
        return f"{_ending(path, _ITK)} file" if path.is_file() else "DICOM folder", _INSTALL
    if path.is_dir():
        return "folder", "without a DICOM slice; put the slices right into it, or take it away"
    if ending := _ending(path, _SLICES):
        return f"{ending} file", "put each series into a folder of its own, named like the case"
    if ending := _ending(path, _STRANGE):
        return f"{ending} file", "not read; convert to .nii.gz, .nrrd or .mha, or take it away"
    return None


def _foreign_unit(path: Path) -> str:
    """The unit of length that a header of NRRD or MetaImage names, if it is not the millimetre."""
    with path.open("rb") as file:
        named = re.search(_UNIT, file.read(_HEADER), re.MULTILINE | re.IGNORECASE)
    units = (
        {word.strip('"').lower() for word in named[1].decode("latin-1").split()} if named else ()
    )
    return ", ".join(sorted({*units} - {"mm", "millimeter", "?", "none"}))


def _read_itk(files: Sequence[Path]) -> list[Image]:
    from SimpleITK import ReadImage

    return [ReadImage(str(file)) for file in files]


def _series(folder: Path) -> list[Path]:
    """The slices of the one DICOM series of a folder; ValueError if there are several."""
    from SimpleITK import ImageSeriesReader

    names = ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if len(names) != 1:
        raise ValueError(f"{folder} holds {len(names)} DICOM series; {_ONE}")
    return list(map(Path, ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), names[0])))


def _converted(image: Image, exact: bool) -> Stored:
    """The voxels of ITK and their geometry."""
    from SimpleITK import GetArrayViewFromImage

    size, affine = image.GetDimension(), np.eye(4)
    values = GetArrayViewFromImage(image)
    values = values.copy() if exact else values.astype(np.float32)
    # NumPy sees the slowest axis first, and several values of a voxel last.
    axes = [*reversed(range(size)), *range(size, values.ndim)]
    if size >= 3:
        turn = np.reshape(image.GetDirection(), (size, size))[:3, :3]
        affine[:3, :3] = _TO_RAS @ turn @ np.diag(image.GetSpacing()[:3])
        affine[:3, 3] = _TO_RAS @ np.asarray(image.GetOrigin()[:3])
    return Stored(np.ascontiguousarray(values.transpose(axes)), affine)


def _stacked(folder: Path, slices: list[Stored]) -> Stored:
    """The volume of a series; ValueError if a slice is missing or is of another one.

    Slices are ordered and spaced by their positions, so that a tilted gantry stays what it is.
    """
    (first, plane, _), turn = slices[0], slices[0].affine[:3, :3]
    if any(
        one.values.shape != first.shape or not np.allclose(one.affine[:3, :3], turn, atol=1e-3)
        for one in slices
    ):
        raise ValueError(f"{folder} holds slices that differ in size or direction; {_ONE}")
    normal = np.cross(turn[:, 0], turn[:, 1])
    normal /= np.linalg.norm(normal)
    slices.sort(key=lambda one: float(normal @ one.affine[:3, 3]))
    places = np.array([one.affine[:3, 3] for one in slices])
    gaps = np.diff(places @ normal)
    if gaps.min() <= 0 or np.ptp(gaps) > _UNEVEN * float(np.median(gaps)):
        raise ValueError(
            f"{folder} holds slices {gaps.min():.2f} to {gaps.max():.2f} mm apart; copy those that "
            f"are missing, or {_ONE}"
        )
    affine = plane.copy()
    affine[:3, 2] = (places[-1] - places[0]) / (len(slices) - 1)
    affine[:3, 3] = places[0]
    return Stored(np.concatenate([one.values for one in slices], axis=2), affine)
