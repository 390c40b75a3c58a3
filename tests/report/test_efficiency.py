"""Labels saved and curves of whole reports where label budgets, counts and folds do not match."""

import numpy as np
import pytest
from tests.makers.rows import results

from contrabench.report.build import build_report
from contrabench.report.comparison import compare
from contrabench.report.completeness import incomplete_runs, missing_references
from contrabench.report.efficiency import efficiency_section
from contrabench.report.entries import label_budgets, labelled_count
from contrabench.statistics.labels_saved import labels_needed
from contrabench.store.rows import labels_of

PATIENTS, FOLDS = 20, 5
BASE = np.random.default_rng(0).normal(0, 0.05, PATIENTS)
NOISE = np.random.default_rng(1).normal(0, 0.02, (8, PATIENTS))


def study(method, labels, count, mean, noise, **changes):
    """Rows of one method at one label budget: a row per patient."""
    return [
        {
            "method": method, "patient": f"p{p:02d}", "fold": p % FOLDS, "folds": FOLDS,
            "labels": labels, "fraction": float(labels.strip("%")) / 100,
            "labelled_patients": count, "dice": mean + BASE[p] + NOISE[noise, p],
            "asd_mm": 3 - mean - NOISE[noise, p], **changes,
        }
        for p in range(PATIENTS)
    ]  # fmt: skip


def dice(rows):
    """Dice by patient."""
    return np.array([row["dice"] for row in sorted(rows, key=lambda row: row["patient"])])


def across(frame, *rows):
    """The section across label budgets."""
    budgets = label_budgets(frame(*rows))
    trained = {budget.labels: compare(budget.entries).retraining for budget in budgets}
    return efficiency_section(budgets, budgets, "phantom", trained)


def saved(section):
    (table,) = [table for table in section.tables if table.name == "labels saved"]
    return table


def words(counts, curve, scores):
    return [
        f"more than {counts[-1]}" if number == np.inf
        else f"fewer than {counts[0]}" if number == 0
        else f"{number:.3g}"
        for number in labels_needed(counts, np.stack(curve, axis=1), scores)
    ]  # fmt: skip


def cells(table, heading):
    row = table.data.set_index("Method").loc["mmgl"]
    return [row[f"{word} at {heading}"] for word in ("Needed", "Needed low", "Needed high")]


SIZES = (15, 16)


def in_two_folds(rows):
    """The same in two folds that train on 15 and 16 patients."""
    for place, row in enumerate(rows):
        row |= {"folds": 2, "fold": place % 2, "train_patients": SIZES[place % 2]}
    return rows


def counted(method, count, mean, noise):
    """Rows for a number of patients, whose share is another in each fold."""
    rows = in_two_folds(study(method, "10%", count, mean, noise))
    for row in rows:
        row["labels"] = f"{count} patient{'s' if count > 1 else ''}"
        row["fraction"] = count / row["train_patients"]
    return rows


def test_a_count_is_one_budget_in_folds_of_unequal_size(frame):
    ten = in_two_folds(study("mmgl", "10%", 2, 0.6, 0))
    full = in_two_folds(study("scratch", "100%", 15, 0.8, 1))
    three, one = counted("mmgl", 3, 0.6, 2), counted("scratch", 1, 0.4, 3)
    rows = frame(*full, *three, *ten, *one)
    assert labels_of(rows) == ["1 patient", "10%", "3 patients", "100%"]
    budgets = {budget.labels: budget for budget in label_budgets(rows)}
    assert list(budgets) == labels_of(rows)
    assert budgets["3 patients"].rows["fraction"].nunique() == 2
    assert budgets["3 patients"].heading == "3 patients, 3 of 15 to 16"
    assert [entry.name for entry in budgets["3 patients"].entries] == ["full supervision", "mmgl"]
    assert incomplete_runs(rows) == []
    scratch, *_ = missing_references(rows, "3 patients")
    assert "--method scratch --labels 3 --fold" in scratch.command.text
    titles = [section.title for section in build_report(results(rows), "").sections]
    assert titles == [
        "phantom, smoke budget, across label budgets",
        "phantom, smoke budget, labels of 1 patient",
        "phantom, smoke budget, 10% of the labels",
        "phantom, smoke budget, labels of 3 patients",
    ]


def test_a_count_that_is_all_of_one_fold_is_not_full_supervision(frame):
    rows = frame(*counted("scratch", 15, 0.7, 0), *counted("mmgl", 3, 0.6, 1))
    assert (rows["fraction"] == 1).any()
    for budget in label_budgets(rows):
        assert not budget.is_ceiling
        assert budget.find("full supervision") is None
    assert any("full supervision" in one.what for one in missing_references(rows, "15 patients"))


FIVE, TEN = study("scratch", "5%", 1, 0.50, 0), study("scratch", "10%", 1, 0.54, 1)
FORTY, MMGL = study("scratch", "40%", 6, 0.65, 2), study("mmgl", "10%", 1, 0.58, 3)


def test_budgets_with_the_same_count_are_averaged(frame):
    table = saved(across(frame, *FIVE, *TEN, *FORTY, *MMGL))
    both = (dice(FIVE) + dice(TEN)) / 2
    expected = words([1, 6], [both, dice(FORTY)], dice(MMGL))
    assert cells(table, "10%, 1 of 16") == expected
    assert expected != words([1, 6], [dice(TEN), dice(FORTY)], dice(MMGL))
    assert any(note.startswith("5% and 10% are the same number") for note in table.notes)


@pytest.mark.parametrize("cut", ["5%", "10%"])
def test_a_budget_that_lacks_a_fold_takes_no_other_with_it(frame, cut):
    rows = [
        row for row in [*FIVE, *TEN, *FORTY, *MMGL]
        if not (row["labels"] == cut and row["method"] == "scratch" and row["fold"] == 4)
    ]  # fmt: skip
    whole = TEN if cut == "5%" else FIVE
    table = saved(across(frame, *rows))
    expected = words([1, 6], [dice(whole), dice(FORTY)], dice(MMGL))
    assert cells(table, "10%, 1 of 16") == expected
    assert f"without {cut}, where it was not tested on the same 20 patients" in table.notes[-1]


def test_a_budget_between_that_lacks_a_fold_is_left_out(frame):
    twenty = [row for row in study("scratch", "20%", 3, 0.6, 4) if row["fold"] != 2]
    table = saved(across(frame, *TEN, *twenty, *FORTY, *MMGL))
    expected = words([1, 6], [dice(TEN), dice(FORTY)], dice(MMGL))
    assert cells(table, "10%, 1 of 16") == expected
    assert "is without 20%" in table.notes[-1]


def test_one_count_alone_is_no_curve(frame):
    section = across(frame, *FIVE, *TEN, *MMGL)
    assert [table.name for table in section.tables] == ["label efficiency"]
    assert section.notes == ("Labels saved need scratch at two label budgets or more.",)


def test_counts_are_those_of_scratch(frame):
    """What other methods had to learn from says nothing of its curve."""
    wider = [{**row, "labelled_patients": 4, "seed": 1} for row in MMGL]
    table = saved(across(frame, *TEN, *FORTY, *MMGL, *wider))
    expected = words([1, 6], [dice(TEN), dice(FORTY)], dice(MMGL))
    assert cells(table, "10%, 1 to 4 of 16") == expected


def test_every_patient_weighs_the_same_in_a_count(frame):
    """Two folds with 1 and 2 labelled patients; in one of them cases have two structures."""
    first = study("scratch", "10%", 1, 0.5, 0)
    rows = frame(
        *({**row, "labelled_patients": 1 + row["fold"] % 2} for row in first),
        *({**row, "labelled_patients": 1, "structure": "RV"} for row in first
          if row["fold"] % 2 == 0),
    )  # fmt: skip
    assert labelled_count(rows) == pytest.approx(1 + 8 / 20)
    assert rows["labelled_patients"].mean() == pytest.approx(1 + 8 / 32)


def test_a_method_equal_to_scratch_saves_nothing_significantly(frame):
    """Its interval holds the number of its own column, also where the curve falls."""
    means = {"10%": (2, 0.60), "20%": (3, 0.55), "40%": (6, 0.65), "100%": (16, 0.75)}
    rows, own = [], np.random.default_rng(2).normal(0, 0.01, (4, PATIENTS))
    for place, (labels, (count, mean)) in enumerate(means.items()):
        for method in ("scratch", "mmgl"):
            made = study(method, labels, count, mean, 0)
            changed = [
                {**row, "dice": mean + BASE[p] + own[place, p]} for p, row in enumerate(made)
            ]
            rows += changed if (method, labels) != ("mmgl", "100%") else []
    table = saved(across(frame, *rows))
    for labels, (count, _) in list(means.items())[:3]:
        _, low, high = cells(table, f"{labels}, {count} of 16")
        assert float(low.replace("fewer than 2", "0")) <= count <= float(high)


def test_the_table_says_what_its_interval_is_about(frame):
    notes = " ".join(saved(across(frame, *TEN, *FORTY, *MMGL)).notes)
    assert "about the networks that were trained" in notes


@pytest.mark.parametrize("patients", [3, 4])
def test_means_of_few_patients_have_no_interval_and_a_note(frame, patients):
    rows = [row for row in [*TEN, *FORTY, *MMGL] if int(row["patient"][1:]) < patients]
    table = across(frame, *rows).tables[0]
    cells = table.data.set_index("Method").loc["scratch"]
    assert cells[["Dice at 10%, 1 of 16", "ASD mm at 40%, 6 of 16"]].notna().all()
    ends = cells.filter(like="95%")
    assert len(ends) == 8
    assert ends.notna().all() if patients == 4 else ends.isna().all()
    noted = any("fewer than 4 patients have no interval" in note for note in table.notes)
    assert noted == (patients == 3)


def test_columns_of_one_count_are_told_apart(frame):
    section = across(frame, *FIVE, *TEN, *FORTY, *MMGL)
    (table,) = [table for table in section.tables if table.name == "label efficiency"]
    seen = [(column.part, column.heading) for column in table.columns]
    assert len(seen) == len(set(seen))
