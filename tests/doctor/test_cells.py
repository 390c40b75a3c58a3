"""Missing runs, cases and references, and rows that must not share a table."""

import numpy as np
import pandas as pd
import pytest

from contrabench.doctor import cells
from contrabench.doctor.findings import Severity
from contrabench.store.rows import read_rows

CHECKS = (
    cells.check_cells, cells.check_cases, cells.check_contracts, cells.check_schema,
    cells.check_references,
)  # fmt: skip


@pytest.fixture
def rows(store):
    frame, problems = read_rows(store)
    assert not problems
    return frame


def findings_of(rows):
    return {check: check(rows).findings for check in CHECKS if check(rows).findings}


def only(rows, check):
    """The one finding of all checks, which is this check's."""
    found = findings_of(rows)
    assert list(found) == [check]
    (finding,) = found[check]
    assert finding.means
    assert finding.do
    return finding


def where(rows, **values):
    mask = np.ones(len(rows), bool)
    for column, value in values.items():
        mask &= (rows[column] == value).to_numpy()
    return mask


def test_a_complete_table_has_no_finding(rows):
    assert findings_of(rows) == {}


def test_a_missing_fold_of_a_variant_is_named(rows):
    finding = only(rows[~where(rows, variant="simclr", fold=1)], cells.check_cells)
    assert finding.severity == Severity.warning
    assert finding.what.startswith("simclr (phantom, smoke")
    assert "has 1 of the 2 runs that others have; it lacks fold 1 draw 0 seed 0" in finding.what


def test_a_variant_without_a_label_budget_that_others_have(rows, store, build):
    for fold in range(2):
        for variant in ("scratch", "scratch_long"):
            build.run(store, variant=variant, fold=fold, labels="40%", fraction=0.4)
    frame, _ = read_rows(store)
    finding = only(frame, cells.check_cells)
    assert "simclr (" in finding.what
    assert ", 40%) has 0 of the 2 runs" in finding.what


def test_the_same_variant_with_a_deviation_is_another_entry(rows, store, build):
    build.run(store, deviations="deep supervision", fold=0)
    frame, _ = read_rows(store)
    finding = only(frame, cells.check_cells)
    assert finding.what.startswith("simclr (deep supervision) (")


def test_full_supervision_with_half_its_folds_is_named(rows):
    finding = only(rows[~where(rows, labels="100%", fold=0)], cells.check_cells)
    assert finding.what.startswith("scratch (")
    assert ", 100%) has 1 of the 2" in finding.what


def test_a_run_without_a_case_is_named(rows):
    run = rows.loc[where(rows, variant="simclr", fold=0), "run"].iloc[0]
    finding = only(rows[~where(rows, run=run, case="p1_ed")], cells.check_cases)
    assert finding.severity == Severity.error
    assert finding.what == f"run {run} lacks 2 rows of its fold: p1_ed, LV, p1_ed, RV"


def test_a_run_without_a_structure_is_named(rows):
    run = rows.loc[where(rows, variant="scratch", fold=1, labels="10%"), "run"].iloc[0]
    left = rows[~where(rows, run=run, structure="RV", case="p2_ed")]
    assert f"run {run} lacks 1 row of its fold: p2_ed, RV" in only(left, cells.check_cases).what


def test_a_case_that_one_run_alone_has_is_told_of_that_run(rows):
    run = rows.loc[where(rows, variant="simclr", fold=0), "run"].iloc[0]
    others = where(rows, fold=0, case="p1_ed") & (rows["run"] != run).to_numpy()
    finding = only(rows[~others], cells.check_cases)
    assert f"run {run} alone has 2 rows" in finding.what


def test_two_metric_contracts_under_one_protocol(rows):
    changed = rows.copy()
    run = changed["run"].iloc[0]
    changed.loc[where(changed, run=run), "metric_contract"] = 2
    finding = only(changed, cells.check_contracts)
    assert finding.severity == Severity.error
    assert "(7 runs by 1, 1 run by 2)" in finding.what
    assert run in finding.do


def test_two_contracts_under_two_protocols_are_two_tables(rows):
    other = rows.copy()
    other["protocol"] = "f" * 16
    other["metric_contract"] = 2
    both = rows.astype({"protocol": str, "run": str})
    other["run"] = other["run"].astype(str).str.replace("^.", "x", regex=True)
    assert findings_of(pd.concat([both, other], ignore_index=True)) == {}


def test_rows_of_another_schema_are_named(rows):
    changed = rows.copy()
    run = changed["run"].iloc[-1]
    changed.loc[where(changed, run=run), "schema_version"] = 1
    finding = only(changed, cells.check_schema)
    assert finding.what.startswith("1 run with rows of schema 1 beside")
    assert run in finding.what


@pytest.mark.parametrize(
    ("left_out", "words", "command"),
    [
        ({"labels": "100%"}, "full supervision is missing", "scratch --labels 100%"),
        ({"variant": "scratch_long"}, "scratch_long is missing at 10%", "scratch_long --labels"),
        (
            {"variant": "scratch", "labels": "10%"},
            "scratch is missing at 10%",
            "scratch --labels 10% --dataset phantom --budget smoke --folds 2 --fold all",
        ),
    ],
)
def test_a_missing_reference_is_named_with_its_command(rows, left_out, words, command):
    finding = only(rows[~where(rows, **left_out)], cells.check_references)
    assert finding.severity == Severity.warning
    assert words in finding.what
    assert f"bench run --method {command}" in finding.do


def test_a_reference_with_a_deviation_is_none(rows):
    changed = rows.copy()
    changed["deviations"] = changed["deviations"].cat.add_categories("all views")
    changed.loc[where(changed, variant="scratch_long"), "deviations"] = "all views"
    finding = only(changed, cells.check_references)
    assert "scratch_long is missing" in finding.what


def test_a_table_at_all_labels_wants_no_full_supervision(rows):
    everything = rows[where(rows, labels="10%")].copy()
    everything["fraction"] = 1.0
    assert findings_of(everything) == {}
    finding = only(everything[~where(everything, variant="scratch")], cells.check_references)
    assert "scratch is missing at" in finding.what


def test_no_rows_no_findings(rows):
    assert findings_of(rows.iloc[:0]) == {}
