"""The faults of a dataset's own files."""

import numpy as np
from tests.doctor.looking import findings_of, look_at

from contrabench.contracts.dataset import Case, Volume
from contrabench.doctor.data import check_dataset
from contrabench.progress import Silent
from contrabench.stages.run import open_dataset


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
