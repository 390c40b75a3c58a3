"""Neighbours of the order, against the pairs and the design aid that they are taken from."""

import numpy as np
import pytest
from tests.makers.rows import results

from contrabench.contracts.report import is_missing
from contrabench.report.build import build_report
from contrabench.statistics.aggregate import differences, observations
from contrabench.statistics.design import draws_needed, patients_needed
from contrabench.statistics.paired import pairwise
from contrabench.statistics.variance import variance_split

NOISE = np.random.default_rng(5).normal(0, 0.03, (4, 10, 2))


def study(number, method, shift):
    return [
        {"method": method, "patient": f"p{p}", "fold": p % 2, "folds": 2, "draw": d,
         "dice": 0.5 + shift + NOISE[number, p, d]}
        for p in range(10) for d in range(2)
    ]  # fmt: skip


def table(frame, *rows):
    data = frame(*rows)
    (section,) = build_report(results(data), "bench report").sections
    found = [table for table in section.tables if table.name == "neighbours"]
    return data, (found[0].data.set_index("Method") if found else None)


def test_each_method_against_the_next_lower_one(frame):
    rows = [*study(0, "scratch", 0.0), *study(1, "gcl", 0.01), *study(2, "mmgl", 0.3),
            *study(3, "hu", 0.02)]  # fmt: skip
    data, found = table(frame, *rows)
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
        sides = [observations(data[data["method"] == one], "dice") for one in (name, following)]
        split = variance_split(differences(*sides))
        draws = draws_needed(gaps.mean(), split, 10, 6)
        assert line["Draws needed"] == ("no number" if np.isinf(draws) else str(int(draws)))
    assert found["Adjusted p"].iloc[0] <= 0.05 < found["Adjusted p"].max()


def test_alone_there_is_no_neighbour(frame):
    assert table(frame, *study(0, "scratch", 0.0))[1] is None


def test_full_supervision_is_nobodys_neighbour(frame):
    full = {"labels": "100%", "fraction": 1.0, "labelled_patients": 16}
    rows = [*study(0, "scratch", 0.0), *study(1, "gcl", 0.01)]
    more = [row | full for row in study(2, "scratch", 0.3)]
    report = build_report(results(frame(*rows, *more)), "bench report", ["10%"])
    found = next(t for t in report.sections[0].tables if t.name == "neighbours").data
    assert "full supervision" not in {*found["Method"], *found["Next"]}
    assert len(found) == 1
