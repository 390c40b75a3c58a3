"""Preparation: what it makes, and that its cache survives kills, rivals and damage."""

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from contrabench import Case, Dataset, DatasetInfo, RunError, Structure, Volume
from contrabench import files as sealed
from contrabench.contracts.dataset import Dataset as DatasetBase
from contrabench.data import cache, prepare
from contrabench.data.cache import FileIndex, fingerprint_of
from contrabench.data.prepare import class_indices, prepare_dataset
from contrabench.protocol import DataRecipe

RECIPE = DataRecipe(field_of_view_mm=40.0)

CHILD = """
import sys, time
from pathlib import Path
from contrabench.contracts.registry import datasets
from contrabench.data import prepare
from contrabench.protocol import DataRecipe

volumes, folder, role = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
inner = prepare.resample_label

def watched(*args):
    with (folder.parent / "built").open("a") as log:
        log.write(role + "\\n")
    time.sleep(600 if role == "stalls" else 0.1)
    return inner(*args)

prepare.resample_label = watched
cls = datasets.get("nifti")
dataset = cls(volumes, cls.Options(structures="core=1,shell=2"))
(folder.parent / f"ready-{role}").touch()
while role != "stalls" and not (folder.parent / "go").exists():
    time.sleep(0.005)
done = prepare.prepare_dataset(dataset, "nifti", DataRecipe(field_of_view_mm=40.0), 32, folder)
print(*(case.fingerprint for case in done))
"""


@pytest.fixture
def three(volumes):
    for number in range(3):
        volumes.add(f"p{number}", seed=number)
    return volumes


def prepared(volumes, folder, pixels=32, recipe=RECIPE, **options):
    options = {"structures": "core=1,shell=2", "field_of_view_mm": 224.0} | options
    return prepare_dataset(volumes.dataset(**options), "nifti", recipe, pixels, folder)


def arrays(case):
    return case.image, case.label, case.native_label(), case.affine, case.native_affine


def assert_same(first, second):
    for one, other in zip(first, second, strict=True):
        assert one.fingerprint == other.fingerprint
        for a, b in zip(arrays(one), arrays(other), strict=True):
            np.testing.assert_array_equal(a, b)


def until(condition, process):
    for _ in range(3000):
        if condition():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    raise AssertionError("the child process did not come this far")


def child(volumes, folder, role):
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(volumes.root), str(folder), role],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def temporary(folder):
    return [path for path in folder.iterdir() if path.is_dir() and path.suffix == ".tmp"]


def test_what_a_prepared_case_holds(volumes, tmp_path):
    _, label = volumes.add("p0", seed=0)
    news = []
    (case,) = prepare_dataset(
        volumes.dataset(), "nifti", RECIPE, 32, tmp_path, progress=lambda *n: news.append(n)
    )
    assert news == [(1, 1, "p0")]
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
    (case,) = prepared(volumes, tmp_path, recipe=DataRecipe(field_of_view_mm=96.0))  # 3 mm
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
    with_label, without = prepared(volumes, tmp_path, unlabelled=True)
    assert with_label.labelled
    assert not without.labelled
    assert without.label is None
    assert without.outside == 0
    with pytest.raises(RunError, match="p1 is unlabelled"):
        without.native_label()


def test_the_second_time_nothing_is_computed(three, tmp_path, monkeypatch):
    first = prepared(three, tmp_path)
    monkeypatch.setattr(prepare, "load_checked", None)
    assert_same(first, prepared(three, tmp_path))


def test_changes_in_memory_do_not_reach_the_cache(three, tmp_path):
    first = prepared(three, tmp_path)
    before = first[0].image.copy()
    first[0].image[:] = 0
    first[0].label[:] = 0
    assert sealed.damage_of(first[0].folder) is None
    np.testing.assert_array_equal(prepared(three, tmp_path)[0].image, before)


@pytest.mark.parametrize("what", ["pixels", "recipe", "structures", "file", "version"])
def test_whatever_changes_the_arrays_changes_the_key(what, three, tmp_path, monkeypatch):
    before = {case.fingerprint for case in prepared(three, tmp_path)}
    kwargs = {}
    if what == "pixels":
        kwargs["pixels"] = 48
    elif what == "recipe":
        kwargs["recipe"] = DataRecipe(field_of_view_mm=41.0)
    elif what == "structures":
        kwargs["structures"] = "shell=2,core=1"
    elif what == "file":
        for number in range(3):
            three.add(f"p{number}", seed=number + 10)
    else:
        monkeypatch.setattr(prepare, "PREPARE_VERSION", 1000)
    assert before.isdisjoint(case.fingerprint for case in prepared(three, tmp_path, **kwargs))


@pytest.mark.parametrize("name", ["image.npy", "label.npy", "native_label.npz", "meta.json"])
@pytest.mark.parametrize("damage", ["flip", "delete", "truncate"])
def test_a_damaged_folder_is_made_again_with_a_warning(name, damage, volumes, tmp_path, caplog):
    volumes.add("p0")
    first = prepared(volumes, tmp_path / "cache")
    (fresh,) = prepared(volumes, tmp_path / "fresh")
    path = first[0].folder / name
    content = path.read_bytes()
    path.unlink()  # not in place: `first` still maps the old file
    if damage == "flip":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "truncate":
        path.write_bytes(content[:-1])
    with caplog.at_level(logging.WARNING):
        again = prepared(volumes, tmp_path / "cache")
    assert_same([fresh], again)
    assert len(caplog.records) == 1
    assert name in caplog.text
    assert "prepared again" in caplog.text


def test_folder_without_its_seal_is_not_trusted(volumes, tmp_path):
    volumes.add("p0")
    (case,) = prepared(volumes, tmp_path)
    (case.folder / sealed.MARKER).unlink()
    (case.folder / "image.npy").unlink()
    (again,) = prepared(volumes, tmp_path)
    assert again.image.shape == (32, 32, 6)


def test_a_failed_preparation_leaves_nothing_behind(three, tmp_path, monkeypatch):
    def fails(*_):
        raise MemoryError

    monkeypatch.setattr(prepare, "resample_label", fails)
    with pytest.raises(MemoryError):
        prepared(three, tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["volumes"]


def test_killed_process_leaves_only_what_the_next_one_removes(three, tmp_path):
    folder = tmp_path / "cache"
    process = child(three, folder, "stalls")
    try:
        until((tmp_path / "built").exists, process)
        (work,) = temporary(folder)
        assert (work / "image.npy").exists()
        cache.sweep(folder)
        assert temporary(folder) == [work], "the folder of a living process was removed"
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == -9
    assert temporary(folder) == [work]
    assert not (folder / work.name.split(".")[1]).exists()
    cases = prepared(three, folder)
    assert temporary(folder) == []
    assert_same(cases, prepared(three, tmp_path / "fresh"))


def test_two_processes_share_the_work(three, tmp_path):
    folder = tmp_path / "cache"
    processes = [child(three, folder, role) for role in ("one", "two")]
    for process, role in zip(processes, ("one", "two"), strict=True):
        until((tmp_path / f"ready-{role}").exists, process)
    (tmp_path / "go").touch()
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0]
    assert len(outputs[0][0].split()) == 3
    assert len((tmp_path / "built").read_text().split()) == 3
    assert temporary(folder) == []


def test_rival_without_a_common_lock_wins_and_is_used(tmp_path):
    folder = tmp_path / "cache"
    folder.mkdir()

    def make(work):
        (work / "value").write_text("mine")
        rival = folder / "key"
        rival.mkdir()
        (rival / "value").write_text("the rival's")
        sealed.seal_folder(rival)

    final = cache.obtain(folder, "key", make)
    assert (final / "value").read_text() == "the rival's"
    assert temporary(folder) == []


class Twin(Dataset):
    """Makes its volumes; whatever a stranger writes."""

    info = DatasetInfo(
        title="t", modality="t", source="t", terms="t", layout="nothing", needs_path=False
    )

    @property
    def structures(self):
        return (Structure(name="x", value=7),)

    def cases(self):
        return [Case("a", "a"), Case("b", "b", labelled=False)]

    def load(self, case):
        image = np.random.default_rng(ord(case.id)).normal(size=(20, 20, 5)).astype(np.float32)
        return Volume(image, np.full(image.shape, 7), np.diag([1.0, 1.0, 3.0, 1.0]))

    def fingerprint(self, case):
        return f"twin {case.id}"


def test_dataset_without_files(tmp_path):
    labelled, unlabelled = prepare_dataset(Twin(), "twin", DataRecipe(), 32, tmp_path)
    assert set(np.unique(labelled.native_label())) == {1}
    assert unlabelled.label is None


def test_index_spares_reading_and_sees_changes(volumes, tmp_path, monkeypatch):
    volumes.add("p0")
    dataset = volumes.dataset()
    (case,) = dataset.cases()
    for path in (case.image, case.label):
        age(path, 60)
    read = []
    inner = cache.checksum
    monkeypatch.setattr(cache, "checksum", lambda path: read.append(path) or inner(path))

    index = FileIndex(tmp_path / "index.json")
    assert fingerprint_of(dataset, case, index) == DatasetBase.fingerprint(dataset, case)
    assert len(read) == 2
    index.save()
    kept = {key.split(" ")[0] for key in json.loads((tmp_path / "index.json").read_text())}
    assert kept == {str(Path(path).resolve()) for path in (case.image, case.label)}
    again = FileIndex(tmp_path / "index.json")
    assert fingerprint_of(dataset, case, again) == DatasetBase.fingerprint(dataset, case)
    assert len(read) == 2

    content = bytearray(case.label.read_bytes())
    content[-1] ^= 1
    case.label.write_bytes(content)  # same size, new time
    assert fingerprint_of(dataset, case, again) == DatasetBase.fingerprint(dataset, case)
    assert len(read) == 3


def test_index_does_not_trust_a_file_that_is_still_warm(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"one")
    status = path.stat()
    index = FileIndex(tmp_path / "index.json")
    first = index.sha256(path)
    path.write_bytes(b"two")
    set_time(path, status.st_mtime_ns)
    assert index.sha256(path) != first


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}', '{"a": ["x", 2, "y"]}'])
def test_damaged_index_counts_as_empty(content, tmp_path):
    (tmp_path / "index.json").write_text(content)
    (tmp_path / "file").write_bytes(b"one")
    age(tmp_path / "file", 60)
    index = FileIndex(tmp_path / "index.json")
    value = index.sha256(tmp_path / "file")
    index.save()
    assert FileIndex(tmp_path / "index.json").sha256(tmp_path / "file") == value


def age(path, seconds):
    set_time(path, time.time_ns() - seconds * 10**9)


def set_time(path, nanoseconds):
    os.utime(path, ns=(nanoseconds, nanoseconds))
