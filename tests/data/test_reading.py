"""Every fault that input data can have is planted once and must be told in one line."""

import gzip
import time
from contextlib import contextmanager
from dataclasses import replace
from threading import Barrier

import nibabel as nib
import numpy as np
import pytest

from contrabench import Case, DataError, Structure, Volume
from contrabench.contracts.registry import datasets
from contrabench.data import reading
from contrabench.data.facts import check_cases
from contrabench.data.likeness import likeness_of
from contrabench.data.nifti import frame_count
from contrabench.data.prepare import prepare_case
from contrabench.data.reading import (
    checked_structures,
    for_each_case,
    list_cases,
    volume_faults,
)
from contrabench.progress import Silent

AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])


def some_volume(seed):
    """A volume that is no other one's heart."""
    image = np.random.default_rng(seed).normal(size=(20, 20, 5)).astype(np.float32)
    return Volume(image, None, AFFINE)


class Told(Silent):
    """Keeps what is told of the progress."""

    @contextmanager
    def track(self, title, total):
        self.seen = [title, total]
        yield self

    def advance(self, done, detail=""):
        self.seen.append((done, detail))


@pytest.fixture
def sound(volumes):
    volumes.add("a", seed=1)
    volumes.add("b", seed=2)
    return volumes


def faults_of(volumes, **options):
    with pytest.raises(DataError) as caught:
        check_cases(volumes.dataset(**options), Silent())
    error = caught.value
    assert error.exit_code == 2
    assert all("\n" not in fault for fault in error.faults)
    assert "nothing was trained" in str(error)
    return error.faults


def only_fault(volumes, **options):
    faults = faults_of(volumes, **options)
    assert len(faults) == 1, faults
    return faults[0]


def test_sound_data_has_no_fault(sound):
    told = Told()
    check_cases(sound.dataset(), told)
    assert told.seen == ["reading cases", 2, (1, "a"), (2, "b")]


def test_volumes_are_worked_on_together_and_told_in_their_order(monkeypatch):
    monkeypatch.setattr(reading.os, "cpu_count", lambda: 2)
    both = Barrier(2, timeout=60)
    cases = [Case(name, name) for name in "abcd"]

    def work(case):
        both.wait()
        if case.id in "ac":
            # The later one of two that run together is done first.
            time.sleep(0.05)
        return case.id.upper(), likeness_of(some_volume(ord(case.id)))

    told = Told()
    assert for_each_case(cases, "here", work, "all", told) == ["A", "B", "C", "D"]
    assert told.seen == ["all", 4, *enumerate("abcd", start=1)]


def test_a_fault_in_the_code_begins_no_more_volumes(monkeypatch):
    monkeypatch.setattr(reading.os, "cpu_count", lambda: 1)
    begun = []

    def work(case):
        begun.append(case.id)
        time.sleep(0.2)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        for_each_case([Case(name, name) for name in "abcdef"], "here", work, "all", Silent())
    assert len(begun) <= 2


def test_missing_label(sound):
    dataset = sound.dataset()
    (case, _) = dataset.cases()
    dataset.cases = lambda: [replace(case, label=None)]
    with pytest.raises(DataError, match="a: has no label file, but the dataset lists it"):
        check_cases(dataset, Silent())


@pytest.mark.parametrize("kind", ["image", "label"])
def test_a_link_that_leads_nowhere_is_no_case_without_the_file(kind, sound):
    path = sound.root / f"{kind}s" / "b.nii.gz"
    path.unlink()
    path.symlink_to(sound.root / "annex" / "object")
    fault = only_fault(sound)
    assert fault.startswith(f"b: {path} cannot be read")


def test_a_frame_of_a_series(tmp_path):
    series = np.random.default_rng(0).normal(size=(6, 5, 4, 3)).astype(np.float32)
    path = tmp_path / "series.nii.gz"
    nib.save(nib.Nifti1Image(series, AFFINE), path)
    assert frame_count(path) == 3
    dataset = datasets.get("acdc")(tmp_path)
    cases = [Case("x", "x", path, labelled=False, frame=frame) for frame in range(4)]
    for frame in range(3):
        np.testing.assert_array_equal(dataset.load(cases[frame]).image, series[..., frame])
    with pytest.raises(DataError, match="and no frame 4"):
        dataset.load(cases[3])
    assert len({dataset.fingerprint(case) for case in cases}) == 4
    nib.save(nib.Nifti1Image(series[..., 0], AFFINE), path)
    with pytest.raises(ValueError, match="not four dimensions"):
        frame_count(path)


def test_extra_label(sound):
    (sound.root / "images" / "a.nii.gz").unlink()
    fault = only_fault(sound)
    assert fault.startswith("a: ")
    assert "has no image" in fault


def test_shapes_differ(sound):
    sound.write("labels", "b", np.ones((24, 20, 5), np.uint8))
    fault = only_fault(sound)
    assert "(24, 20, 6)" in fault
    assert "(24, 20, 5)" in fault


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_affines_differ_by_half_a_millimetre(sound, axis):
    _, label = sound.add("b", seed=2)
    moved = AFFINE.copy()
    moved[axis, 3] += 0.5
    sound.write("labels", "b", label, moved)
    assert "affines of image and label differ, by up to 0.5 mm" in only_fault(sound)


def test_mirrored_affine(sound):
    _, label = sound.add("b", seed=2)
    sound.write("labels", "b", label, np.diag([-2.0, 2.0, 5.0, 1.0]))
    assert "affines" in only_fault(sound)


def test_affines_equal_but_for_rounding(sound):
    _, label = sound.add("b", seed=2)
    sound.write("labels", "b", label, AFFINE * (1 + 1e-6))
    check_cases(sound.dataset(), Silent())


def test_value_outside_the_map(sound):
    _, label = sound.add("b", seed=2)
    label[:2, 0, 0] = 9
    sound.write("labels", "b", label)
    fault = only_fault(sound)
    assert "value 9 (2 voxels)" in fault
    assert "1 core, 2 shell" in fault


def test_each_unknown_value_has_its_line(sound):
    _, label = sound.add("b", seed=2)
    label[0, 0, :2] = 9, 8
    sound.write("labels", "b", label)
    assert len(faults_of(sound)) == 2


def test_label_that_was_interpolated(sound):
    _, label = sound.add("b", seed=2)
    mixed = label.astype(np.float32)
    mixed[0, 0, :3] = 0.5
    sound.write("labels", "b", mixed)
    assert "3 voxels that are no whole numbers" in only_fault(sound)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_image_that_is_not_finite(sound, bad):
    image, _ = sound.add("b", seed=2)
    image[3, 3, :4] = bad
    sound.write("images", "b", image)
    assert "4 voxels of the image are NaN or infinite" in only_fault(sound)


def test_empty_label(sound):
    sound.write("labels", "b", np.zeros((24, 20, 6), np.uint8))
    assert "no foreground" in only_fault(sound)


def test_truncated_file(sound):
    path = sound.root / "images" / "b.nii.gz"
    path.write_bytes(path.read_bytes()[:-2000])
    fault = only_fault(sound)
    assert "cannot be read" in fault
    assert str(path) in fault


def test_truncated_inside_an_intact_archive(sound):
    path = sound.root / "labels" / "b.nii.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:1000]))
    assert "cannot be read" in only_fault(sound)


@pytest.mark.parametrize("content", [b"", b"not a volume", b"\x00" * 500])
def test_not_a_volume(sound, content):
    path = sound.root / "images" / "b.nii.gz"
    path.write_bytes(content)
    assert "cannot be read" in only_fault(sound)


@pytest.mark.parametrize("shape", [(24, 20), (24, 20, 6, 2)])
def test_not_3d(sound, shape):
    sound.write("images", "b", np.ones(shape, np.float32))
    assert f"{len(shape)} dimensions" in only_fault(sound)


def test_affine_without_volume():
    image = np.arange(64, dtype=np.float32).reshape(4, 4, 4)
    volume = Volume(image, None, np.diag([1.0, 1.0, 0.0, 1.0]))
    (fault,) = volume_faults(volume, None)
    assert "affine" in fault


def test_same_image_under_two_patients(sound):
    image, label = sound.add("b", seed=2)
    turned = np.ascontiguousarray(image[::-1])  # stored the other way round, the same in space
    affine = AFFINE.copy()
    affine[0] = [-2.0, 0, 0, 2.0 * 23]
    sound.write("images", "c", turned, affine)
    sound.write("labels", "c", np.ascontiguousarray(label[::-1]), affine)
    fault = only_fault(sound)
    assert "b (patient b) and c (patient c)" in fault
    assert "same image" in fault


def test_same_image_of_one_patient_is_no_leak(volumes):
    volumes.add("p1_ed", seed=1)
    volumes.add("p1_es", seed=1)
    check_cases(volumes.dataset(patient_pattern="(p1)_.*"), Silent())


def test_duplicate_ids(sound):
    dataset = sound.dataset()
    cases = dataset.cases()
    dataset.cases = lambda: [cases[0], cases[0], cases[1]]
    with pytest.raises(DataError, match="a: 2 cases have this id") as caught:
        check_cases(dataset, Silent())
    assert len(caught.value.faults) == 1


@pytest.mark.parametrize("name", ["a\nb", "a\udce9", "a\x1b[31m"])
def test_ids_that_no_table_can_hold(name, sound):
    dataset = sound.dataset()
    cases = dataset.cases()
    dataset.cases = lambda: [replace(cases[0], id=name), cases[1]]
    with pytest.raises(DataError, match="characters that are no text") as caught:
        list_cases(dataset)
    assert caught.value.faults[0].isascii()


def test_a_folder_that_cannot_be_listed(sound):
    dataset = sound.dataset()
    path = str(sound.root / "images")

    def cases():
        raise PermissionError(13, "Permission denied", path)

    dataset.cases = cases
    with pytest.raises(DataError) as caught:
        list_cases(dataset)
    assert f"{path} cannot be read (Permission denied)" in caught.value.faults[0]


@pytest.mark.parametrize("count", [0, 255, 256])
def test_structures_that_masks_cannot_tell(count, sound):
    dataset = sound.dataset()
    some = tuple(Structure(name=f"s{n}", value=n) for n in range(1, count + 1))
    dataset.__class__ = type("Own", (type(dataset),), {"structures": some})
    with pytest.raises(
        DataError, match=f"there are {count} structures, and masks can tell 1 to 254"
    ):
        checked_structures(dataset)


@pytest.mark.parametrize(
    ("value", "kind"), [(2**40, np.int64), (2**63, np.uint64), (-3, np.int16), (2**31, np.uint32)]
)
def test_values_are_told_as_they_are(value, kind, sound):
    _, label = sound.add("b", seed=2)
    label = label.astype(kind)
    label[0, 0, 0] = value
    path = sound.root / "labels" / "b.nii.gz"
    nib.save(nib.Nifti1Image(label, AFFINE, dtype=kind), path)
    assert f"label value {value} (1 voxels)" in only_fault(sound)


def test_an_image_in_the_place_of_a_label_is_not_told_value_by_value(sound):
    values = np.arange(24 * 20 * 6, dtype=np.int16).reshape(24, 20, 6)
    sound.write("labels", "b", values)
    faults = faults_of(sound)
    assert len(faults) < 20
    assert "up to 2879" in faults[-1]


def test_all_faults_are_told_together(sound):
    image, label = sound.add("c", seed=3)
    image[0, 0, 0] = np.nan
    label[0, 0, 0] = 7
    sound.write("images", "c", image)
    sound.write("labels", "c", label)
    sound.write("labels", "b", np.zeros((24, 20, 6), np.uint8))
    sound.add("d", seed=1)
    sound.add("e", seed=5)
    (sound.root / "images" / "e.nii.gz").write_bytes(b"")
    faults = faults_of(sound)
    where = [fault.partition(":")[0] for fault in faults]
    assert where == ["b", "c", "c", "e", "a (patient a) and d (patient d)"]


def test_constant_image(sound):
    sound.write("images", "b", np.full((24, 20, 6), 7.0, np.float32))
    assert "b: all voxels of the image are 7.0" in only_fault(sound)


def test_image_that_is_constant_within_the_field_of_view(sound, tmp_path):
    image = np.full((90, 20, 6), 7.0, np.float32)
    image[0] = 8.0  # 90 mm from the centre
    sound.write("images", "b", image)
    sound.write("labels", "b", np.ones(image.shape, np.uint8))
    dataset = sound.dataset()
    with pytest.raises(DataError, match="b: the image has one value only"):
        prepare_case(dataset, dataset.cases()[1], 32, tmp_path)


@pytest.mark.parametrize("name", ["mmwhs", "acdc", "nifti"])
@pytest.mark.parametrize("state", ["none", "absent", "empty", "other"])
def test_data_that_is_not_there(name, state, tmp_path):
    root = tmp_path / "data"
    if state in ("empty", "other"):
        root.mkdir()
    if state == "other":
        (root / "readme.txt").write_text("nothing here")
    cls = datasets.get(name)
    with pytest.raises(DataError) as caught:
        check_cases(cls(None if state == "none" else root), Silent())
    assert len(caught.value.faults) == 1
    assert cls.info.layout in caught.value.faults[0]
