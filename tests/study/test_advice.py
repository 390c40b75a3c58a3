"""The fixed study of an advice: what it asks of how many labelled patients."""

import math

import pytest

from contrabench.contracts import registry
from contrabench.data.splits import make_split
from contrabench.errors import DataError
from contrabench.progress import Silent
from contrabench.stages.prepare import prepare
from contrabench.statistics.retraining import FEWEST_DRAWS, FEWEST_FOLDS
from contrabench.study.advice import (
    Held,
    design,
    held_by,
    label_budgets,
    too_few,
    volume_words,
)
from contrabench.study.runs import comparisons, runs_of
from contrabench.study.spec import make_study


def run_of(dataset="nifti", **asked):
    spec = make_study({**design(), "labels": ["1"], "dataset": dataset, **asked}, "the test")
    return runs_of(spec, "cpu", "float32")[0][0]


@pytest.mark.parametrize("patients", [6, 8, 12, 20, 100])
def test_label_budgets_fit_every_fold_and_about_double(patients):
    folds = design()["folds"]
    names = [f"p{number}" for number in range(patients)]
    trained = [len(make_split(names, [], folds, fold, 0).labelled) for fold in range(folds)]
    *counts, last = label_budgets(Held(patients, 9, 9), folds)
    assert last == "100%"
    assert counts == label_budgets(Held(patients, 0, 0), folds)
    few, half = map(int, counts)
    assert 1 <= few < half < min(trained)
    assert half == min(trained) // 2
    assert half / few <= 3


def test_the_design_has_each_family_and_enough_to_judge_it():
    content = design()
    spec = make_study({**content, "labels": ["1"], "dataset": "phantom"}, "the test")
    runs, _ = runs_of(spec, "cpu", "float32")
    families = {registry.methods.get(name).info.family for name in content["methods"]}
    assert families == {"contrast before", "contrast during", "consistency", "reconstruction"}
    assert {"scratch", "scratch_long", "oracle", "noise"} <= {run.method for run in runs}
    assert any(run.labels == "100%" for run in runs)
    assert (content["folds"], content["draws"]) >= (FEWEST_FOLDS, FEWEST_DRAWS)


def test_what_is_said_of_too_few_names_the_number_that_lacks():
    words = dict(too_few(Held(2, 97, 97), 7, "--dataset nifti --data mine"))
    assert "2 labelled patients, and this comparison needs 9" in words["Is it worth it?"]
    # Were all signs alike, one in 2 ** (n - 1) patterns would be as extreme, seven times so.
    assert f"(adjusted p {7 / 2**8:.3g}; with 8 it is {7 / 2**7:.3g})" in words["Is it worth it?"]
    assert words["Next"].startswith("Label 7 more patients")
    assert words["Next"].endswith("bench fit --method unimatch --dataset nifti --data mine")
    assert "bench study" not in words["Next"]
    assert "bench study" in dict(too_few(Held(6, 97, 97), 7, ""))["Next"]


def test_the_design_compares_its_methods_and_the_references_beside_them():
    spec = make_study({**design(), "labels": ["1", "2"], "dataset": "phantom"}, "the test")
    # Five methods, longer scratch, and scratch with the deep supervision of mmgl.
    assert comparisons(runs_of(spec, "cpu", "float32")[0]) == 7


@pytest.mark.parametrize(
    ("asked", "rows"),
    [
        ({"methods": ["simclr"]}, 2),
        ({"methods": ["simclr", "unimatch"], "rates": ["gentle", "uniform"]}, 3),
        ({"methods": ["simclr"], "without": ["scratch_long"], "labels": ["1", "2"]}, 1),
        ({"methods": ["scratch"], "without": ["scratch_long"]}, 0),
        ({"methods": ["simclr"], "without": ["scratch"]}, 0),
    ],
)
def test_rows_of_one_table_are_counted_once(asked, rows):
    spec = make_study({"labels": ["1"], "dataset": "phantom", **asked}, "the test")
    assert comparisons(runs_of(spec, "cpu", "float32")[0]) == rows


def test_patients_are_counted_once_however_many_volumes_they_have(volumes):
    for name in ("patient1_ed", "patient1_es", "patient2_ed", "patient3_ed"):
        volumes.add(name)
    (volumes.root / "labels" / "patient3_ed.nii.gz").unlink()
    options = {"patient_pattern": r"(patient\d)"}
    found = held_by(run_of(dataset_options=options), volumes.root, None)
    assert found == Held(labelled=2, unlabelled=1, volumes=1)
    assert found.words == "2 labelled patients, 1 without labels"
    phantom = run_of("phantom", dataset_options={"patients": 7}, pool="nifti", pool_options=options)
    assert held_by(phantom, None, volumes.root) == Held(7, 3, 4)
    for path in (volumes.root / "labels").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="no image has a label"):
        held_by(run_of(dataset_options=options), volumes.root, None)


def test_the_volumes_are_told_with_the_sides_of_their_files(volumes, tmp_path):
    volumes.add("a1")
    volumes.add("b1", seed=1)
    dataset = volumes.dataset()
    cases = prepare(dataset, "nifti", 32, tmp_path / "store", Silent())
    assert volume_words(dataset, cases) == ("core, shell", "2 x 2 x 5 mm")
    assert math.isclose(cases[0].native_affine[2, 2], 5.0)
