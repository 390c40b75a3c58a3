"""Prepared volumes, what killed preparations leave, and the faults of a dataset."""

import numpy as np
import pytest
from filelock import FileLock
from tests.doctor.looking import findings_of, look_at

from contrabench.contracts.dataset import Case, Volume
from contrabench.doctor.data import check_dataset, check_prepared, check_unfinished
from contrabench.files import temporary_sibling
from contrabench.progress import Silent
from contrabench.stages.run import open_dataset


def prepared(store):
    return look_at(check_prepared, store, Silent())


def test_sound_volumes_have_no_finding(store, tmp_path):
    assert prepared(store).findings == ()
    assert prepared(store).seen.startswith("2 volumes")
    assert findings_of(check_unfinished, store) == ()
    assert prepared(tmp_path / "nothing").seen == "0 volumes, 0 B"


@pytest.mark.parametrize("file", ["image.npy", "meta.json", "done.json"])
def test_a_changed_volume_is_named(store, file):
    folder = store / "prepared" / ("b" * 32)
    (folder / file).write_text("[1]")
    (finding,) = prepared(store).findings
    assert finding.severity == "error"
    assert folder.name in finding.what
    assert ("marker" if file == "done.json" else file) in finding.what
    assert str(folder) in finding.do


def test_what_a_killed_preparation_left_is_told_and_one_at_work_is_not(store):
    key = "c" * 32
    work = temporary_sibling(store / "prepared" / key)
    work.mkdir()
    (work / "image.npy").write_bytes(b"1234")
    lock = FileLock(store / "prepared" / f"{key}.lock")
    with lock:
        assert findings_of(check_unfinished, store) == ()
        assert look_at(check_unfinished, store).seen == "1 at work"
    (finding,) = findings_of(check_unfinished, store)
    assert finding.severity == "information"
    assert "1 unfinished prepared volume" in finding.what
    assert "4 B" in finding.what
    assert work.is_dir()
    assert prepared(store).findings == ()


def phantom():
    return open_dataset("phantom", {"patients": 2}, None)


def test_a_sound_dataset_is_counted():
    dataset = phantom()
    check = look_at(check_dataset, dataset, Silent())
    assert check.findings == ()
    assert f"{len(dataset.cases())} case" in check.seen
    assert "of 2 patients" in check.seen


def test_every_fault_of_a_dataset_is_a_finding(monkeypatch):
    dataset = phantom()
    value = dataset.structures[0].value
    label = np.zeros((4, 4, 4), np.int16)
    label[1, 1, 1] = value
    image = np.arange(64, dtype=np.float32).reshape(4, 4, 4)
    broken = image.copy()
    broken[0, 0, 0] = np.nan
    volumes = {
        "nan": Volume(broken, label, np.eye(4), np.eye(4)),
        "empty": Volume(image, np.zeros_like(label), np.eye(4), np.eye(4)),
        "sound": Volume(image + image.T, label, np.eye(4), np.eye(4)),
    }
    monkeypatch.setattr(dataset, "cases", lambda: [Case(name, name) for name in volumes])
    monkeypatch.setattr(dataset, "load", lambda case: volumes[case.id])
    nan, empty = findings_of(check_dataset, dataset, Silent())
    assert "nan: 1 voxels of the image are NaN" in nan.what
    assert "empty: the label has no foreground" in empty.what
    assert {nan.severity, empty.severity} == {"error"}


def test_a_folder_that_is_not_there_is_a_finding(tmp_path):
    dataset = open_dataset("acdc", {}, tmp_path / "nowhere")
    (finding, *_) = findings_of(check_dataset, dataset, Silent())
    assert finding.severity == "error"
    assert "nowhere" in finding.what
