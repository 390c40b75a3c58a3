"""Preparation as a stage: made once, and safe against kills, rivals, damage and faulty files."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from filelock import Timeout

from contrabench import Case, DataError, Dataset, DatasetInfo, RunError, Structure, Volume
from contrabench import files as sealed
from contrabench.data import prepare as making
from contrabench.data.facts import check_cases
from contrabench.progress import Silent
from contrabench.stages import prepare as module
from contrabench.stages.prepare import FileIndex, prepare

CHILD = """
import sys, time
from pathlib import Path
from contrabench.contracts.registry import datasets
from contrabench.data import prepare as making
from contrabench.progress import Silent
from contrabench.stages.prepare import prepare

volumes, store, role = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
inner = making.resample_label

def watched(*args):
    with (store.parent / "built").open("a") as log:
        log.write(role + "\\n")
    time.sleep(600 if role == "stalls" else 0.1)
    return inner(*args)

making.resample_label = watched
cls = datasets.get("nifti")
dataset = cls(volumes, cls.Options(structures="core=1,shell=2", field_of_view_mm=40.0))
(store.parent / f"ready-{role}").touch()
while role != "stalls" and not (store.parent / "go").exists():
    time.sleep(0.005)
print(*(case.fingerprint for case in prepare(dataset, "nifti", 32, store, Silent())))
"""


class Notes(Silent):
    def __init__(self):
        self.lines = []

    def line(self, text):
        self.lines.append(text)


@pytest.fixture
def three(volumes):
    for number in range(3):
        volumes.add(f"p{number}", seed=number)
    return volumes


def prepared(volumes, store, pixels=32, reporter=None, **options):
    dataset = volumes.dataset(**{"field_of_view_mm": 40.0} | options)
    return prepare(dataset, "nifti", pixels, store, reporter or Silent())


def home(store):
    return store / "stages" / "prepare"


def half_made(store):
    return list(home(store).glob("*.work"))


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


def test_the_second_time_nothing_is_computed(three, tmp_path, monkeypatch):
    first = prepared(three, tmp_path)
    monkeypatch.setattr(making, "load_checked", None)
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
        kwargs["field_of_view_mm"] = 41.0
    elif what == "structures":
        kwargs["structures"] = "shell=2,core=1"
    elif what == "file":
        for number in range(3):
            three.add(f"p{number}", seed=number + 10)
    else:
        monkeypatch.setattr(module, "PREPARE_VERSION", 1000)
    assert before.isdisjoint(case.fingerprint for case in prepared(three, tmp_path, **kwargs))


@pytest.mark.parametrize("name", ["image.npy", "label.npy", "native_label.npz", "meta.json"])
@pytest.mark.parametrize("damage", ["flip", "delete", "truncate"])
def test_a_damaged_folder_is_made_again_with_a_word(name, damage, volumes, tmp_path):
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
    notes = Notes()
    assert_same([fresh], prepared(volumes, tmp_path / "cache", reporter=notes))
    (line,) = notes.lines
    assert name in line
    assert "made again" in line


def test_folder_without_its_seal_is_not_trusted(volumes, tmp_path):
    volumes.add("p0")
    (case,) = prepared(volumes, tmp_path)
    (case.folder / sealed.MARKER).unlink()
    (case.folder / "image.npy").unlink()
    (again,) = prepared(volumes, tmp_path)
    assert again.image.shape == (32, 32, 6)


def test_faults_of_the_files_are_told_together_and_nothing_is_kept(three, tmp_path):
    three.write("labels", "p0", np.zeros((24, 20, 6), np.uint8))
    (three.root / "images" / "p2.nii.gz").write_bytes(b"")
    with pytest.raises(DataError) as expected:
        check_cases(three.dataset(), Silent())
    assert len(expected.value.faults) == 2
    for _ in range(2):  # the second time p1 is there
        with pytest.raises(DataError) as caught:
            prepared(three, tmp_path)
        assert caught.value.faults == expected.value.faults
        assert len([path for path in home(tmp_path).iterdir() if path.is_dir()]) == 1
        assert not list(home(tmp_path).glob("*.failed.json"))


def test_a_fault_in_the_code_is_on_record_and_tried_again(three, tmp_path, monkeypatch):
    with (
        monkeypatch.context() as patch,
        pytest.raises(RunError, match="stage broke off with"),
    ):
        patch.setattr(making, "resample_label", None)
        prepared(three, tmp_path)
    # One for each volume that was being made.
    assert list(home(tmp_path).glob("*.failed.json"))
    assert_same(prepared(three, tmp_path), prepared(three, tmp_path / "fresh"))
    assert not list(home(tmp_path).glob("*.failed.json"))
    assert half_made(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes anywhere")
def test_a_store_that_can_only_be_read_serves_what_it_has(three, tmp_path):
    first = prepared(three, tmp_path / "store")
    folders = [path for path in (tmp_path / "store").rglob("*") if path.is_dir()]
    for path in folders:
        path.chmod(0o555)
    assert_same(first, prepared(three, tmp_path / "store"))
    for path in folders:
        path.chmod(0o755)


def test_what_a_killed_process_left_is_filled_again(three, tmp_path):
    folder = tmp_path / "cache"
    process = child(three, folder, "stalls")
    try:
        until((tmp_path / "built").exists, process)
        left = half_made(folder)
        assert any((work / "image.npy").exists() for work in left)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == -9
    assert set(half_made(folder)) >= set(left)
    assert not any(work.with_suffix("").exists() for work in left)
    cases = prepared(three, folder)
    assert half_made(folder) == []
    assert_same(cases, prepared(three, tmp_path / "fresh"))


class Held:
    """A lock that another process holds for a while."""

    def __init__(self, path):
        self.path = path

    def acquire(self, timeout=None):
        if timeout is not None:
            raise Timeout(str(self.path))

    def release(self):
        pass


def test_another_process_is_waited_for_with_one_word(three, tmp_path, monkeypatch):
    monkeypatch.setattr("contrabench.store.stages.FileLock", Held)
    notes = Notes()
    assert len(prepared(three, tmp_path, reporter=notes)) == 3
    (line,) = notes.lines
    assert "waiting for it" in line


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
    assert half_made(folder) == []


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
    labelled, unlabelled = prepare(Twin(), "twin", 32, tmp_path, Silent())
    assert set(np.unique(labelled.native_label())) == {1}
    assert unlabelled.label is None


def test_index_spares_reading_and_sees_changes(volumes, tmp_path, monkeypatch):
    volumes.add("p0")
    dataset = volumes.dataset()
    (case,) = dataset.cases()
    later(monkeypatch, 60)
    read = []
    inner = module.checksum
    monkeypatch.setattr(module, "checksum", lambda path: read.append(path) or inner(path))

    index = FileIndex(tmp_path / "index.json")
    assert index.fingerprint_of(dataset, case) == Dataset.fingerprint(dataset, case)
    assert len(read) == 2
    index.save()
    kept = {key.split(" ")[0] for key in json.loads((tmp_path / "index.json").read_text())}
    assert kept == {str(Path(path).resolve()) for path in (case.image, case.label)}
    again = FileIndex(tmp_path / "index.json")
    assert again.fingerprint_of(dataset, case) == Dataset.fingerprint(dataset, case)
    assert len(read) == 2

    content = bytearray(case.label.read_bytes())
    content[-1] ^= 1
    case.label.write_bytes(content)  # same size, new time
    assert again.fingerprint_of(dataset, case) == Dataset.fingerprint(dataset, case)
    assert len(read) == 3


def test_index_knows_two_files_that_swapped_their_names(tmp_path, monkeypatch):
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.write_bytes(path.name.encode())
        set_time(path, 10**18)
    later(monkeypatch, 60)
    index = FileIndex(tmp_path / "index.json")
    before = [index.sha256(path) for path in paths]
    paths[0].rename(tmp_path / "c")
    paths[1].rename(paths[0])
    (tmp_path / "c").rename(paths[1])
    assert [index.sha256(path) for path in paths] == before[::-1]


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
def test_damaged_index_counts_as_empty(content, tmp_path, monkeypatch):
    (tmp_path / "index.json").write_text(content)
    (tmp_path / "file").write_bytes(b"one")
    later(monkeypatch, 60)
    index = FileIndex(tmp_path / "index.json")
    value = index.sha256(tmp_path / "file")
    index.save()
    assert FileIndex(tmp_path / "index.json").sha256(tmp_path / "file") == value


def later(monkeypatch, seconds):
    """Lets the clock be ahead, so that no file is new."""
    now = time.time_ns
    monkeypatch.setattr(module.time, "time_ns", lambda: now() + seconds * 10**9)


def set_time(path, nanoseconds):
    os.utime(path, ns=(nanoseconds, nanoseconds))
