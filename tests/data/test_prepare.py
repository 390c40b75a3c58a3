"""Preparation: what it makes of a volume."""

import ast
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import nibabel as nib
import numpy as np
import pytest
import torch

from contrabench import DataError, RunError, Structure
from contrabench.data.facts import told
from contrabench.data.grid import to_native
from contrabench.data.prepare import class_indices, open_case, prepare_case
from contrabench.data.reading import list_cases
from contrabench.protocol import DataRecipe


def prepared(volumes, folder, recipe=None, **options):
    """Every case in a folder of its own."""
    dataset = volumes.dataset(**{"field_of_view_mm": 40.0} | options)
    dataset.recipe = recipe or dataset.recipe
    cases = []
    for case in list_cases(dataset):
        home = folder / case.id
        home.mkdir(parents=True)
        prepare_case(dataset, case, 32, home)
        cases.append(open_case(case, home))
    return cases


def arrays(case):
    return case.image, case.label, case.native_label(), case.affine, case.native_affine


def test_what_a_prepared_case_holds(volumes, tmp_path):
    _, label = volumes.add("p0", seed=0)
    (case,) = prepared(volumes, tmp_path)
    assert (case.case, case.patient, case.labelled) == ("p0", "p0", True)
    assert case.image.dtype == np.float32
    assert case.label.dtype == np.uint8
    assert case.image.shape == case.label.shape == (32, 32, 6)
    assert case.spacing == pytest.approx((1.25, 1.25, 5.0))
    assert case.native_shape == (24, 20, 6)
    np.testing.assert_array_equal(case.native_label(), label)
    np.testing.assert_allclose(case.native_affine, np.diag([2.0, 2.0, 5.0, 1.0]))
    # The volume is 48 x 40 mm and the square 40 mm: it covers all of it, borders included.
    assert case.image.mean(dtype=float) == pytest.approx(0, abs=1e-5)
    assert case.image.std(dtype=float) == pytest.approx(1, abs=1e-5)
    assert case.outside == 0
    shell, background = case.image[case.label == 2], case.image[case.label == 0]
    assert shell.min() > np.median(background)


def test_padding_has_the_lowest_value_and_is_not_counted(volumes, tmp_path):
    volumes.add("p0")
    (case,) = prepared(volumes, tmp_path, field_of_view_mm=96.0)  # 3 mm
    body = case.image[8:24, 9:23]  # 48 and 40 mm about the centre, in voxels of 3 mm
    padding = np.ones(case.image.shape, bool)
    padding[8:24, 9:23] = False
    assert np.unique(case.image[padding]) == pytest.approx([case.image.min()])
    assert body.mean(dtype=float) == pytest.approx(0, abs=1e-5)
    assert body.std(dtype=float) == pytest.approx(1, abs=1e-5)
    assert not case.label[padding].any()


def test_intensities_are_clipped_at_the_percentiles(volumes, tmp_path):
    image, _ = volumes.add("p0")
    image[12, 10, 3] = 1e6
    volumes.write("images", "p0", image)
    recipe = DataRecipe(field_of_view_mm=40.0, clip_percentiles=(5.0, 95.0))
    (case,) = prepared(volumes, tmp_path, recipe=recipe)
    values = np.sort(case.image, axis=None)
    share = len(values) // 20
    assert np.ptp(values[: share - 1]) == 0
    assert np.ptp(values[1 - share :]) == 0
    assert np.ptp(values[: 2 * share]) > 0


def test_share_of_the_reference_outside_the_field_of_view(volumes, tmp_path):
    label = np.zeros((24, 20, 6), np.uint8)
    label[0, 5:15], label[12, 5:15] = 1, 2
    volumes.add("p0")
    volumes.write("labels", "p0", label)
    (case,) = prepared(volumes, tmp_path)  # x = 0 lies 23 mm from the centre, 20 mm are kept
    assert case.outside == pytest.approx(0.5)
    assert not (case.label == 1).any()


def test_class_indices_follow_the_order_of_the_structures():
    structures = (Structure(name="LV", value=500), Structure(name="myocardium", value=205))
    label = np.array([[[0, 205, 500]]])
    np.testing.assert_array_equal(class_indices(label, structures), [[[0, 2, 1]]])


def test_volumes_stored_in_another_orientation_give_the_same(volumes, tmp_path):
    image, label = volumes.add("p0")
    (plain,) = prepared(volumes, tmp_path / "plain")
    reference = np.diag([2.0, 2.0, 5.0, 1.0])
    permuted, matrix = permute(image, reference)
    volumes.write("images", "p0", permuted, matrix)
    volumes.write("labels", "p0", permute(label, reference)[0], matrix)
    (turned,) = prepared(volumes, tmp_path / "turned")
    for one, other in zip(arrays(plain), arrays(turned), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_stack_is_sliced_as_it_was_acquired_whatever_its_direction_in_the_body(
    place, volumes, tmp_path
):
    image, label = volumes.add("p0")
    (plain,) = prepared(volumes, tmp_path / "plain")
    order = [axis for axis in range(3) if axis != place]
    # The third axis of the file points to another side of the patient.
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, [*order, place]] @ np.diag([2.0, 2.0, 5.0])
    volumes.write("images", "p0", image, affine)
    volumes.write("labels", "p0", label, affine)
    (case,) = prepared(volumes, tmp_path / "turned")
    np.testing.assert_allclose(case.image, plain.image, atol=1e-5)
    np.testing.assert_array_equal(case.label, plain.label)
    np.testing.assert_allclose(case.native_affine, affine)
    shares = torch.from_numpy(np.eye(3, dtype=np.float32)[case.label].transpose(3, 0, 1, 2))
    back = to_native(shares, case.affine, case.native_affine, case.native_shape)
    reference = case.native_label()
    assert back.shape == reference.shape
    assert np.mean(back[reference > 0] == reference[reference > 0]) > 0.9


def test_what_was_decided_and_what_was_lost_stays_with_the_case(volumes, tmp_path):
    image, label = volumes.add("p0")
    label[:] = 2
    label[12, 10, 3] = 1
    for kind, values in (("images", image), ("labels", label)):
        file = nib.Nifti1Image(values, np.diag([0.002, 0.002, 0.005, 1]))
        file.header.set_xyzt_units("meter")
        nib.save(file, volumes.root / kind / "p0.nii.gz")
    (case,) = prepared(volumes, tmp_path, field_of_view_mm=320.0)
    assert [note.what.split()[0] for note in case.notes] == ["the", "'core'"]
    assert case.classes == {2}
    np.testing.assert_allclose(case.native_affine, np.diag([2, 2, 5, 1]), atol=1e-6)
    (line, *_) = told([case], (), 320.0)
    assert line.startswith("1 case (p0): the unit of the header is the metre")


def test_a_volume_that_is_thinner_than_a_pixel_is_a_fault(volumes, tmp_path):
    for kind, values in zip(("images", "labels"), volumes.add("p0"), strict=True):
        volumes.write(kind, "p0", values, np.diag([1.0, 1.0, 5.0, 1.0]))
    with pytest.raises(DataError, match=r"p0: the image measures 24 x 20 x 30 mm, too little"):
        prepared(volumes, tmp_path, DataRecipe(field_of_view_mm=1000))


def permute(array, affine):
    """Stores a volume as (z, -x, -y) with the affine that keeps every voxel in its place."""
    x, y, _ = array.shape
    stored = array.transpose(2, 0, 1)[:, ::-1, ::-1]
    to_plain = np.array([[0, -1, 0, x - 1], [0, 0, -1, y - 1], [1, 0, 0, 0], [0, 0, 0, 1]])
    return np.ascontiguousarray(stored), affine @ to_plain


def test_unlabelled_cases(volumes, tmp_path):
    volumes.add("p0", seed=0)
    volumes.add("p1", seed=1)
    (volumes.root / "labels" / "p1.nii.gz").unlink()
    with_label, without = prepared(volumes, tmp_path)
    assert with_label.labelled
    assert not without.labelled
    assert without.label is None
    assert without.outside == 0
    with pytest.raises(RunError, match="p1 is unlabelled"):
        without.native_label()


def test_threads_that_open_cases_never_read_two_heads_at_once(volumes, tmp_path, monkeypatch):
    # Two of Python's parsers at once end in a SystemError before 3.12 (python/cpython #106905).
    volumes.add("p0")
    (case,) = prepared(volumes, tmp_path)
    at_work, most, parse = threading.Semaphore(0), [0], ast.literal_eval

    def slow(text):
        at_work.release()
        time.sleep(0.002)
        most[0] = max(most[0], at_work._value)
        at_work.acquire()
        return parse(text)

    monkeypatch.setattr(ast, "literal_eval", slow)
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda _: open_case(case.as_case, case.folder).likeness, range(12)))
    assert len(opened) == 12
    assert most == [1]
