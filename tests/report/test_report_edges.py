"""What a reader may do to a store: each ends in a correct report in every format, or in a line."""

import json
import math

import pytest
from tests.makers.rows import results

from contrabench.contracts.registry import reports
from contrabench.report.build import build_report

FORMATS = ("terminal", "markdown", "latex", "csv", "json", "parquet", "html")


def study(method, patients=8, shift=0.0, structures=("LV", "RV"), **changes):
    return [
        {
            "method": method, "patient": f"p{p}", "structure": structure, "fold": p % 2,
            "folds": 2, "dice": 0.5 + 0.03 * p + shift * (1 + 0.1 * (p % 3)), "asd_mm": 3.0 - shift,
            **changes,
        }
        for p in range(patients)
        for structure in structures
    ]  # fmt: skip


def made(frame, *rows):
    """The report, after every format has rendered it."""
    report = build_report(results(frame(*rows)), "bench report")
    for name in FORMATS:
        assert reports.get(name)().render(report)
    return report


def board(report, number=0):
    return report.sections[number].tables[0].data.set_index("Method")


def said(report, number=0):
    section = report.sections[number]
    return "\n".join([*section.verdict, *section.notes])


def test_a_method_more_moves_no_mean_and_no_difference(frame):
    rows = [*study("scratch"), *study("mmgl", shift=0.05)]
    before, after = made(frame, *rows), made(frame, *rows, *study("new", shift=-0.02))
    kept = ["Dice", "ASD mm", "Dice vs scratch", "95% low", "95% high", "p"]
    one, two = board(before).loc["mmgl", kept], board(after).loc["mmgl", kept]
    assert one.tolist() == two.tolist()
    # Holm over more pairs can only raise what is adjusted.
    assert board(after).loc["mmgl", "Adjusted p"] >= board(before).loc["mmgl", "Adjusted p"]


def test_protocols_never_mix(frame):
    other = {"protocol": "0123456789abcdef"}
    report = made(
        frame, *study("scratch"), *study("mmgl", shift=0.1), *study("mmgl", shift=0.3, **other)
    )
    assert {section.protocol for section in report.sections} == {
        "fedcba9876543210", "0123456789abcdef",
    }  # fmt: skip
    alone = next(s for s in report.sections if s.protocol == "0123456789abcdef")
    assert alone.tables[0].data["Method"].tolist() == ["mmgl"]
    assert any("Missing reference: training from scratch." in note for note in alone.notes)
    together = next(s for s in report.sections if s.protocol == "fedcba9876543210")
    found = together.tables[0].data.set_index("Method")["Dice vs scratch"]
    expected = sum(0.1 * (1 + 0.1 * (p % 3)) for p in range(8)) / 8
    assert found["mmgl"] == pytest.approx(expected)


def test_one_patient_is_shown_and_nothing_is_claimed(frame):
    report = made(frame, *study("scratch", 1), *study("mmgl", 1, shift=0.2))
    data = board(report)
    assert data.loc["mmgl", "Dice"] == pytest.approx(0.7)
    assert data.loc["mmgl", "Adjusted p"] == 1
    assert all(math.isnan(data.loc["mmgl", name]) for name in ("95% low", "Dice 95% low"))
    assert "only 1 patient:" in said(report)
    assert "In Dice better" not in said(report)


def test_ties_share_rank_and_group(frame):
    report = made(frame, *study("scratch"), *study("mmgl"), *study("hu"))
    data = board(report)
    assert set(data["Rank"]) == {2.0}
    assert set(data["Group"]) == {"a"}
    assert set(data["Dice vs scratch"].dropna()) == {0.0}
    assert set(data["Adjusted p"].dropna()) == {1.0}
    assert report.sections[0].tables[0].leader == -1


def test_all_missing_is_missing_and_not_zero(frame):
    absent = {"flag": "not applicable"}
    report = made(frame, *study("scratch", **absent), *study("mmgl", **absent))
    assert board(report)[["Dice", "ASD mm"]].isna().all(axis=None)
    assert "In 32 of 32 rows a structure is in neither reference nor prediction" in said(report)
    cells = json.loads(reports.get("json")().render(report))["sections"][0]["tables"][0]["rows"]
    assert {row["Dice"] for row in cells} == {None}


def test_controls_and_other_rates_without_any_score_leave_the_report_whole(frame):
    absent = {"flag": "not applicable"}
    report = made(
        frame,
        *study("scratch", **absent),
        *study("mmgl", rates="uniform", **absent),
        *study("mmgl", rates="gentle", **absent),
        *study("oracle", family="control", rates="gentle", **absent),
    )
    assert board(report)["Dice"].isna().all()


def test_a_structure_that_applies_to_some_is_averaged_over_those(frame):
    rows = [*study("scratch"), *study("mmgl", shift=0.1)]
    for row in rows:
        if row["structure"] == "RV" and row["patient"] in ("p0", "p1"):
            row["flag"] = "not applicable"
    report = made(frame, *rows)
    table = next(t for t in report.sections[0].tables if t.name == "structures")
    found = table.data.set_index("Method").loc["scratch"]
    assert found["RV: Dice"] == pytest.approx(sum(0.5 + 0.03 * p for p in range(2, 8)) / 6)
    assert found["LV: Dice"] == pytest.approx(sum(0.5 + 0.03 * p for p in range(8)) / 8)
    assert board(report).loc["scratch", "Dice"] == pytest.approx(0.5 + 0.03 * 3.5)


EASY_AND_HARD = {"LV": 0.2, "RV": -0.2}


def easy_and_hard(method):
    """Both methods score the same; one structure is easier than the other."""
    rows = study(method, patients=12)
    return [{**row, "dice": row["dice"] + EASY_AND_HARD[row["structure"]]} for row in rows]


def test_a_row_taken_away_takes_its_run_out_and_says_so(frame):
    rows = [*easy_and_hard("scratch"), *easy_and_hard("mmgl")]
    gone = [row for row in rows if (row["method"], row["patient"], row["structure"])
            != ("mmgl", "p7", "RV")]  # fmt: skip
    before, report = board(made(frame, *rows)), made(frame, *gone)
    after = board(report)
    assert before.loc["scratch"].tolist()[1:3] == after.loc["scratch"].tolist()[1:3]
    # What is left of mmgl is its other fold, with the patients of even numbers.
    assert after.loc["mmgl", "Dice"] == pytest.approx(0.5 + 0.03 * 5)
    assert "Left out: 1 of 2 runs of mmgl at 10%" in said(report)
    assert "RV of p7_ed" in said(report)
    assert "mmgl was tested on 6 of the 12 patients" in said(report)


@pytest.mark.parametrize("kept", [6, 0])
def test_a_method_without_its_hard_structure_wins_nothing(frame, kept):
    rows = [*easy_and_hard("scratch"), *easy_and_hard("mmgl")]
    gone = [row for row in rows if not (row["method"] == "mmgl" and row["structure"] == "RV"
            and int(row["patient"][1:]) >= kept)]  # fmt: skip
    report = made(frame, *gone)
    assert board(report).index.tolist() == ["scratch"]
    assert "In Dice better" not in said(report)
    assert "Left out: 2 of 2 runs of mmgl at 10%" in said(report)
