"""The formats of volumes: which files are one, what reads it, and what is said of the others.

NIfTI is read by nibabel; NRRD, MetaImage and folders of DICOM slices by SimpleITK, which the extra
`formats` brings. Whatever the format, an affine leads from voxel index to RAS+ millimetres.
"""

from __future__ import annotations

import os
import re
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from contrabench.errors import DataError
from contrabench.text import counted, some

if TYPE_CHECKING:
    from SimpleITK import Image

Stored = tuple[NDArray[np.float32], NDArray[np.float64]]
"""Voxels (X, Y, Z), or (X, Y, Z, n) of n values each, and the 4 x 4 affine."""

_NIFTI = (".nii.gz", ".nii")
_ITK = (".nrrd", ".nhdr", ".mha", ".mhd")
_SLICES = (".dcm", ".ima")
_STRANGE = (
    *(".mnc", ".gipl.gz", ".gipl", ".mgz", ".mgh", ".img", ".vtk", ".tiff", ".tif"),
    *(".npz", ".npy", ".h5", ".hdf5", ".mat"),
)
"""Endings of files that may hold a volume too, and that nothing here reads."""
_VOXELS = {".mhd": rb"^ElementDataFile\s*=\s*(.+?)\s*$", ".nhdr": rb"^data ?file:\s*(.+?)\s*$"}
"""Where a header says which file holds its voxels."""
_MAGIC = slice(128, 132), b"DICM"
_TO_RAS = np.diag([-1.0, -1.0, 1.0])
"""ITK and DICOM count to the left and to the back."""
_INSTALL = "reading it needs SimpleITK: pip install 'contrabench[formats]'"
_ONE = "leave the slices of the one volume that is meant"
_UNEVEN = 0.1
"""Largest deviation of a gap between two slices, as a share of the usual one."""


def stem(path: Path) -> str:
    """The name of a volume without the ending of its format; a folder's name is its own."""
    ending = "" if path.is_dir() else _ending(path, (*_NIFTI, *_ITK))
    return path.name[: len(path.name) - len(ending)]


def volumes_in(folder: Path) -> list[Path]:
    """The volumes of a folder by name; none if there is no such folder.

    Hidden ones, such as the `._` files of macOS, are not among them.
    """
    return [path for path in _entries(folder) if _is_volume(path)]


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


def read_volume(path: Path, frame: int | None = None) -> Stored:
    """Reads a volume of any of the formats, or a frame of a NIfTI series, counted from 0.

    ValueError with one line if that is not possible.
    """
    from nibabel.filebasedimages import ImageFileError

    nifti = bool(_ending(path, _NIFTI))
    if not nifti and not find_spec("SimpleITK"):
        raise ValueError(f"{path}: {_INSTALL}")
    files = _series(path) if path.is_dir() else files_of(path)[:1]
    try:
        if nifti:
            return _read_nifti(path, frame)
        images = _read_itk(files)
    except (OSError, EOFError, ValueError, RuntimeError, zlib.error, ImageFileError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} cannot be read ({reason}); copy or download it again") from error
    return _stacked(path, images) if len(images) > 1 else _converted(images[0])


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


def _is_volume(path: Path) -> bool:
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
    if _is_volume(path):
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


def frame_count(path: Path) -> int:
    """Frames of a NIfTI series over time, told by its header; ValueError if it is none."""
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


def _read_nifti(path: Path, frame: int | None) -> Stored:
    import nibabel as nib

    file = nib.load(path)
    data = file.dataobj
    if frame is not None:
        if len(file.shape) != 4 or frame >= file.shape[3]:
            raise ValueError(f"it has shape {tuple(file.shape)} and no frame {frame + 1}")
        data = data[..., frame]
    return np.asarray(data, np.float32), np.asarray(file.affine, np.float64)


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


def _converted(image: Image) -> Stored:
    """The voxels of ITK and their geometry."""
    from SimpleITK import GetArrayViewFromImage

    size, affine = image.GetDimension(), np.eye(4)
    values = GetArrayViewFromImage(image).astype(np.float32)
    # NumPy sees the slowest axis first, and several values of a voxel last.
    axes = [*reversed(range(size)), *range(size, values.ndim)]
    if size >= 3:
        turn = np.reshape(image.GetDirection(), (size, size))[:3, :3]
        affine[:3, :3] = _TO_RAS @ turn @ np.diag(image.GetSpacing()[:3])
        affine[:3, 3] = _TO_RAS @ np.asarray(image.GetOrigin()[:3])
    return np.ascontiguousarray(values.transpose(axes)), affine


def _stacked(folder: Path, images: Sequence[Image]) -> Stored:
    """The volume of a series; ValueError if a slice is missing or is of another one.

    Slices are ordered and spaced by their positions, so that a tilted gantry stays what it is.
    """
    slices = [_converted(image) for image in images]
    (first, plane), turn = slices[0], slices[0][1][:3, :3]
    if any(
        v.shape != first.shape or not np.allclose(a[:3, :3], turn, atol=1e-3) for v, a in slices
    ):
        raise ValueError(f"{folder} holds slices that differ in size or direction; {_ONE}")
    normal = np.cross(turn[:, 0], turn[:, 1])
    normal /= np.linalg.norm(normal)
    slices.sort(key=lambda one: float(normal @ one[1][:3, 3]))
    places = np.array([affine[:3, 3] for _, affine in slices])
    gaps = np.diff(places @ normal)
    if gaps.min() <= 0 or np.ptp(gaps) > _UNEVEN * float(np.median(gaps)):
        raise ValueError(
            f"{folder} holds slices {gaps.min():.2f} to {gaps.max():.2f} mm apart; copy those that "
            f"are missing, or {_ONE}"
        )
    affine = plane.copy()
    affine[:3, 2] = (places[-1] - places[0]) / (len(slices) - 1)
    affine[:3, 3] = places[0]
    return np.concatenate([values for values, _ in slices], axis=2), affine
