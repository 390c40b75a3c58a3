"""Which of the fields of a header are believed, and that all bytes of a file are looked at."""

import gzip

import nibabel as nib
import numpy as np
import pytest

from contrabench.data.grid import spacing_of
from contrabench.data.nifti import frame_count, read_nifti

TRUE = np.diag([-1.5, -1.5, 8.0, 1.0])
ONES = np.diag([-1.0, -1.0, 1.0, 1.0])
SHAPE = (4, 3, 2)


def write(path, sform=None, qform=None, zooms=(1.5, 1.5, 8.0), unit=None, kind=nib.Nifti1Image):
    """A file whose fields are those alone that are given; `zooms` are of `pixdim`."""
    values = np.arange(24, dtype=np.int16).reshape(SHAPE)
    header = kind.header_class()
    header.set_data_shape(SHAPE)
    header.set_sform(sform, 0 if sform is None else 1)
    header.set_qform(qform, 0 if qform is None else 1)
    header["pixdim"][1:4] = zooms
    header.set_xyzt_units(unit)
    nib.save(kind(values, None, header), path)
    return path


def mirrored(affine):
    return np.diag([-1.0, 1.0, 1.0, 1.0]) @ affine


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize(
    ("fields", "affine", "says"),
    [
        ({"sform": TRUE, "qform": TRUE}, TRUE, ""),
        ({"sform": TRUE}, TRUE, ""),
        ({"qform": TRUE}, TRUE, ""),
        ({"sform": ONES, "qform": TRUE}, TRUE, "qform and pixdim is taken"),
        ({"sform": ONES}, TRUE, "pixdim is taken"),
        ({"sform": 0 * TRUE, "qform": TRUE}, TRUE, "qform and pixdim is taken"),
        ({"sform": TRUE, "qform": TRUE, "zooms": (1, 1, 1)}, TRUE, "sform is taken"),
        ({"sform": TRUE, "zooms": (0, 0, 0)}, TRUE, "sform is taken"),
        ({"sform": TRUE, "zooms": (1.495, 1.5, 8)}, TRUE, ""),
        ({"sform": TRUE, "qform": mirrored(TRUE)}, TRUE, "directions; sform is taken"),
        ({"sform": ONES, "zooms": (1, 1, 1)}, ONES, ""),
    ],
)
def test_which_field_is_believed(fields, affine, says, kind, tmp_path):
    found = read_nifti(write(tmp_path / "a.nii.gz", **fields, kind=kind))
    np.testing.assert_allclose(found.affine, affine, atol=1e-6)
    assert len(found.notes) == bool(says)
    assert says in " ".join(note.what for note in found.notes)


def test_a_rotated_form_whose_sides_were_never_written_keeps_its_directions(tmp_path):
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]]
    turn[:3, 3] = 10, 20, 30
    found = read_nifti(write(tmp_path / "a.nii", sform=turn))
    np.testing.assert_allclose(found.affine, turn @ np.diag([1.5, 1.5, 8, 1]), atol=1e-5)


@pytest.mark.parametrize("qform", [None, np.diag([2.0, 2.0, 8.0, 1.0])])
def test_two_geometries_are_a_fault(qform, tmp_path):
    path = write(tmp_path / "a.nii", sform=TRUE, qform=qform, zooms=(2, 2, 8))
    with pytest.raises(ValueError, match=r"a\.nii: .* sform 1\.5 x 1\.5 x 8, .*pixdim 2 x 2 x 8"):
        read_nifti(path)


@pytest.mark.parametrize(("unit", "factor"), [("meter", 1e-3), ("micron", 1e3), ("mm", 1.0)])
def test_units_are_converted(unit, factor, tmp_path):
    scaled = np.diag([factor] * 3 + [1.0]) @ TRUE
    scaled[:3, 3] = np.array([4.0, 5.0, 6.0]) * factor
    path = write(tmp_path / "a.nii", sform=scaled, zooms=spacing_of(scaled), unit=unit)
    found = read_nifti(path)
    assert spacing_of(found.affine) == pytest.approx((1.5, 1.5, 8))
    assert found.affine[:3, 3] == pytest.approx((4, 5, 6))
    assert len(found.notes) == (unit != "mm")


def test_a_file_without_directions_says_so(tmp_path):
    found = read_nifti(write(tmp_path / "a.nii"))
    assert spacing_of(found.affine) == pytest.approx((1.5, 1.5, 8))
    assert "neither sform nor qform" in found.notes[0].what


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("slope", [1.0, 0.3])
def test_voxels_are_nibabels(slope, order, name, tmp_path):
    values = np.random.default_rng(0).integers(-500, 500, (*SHAPE, 5)).astype(f"{order}i2")
    file = nib.Nifti1Image(values, TRUE, nib.Nifti1Header(endianness=order))
    file.header.set_slope_inter(slope, 7)
    nib.save(file, tmp_path / name)
    whole = nib.load(tmp_path / name).dataobj
    assert frame_count(tmp_path / name) == 5
    np.testing.assert_array_equal(read_nifti(tmp_path / name).values, np.asarray(whole, "f4"))
    np.testing.assert_array_equal(read_nifti(tmp_path / name, exact=True).values, whole[...])
    np.testing.assert_array_equal(
        read_nifti(tmp_path / name, frame=3).values, np.asarray(whole[..., 3], "f4")
    )


def test_every_byte_of_a_stream_counts(tmp_path):
    path = write(tmp_path / "a.nii.gz", sform=TRUE)
    sound = gzip.compress(gzip.decompress(path.read_bytes()), 0)
    for place in (len(sound) - 20, len(sound) - 6):
        spoilt = bytearray(sound)
        spoilt[place] ^= 1
        path.write_bytes(bytes(spoilt))
        with pytest.raises(ValueError, match=r"a\.nii\.gz cannot be read"):
            read_nifti(path)


def test_a_compressed_file_may_be_called_as_if_it_were_not(tmp_path):
    path = write(tmp_path / "a.nii.gz", sform=TRUE).rename(tmp_path / "a.nii")
    assert read_nifti(path).values.shape == SHAPE
