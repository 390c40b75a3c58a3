"""Small folders of volumes, of which one file is then spoilt."""

import gzip
import struct

import nibabel as nib
import numpy as np

AFFINE = np.diag([-2.0, -2.0, 8.0, 1.0])
SHAPE = (24, 20, 5)
RUN = ("run", "--method", "scratch", "--labels", "50%", "--folds", "3", "--budget", "smoke")


def save(array, path, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine, dtype=array.dtype), path)
    return path


def heart(seed):
    """An image of noise and a label with two nested structures."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij"))
    radius = np.sqrt((grid**2).sum(0))
    label = np.where(radius < 0.4, 1, np.where(radius < 0.8, 2, 0)).astype(np.uint8)
    return rng.normal(100, 20, SHAPE).astype(np.float32) + 50 * label, label


def folder(root, images="images", labels="labels", ending=".nii.gz"):
    """Three sound cases, a, b and c."""
    for seed, name in enumerate("abc"):
        image, label = heart(seed)
        save(image, root / images / f"{name}{ending}")
        save(label, root / labels / f"{name}{ending}")
    return root


def asks(root, *words):
    """The words that run on a folder, without a single step if it is refused."""
    return [*RUN, "--dataset", "nifti", "--data", str(root), "--threads", "1", *words]


def edited(path, offset, form, *values):
    """Changes bytes of a file inside of its compression."""
    raw = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into(form, raw, offset, *values)
    path.write_bytes(gzip.compress(bytes(raw)))
