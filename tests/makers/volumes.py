"""A small folder of volumes on disk, in the layout `images/` and `labels/`."""

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage


class Folder:
    """Writes volumes and makes the dataset that reads them."""

    def __init__(self, root):
        self.root = root

    def write(self, kind, name, values, affine=None):
        path = self.root / kind / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        affine = np.diag([2.0, 2.0, 5.0, 1.0]) if affine is None else affine
        nib.save(nib.Nifti1Image(values, affine), path)
        return path

    def add(self, name, seed=0, shape=(24, 20, 6)):
        """One sound case: an ellipsoid of value 2 with a core of value 1, among others' tissue."""
        rng = np.random.default_rng(seed)
        grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
        radius = np.sqrt((grid**2).sum(0))
        label = np.where(radius < 0.3, 1, np.where(radius < 0.7, 2, 0)).astype(np.uint8)
        coarse = rng.normal(0, 100, (8, 8, 3))
        tissue = ndimage.zoom(coarse, [n / m for n, m in zip(shape, coarse.shape, strict=True)])
        image = np.where(label, 100 * label, tissue) + rng.normal(0, 10, shape)
        image = image.astype(np.float32)
        self.write("images", name, image)
        self.write("labels", name, label)
        return image, label

    def dataset(self, **options):
        from contrabench.contracts.registry import datasets

        cls = datasets.get("nifti")
        options = {"structures": "core=1,shell=2", "field_of_view_mm": 56.0} | options
        return cls(self.root, cls.Options(**options))


@pytest.fixture
def volumes(tmp_path):
    folder = Folder(tmp_path / "volumes")
    folder.root.mkdir()
    return folder
