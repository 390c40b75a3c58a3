"""What a report says first: its controls, how small a difference it can see, and the way there."""

import numpy as np
import pytest
from scipy import stats
from tests.makers.rows import results

from contrabench.contracts.registry import reports
from contrabench.report.board import board
from contrabench.report.build import build_report
from contrabench.report.comparison import compare
from contrabench.report.entries import label_budgets, set_apart
from contrabench.report.instrument import along_table, control_table, instrument
from contrabench.report.judged import Judged
from contrabench.statistics.paired import paired_difference

NOISE = np.random.default_rng(1).normal(0, 0.02, (8, 12, 2))
FLOOR, ROOM = 0.5, 0.3


def rows_of(number, method, shift, draws=(0, 1), family="contrast before", **changes):
    """A method on twelve patients, `shift` above scratch."""
    return [
        {"method": method, "family": family, "patient": f"p{p:02d}", "draw": draw,
         "fold": p % 3, "folds": 3,
         "dice": FLOOR + shift + NOISE[number, p, draw], **changes}
        for p in range(12) for draw in draws
    ]  # fmt: skip


def control(number, method, shift, **changes):
    """A control, in the first draw alone."""
    return rows_of(number, method, shift, draws=(0,), family="control", **changes)


def study(oracle=0.2, noise=0.0, full=ROOM):
    """Scratch, a method at both rates, full supervision and controls."""
    return [
        *rows_of(0, "scratch", 0.0, family="reference"),
        *rows_of(1, "simclr", 0.05, rates="uniform"),
        *rows_of(2, "simclr", 0.08, rates="gentle"),
        *rows_of(3, "scratch", full, draws=(0,), family="reference", labels="100%", fraction=1.0),
        *control(4, "oracle", oracle, rates="uniform"),
        *control(5, "oracle", oracle + 0.05, rates="gentle"),
        *control(6, "noise", noise, rates="uniform"),
    ]


def budget_of(frame, rates="uniform"):
    return label_budgets(*set_apart(frame, rates))[0]


def told(frame):
    return instrument(Judged.of(budget_of(frame)))


def test_controls_and_other_rates_never_rank(frame):
    budget = budget_of(frame(*study()))
    assert {entry.label for entry in budget.entries} == {"scratch", "simclr", "full supervision"}
    assert budget.find("simclr").dice == pytest.approx(FLOOR + 0.05, abs=0.02)
    assert budget.aside["simclr"].dice == pytest.approx(FLOOR + 0.08, abs=0.02)
    gentle = budget_of(frame(*study()), "gentle")
    assert gentle.find("simclr").dice == budget.aside["simclr"].dice
    assert gentle.aside["simclr"].dice == budget.find("simclr").dice


def test_where_nothing_else_is_there_what_is_there_ranks(frame):
    budget = budget_of(frame(*control(4, "oracle", 0.2, rates="uniform")))
    assert [entry.label for entry in budget.entries] == ["oracle"]
    budget = budget_of(frame(*rows_of(2, "simclr", 0.08, rates="gentle")))
    assert [entry.label for entry in budget.entries] == ["simclr"]


def test_a_control_is_compared_with_scratch_in_its_own_runs(frame):
    table = control_table(Judged.of(budget_of(frame(*study()))))
    line = table.data[(table.data["Method"] == "oracle") & (table.data["Rates"] == "uniform")]
    gaps = (FLOOR + 0.2 + NOISE[4, :, 0]) - (FLOOR + NOISE[0, :, 0])
    assert line["Dice vs scratch"].item() == pytest.approx(gaps.mean())
    low, high = stats.t.interval(0.95, 11, gaps.mean(), stats.sem(gaps))
    # For networks trained anew it is no narrower.
    assert line["95% low"].item() < low + 0.004 < high - 0.004 < line["95% high"].item()
    room = np.mean(FLOOR + ROOM + NOISE[3, :, 0]) - np.mean(FLOOR + NOISE[0])
    assert line["Share of the possible"].item() == pytest.approx(gaps.mean() / room)


def test_a_study_that_sees_says_what_it_sees_first(frame):
    report = build_report(results(frame(*study())), "bench report", labels=["10%"])
    (section,) = [one for one in report.sections if one.labels == "10%"]
    first, *others = section.verdict
    gap = np.mean(NOISE[4, :, 0] - NOISE[0, :, 0]) + 0.2
    assert f"noise, uniform {np.mean(NOISE[6, :, 0] - NOISE[0, :, 0]):+.3f}" in first
    assert f"oracle, uniform {gap:+.3f}" in first
    budget = budget_of(frame(*study()))
    ends = control_table(Judged.of(budget)).data[["95% low", "95% high"]].to_numpy(float)
    ends = [*ends, *((one.low, one.high) for one in compare(budget.entries).family.values())]
    halves = sorted((high - low) / 2 for low, high in ends)
    # 2.8 standard errors are found in four studies of five; half an interval is 1.96.
    least = np.ceil(100 * halves[len(halves) // 2] * 2.8 / 1.96) / 100
    assert f"four studies of five would see a difference of {least:.2f}." in first
    assert first.index("oracle, gentle") < first.index("oracle, uniform") < first.index("noise")
    assert not any("must equal" in line or "undertrained" in line for line in others)


def test_planted_faults_of_a_study_are_told(frame):
    assert any("the floor" in line for line in told(frame(*study(full=-0.1))))
    assert not any("the floor" in line for line in told(frame(*study())))
    blind = told(frame(*study(oracle=-0.1)))
    assert sum("oracle has seen every label and is not" in line for line in blind) == 1
    # Above scratch at one of the rates is enough.
    assert not any("has seen every" in line for line in told(frame(*study(oracle=0.0))))
    (line,) = [line for line in told(frame(*study(noise=0.05))) if "must equal" in line]
    assert line.startswith("noise, uniform must equal scratch and lies at +0.0")
    assert line.endswith("not those of images.")
    (line,) = [line for line in told(frame(*study(noise=-0.05))) if "must equal" in line]
    assert line.startswith("noise, uniform must equal scratch and lies at -0.0")
    assert "not unlearned" in line
    # With one fold nobody knows how far training again would move it.
    single = [{**row, "fold": 0, "folds": 1} for row in study(noise=0.05)]
    lines = told(frame(*single))
    assert "between these networks; how far others would differ is not known" in lines[0]
    assert not any("must equal" in line for line in lines)
    # Nor is it the images where folds disagree on it.
    moved = [
        {**row, "dice": row["dice"] + (0.12 if row["fold"] else -0.1)}
        if row["method"] == "noise"
        else row
        for row in study()
    ]
    assert not any("must equal" in line for line in told(frame(*moved)))
    bare = [row for row in study() if row["family"] != "control"]
    assert "Without rows of the controls oracle and noise, how much" in told(frame(*bare))[-1]


def test_a_control_that_equals_scratch_in_every_patient_does_not_tell_what_is_seen(frame):
    same = control(0, "heads_only", 0.0)
    lines = told(frame(*rows_of(0, "scratch", 0.0, draws=(0,), family="reference"), *same))
    assert lines[0] == "Can this study see? heads_only 0.000."


def test_what_is_possible_is_no_share_of_noise(frame):
    rows = [row for row in study() if row["method"] != "oracle"]
    assert "full supervision +0.2" in told(frame(*rows))[0]
    assert "possible" not in told(frame(*rows))[0]


def test_scores_on_the_way_are_means_over_patients(frame):
    rows = [
        {**row, "dice_5pct": row["dice"] / 4, "dice_10pct": row["dice"] / 3,
         "dice_25pct": row["dice"] / 2, "dice_50pct": row["dice"]}
        for row in study()
    ]  # fmt: skip
    budget = budget_of(frame(*rows))
    table = along_table(budget).data.set_index(["Method", "Rates"])
    simclr = np.mean(FLOOR + 0.05 + NOISE[1])
    found = [table.loc["simclr"][f"{share}%"].item() for share in (5, 10, 25, 50, 100)]
    assert found == pytest.approx([simclr / 4, simclr / 3, simclr / 2, simclr, simclr])
    assert table.loc[("oracle", "gentle"), "100%"] == pytest.approx(
        np.mean(FLOOR + 0.25 + NOISE[5, :, 0])
    )
    assert along_table(budget_of(frame(*study()))) is None


def test_the_interval_beside_is_that_of_the_rates_were_they_to_rank(frame):
    """Three folds and two draws: of the kind for networks trained anew, in both places."""
    data, beside = frame(*study()), []
    for rates in ("uniform", "gentle"):
        budget = budget_of(data, rates)
        table = board(compare(budget.entries), budget.distance, aside=budget.aside).data
        beside.append(table.set_index("Method").loc["simclr"])
    for name in ("Dice", "Dice vs scratch", "95% low", "95% high"):
        assert beside[0][f"{name}, gentle"] == pytest.approx(beside[1][name])
        assert beside[1][f"{name}, uniform"] == pytest.approx(beside[0][name])
    plain = paired_difference(
        *(budget_of(data).find(n).scores["dice"] for n in ("simclr", "scratch"))
    )
    assert beside[0]["95% low"] < plain.low


@pytest.mark.parametrize("name", ["terminal", "markdown", "latex", "csv", "json", "html"])
def test_every_format_shows_both_rates_and_the_controls(frame, name):
    report = build_report(results(frame(*study())), "bench report", labels=["10%"])
    text = reports.get(name)().render(report)
    assert "oracle" in text
    assert "gentle" in text
