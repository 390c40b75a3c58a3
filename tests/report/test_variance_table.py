"""The variance of a report, against planted sources and the split that it is taken from."""

import math

import numpy as np
import pytest
from tests.makers.rows import results

from contrabench.report.build import build_report
from contrabench.statistics.aggregate import differences, observations
from contrabench.statistics.variance import variance_split


def study(method, effect, draws=3, seeds=2, patients=12, folds=3):
    return [
        {"method": method, "patient": f"p{p:02d}", "fold": p % folds, "folds": folds, "draw": d,
         "seed": s, "dice": 0.5 + effect(p, p % folds, d, s)}
        for p in range(patients) for d in range(draws) for s in range(seeds)
    ]  # fmt: skip


def table(frame, *rows):
    (section,) = build_report(results(frame(*rows)), "bench report").sections
    found = [table for table in section.tables if table.name == "variance"]
    return found[0].data.set_index("Method") if found else None


def test_it_is_the_split_of_the_differences(frame):
    rng = np.random.default_rng(3)
    noise = rng.normal(0, 0.02, (2, 12, 3, 3, 2))
    rows = [
        *study("scratch", lambda *place: noise[(0, *place)]),
        *study("mmgl", lambda *place: noise[(1, *place)] + 0.01),
    ]
    data = frame(*rows)
    sides = [observations(data[data["method"] == name], "dice") for name in ("mmgl", "scratch")]
    split = variance_split(differences(*sides))
    found = table(frame, *rows).loc["mmgl"]
    for name, value in (
        ("Patients", split.patients), ("Label draws", split.draws), ("Seeds", split.seeds),
        ("Runs on patients", split.remainder), ("Training", split.training),
    ):  # fmt: skip
        assert found[name] == pytest.approx(math.sqrt(max(0.0, value)))


def test_a_planted_source_stands_alone(frame):
    def patients(p, fold, draw, seed):
        return 0.05 * (p // 3)

    found = table(frame, *study("scratch", lambda *_: 0.0), *study("mmgl", patients)).loc["mmgl"]
    expected = np.std([0.05 * number for number in range(4)], ddof=1)
    assert found["Patients"] == pytest.approx(expected)
    for name in ("Label draws", "Seeds", "Runs on patients"):
        assert found[name] == pytest.approx(0, abs=1e-7)

    def draws(p, fold, draw, seed):
        return 0.05 * draw

    found = table(frame, *study("scratch", lambda *_: 0.0), *study("mmgl", draws)).loc["mmgl"]
    assert found["Label draws"] == pytest.approx(np.std([0.0, 0.05, 0.1], ddof=1))
    assert found["Patients"] == pytest.approx(0, abs=1e-7)


def test_what_was_not_repeated_is_empty(frame):
    one = {"draws": 1, "seeds": 1}
    rows = [*study("scratch", lambda *_: 0.0, **one), *study("mmgl", lambda p, *_: p / 100, **one)]
    found = table(frame, *rows).loc["mmgl"]
    assert found[["Label draws", "Seeds", "Runs on patients"]].isna().all()
    assert found["Patients"] > 0


def test_alone_there_is_nothing_to_split(frame):
    assert table(frame, *study("scratch", lambda *_: 0.0)) is None
