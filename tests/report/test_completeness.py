"""Rows taken away: found by the definition, run by run; and what truly is smaller is no gap."""

import itertools
import random

import pandas as pd
import pytest

from contrabench.errors import RequestError
from contrabench.report.completeness import complete_runs, concerning, incomplete_runs

WORDS = ("run", "case", "structure", "labels", "variant", "deviations", "flag")
STRUCTURES = ("LV", "RV", "MYO")


def study(variants=("scratch", "mmgl"), budgets=(("10%", 0.1), ("100%", 1.0)), seeds=2):
    """Two folds of two patients, one of them with two cases; p3 was scanned without MYO."""
    for variant, (labels, fraction), seed, p in itertools.product(
        variants, budgets, range(seeds), range(4)
    ):
        for case in (f"p{p}_ed", f"p{p}_es")[: 2 if p == 0 else 1]:
            for structure in STRUCTURES[: 2 if p == 3 else 3]:
                yield {
                    "method": variant, "labels": labels, "fraction": fraction, "seed": seed,
                    "patient": f"p{p}", "case": case, "structure": structure, "fold": p % 2,
                    "folds": 2,
                }  # fmt: skip


def without(rows, **gone):
    return [row for row in rows if any(row[name] != value for name, value in gone.items())]


def lacking(rows):
    """The definition, by sets: the runs that have less than all runs of their fold together."""
    has, fold = {}, {}
    for row in rows.to_dict("records"):
        has.setdefault(row["run"], set()).add((row["case"], row["structure"]))
        fold[row["run"]] = (row["folds"], row["fold"])
    known = {one: set().union(*(has[run] for run in has if fold[run] == one))
             for one in fold.values()}  # fmt: skip
    return {run for run in has if has[run] != known[fold[run]]}


@pytest.fixture(params=["words", "categories"])
def made(request, frame):
    def make(rows):
        found = frame(*rows)
        return found if request.param == "words" else found.astype(dict.fromkeys(WORDS, "category"))

    return make


def left_out(found):
    return {run for one in found[1] for run in one.runs}


def notes(found, labels):
    """What the table of a label budget tells."""
    kept, incomplete = found
    return [one.note for one in concerning(labels, incomplete, kept)]


def test_whole_runs_are_handed_back_as_they_came(made):
    rows = made(study())
    found = complete_runs(rows)
    assert found[0] is rows
    assert found[1] == []
    assert notes(found, "10%") == []


CELL = {"method": "mmgl", "labels": "10%", "seed": 1}


@pytest.mark.parametrize(
    ("gone", "folds", "count", "named"),
    [
        ({"case": "p0_ed", "structure": "RV"}, [0], "1 row that", "RV of p0_ed"),
        ({"structure": "RV"}, [0, 1], "5 rows", "RV of p0_ed, RV of p0_es, RV of p1_ed and 2 more"),
        ({"case": "p0_es"}, [0], "3 rows", "LV of p0_es, MYO of p0_es, RV of p0_es"),
        ({"case": "p3_ed"}, [1], "2 rows", "LV of p3_ed, RV of p3_ed"),
    ],
)
def test_planted_gaps_are_found_and_named(made, gone, folds, count, named):
    rows = made(without(study(), **CELL, **gone))
    found = complete_runs(rows)
    chosen = (rows["variant"] == "mmgl") & (rows["labels"] == "10%") & (rows["seed"] == 1)
    expected = set(rows[chosen & rows["fold"].isin(folds)]["run"])
    assert len(expected) == len(folds)
    assert left_out(found) == expected == lacking(rows)
    pd.testing.assert_frame_equal(found[0], rows[~rows["run"].isin(expected)])
    (note,) = notes(found, "10%")
    assert note.startswith(f"Left out: {len(folds)} of 4 runs of mmgl at 10%, ")
    assert all(run in note for run in expected)
    assert f"They lack {count}" in note
    assert f": {named}." in note
    assert "\n" not in note
    assert notes(found, "100%") == []


def test_a_structure_that_a_whole_method_lacks(made):
    rows = made(without(study(), method="mmgl", structure="RV"))
    found = complete_runs(rows)
    assert left_out(found) == set(rows[rows["variant"] == "mmgl"]["run"])
    assert set(found[0]["variant"]) == {"scratch"}


def test_what_does_not_apply_is_no_gap(made):
    rows = list(study())
    for row in rows:
        if row["method"] == "mmgl" and row["structure"] == "RV":
            row["flag"] = "not applicable"
    assert incomplete_runs(made(rows)) == []


def test_a_fold_that_only_one_method_ran_is_no_gap(made):
    rows = made(without(study(), method="mmgl", fold=1))
    assert incomplete_runs(rows) == []


def test_a_row_twice_fills_no_gap(made):
    rows = list(study())
    (one,) = [row for row in rows if all(row[name] == value for name, value in CELL.items())
              and (row["case"], row["structure"]) == ("p0_ed", "LV")]  # fmt: skip
    rows = made([*without(rows, **CELL, case="p0_ed", structure="RV"), one])
    assert left_out(complete_runs(rows)) == lacking(rows) != set()


@pytest.mark.parametrize("seed", range(6))
def test_random_deletions_as_the_definition_finds_them(made, seed):
    rows = list(study(("scratch", "mmgl", "simclr"), seeds=3))
    chance = random.Random(seed)
    kept = made(chance.sample(rows, len(rows) - 1 - 2 * seed))
    expected = lacking(kept)
    assert expected
    found = complete_runs(kept)
    assert left_out(found) == expected
    assert set(found[0]["run"]) == set(kept["run"]) - expected


def test_each_variant_has_a_line_of_its_own_and_deviations_are_told(made):
    rows = list(study())
    rows += [{**row, "deviations": "budget"} for row in rows]
    rows = [row for row in rows if row["method"] == "scratch" or row["case"] != "p1_ed"]
    assert [note.split(", ")[0] for note in notes(complete_runs(made(rows)), "10%")] == [
        "Left out: 2 of 4 runs of mmgl at 10%", "Left out: 2 of 4 runs of mmgl (budget) at 10%",
        "Left out: 2 of 4 runs of mmgl at 100%", "Left out: 2 of 4 runs of mmgl (budget) at 100%",
    ]  # fmt: skip


def test_a_gap_in_full_supervision_is_told_at_every_budget(made):
    found = complete_runs(made(without(study(), labels="100%", seed=0, case="p0_ed")))
    assert [len(notes(found, labels)) for labels in ("10%", "100%")] == [2, 2]


def test_a_budget_of_which_nothing_is_left_is_told_by_the_others(made):
    budgets = (("5%", 0.05), ("10%", 0.1), ("20%", 0.2))
    rows = [row for row in study(budgets=budgets) if row["labels"] != "5%" or
            row["case"] not in ("p0_ed", "p1_ed")]  # fmt: skip
    found = complete_runs(made(rows))
    assert set(found[0]["labels"]) == {"10%", "20%"}
    assert notes(found, "10%") == notes(found, "20%") != []
    assert all("at 5%" in note for note in notes(found, "10%"))


def test_where_no_run_is_whole_there_is_no_table_but_a_line(made):
    rows = [row for row in study(seeds=1, budgets=[("10%", 0.1)]) if row["structure"]
            != {"scratch": "LV", "mmgl": "RV"}[row["method"]]]  # fmt: skip
    with pytest.raises(RequestError, match="every run of this protocol lacks rows") as caught:
        complete_runs(made(rows))
    assert "\n" not in str(caught.value)


def test_no_rows_at_all(made):
    assert incomplete_runs(made([])) == []
