"""Means in the order of the contract, against nested loops over the definition."""

import itertools
import math

import numpy as np
import pytest

from contrabench.errors import RequestError
from contrabench.statistics.aggregate import (
    UNIT,
    differences,
    macro_mean,
    observations,
    patient_scores,
    structure_means,
)


def mean(values):
    return sum(values) / len(values)


def unbalanced(frame, seed=0):
    """Patients with one to three cases, one or two runs, and structures that are absent."""
    rng = np.random.default_rng(seed)
    rows, scores = [], {}
    for p, run_seed in itertools.product(range(5), range(2)):
        if p == 4 and run_seed:
            continue
        for c, structure in itertools.product(range(1 + p % 3), ("LV", "RV", "LA")):
            absent = structure == "LA" and rng.random() < 0.5
            dice = round(float(rng.random()), 3)
            rows.append({
                "patient": f"p{p}", "case": f"p{p}_{c}", "structure": structure, "dice": dice,
                "seed": run_seed, "flag": "not applicable" if absent else "",
            })  # fmt: skip
            if not absent:
                cell = scores.setdefault(p, {}).setdefault(run_seed, {}).setdefault(c, {})
                cell[structure] = dice
    order = rng.permutation(len(rows))
    return frame(*(rows[i] for i in order)), scores


@pytest.mark.parametrize("seed", range(3))
def test_macro_mean_nests_as_the_contract_says(frame, seed):
    rows, scores = unbalanced(frame, seed)
    expected = mean([
        mean([mean([mean(list(case.values())) for case in run.values()]) for run in runs.values()])
        for runs in scores.values()
    ])  # fmt: skip
    assert macro_mean(rows, "dice") == pytest.approx(expected, abs=1e-12)
    assert macro_mean(rows, "dice") != pytest.approx(rows["dice"].mean(), abs=1e-4)


def test_structures_are_averaged_over_cases_runs_patients(frame):
    rows, scores = unbalanced(frame)
    means = structure_means(rows, ["dice", "asd_mm"])
    for structure in ("LV", "RV", "LA"):
        patients = []
        for runs in scores.values():
            found = [
                mean([case[structure] for case in run.values() if structure in case])
                for run in runs.values()
                if any(structure in case for case in run.values())
            ]
            patients += [mean(found)] if found else []
        assert means.loc[structure, "dice"] == pytest.approx(mean(patients), abs=1e-12)
    assert means["asd_mm"].tolist() == [2.0] * 3


def test_a_second_volume_gives_a_patient_no_second_vote(frame):
    rows = frame(
        {"patient": "a", "case": "a_ed", "dice": 0.2},
        {"patient": "a", "case": "a_es", "dice": 0.4},
        {"patient": "b", "dice": 0.9},
    )
    assert macro_mean(rows, "dice") == pytest.approx((0.3 + 0.9) / 2)
    assert patient_scores(rows, ["dice"])["dice"].to_dict() == pytest.approx({"a": 0.3, "b": 0.9})


def test_what_does_not_apply_is_neither_zero_nor_one(frame):
    rows = frame({"dice": 0.8}, {"structure": "RV", "flag": "not applicable"})
    assert macro_mean(rows, "dice") == 0.8
    means = structure_means(rows, ["dice"])
    assert means.index.tolist() == ["LV", "RV"]
    assert math.isnan(means.loc["RV", "dice"])


def test_a_missed_structure_counts_as_zero(frame):
    rows = frame({"dice": 0.8}, {"structure": "RV", "dice": 0.0, "flag": "prediction empty"})
    assert macro_mean(rows, "dice") == 0.4


def test_nothing_applicable_is_nan(frame):
    assert math.isnan(macro_mean(frame({"flag": "not applicable"}), "dice"))


def test_a_metric_that_some_rows_lack_is_refused(frame):
    rows = frame({"asd_mm": 1.0}, {"patient": "p1", "asd_mm": None, "asd_voxel": 1.0})
    with pytest.raises(RequestError, match="1 of 2 rows have no asd_mm"):
        patient_scores(rows, ["asd_mm"])


def rows(frame):
    return frame(
        {"patient": "p0", "structure": "LV", "dice": 0.8},
        {"patient": "p0", "structure": "RV", "dice": 0.6},
        {"patient": "p0", "structure": "LV", "dice": 0.1, "case": "p0_es"},
        {"patient": "p0", "structure": "RV", "flag": "not applicable", "case": "p0_es"},
        {"patient": "p0", "structure": "LV", "dice": 0.9, "seed": 1},
        {"patient": "p1", "structure": "LV", "dice": 0.5, "fold": 1, "draw": 2},
    )


def test_structures_then_cases_are_averaged(frame):
    found = observations(rows(frame), "dice")
    assert found.index.names == UNIT
    assert found.to_dict() == {
        ("p0", 0, 0, 0): pytest.approx((0.7 + 0.1) / 2), ("p0", 0, 0, 1): 0.9,
        ("p1", 1, 2, 0): 0.5,
    }  # fmt: skip
    means = patient_scores(rows(frame), ["dice"])["dice"]
    assert found.groupby("patient").mean().to_dict() == pytest.approx(means.to_dict())


def test_repeated_runs_are_averaged(frame):
    twice = frame({"dice": 0.4, "run": "a" * 16}, {"dice": 0.8, "run": "b" * 16})
    assert observations(twice, "dice").tolist() == [pytest.approx(0.6)]


def test_differences_take_what_both_have(frame):
    one = observations(rows(frame), "dice")
    other = one.drop(1, level="seed") * 0 + 0.25
    found = differences(one, other)
    assert found.to_dict() == pytest.approx({("p0", 0, 0, 0): 0.15, ("p1", 1, 2, 0): 0.25})
    assert differences(one, other.rename({0: 9, 2: 9}, level="draw")).empty


def test_a_row_without_the_metric_is_refused(frame):
    with pytest.raises(RequestError):
        observations(frame({"dice": None}), "dice")
