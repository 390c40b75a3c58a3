"""The plot data of a section, against loops over its rows and the tables beside it."""

import pandas as pd
import pytest
from tests.makers.rows import results

from contrabench.report.build import build_report
from contrabench.report.entries import label_budgets
from contrabench.report.plot_data import plot_data


def study(method, shift=0.0, patients=6, **changes):
    return [
        {
            "method": method, "family": f"family of {method}", "patient": f"p{p}",
            "case": f"p{p}_{phase}", "structure": structure, "draw": draw,
            "dice": 0.4 + 0.03 * p + 0.01 * draw + 0.05 * (phase == "es") * p + shift
            - 0.1 * (structure == "RV"),
            "asd_mm": 3.0 - shift + draw + 0.1 * p, **changes,
        }
        for p in range(patients)
        for phase in ("ed", "es")
        for structure in ("LV", "RV")
        for draw in range(2)
    ]  # fmt: skip


@pytest.fixture
def rows(frame):
    more = {"labels": "20%", "fraction": 0.2, "labelled_patients": 4}
    full = {"labels": "100%", "fraction": 1.0, "labelled_patients": 16}
    return frame(
        *study("scratch"), *study("mine", 0.1, deviations="wider"),
        *study("scratch", 0.05, **more), *study("scratch", 0.2, **full),
        *study("mine", 0.1, deviations="wider", **more),
    )  # fmt: skip


@pytest.fixture
def budgets(rows):
    """The label budgets that the report shows."""
    return [budget for budget in label_budgets(rows) if budget.labels != "100%"]


def test_each_method_names_its_runs_family_and_role(rows, budgets):
    found = plot_data(budgets[:1])
    assert found.distance == "ASD mm"
    assert found.structures == ("LV", "RV")
    at_budget = rows[rows["labels"] == "10%"]
    lines = {(line.Method, line.Deviations): line for line in found.methods.itertuples()}
    assert {key: line.role for key, line in lines.items()} == {
        ("full supervision", "none"): "ceiling",
        ("mine", "wider"): "",
        ("scratch", "none"): "floor",
    }
    for name in ("mine", "scratch"):
        line = next(line for key, line in lines.items() if key[0] == name)
        assert line.runs == tuple(sorted(set(at_budget.loc[at_budget["method"] == name, "run"])))
        assert line.family == f"family of {name}"


def test_every_case_is_its_mean_over_runs(rows, budgets):
    found = plot_data(budgets[:1])
    assert found.curves.empty
    assert len(found.cases) == 3 * 12 * 3  # methods, cases, two structures and their mean
    names = found.methods["Method"]
    for point in found.cases.itertuples():
        name = names[point.method]
        labels = "100%" if name == "full supervision" else "10%"
        method = "scratch" if name == "full supervision" else name
        kept = rows[
            (rows["method"] == method) & (rows["labels"] == labels) & (rows["case"] == point.case)
        ]
        if point.structure:
            kept = kept[kept["structure"] == point.structure]
        assert set(kept["patient"]) == {point.patient}
        assert point.dice == pytest.approx(sum(kept["dice"]) / len(kept))
        assert point.asd == pytest.approx(sum(kept["asd_mm"]) / len(kept))


def test_a_structure_that_applies_nowhere_is_no_point(frame):
    changed = [
        row | ({"flag": "not applicable"} if row["structure"] == "RV" else {})
        for row in study("scratch")
    ]
    assert set(plot_data(label_budgets(frame(*changed))).cases["structure"]) == {"", "LV"}


def test_below_four_patients_no_band_is_drawn(frame):
    more = {"labels": "20%", "fraction": 0.2, "labelled_patients": 4}
    for patients, banded in ((3, False), (4, True)):
        rows = [*study("scratch", patients=patients), *study("scratch", patients=patients, **more)]
        (across, *budgets) = build_report(results(frame(*rows)), "x").sections
        curves = across.plot_data.curves
        assert len(curves) == 4
        assert curves["mean"].notna().all()
        assert curves[["low", "high"]].notna().all(axis=None) == banded
        assert curves[["low", "high"]].isna().all(axis=None) == (not banded)
        for section in budgets:
            (board,) = [table.data for table in section.tables if table.name == "leaderboard"]
            ends = board[
                [f"{metric} 95% {end}" for metric in ("Dice", "ASD mm") for end in ("low", "high")]
            ]
            assert ends.notna().all(axis=None) == banded


def test_a_point_stands_at_the_labels_of_its_own_runs(frame):
    """Each patient weighs the same, also one with more cases than the others."""
    rows = [
        *study("scratch"),
        *({**row, "labels": "20%", "fraction": 0.2, "labelled_patients": 3 + (row["draw"] == 1)}
          for row in study("scratch")),
        *({**row, "labels": "20%", "fraction": 0.2, "labelled_patients": 5, "draw": 0,
           "fold": 10}
          for row in study("mine", 0.1) if row["patient"] != "p0" or row["case"] == "p0_ed"),
    ]  # fmt: skip
    rows += [
        {
            **row,
            "labels": "20%",
            "labelled_patients": 8,
            "patient": "p9",
            "case": f"p9_{place}",
            "fold": 3,
        }
        for place, row in enumerate(rows[-4:])
    ]
    across = build_report(results(frame(*rows)), "x").sections[0]
    names, curves = across.plot_data.methods["Method"], across.plot_data.curves
    at = {(names[point.method], round(point.labelled, 6)) for point in curves.itertuples()}
    assert at == {("scratch", 2), ("scratch", 3.5), ("mine", round((6 * 5 + 8) / 7, 6))}


def test_curves_are_the_numbers_of_the_table(rows, budgets):
    found = plot_data(budgets)
    assert found.cases.empty
    across = build_report(results(rows), "x", ["10%", "20%"]).sections[0]
    table = across.tables[0].data.set_index("Method")
    shown = {
        (name, labels, metric): tuple(
            table.loc[name, f"{heading}{end} at {labels}, {count} of 16"]
            for end in ("", " 95% low", " 95% high")
        )
        for name in ("scratch", "mine")
        for labels, count in (("10%", 2), ("20%", 4))
        for metric, heading in (("dice", "Dice"), ("asd", "ASD mm"))
    }
    names, labels = found.methods["Method"], {2: "10%", 4: "20%"}
    drawn = {
        (names[point.method], labels[point.labelled], point.metric): (
            point.mean, point.low, point.high,
        )
        for point in found.curves.itertuples()
        if found.methods["role"][point.method] != "ceiling"
    }  # fmt: skip
    assert drawn.keys() == shown.keys()
    for key, numbers in shown.items():
        assert drawn[key] == pytest.approx(numbers)
    ceiling = found.curves[found.curves["method"].map(found.methods["role"]) == "ceiling"]
    assert list(ceiling["labelled"]) == [16.0, 16.0]
    runs = set(rows.loc[rows["method"] == "mine", "run"])
    (mine,) = found.methods.loc[found.methods["Method"] == "mine", "runs"]
    assert set(mine) == runs
    assert isinstance(found.curves, pd.DataFrame)


def test_a_case_is_the_mean_of_its_runs_each_over_its_own_structures(frame):
    """Of two runs one has nothing to find in RV: its score is that of LV alone."""
    scores = {(0, "LV"): 0.8, (0, "RV"): 0.2, (1, "LV"): 0.6, (1, "RV"): None}
    rows = [
        {"method": "scratch", "draw": draw, "structure": structure,
         **({"flag": "not applicable"} if dice is None else {"dice": dice})}
        for (draw, structure), dice in scores.items()
    ]  # fmt: skip
    (section,) = build_report(results(frame(*rows)), "x").sections
    cases = section.plot_data.cases.set_index("structure")["dice"]
    assert cases[""] == pytest.approx(((0.8 + 0.2) / 2 + 0.6) / 2)
    assert cases["LV"] == pytest.approx(0.7)
