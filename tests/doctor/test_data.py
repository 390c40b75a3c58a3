"""The faults of a dataset's own files."""

import numpy as np
from tests.doctor.looking import findings_of, look_at

from contrabench.contracts.dataset import Case, Volume
from contrabench.data.facts import Facts
from contrabench.doctor.data import check_dataset, properties
from contrabench.progress import Silent
from contrabench.stages.run_spec import open_dataset


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


def facts_of(name, side=1.5, millilitres=100.0, codes="LPS"):
    return Facts(
        Case(name, name), codes, (100, 100, 10), (side, side, 8.0), (millilitres,), 0.0, (), ()
    )


def test_the_table_marks_who_is_far_from_the_others():
    usual = [facts_of(f"p{n}", 1.5, 100 + 5 * n) for n in range(12)]
    odd = facts_of("odd", 0.5, 0.0, "RAS")
    rows = {one.what: one for one in properties([*usual, odd], phantom().structures[:1])}
    assert rows["side in plane, mm"].usual == "1.5"
    assert rows["side in plane, mm"].span == "0.5 to 1.5"
    assert rows["side in plane, mm"].apart == ("odd 0.5",)
    assert rows["axes as stored"].apart == ("odd RAS",)
    assert rows[f"{phantom().structures[0].name}, ml"].apart == ("odd 0",)
    assert rows["between slices, mm"].apart == ()
    assert rows["between slices, mm"].span == "the same"


def test_of_five_cases_the_one_that_is_turned_is_named():
    facts = [facts_of(f"p{n}") for n in range(4)]
    rows = {one.what: one for one in properties([*facts, facts_of("odd", codes="RPS")], ())}
    assert rows["axes as stored"].apart == ("odd RPS",)
    rows = {one.what: one for one in properties([*facts[:3], facts_of("odd", codes="RPS")], ())}
    assert rows["axes as stored"].apart == ()


def test_a_value_that_one_mask_alone_has_is_a_warning(volumes):
    for seed, name in enumerate("abcde"):
        volumes.add(name, seed=seed)
    found = volumes.dataset(structures="")
    assert findings_of(check_dataset, found, Silent()) == ()
    _, label = volumes.add("c", seed=2)
    label[tuple(np.argwhere(label == 1)[0])] = 7
    volumes.write("labels", "c", label)
    told = findings_of(check_dataset, volumes.dataset(structures=""), Silent())
    (lone,) = (one for one in told if "alone" in one.what)
    assert lone.severity == "warning"
    assert "'label 7' is in c alone" in lone.what
    assert lone.what.endswith("of 5 that are labelled")


def test_of_a_few_cases_nobody_is_an_outlier():
    rows = properties([facts_of("a", 1.0), facts_of("b", 3.0)], ())
    assert not any(row.apart for row in rows)


def test_what_is_odd_is_told_and_is_no_error(volumes):
    for name, seed in (("a", 1), ("b", 2)):
        volumes.add(name, seed=seed)
    volumes.write("old", "c", np.zeros((4, 4, 4), np.uint8))
    dataset = volumes.dataset(structures="core=1,shell=2,rest=3")
    unseen, untaken = findings_of(check_dataset, dataset, Silent())
    assert (unseen.severity, untaken.severity) == ("warning", "information")
    assert "shows rest" in unseen.what
    assert "1 in old (c.nii.gz)" in untaken.what
