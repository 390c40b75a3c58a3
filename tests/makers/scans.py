"""Volumes written in the formats that SimpleITK reads, DICOM series among them."""

import locale

import numpy as np
import SimpleITK as sitk  # noqa: N813 - its own name for itself

TO_LPS = np.diag([-1.0, -1.0, 1.0])


def oblique(spacing=(1.5, 0.8, 4.0), origin=(-31.0, 12.5, 7.25)):
    """An affine to RAS+ millimetres whose axes are turned about all three of the body's."""
    a, b, c = 0.3, -0.2, 0.5
    turn = (
        np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
        @ np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
        @ np.array([[1, 0, 0], [0, np.cos(c), -np.sin(c)], [0, np.sin(c), np.cos(c)]])
    )
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn @ np.diag(spacing), origin
    return affine


def itk_image(values, affine):
    """An image of SimpleITK from (X, Y, Z) voxels and an affine to RAS+."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(values.transpose(2, 1, 0)))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((TO_LPS @ affine[:3, :3] / spacing).flatten().tolist())
    image.SetOrigin((TO_LPS @ affine[:3, 3]).tolist())
    return image


def write_itk(path, values, affine):
    """Writes .nrrd, .nhdr, .mha or .mhd."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(itk_image(values, affine), str(path))
    return path


def write_series(folder, values, affine, ending=".dcm", uid="1.2.3.4", skip=()):
    """Writes int16 voxels as a DICOM series, its files named against the order of the slices."""
    folder.mkdir(parents=True, exist_ok=True)
    image = itk_image(values, affine)
    direction, depth = np.reshape(image.GetDirection(), (3, 3)), values.shape[2]
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for z in range(depth):
        if z in skip:
            continue
        cut = image[:, :, z]
        tags = {
            "0008|0060": "MR",
            "0020|000d": "1.2.3",
            "0020|000e": uid,
            "0008|0018": f"{uid}.{z + 1}",
            "0020|0013": str(z + 1),
            "0020|0032": "\\".join(
                f"{v:.6f}" for v in image.TransformIndexToPhysicalPoint((0, 0, z))
            ),
            "0020|0037": "\\".join(f"{v:.8f}" for v in direction[:, :2].T.flatten()),
            "0018|0050": f"{image.GetSpacing()[2]:.6f}",
        }
        for tag, value in tags.items():
            cut.SetMetaData(tag, value)
        path = folder / f"{uid}_{depth - z:03d}.dcm"
        writer.SetFileName(str(path))
        before = locale.setlocale(locale.LC_ALL)
        writer.Execute(cut)
        # It leaves the process in the locale C, where a file is read as ASCII.
        locale.setlocale(locale.LC_ALL, before)
        path.rename(path.with_name(f"{path.stem}{ending}"))
    return folder
