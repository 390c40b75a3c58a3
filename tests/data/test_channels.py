"""Images of several channels: where they are found, and that each is treated as an image alone."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from tests.makers.scans import oblique

from contrabench import DataError, Volume
from contrabench.data.bank import build_bank, image_slices
from contrabench.data.facts import check_cases
from contrabench.data.geometry import canonical
from contrabench.data.grid import onto_grid
from contrabench.data.likeness import likeness_of
from contrabench.data.prepare import open_case, prepare_case
from contrabench.data.reading import volume_faults
from contrabench.progress import Silent
from contrabench.report.gallery.planes import Canvas

SHAPE = (24, 20, 6)
AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])
TWO = {"channel_names": {"0": "T2", "1": "ADC"}}


def moved(affine, by):
    result = affine.copy()
    result[:3, 3] += by
    return result


def literal(image, affine, target, shape):
    """SciPy at the places in the image of all voxel centres of the target, and which lie in it."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    world = index @ target[:3, :3].T + target[:3, 3]
    place = (world - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    values = map_coordinates(image, np.moveaxis(place, -1, 0), order=1, mode="nearest")
    ends = np.array(image.shape) - 0.5
    return values, ((place >= -0.5) & (place < ends)).all(-1)


@pytest.mark.parametrize(
    "target",
    [
        moved(AFFINE, (3.1, -4.3, 7.7)),
        np.diag([1.1, 3.3, 2.9, 1.0]),
        moved(oblique(), (40.0, 0.0, 0.0)),
        moved(AFFINE @ np.diag([-1, 1, -1, 1]), (45.7, 0.3, 24.2)),
    ],
)
def test_another_grid_is_sampled_as_scipy_samples_points(target):
    image = np.random.default_rng(0).normal(5, 2, SHAPE).astype(np.float32)
    shape = (17, 23, 9)
    found, share = onto_grid(image, AFFINE, target, shape)
    expected, inside = literal(image, AFFINE, target, shape)
    np.testing.assert_allclose(found[inside], expected[inside], rtol=1e-4, atol=1e-4)
    assert 0 < inside.mean() < 1
    assert (found[~inside] == image.min()).all()
    assert share == pytest.approx(inside.mean())
    assert found.dtype == np.float32


class Channels:
    """A folder of nnU-Net with two files an image, or of the Decathlon with one in 4D."""

    def __init__(self, volumes):
        self.volumes, self.root = volumes, volumes.root
        self.described = TWO | {"labels": {"background": 0, "core": 1, "shell": 2}}

    def add(self, name, seed=0, four=False, affine=AFFINE, second=None):
        image, label = self.volumes.add(name, seed, SHAPE)
        for kind in ("images", "labels"):
            (self.root / kind / f"{name}.nii.gz").unlink()
        other = (7 - 2 * image + np.random.default_rng(seed + 9).normal(0, 3, SHAPE)).astype("<f4")
        other = other if second is None else second[0]
        if four:
            self.volumes.write("imagesTr", name, np.stack([image, other], -1), affine)
        else:
            self.volumes.write("imagesTr", f"{name}_0000", image, affine)
            own = affine if second is None else second[1]
            self.volumes.write("imagesTr", f"{name}_0001", other, own)
        self.volumes.write("labelsTr", name, label, affine)
        return image, other

    def dataset(self, **options):
        (self.root / "dataset.json").write_text(json.dumps(self.described))
        return self.volumes.dataset(**options)

    def faults(self):
        with pytest.raises(DataError) as caught:
            check_cases(self.dataset(), Silent())
        assert all("\n" not in fault for fault in caught.value.faults)
        return caught.value.faults


@pytest.fixture
def two(volumes):
    return Channels(volumes)


@pytest.mark.parametrize("four", [False, True])
def test_channels_are_read_in_their_order(four, two):
    image, other = two.add("a", four=four)
    dataset = two.dataset()
    (case,) = dataset.cases()
    assert (case.id, case.label.name) == ("a", "a.nii.gz")
    assert dataset.channels == ("T2", "ADC")
    np.testing.assert_array_equal(dataset.load(case).image, np.stack([image, other]))
    check_cases(dataset, Silent())


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ({"modality": {"0": "T2", "1": "ADC"}}, ("T2", "ADC")),
        ({}, ("channel 0", "channel 1")),
    ],
)
def test_names_of_channels(words, names, two):
    two.add("a")
    two.described = words
    assert two.dataset().channels == names


@pytest.mark.parametrize("names", [["T2", "ADC"], {"1": "T2", "2": "ADC"}, {"T2": 0, "ADC": 1}])
def test_names_of_channels_that_cannot_be_used(names, two):
    two.add("a")
    two.described["channel_names"] = names
    (fault,) = two.faults()
    assert "dataset.json: its channels cannot be used" in fault


def test_one_channel_is_as_ever(volumes):
    volumes.add("a")
    dataset = volumes.dataset()
    assert dataset.channels == ("image",)
    assert dataset.load(dataset.cases()[0]).image.shape == SHAPE


def test_a_channel_comes_to_the_grid_of_the_first(two):
    own = np.random.default_rng(3).normal(50, 9, (14, 15, 16)).astype(np.float32)
    grid = moved(np.diag([3.0, 2.5, 2.0, 1.0]), (2.3, 1.1, -1.7))
    image, _ = two.add("a", second=(own, grid))
    dataset = two.dataset()
    volume = dataset.load(dataset.cases()[0])
    expected, inside = literal(own, grid, AFFINE, SHAPE)
    np.testing.assert_array_equal(volume.image[0], image)
    np.testing.assert_allclose(volume.image[1][inside], expected[inside], rtol=1e-5)
    assert (volume.image[1][~inside] == own.min()).all()
    np.testing.assert_allclose(volume.affine, AFFINE)


def test_a_channel_stored_the_other_way_round_is_the_same(two):
    image, other = two.add("a")
    mirrored = AFFINE @ np.diag([-1, 1, 1, 1])
    mirrored[0, 3] = 2 * (SHAPE[0] - 1)
    two.volumes.write("imagesTr", "a_0001", np.ascontiguousarray(other[::-1]), mirrored)
    dataset = two.dataset()
    found = dataset.load(dataset.cases()[0]).image
    np.testing.assert_allclose(found, np.stack([image, other]), rtol=1e-5, atol=1e-3)


def test_rounding_in_a_header_resamples_nothing(two):
    _, other = two.add("a")
    two.volumes.write("imagesTr", "a_0001", other, moved(AFFINE, 1e-4))
    dataset = two.dataset()
    np.testing.assert_array_equal(dataset.load(dataset.cases()[0]).image[1], other)


def test_channels_of_different_places(two):
    image, _ = two.add("a")
    two.volumes.write("imagesTr", "a_0001", image, moved(AFFINE, (42.0, 0, 0)))
    (fault,) = two.faults()
    assert fault.startswith("a: ")
    assert "a_0001.nii.gz covers 12% of the first channel's volume" in fault


@pytest.mark.parametrize("channel", [0, 1])
def test_a_channel_without_geometry(channel, two):
    image, _ = two.add("a")
    path = two.volumes.write("imagesTr", f"a_{channel:04d}", image)
    flat = nib.Nifti1Image(image, None)
    flat.header.set_sform(np.diag([2.0, 2.0, 0.0, 1.0]), code=1)
    nib.save(flat, path)
    (fault,) = two.faults()
    assert "sform 2 x 2 x 0" in fault


def test_a_channel_that_is_missing(two):
    two.add("a")
    two.add("b", seed=1)
    (two.root / "imagesTr" / "b_0001.nii.gz").unlink()
    (fault,) = two.faults()
    assert fault.startswith("b: its channel b_0001 is missing in ")


@pytest.mark.parametrize("numbers", [(0, 2), (1, 2), (0,), (1,)])
def test_numbers_with_a_gap(numbers, two):
    if 2 in numbers:
        two.described["channel_names"] = {"0": "T2", "1": "ADC", "2": "DCE"}
    image, _ = two.add("a")
    for path in (two.root / "imagesTr").iterdir():
        path.unlink()
    for number in numbers:
        two.volumes.write("imagesTr", f"a_{number:04d}", image)
    missing = next(n for n in range(3) if n not in numbers)
    (fault,) = two.faults()
    assert fault.startswith("no image in ")
    assert f"has the channel _{missing:04d}" in fault


def test_more_channels_than_names(two):
    image, _ = two.add("a")
    two.volumes.write("imagesTr", "a_0002", image)
    (fault,) = two.faults()
    assert "a_0002.nii.gz is a channel that dataset.json does not name" in fault


@pytest.mark.parametrize(("count", "words"), [(1, "(24, 20, 6, 1)"), (3, "(24, 20, 6, 3)")])
def test_another_number_of_channels_in_one_of_the_files(count, words, two):
    two.add("a", four=True)
    two.add("b", seed=1, four=True)
    image = np.random.default_rng(0).random((*SHAPE, 3)).astype(np.float32)[..., :count]
    two.volumes.write("imagesTr", "b", image)
    (fault,) = two.faults()
    assert fault.startswith("b: ")
    assert f"has shape {words}" in fault
    assert "2 channels along its fourth axis" in fault


def test_4d_without_names_is_refused(two):
    two.add("a", four=True)
    del two.described["channel_names"]
    (fault,) = two.faults()
    assert "has 4 dimensions" in fault
    assert "let the dataset name its channels" in fault


def test_a_channel_that_is_no_scan_is_named():
    image = np.random.default_rng(0).random((2, 4, 5, 6)).astype(np.float32)
    image[1] = 3.0
    volume = Volume(image, None, AFFINE)
    (fault,) = volume_faults(volume, None, ("T2", "ADC"))
    assert fault.startswith("all voxels of channel 'ADC' are 3.0")
    image[0, 0, 0, :2] = np.nan
    first, _ = volume_faults(volume, None, ("T2", "ADC"))
    assert first.startswith("2 voxels of channel 'T2' are NaN")
    (fault,) = volume_faults(volume, None)
    assert "the image has 2 channels, and the dataset lists 1" in fault


def test_every_channel_is_turned_alike():
    image = np.random.default_rng(0).random((2, 4, 5, 6)).astype(np.float32)
    affine = oblique()[:, [1, 2, 0, 3]] @ np.diag([-1, 1, -1, 1])
    turned = canonical(Volume(image, None, affine))
    for channel, found in zip(image, turned.image, strict=True):
        alone = canonical(Volume(channel, None, affine))
        np.testing.assert_array_equal(found, alone.image)
        np.testing.assert_array_equal(turned.affine, alone.affine)
    swapped = canonical(Volume(image[::-1], None, affine))
    assert likeness_of(turned).voxels != likeness_of(swapped).voxels


@pytest.fixture
def prepared(two, tmp_path):
    """A prepared image of two channels, and each of them prepared as an image of its own."""

    def make(dataset, name):
        (case,) = dataset.cases()
        (tmp_path / name).mkdir()
        prepare_case(dataset, case, 32, tmp_path / name)
        return open_case(case, tmp_path / name)

    two.add("a", second=(np.random.default_rng(1).gamma(2, 30, SHAPE).astype("<f4"), AFFINE))
    both, alone = make(two.dataset(), "both"), []
    for number in range(2):
        files = [two.root / "imagesTr" / f"a_{n:04d}.nii.gz" for n in range(2)]
        kept = {path: path.read_bytes() for path in files}
        content = kept[files[number]]
        files[1].unlink()
        files[0].write_bytes(content)
        two.described["channel_names"] = {"0": "T2"}
        alone.append(make(two.dataset(), f"alone_{number}"))
        for path, content in kept.items():
            path.write_bytes(content)
    return both, alone


def test_each_channel_is_prepared_as_if_it_were_alone(prepared):
    both, alone = prepared
    assert both.image.shape == (2, 32, 32, 6)
    for found, single in zip(both.image, alone, strict=True):
        assert single.image.shape == (32, 32, 6)
        np.testing.assert_array_equal(found, single.image)
    np.testing.assert_array_equal(both.label, alone[0].label)
    assert both.spacing == alone[0].spacing


@pytest.mark.parametrize("orientation", ["axial", "coronal", "sagittal"])
def test_slices_hold_both_channels(orientation, prepared):
    both, alone = prepared
    slices = image_slices(both, orientation)
    for number, single in enumerate(alone):
        assert torch.equal(slices[:, number], image_slices(single, orientation)[:, 0])
    names = [both.patient]
    bank = build_bank([both], names, (orientation,), torch.device("cpu"))
    other = build_bank([alone[0]], names, (orientation,), torch.device("cpu"))
    assert torch.equal(bank.images, slices)
    assert torch.equal(bank.masks, other.masks)
    hidden = build_bank([both, replace(both, patient="b")], names, (orientation,), bank.device)
    assert hidden.masks.shape == (2 * len(slices), 32, 32)


def test_pictures_show_the_first_channel(prepared):
    both, alone = prepared
    shown, expected = (
        Canvas(case, case.native_label(), ("core", "shell"), True) for case in (both, alone[0])
    )
    assert [plane.png for plane in shown.planes] == [plane.png for plane in expected.planes]
