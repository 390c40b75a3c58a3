"""What a study advises: each sentence for rows that were made to have that answer and no other."""

import math
import re

import numpy as np
import pytest
from tests.makers.rows import results

from contrabench.contracts.report import cell_text, number_text
from contrabench.errors import RequestError
from contrabench.report.advice import advise
from contrabench.report.advice_screen import advice_screen
from contrabench.report.answer import DICE_GAIN
from contrabench.statistics.aggregate import patient_scores

PATIENTS = 12
NOISE = np.random.default_rng(3).normal(0, 0.02, (12, PATIENTS, 2))
CURVE = {2: 0.5, 4: 0.6, 8: 0.7}
"""Dice from scratch by labelled patients: a straight line over their logarithm."""
ALL = 8


def rows_of(number, method, labelled, dice, family="contrast before", patients=PATIENTS, **changes):
    """A method in three folds and two draws; with all labels in one."""
    whole = labelled == ALL
    return [
        {"method": method, "family": family, "patient": f"p{p:02d}", "draw": draw,
         "fold": p % 3, "folds": 3, "labels": "100%" if whole else f"{labelled} patients",
         "fraction": labelled / ALL, "labelled_patients": labelled, "train_patients": ALL,
         "dice": dice + NOISE[number, p, draw], **changes}
        for p in range(patients) for draw in ((0,) if whole else (0, 1))
    ]  # fmt: skip


def study(gain=0.05, curve=CURVE, at=(2, 4), **changes):
    """Scratch over its curve, and two methods of other families at some label budgets."""
    rows = []
    for number, (labelled, dice) in enumerate(curve.items()):
        rows += rows_of(number, "scratch", labelled, dice, "reference", **changes)
    for number, labelled in enumerate(at, start=4):
        dice = curve[labelled]
        rows += rows_of(number, "simclr", labelled, dice + gain, **changes)
        rows += rows_of(number + 4, "reco", labelled, dice, "contrast during", **changes)
    return rows


def advised(frame, rows):
    return advise(results(frame(*rows)))


def told(frame, rows):
    return dict(advised(frame, rows).told)


def test_a_method_that_is_better_is_named_with_what_it_brings(frame):
    found = advised(frame, study())
    words, scores = dict(found.told), {}
    data = frame(*study())
    for method in ("scratch", "simclr"):
        part = data[(data["variant"] == method) & (data["labels"] == "4 patients")]
        scores[method] = patient_scores(part, ["dice"])["dice"]
    gain = number_text("difference", float((scores["simclr"] - scores["scratch"]).mean()))
    assert found.best == "simclr"
    first = words["Is it worth it?"]
    assert first.startswith(f"Yes: simclr (contrast before) brings {gain} (95% +0.0")
    assert first.endswith("Dice over training from scratch with 4 labelled patients.")
    stand = number_text("score", float(scores["scratch"].mean()))
    assert words["Where you stand"].startswith(f"Dice {stand} (95% ")
    assert "with 4 of 8 labelled" in words["Where you stand"]
    assert "for networks trained anew; 12 patients are few" in words["How sure?"]


def test_labels_that_would_bring_as_much_are_read_off_the_curve(frame):
    # Without noise: half-way from 4 to 8 on a logarithmic scale.
    rows = [{**row, "dice": 0.65} if row["method"] == "simclr" else
            {**row, "dice": CURVE[row["labelled_patients"]]} for row in study()]  # fmt: skip
    text = told(frame, rows)["Label instead?"]
    number, more = math.sqrt(4 * 8), math.sqrt(4 * 8) - 4
    assert text.startswith(f"simclr with 4 labelled is as good as {number:.3g} labelled from")
    assert text.endswith(f"labelling about {more:.2g} more patients would bring as much.")
    text = told(frame, study(gain=0.3))["Label instead?"]
    assert "as good as more than 8 labelled" in text
    assert text.endswith("labelling all of them would bring less.")


def test_where_nothing_is_better_the_most_that_is_possible_is_told(frame):
    noisy = [
        {**row, "dice": row["dice"] + 0.1 * (-1) ** int(row["patient"][1:])}
        if row["method"] != "scratch"
        else row
        for row in study(gain=0.0)
    ]
    found = advised(frame, noisy)
    words = dict(found.told)
    most = found.gains.data["95% high"].max()
    assert found.best == ""
    assert words["Is it worth it?"].startswith(
        "That is not shown: with 4 labelled patients and 12 test patients no method is shown"
    )
    assert f"Up to {most:+.3f} Dice is possible" in words["Is it worth it?"]
    assert words["Label instead?"].startswith("No method is shown to save labels with 4 labelled")
    assert set(found.gains.data["Known"]) == {"not told apart"}


def test_where_intervals_leave_nothing_open_the_answer_is_no(frame):
    for gains, known in (((0.001, 0.002), "better"), ((-0.001, 0.001), "as good")):
        rows = [
            {**row, "dice": CURVE[row["labelled_patients"]]
             + gains[int(row["patient"][1:]) // 3 % 2] * (row["method"] != "scratch")}
            for row in study()
        ]  # fmt: skip
        found = advised(frame, rows)
        assert dict(found.told)["Is it worth it?"] == (
            "No: with 4 labelled patients no method brings more than 0.01 Dice over training from "
            "scratch."
        )
        assert (found.best, set(found.gains.data["Known"])) == ("", {known})


def test_networks_that_all_labels_do_not_help_tell_nothing(frame):
    flat = {2: 0.5, 4: 0.5, 8: 0.4}
    text = told(frame, study(curve=flat))["Is it worth it?"]
    assert "undertrained" in text
    assert "simclr" not in text


def test_too_few_patients_have_no_interval(frame):
    found = advised(frame, study(patients=5))
    assert dict(found.told)["Is it worth it?"] == (
        "That cannot be told: 5 test patients are too few for any interval."
    )
    assert "(no interval)" in dict(found.told)["More labels"]
    assert set(found.gains.data["Known"]) == {"too few"}


def test_one_label_budget_has_no_curve(frame):
    rows = [row for row in study(at=(4,)) if row["labelled_patients"] == 4]
    words = told(frame, rows)
    assert words["Label instead?"].startswith("Not known: scratch was run at one label budget")
    assert "More labels" not in words


def test_all_labels_lead_where_methods_had_them(frame):
    found = advised(frame, study(at=(4, 8)))
    words = dict(found.told)
    assert "with 8 labelled patients" in words["Is it worth it?"]
    # All labels in one draw tell of these networks alone.
    assert words["Is it worth it?"].startswith("Yes, for the networks trained here: ")
    assert "undertrained" not in " ".join(words.values())
    assert words["More labels"].endswith(" over 4 labelled with all 8 labelled, from scratch.")
    assert words["Label instead?"].startswith("simclr with 4 labelled is as good as")
    assert words["With 4 labelled"].startswith("Use simclr: ")


def test_rows_that_compare_nothing_or_too_much_are_refused(frame):
    with pytest.raises(RequestError, match="no method is compared with training from scratch"):
        advised(frame, study(at=()))
    with pytest.raises(RequestError, match="there are 2 comparisons, and an advice is about one"):
        advised(frame, [*study(), *study(budget="quick", protocol="0" * 16)])


def test_a_screen_has_the_cells_of_the_page_and_fits(frame):
    found = advised(frame, study(at=(2, 4, 8)))
    lines = advice_screen(found, ("12 labelled patients", "LV; 1 x 1 x 1 mm"), ("next",), 80)
    assert len(lines) <= 40
    assert max(len(line.text) for line in lines) <= 80
    table, text = found.gains, "\n".join(line.text for line in lines)
    for row in range(len(table.data)):
        for column in table.columns:
            assert cell_text(column, table.data[column.name].iloc[row]) in text
    for topic, sentence in found.told:
        shown = re.sub(r"\s+", " ", text)
        assert f"{topic} {sentence}" in shown
        assert f"{topic}: {sentence}" in found.section.verdict
    assert found.section.tables == (table,)
    assert DICE_GAIN in table.data


def test_a_family_shows_its_two_best(frame):
    rows = study()
    for number, gain in enumerate((0.01, 0.02, 0.03), start=9):
        rows += rows_of(number, f"moco[momentum=0.{number}]", 4, CURVE[4] + gain)
    found = advised(frame, rows)
    before = found.gains.data[found.gains.data["Family"] == "contrast before"]
    assert len(before) == 2
    assert before["Method"].iloc[0] == "simclr"
    assert "2 more are in the report" in found.gains.notes[0]
    assert found.gains.parts == ("With 4 of 8 labelled",)
    for number in range(6):
        rows += rows_of(number, f"m{number}", 4, CURVE[4] + 0.01 * number, f"family {number}")
    found = advised(frame, rows)
    # One of each of the best families, so that it fits on a screen.
    assert found.gains.data["Family"].is_unique
    assert len(advice_screen(found, ("a", "b"), ("next", "page"), 80)) <= 40
