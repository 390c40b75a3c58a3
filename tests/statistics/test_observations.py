"""From rows to one score per patient and training run."""

import pytest

from contrabench.errors import RequestError
from contrabench.statistics.aggregate import differences, observations, patient_scores


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
    assert found.columns.tolist() == ["patient", "fold", "draw", "seed", "score"]
    assert found.to_numpy().tolist() == [
        ["p0", 0, 0, 0, pytest.approx((0.7 + 0.1) / 2)],
        ["p0", 0, 0, 1, 0.9],
        ["p1", 1, 2, 0, 0.5],
    ]
    means = patient_scores(rows(frame), ["dice"])["dice"]
    assert found.groupby("patient")["score"].mean().to_dict() == pytest.approx(means.to_dict())


def test_repeated_runs_are_averaged(frame):
    twice = frame({"dice": 0.4, "run": "a" * 16}, {"dice": 0.8, "run": "b" * 16})
    assert observations(twice, "dice")["score"].tolist() == [pytest.approx(0.6)]


def test_differences_take_what_both_have(frame):
    one = observations(rows(frame), "dice")
    other = one[one["seed"] == 0].assign(score=0.25)
    found = differences(one, other)
    assert found[["patient", "seed"]].to_numpy().tolist() == [["p0", 0], ["p1", 0]]
    assert found["score"].tolist() == pytest.approx([0.15, 0.25])
    assert differences(one, other.assign(draw=9)).empty


def test_a_row_without_the_metric_is_refused(frame):
    with pytest.raises(RequestError):
        observations(frame({"dice": None}), "dice")
