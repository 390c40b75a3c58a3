"""Files of volumes that are damaged, contradict themselves, or stand for each other."""

import gzip
import unicodedata

import nibabel as nib
import numpy as np
import pytest
from tests.hostile.folders import AFFINE, SHAPE, asks, edited, folder, heart, save
from tests.hostile.refusals import Refusal, refused

DIM, KIND, PIXDIM, OFFSET, SLOPE, SFORM = 40, 70, 76, 108, 112, 280
"""Where the fields stand in the header of NIfTI-1."""


def spoils(change, *words):
    """Asks for a folder whose second case is changed: its image and its label are given."""

    def make(root):
        folder(root)
        change(*(root / kind / "b.nii.gz" for kind in ("images", "labels")))
        return asks(root, *words)

    return make


def header(offset, form, *values):
    return spoils(lambda image, _: edited(image, offset, form, *values))


def geometry(affine, unit=None, **fields):
    """Both files of a case with another geometry."""

    def change(*paths):
        for path, array in zip(paths, heart(1), strict=True):
            file = nib.Nifti1Image(array, affine)
            file.header.set_xyzt_units(unit)
            nib.save(file, path)
            for name, (form, values) in fields.items():
                edited(path, globals()[name], form, *values)

    return spoils(change)


def image(values):
    return spoils(lambda path, _: save(values, path))


def label(values):
    return spoils(lambda _, path: save(values, path))


def of_label(value, kind):
    values = heart(1)[1].astype(kind)
    values[0, 0, 0] = value
    return label(values)


def flipped(which):
    """A bit that changes a voxel and not the structure of the stream."""

    def change(*paths):
        raw = bytearray(gzip.compress(gzip.decompress(paths[which].read_bytes()), 0))
        raw[len(raw) // 2] ^= 1
        paths[which].write_bytes(bytes(raw))

    return spoils(change)


def linked(path):
    path.unlink()
    path.symlink_to(path.parent / "annex" / "object")


def uncompressed(path):
    save(np.zeros(SHAPE, np.uint8), path.with_name("b.nii"))


def two_spellings(image, label):
    for path in (image, label):
        for form in ("NFC", "NFD"):
            path.with_name(unicodedata.normalize(form, "é.nii.gz")).write_bytes(path.read_bytes())
        path.unlink()


def sheared(degrees):
    affine = AFFINE.copy()
    affine[1, 2] = 8 * np.tan(np.radians(degrees))
    return affine


def colours():
    values = np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    values["R"] = heart(1)[1]
    return values


SIDES = ("<fff", (1.5, 1.5, 10.0))
REFUSALS = [
    Refusal(
        "images without a single mask",
        lambda given: asks(folder(given, labels="masks")),
        "no image has a mask; put masks under the names of their images into labels/",
    ),
    Refusal(
        "sform and pixdim say different voxel sides, neither of them 1",
        geometry(AFFINE, PIXDIM=("<ffff", (1, *SIDES[1]))),
        r"b\.nii\.gz: .*two geometries, sform 2 x 2 x 8, pixdim 1\.5 x 1\.5 x 10; write",
    ),
    Refusal(
        "a voxel side of 0 in every field",
        geometry(AFFINE, PIXDIM=("<ffff", (1, 2, 2, 0)), SFORM=("<12f", (0,) * 12)),
        r"b: .*b\.nii\.gz: .*two geometries, sform 0 x 0 x 0",
    ),
    Refusal(
        "a voxel side that is no number",
        geometry(
            AFFINE, PIXDIM=("<ffff", (1, np.nan, 2, 8)), SFORM=("<12f", (np.nan, *[0.0] * 11))
        ),
        r"b\.nii\.gz.* nan x",
    ),
    Refusal(
        "axes that are not perpendicular",
        geometry(sheared(20)),
        r"b: .*b\.nii\.gz are 20 degrees off a right angle.*resample",
    ),
    Refusal(
        "voxels of metres, by a unit that is wrong",
        geometry(AFFINE, "meter"),
        r"b: .*2000 x 2000 x 8000 mm, and 0\.1 to 20 mm are plausible.*unit .* is the metre",
    ),
    Refusal(
        "voxels of micrometres, by a unit that is wrong",
        geometry(AFFINE, "micron"),
        r"b: .*0\.002 x 0\.002 x 0\.008 mm, and.*unit .* is the micrometre",
    ),
    Refusal(
        "voxels of a millimetre that are meant to be a metre, without a unit",
        geometry(np.diag([0.002, 0.002, 0.008, 1])),
        r"0\.002 x 0\.002 x 0\.008 mm, and 0\.1 to 20",
    ),
    Refusal("an unknown data type", header(KIND, "<h", 999), r"b\.nii\.gz cannot be read"),
    Refusal("an infinite intercept", header(SLOPE, "<ff", 1, np.inf), r"b\.nii\.gz cannot be read"),
    Refusal(
        "voxels that begin inside of the header",
        header(OFFSET, "<f", 100),
        r"b\.nii\.gz cannot be read .*byte 100",
    ),
    Refusal("nine dimensions", header(DIM, "<h", 9), r"b\.nii\.gz cannot be read .*9 dimensions"),
    Refusal("a negative dimension", header(DIM + 2, "<h", -24), r"b\.nii\.gz cannot be read .*-24"),
    Refusal(
        "dimensions of 32 000 in a small file",
        header(DIM + 2, "<hhh", 32000, 32000, 32000),
        r"b\.nii\.gz cannot be read .*32000.*wants",
    ),
    Refusal("colours as voxels", image(colours()), r"b\.nii\.gz has colours"),
    Refusal("complex voxels", image(np.full(SHAPE, 1j, np.complex64)), r"b\.nii\.gz has colours"),
    Refusal("a bit of an image flipped", flipped(0), r"images/b\.nii\.gz cannot be read .*CRC"),
    Refusal("a bit of a label flipped", flipped(1), r"labels/b\.nii\.gz cannot be read .*CRC"),
    Refusal(
        "a stream that is cut off",
        spoils(lambda path, _: path.write_bytes(path.read_bytes()[:-500])),
        r"b\.nii\.gz cannot be read",
    ),
    Refusal(
        "a web page in the place of a volume",
        spoils(lambda path, _: path.write_bytes(b"<html>404</html>" * 40)),
        r"b\.nii\.gz cannot be read .*does not begin with the header",
    ),
    Refusal(
        "a header whose voxels are in another file",
        header(344, "<4s", b"ni1\0"),
        r"b\.nii\.gz cannot be read .*'ni1'",
    ),
    Refusal(
        "an image of two dimensions",
        image(np.ones(SHAPE[:2], np.float32)),
        r"b\.nii\.gz has 2 dimensions",
    ),
    Refusal(
        "a label of four dimensions", label(heart(1)[1][..., None]), r"b\.nii\.gz has 4 dimensions"
    ),
    Refusal(
        "a label that was interpolated",
        of_label(0.5, np.float32),
        r"b\.nii\.gz holds 1 voxels that are no whole numbers",
    ),
    Refusal(
        "a label value that a float cannot tell",
        of_label(1e30, np.float32),
        r"b\.nii\.gz holds values up to 1e\+30",
    ),
    Refusal(
        "a label value beyond 32 bits",
        spoils(
            lambda _, path: save(np.where(heart(1)[1] == 1, 2**40, 2).astype(np.int64), path),
            "-d",
            "structures=core=1,shell=2",
        ),
        r"b: label value 1099511627776 \(",
    ),
    Refusal(
        "more structures than a mask can tell",
        label((np.arange(24 * 20 * 5).reshape(SHAPE) % 300).astype(np.int16)),
        "hold 299 values besides 0, from 1 to 299, and 1 to 254 can be told apart",
    ),
    Refusal(
        "an image that is a link to nowhere",
        spoils(lambda path, _: linked(path)),
        r"b: .*images/b\.nii\.gz",
    ),
    Refusal(
        "a label that is a link to nowhere, where images need no labels",
        spoils(lambda _, path: linked(path), "-d", "pool=true"),
        r"b: .*labels/b\.nii\.gz",
    ),
    Refusal(
        "two images of one case",
        spoils(lambda path, _: uncompressed(path)),
        r"b: both .*b\.nii and .*b\.nii\.gz are its image",
    ),
    Refusal(
        "two labels of one case",
        spoils(lambda _, path: uncompressed(path)),
        r"b: both .*b\.nii and .*b\.nii\.gz are its label",
    ),
    Refusal(
        "one name in two spellings of its letters",
        spoils(two_spellings),
        r"é: both .* and .* are its image",
    ),
    Refusal(
        "slices thinner than a pixel",
        geometry(np.diag([0.2, 4.0, 0.2, 1.0])),
        r"b: the image measures .* too little for pixels of 7 mm",
    ),
    Refusal(
        "a field of view of a thousand kilometres",
        lambda root: asks(folder(root), "-d", "field_of_view_mm=1e9"),
        r"field_of_view_mm.*1000",
    ),
    Refusal(
        "bounds of the voxel sides that hold nothing",
        lambda root: asks(folder(root), "-d", "sides_mm=[20, 0.1]"),
        r"sides_mm.*no bounds",
    ),
    Refusal(
        "a file in the place of the data folder",
        lambda root: asks(save(heart(0)[0], root / "volume.nii.gz")),
        r"volume\.nii\.gz is a file and no folder",
    ),
]


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.what)
def test_refused(case, tmp_path):
    refused(case, tmp_path)
