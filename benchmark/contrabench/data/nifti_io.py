"""Reading NIfTI files, and turning volumes to one orientation."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contrabench.contracts.dataset import Case, Dataset, Volume
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
