"""Next method and sources of variance, against the statistics that they are taken from."""

import math

import numpy as np
import pytest

from contrabench.contracts.report import is_missing
from contrabench.report.board import next_method_table, variance_table
from contrabench.report.comparison import compare
from contrabench.report.entries import label_budgets
from contrabench.statistics.aggregate import differences, observations
from contrabench.statistics.design import draws_needed, patients_needed
from contrabench.statistics.paired import pairwise
from contrabench.statistics.variance import variance_split

NOISE = np.random.default_rng(5).normal(0, 0.03, (4, 10, 2))


def noisy(number, method, shift, **changes):
    return [
        {"method": method, "patient": f"p{p}", "fold": p % 2, "folds": 2, "draw": d,
         "dice": 0.5 + shift + NOISE[number, p, d], **changes}
        for p in range(10) for d in range(2)
    ]  # fmt: skip


def planted(method, effect, draws=3, seeds=2, patients=12, folds=3):
    return [
        {"method": method, "patient": f"p{p:02d}", "fold": p % folds, "folds": folds, "draw": d,
         "seed": s, "dice": 0.5 + effect(p, p % folds, d, s)}
        for p in range(patients) for d in range(draws) for s in range(seeds)
    ]  # fmt: skip


def cells(make, rows):
    """A table of the first label budget, by method; None where there is none."""
    table = make(compare(label_budgets(rows)[0].entries))
    return None if table is None else table.data.set_index("Method")


def split_of(rows, *names):
    sides = [observations(rows[rows["method"] == name], "dice") for name in names]
    return variance_split(differences(*sides))


def test_each_method_against_the_next_lower_one(frame):
    data = frame(*noisy(0, "scratch", 0.0), *noisy(1, "gcl", 0.01), *noisy(2, "mmgl", 0.3),
                 *noisy(3, "hu", 0.02))  # fmt: skip
    found = cells(next_method_table, data)
    means = data.groupby("method")["dice"].mean().sort_values(ascending=False)
    assert found.index.tolist() == means.index.tolist()[:-1]
    assert found["Next"].tolist() == means.index.tolist()[1:]
    scores = data.pivot_table(index="patient", columns="method", values="dice")[means.index]
    pairs = pairwise(scores)
    for name, following in zip(means.index, means.index[1:], strict=False):
        line = found.loc[name]
        gaps = scores[name] - scores[following]
        assert line["Dice minus next"] == pytest.approx(gaps.mean())
        assert line["Adjusted p"] == pairs.adjusted.loc[name, following]
        if line["Adjusted p"] <= 0.05:
            assert line["Patients needed"] == "separated"
            assert is_missing(line["Draws needed"])
            continue
        patients = patients_needed(gaps.mean(), gaps.std(ddof=1), 6)
        assert line["Patients needed"] in (str(int(patients)), "over 100000")
        draws = draws_needed(gaps.mean(), split_of(data, name, following), 10, 6)
        assert line["Draws needed"] == ("no number" if np.isinf(draws) else str(int(draws)))
    assert found["Adjusted p"].iloc[0] <= 0.05 < found["Adjusted p"].max()


def test_full_supervision_is_next_to_nobody(frame):
    full = {"labels": "100%", "fraction": 1.0, "labelled_patients": 16}
    rows = [*noisy(0, "scratch", 0.0), *noisy(1, "gcl", 0.01), *noisy(2, "scratch", 0.3, **full)]
    found = cells(next_method_table, frame(*rows))
    assert "full supervision" not in {*found.index, *found["Next"]}
    assert len(found) == 1


def test_the_variance_is_the_split_of_the_differences(frame):
    noise = np.random.default_rng(3).normal(0, 0.02, (2, 12, 3, 3, 2))
    rows = frame(
        *planted("scratch", lambda *place: noise[(0, *place)]),
        *planted("mmgl", lambda *place: noise[(1, *place)] + 0.01),
    )
    split, found = split_of(rows, "mmgl", "scratch"), cells(variance_table, rows).loc["mmgl"]
    for name, value in (
        ("Patients", split.patients), ("Label draws", split.draws), ("Seeds", split.seeds),
        ("Runs on patients", split.remainder), ("Training", split.training),
    ):  # fmt: skip
        assert found[name] == pytest.approx(math.sqrt(max(0.0, value)))


@pytest.mark.parametrize(
    ("source", "effect", "values"),
    [
        ("Patients", lambda p, fold, draw, seed: 0.05 * (p // 3), [0.0, 0.05, 0.1, 0.15]),
        ("Label draws", lambda p, fold, draw, seed: 0.05 * draw, [0.0, 0.05, 0.1]),
    ],
)
def test_a_planted_source_stands_alone(frame, source, effect, values):
    rows = frame(*planted("scratch", lambda *_: 0.0), *planted("mmgl", effect))
    found = cells(variance_table, rows).loc["mmgl"]
    for name in ("Patients", "Label draws", "Seeds", "Runs on patients"):
        expected = np.std(values, ddof=1) if name == source else 0
        assert found[name] == pytest.approx(expected, abs=1e-7)


def test_what_was_not_repeated_is_empty(frame):
    one = {"draws": 1, "seeds": 1}
    rows = [*planted("scratch", lambda *_: 0.0, **one)]
    rows += planted("mmgl", lambda p, *_: p / 100, **one)
    found = cells(variance_table, frame(*rows)).loc["mmgl"]
    assert found[["Label draws", "Seeds", "Runs on patients"]].isna().all()
    assert found["Patients"] > 0


@pytest.mark.parametrize("make", [next_method_table, variance_table])
def test_alone_there_is_nothing_to_compare(frame, make):
    assert cells(make, frame(*noisy(0, "scratch", 0.0))) is None
