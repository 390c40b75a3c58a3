"""Every format gives the voxels and the affine that nibabel gives for the same volume."""

import sys

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its own name for itself
from tests.makers.scans import oblique, write_itk, write_series

from contrabench import DataError
from contrabench.data.facts import check_cases
from contrabench.data.formats import files_of, read_volume, stem, unread, volumes_in
from contrabench.data.geometry import canonical
from contrabench.progress import Silent

FLIPS = [(1, 1, 1), (-1, 1, 1), (1, -1, -1), (-1, -1, 1)]


def values_of(shape=(7, 5, 4), seed=0):
    return np.random.default_rng(seed).integers(-900, 900, shape).astype(np.int16)


def by_nibabel(tmp_path, values, affine):
    nib.save(nib.Nifti1Image(values, affine), tmp_path / "same.nii.gz")
    return read_volume(tmp_path / "same.nii.gz")


def agree(found, expected, atol=1e-4):
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], atol=atol)
    assert found[0].dtype == np.float32


@pytest.mark.parametrize("ending", [".nrrd", ".nhdr", ".mha", ".mhd"])
@pytest.mark.parametrize("flip", FLIPS)
def test_itks_formats_are_nibabels(ending, flip, tmp_path):
    values, affine = values_of(), oblique() @ np.diag([*flip, 1])
    path = write_itk(tmp_path / f"scan.v1{ending}", values, affine)
    agree(read_volume(path), by_nibabel(tmp_path, values, affine))
    assert stem(path) == "scan.v1"


def test_a_nrrd_in_ras_is_read_as_such(tmp_path):
    values = values_of((4, 3, 2)).astype("<f4")
    lines = [
        "NRRD0004", "type: float", "dimension: 3", "space: right-anterior-superior",
        "sizes: 4 3 2", "space directions: (2,0,0) (0,3,0) (0,0,5)", "space origin: (10,20,30)",
        "kinds: domain domain domain", "endian: little", "encoding: raw", "", "",
    ]  # fmt: skip
    (tmp_path / "a.nrrd").write_bytes("\n".join(lines).encode() + values.tobytes(order="F"))
    affine = np.diag([2.0, 3.0, 5.0, 1.0])
    affine[:3, 3] = 10, 20, 30
    agree(read_volume(tmp_path / "a.nrrd"), (values, affine))


@pytest.mark.parametrize("vector", [True, False])
def test_several_values_of_a_voxel_come_last(vector, tmp_path):
    values = values_of((5, 4, 3, 2)).astype(np.float32)
    image = sitk.GetImageFromArray(values.transpose(2, 1, 0, 3), isVector=True)
    if not vector:
        parts = [sitk.VectorIndexSelectionCast(image, k) for k in range(2)]
        image = sitk.JoinSeries(parts)
    image.SetSpacing([2.0, 3.0, 5.0, 1.0][: image.GetDimension()])
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    agree(read_volume(tmp_path / "a.mha"), (values, np.diag([-2.0, -3.0, 5.0, 1.0])))


@pytest.mark.parametrize("ending", [".dcm", ""])
@pytest.mark.parametrize("flip", FLIPS)
def test_a_dicom_series_is_nibabels(ending, flip, tmp_path):
    values, affine = values_of(), oblique() @ np.diag([*flip, 1])
    write_series(tmp_path / "p.1", values, affine, ending)
    image, found, _ = read_volume(tmp_path / "p.1")
    ours = canonical(volume_of(image, found))
    theirs = nib.as_closest_canonical(nib.Nifti1Image(values, affine))
    np.testing.assert_array_equal(ours.image, theirs.get_fdata())
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-4)
    assert volumes_in(tmp_path) == [tmp_path / "p.1"]
    assert stem(tmp_path / "p.1") == "p.1"
    assert len(files_of(tmp_path / "p.1")) == 4


def volume_of(image, affine):
    from contrabench import Volume

    return Volume(image, None, affine)


@pytest.mark.parametrize("gap", [1, 2])
def test_a_series_without_one_of_its_slices(gap, tmp_path):
    write_series(tmp_path / "p", values_of(), oblique(), skip=(gap,))
    with pytest.raises(ValueError, match=r"slices 4\.00 to 8\.00 mm apart; copy those"):
        read_volume(tmp_path / "p")


def test_a_series_that_is_there_twice(tmp_path):
    write_series(tmp_path / "p", values_of(), oblique())
    write_series(tmp_path / "q", values_of(seed=1), oblique())
    for path in (tmp_path / "q").iterdir():
        path.rename(tmp_path / "p" / f"again_{path.name}")
    with pytest.raises(ValueError, match=r"slices -?0\.00 to 4\.00 mm apart"):
        read_volume(tmp_path / "p")


def test_two_series_in_a_folder(tmp_path):
    write_series(tmp_path / "p", values_of(), oblique())
    write_series(tmp_path / "p", values_of(seed=1), oblique(), uid="1.2.9")
    with pytest.raises(ValueError, match="holds 2 DICOM series; leave"):
        read_volume(tmp_path / "p")


def test_slices_of_two_directions(tmp_path):
    write_series(tmp_path / "p", values_of(), oblique())
    write_series(tmp_path / "q", values_of(), np.diag([1.5, 0.8, 4.0, 1.0]))
    (tmp_path / "q" / "1.2.3.4_001.dcm").rename(tmp_path / "p" / "1.2.3.4_001.dcm")
    with pytest.raises(ValueError, match="differ in size or direction"):
        read_volume(tmp_path / "p")


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_a_damaged_file(ending, tmp_path):
    path = write_itk(tmp_path / f"a{ending}", values_of(), oblique())
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(ValueError, match="cannot be read") as caught:
        read_volume(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("ending", "line"), [(".nrrd", b'space units: "um" "um" "um"'), (".mha", b"DistanceUnits = um")]
)
def test_a_unit_that_itk_does_not_look_at(ending, line, tmp_path):
    path = write_itk(tmp_path / f"a{ending}", values_of(), oblique())
    raw, before = path.read_bytes(), b"endian:" if ending == ".nrrd" else b"CompressedData ="
    assert before in raw
    path.write_bytes(raw.replace(before, line + b"\n" + before, 1))
    with pytest.raises(ValueError, match="its unit is um; write its geometry in mm"):
        read_volume(path)
    path.write_bytes(raw.replace(before, line.replace(b"um", b"mm") + b"\n" + before, 1))
    assert read_volume(path).values.shape == values_of().shape


@pytest.mark.parametrize(("ending", "beside"), [(".mhd", "a.raw"), (".nhdr", "a.raw")])
def test_the_voxels_beside_a_header_are_a_part_of_it(ending, beside, tmp_path):
    path = write_itk(tmp_path / f"a{ending}", values_of(), oblique())
    voxels = next(p for p in tmp_path.iterdir() if p != path)
    assert files_of(path) == [path, voxels]
    voxels.unlink()
    with pytest.raises(ValueError, match=f"its voxels in '{voxels.name}', which is no file"):
        read_volume(path)


def test_a_header_with_its_voxels_in_many_files(tmp_path):
    path = write_itk(tmp_path / "a.mhd", values_of(), oblique())
    path.write_text(path.read_text().replace("a.raw", "LIST\na_1.raw\na_2.raw"))
    with pytest.raises(ValueError, match="its voxels in 'LIST'"):
        files_of(path)


def test_what_is_found_and_not_read_is_told(tmp_path):
    for name in ("a.mnc", "b.mnc", "c.h5", "flat.dcm", "notes.txt", "._x.h5", "sound.nii.gz"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "image.nii.gz").write_bytes(b"")
    lines = unread([tmp_path, tmp_path / "absent"])
    assert [line.partition(" found")[0] for line in lines] == [
        "1 .dcm file",
        "1 .h5 file",
        "2 .mnc files",
        "1 folder",
    ]
    assert all("\n" not in line for line in lines)


@pytest.fixture
def without_itk(monkeypatch):
    monkeypatch.setitem(sys.modules, "SimpleITK", None)


def test_what_needs_the_extra_says_so_once(volumes, tmp_path, request):
    for name in ("a", "b"):
        image, label = volumes.add(name)
        for kind, values in (("images", image), ("labels", label)):
            (volumes.root / kind / f"{name}.nii.gz").unlink()
            write_itk(volumes.root / kind / f"{name}.mha", values, oblique())
    request.getfixturevalue("without_itk")
    with pytest.raises(DataError) as caught:
        volumes.dataset().cases()
    (fault,) = caught.value.faults
    assert fault.startswith("4 .mha files found")
    assert fault.endswith("needs SimpleITK: pip install 'contrabench[formats]'")
    with pytest.raises(ValueError, match="needs SimpleITK"):
        read_volume(volumes.root / "images" / "a.mha")


@pytest.mark.parametrize("kind", ["images", "labels"])
def test_two_formats_of_one_volume(kind, volumes):
    image, label = volumes.add("a")
    write_itk(volumes.root / kind / "a.mha", image if kind == "images" else label, oblique())
    with pytest.raises(DataError, match=rf"a: both .* are its {kind[:-1]}; keep one") as caught:
        volumes.dataset().cases()
    assert len(caught.value.faults) == 1


def test_images_in_one_format_and_labels_in_another(volumes):
    for number, name in enumerate(("a", "b", "c")):
        image, label = volumes.add(name, seed=number)
        (volumes.root / "images" / f"{name}.nii.gz").unlink()
        (volumes.root / "labels" / f"{name}.nii.gz").unlink()
        volumes.write("labels", name, label, oblique())
        if name == "a":
            write_series(volumes.root / "images" / name, image.astype(np.int16), oblique())
        else:
            ending = {"b": "nrrd", "c": "mhd"}[name]
            write_itk(volumes.root / "images" / f"{name}.{ending}", image, oblique())
    dataset = volumes.dataset()
    check_cases(dataset, Silent())
    assert [case.image.name for case in dataset.cases()] == ["a", "b.nrrd", "c.mhd"]


@pytest.mark.parametrize("which", ["slice", "voxels"])
def test_the_fingerprint_follows_every_file(which, volumes):
    image, label = volumes.add("a")
    (volumes.root / "images" / "a.nii.gz").unlink()
    volumes.write("labels", "a", label, oblique())
    if which == "slice":
        folder = write_series(volumes.root / "images" / "a", image.astype(np.int16), oblique())
        changed = sorted(folder.iterdir())[2]
    else:
        write_itk(volumes.root / "images" / "a.mhd", image, oblique())
        changed = volumes.root / "images" / "a.raw"
    dataset = volumes.dataset()
    (case,) = dataset.cases()
    before = dataset.fingerprint(case)
    assert dataset.fingerprint(case) == before
    content = changed.read_bytes()
    changed.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert dataset.fingerprint(case) != before
