"""Whole comparisons: every section, what its sentences claim, and every format of it."""

import csv
import io
import itertools
import json
import math
from importlib.resources import files
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from tests.makers.rows import results

from contrabench.contracts.registry import reports
from contrabench.contracts.report import Report, cell_text, plain
from contrabench.errors import RequestError
from contrabench.report.board import board
from contrabench.report.comparing import compare_results, side_by_side
from contrabench.report.tidy import tidy

from .sides import METHOD, NOISE, PROTOCOL, SOFTWARE, changed, recorded, study

HASH, OTHER = PROTOCOL["hash"], "0" * 16
FIELD = [*study("scratch"), *study("gcl", 0.1, 1), *study("pcl", -0.1, 2)]
FORMATS = ("terminal", "markdown", "latex", "csv", "json", "parquet", "html")
NASTY = "a`b`|<script>x</script>\\input{y}$_%\n\u202e=1"


def moved(rows, method, shift, **changes):
    """The rows with so much more Dice of one method, made by other runs."""
    return [
        {
            **row, "run": row["run"][::-1], **changes,
            "dice": row["dice"] + (shift if row["method"] == method else 0),
        }
        for row in rows
    ]  # fmt: skip


def compared(a, b, labels=(), names=("old", "new")):
    return compare_results(a, b, names, "bench report --compare old new", labels)


def told(section):
    return "\n".join([*section.verdict, *section.notes])


def table(section, name):
    (found,) = [one for one in section.tables if one.name == name]
    return found.data.set_index(found.columns[0].name)


# -- how far methods moved, against sums by hand and a brute-force test over sign patterns --


def shifted(rows, shifts, noise=None):
    """Rows with so much more Dice by method, and noise by patient."""
    made = []
    for row in rows:
        extra = 0 if noise is None else NOISE[noise, int(row["patient"][1:])]
        more = shifts.get(row["method"], 0) + extra
        made.append({**row, "run": row["run"][::-1], "dice": row["dice"] + more})
    return made


def found(frame, ours, theirs, **more):
    """What is said of each method, by its label, where both sides have it."""
    sides = side_by_side(frame(*ours), frame(*theirs), **more)
    ranks = [list(board(side, "asd_mm", "A").data["Rank"]) for side in sides]
    pairs = enumerate(zip(*(side.entries for side in sides), strict=False))
    return {
        old.label: SimpleNamespace(
            test=sides[1].against.get(place), ranks=tuple(rank[place] for rank in ranks)
        )
        for place, (old, new) in pairs
        if old.label == new.label
    }


def labels(frame, ours, theirs):
    """The methods of each side, in order."""
    sides = side_by_side(frame(*ours), frame(*theirs))
    return [[entry.label for entry in side.entries] for side in sides]


def flips(differences):
    """The definition of the sign-flip test, pattern by pattern."""
    sums = [
        abs(np.dot(signs, differences))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    return np.mean([one >= abs(sum(differences)) - 1e-12 for one in sums])


def step_down(values):
    """Holm by its definition: the largest of all (n - rank) p up to one's own."""
    order = np.argsort(values)
    adjusted = [min(1, (len(values) - rank) * values[place]) for rank, place in enumerate(order)]
    return dict(zip(order, np.maximum.accumulate(adjusted), strict=True))


def test_differences_ps_and_holm_are_those_by_hand(frame):
    rows = [row for row in FIELD if int(row["patient"][1:]) < 8]
    other = [*shifted(rows[:8], {}, 4), *shifted(rows[8:16], {"gcl": 0.03}, 5), *rows[16:]]
    moved = found(frame, rows, other)
    ps = []
    for name, start in (("scratch", 0), ("gcl", 8), ("pcl", 16)):
        pairs = zip(rows[start : start + 8], other[start : start + 8], strict=True)
        own = [second["dice"] - first["dice"] for first, second in pairs]
        one = moved[name].test
        assert one.found.mean == pytest.approx(np.mean(own))
        assert one.found.p == pytest.approx(flips(own))
        exact = stats.permutation_test(
            (own,), np.mean, permutation_type="samples", n_resamples=np.inf
        )
        assert one.found.p == pytest.approx(exact.pvalue)
        assert one.found.patients == 8
        ps.append(one.found.p)
    for place, name in enumerate(("scratch", "gcl", "pcl")):
        assert moved[name].test.adjusted == pytest.approx(step_down(ps)[place])


def test_a_planted_shift_is_found_in_its_method_alone(frame):
    moved = found(frame, FIELD, shifted(FIELD, {"gcl": 0.02}))
    assert {name: one.test.separated for name, one in moved.items()} == {
        "gcl": True, "scratch": False, "pcl": False,
    }  # fmt: skip
    assert moved["gcl"].test.found.mean == pytest.approx(0.02)
    back = found(frame, shifted(FIELD, {"gcl": 0.02}), FIELD)
    assert back["gcl"].test.found.mean == pytest.approx(-0.02)


def test_equal_sides_differ_nowhere(frame):
    for one in found(frame, FIELD, FIELD).values():
        assert (one.test.found.mean, one.test.found.p, one.test.adjusted) == (0, 1, 1)
        assert one.ranks[0] == one.ranks[1]


def test_training_that_moves_whole_folds_is_seen(frame):
    """Folds go up and down as a whole: the test over patients is blind to it, ours is not."""
    noise = np.random.default_rng(1).normal(0, 0.01, (2, 40))
    moves = {"calm": np.zeros(5), "moved": np.array([0.06, 0.05, 0.07, -0.06, -0.02])}
    ours = [row for fold in range(5) for row in study("scratch", fold=fold, patients=8)]
    ours = [{**row, "patient": f"{row['fold']}{row['patient']}", "folds": 5} for row in ours]
    seen = {}
    for name, by_fold in moves.items():
        theirs = [
            {**row, "run": row["run"][::-1], "dice": row["dice"] + 0.03 + by_fold[row["fold"]] + e}
            for row, e in zip(ours, noise[0], strict=True)
        ]
        _, seen[name] = side_by_side(frame(*ours), frame(*theirs))
    calm, moved = (seen[name].against[0] for name in moves)
    assert calm.separated
    assert not calm.passing
    assert moved.separated
    assert moved.passing
    assert seen["moved"].retraining.inflation > 2 > 1.5 > seen["calm"].retraining.inflation


def test_other_patients_are_not_tested(frame):
    fewer = [row for row in FIELD if row["method"] != "gcl" or row["patient"] != "p00"]
    moved = found(frame, FIELD, fewer)
    assert moved["gcl"].test is None
    # The family is that of the others, and so are the ranks on B.
    assert moved["scratch"].test.adjusted == 1
    assert math.isnan(moved["gcl"].ranks[1])
    assert (moved["scratch"].ranks, moved["pcl"].ranks) == ((2, 1), (3, 2))
    renamed = [{**row, "patient": f"q{row['patient']}"} for row in FIELD]
    moved = found(frame, FIELD, renamed)
    assert {one.test for one in moved.values()} == {None}
    # Each side still has an order of its own.
    assert moved["gcl"].ranks == (1, 1)


def test_a_method_of_one_side_stands_alone(frame):
    sides = [*FIELD, *study("byol", 0.5)], [*study("vicreg", 0.9), *FIELD]
    shared = ["gcl", "scratch", "pcl"]
    assert labels(frame, *sides) == [[*shared, "byol"], [*shared, "vicreg"]]
    # It takes no place from those that both sides have.
    assert found(frame, *sides)["gcl"].ranks == (1, 1)


def test_single_versions_stand_in_one_row_and_several_in_their_own(frame):
    newer = [*FIELD[:12], *study("gcl", 0.2, 1, method_version=2)]
    moved = found(frame, FIELD, newer)
    assert moved["gcl"].test.found.mean == pytest.approx(0.1)
    # The newest version of a variant needs no number, whatever stands on A.
    more = study("gcl", 0.3, 1, method_version=2, deviations="long")
    assert {"gcl", "gcl (long)"} < set(found(frame, [*FIELD, *more], [*newer, *more]))
    both = [*FIELD, *study("gcl", 0.2, 1, method_version=2)]
    assert found(frame, FIELD, both)["gcl (version 1)"].test.found.mean == 0
    shared = ["gcl (version 1)", "scratch", "pcl"]
    assert labels(frame, FIELD, both) == [shared, [*shared, "gcl"]]


def test_deviations_make_another_method(frame):
    other = [*FIELD[:12], *study("gcl", 0.1, 1, deviations="deep supervision")]
    assert labels(frame, FIELD, other) == [
        ["scratch", "gcl", "pcl"], ["scratch", "gcl (deep supervision)"],
    ]  # fmt: skip


def test_ranks_are_those_of_the_means(frame):
    other = shifted(FIELD, {"pcl": 0.3})
    moved = found(frame, FIELD, other)
    for side, rows in enumerate((FIELD, other)):
        means = pd.DataFrame(rows).groupby("method")["dice"].mean()
        ranks = dict(zip(means.index, stats.rankdata(-means), strict=True))
        assert {name: one.ranks[side] for name, one in moved.items()} == ranks


def test_one_patient_is_no_evidence(frame):
    first = [row for row in FIELD if row["patient"] == "p00"]
    one = found(frame, first, shifted(first, {"gcl": 0.3}))["gcl"].test
    assert (one.found.mean, one.found.p) == (pytest.approx(0.3), 1)
    assert math.isnan(one.found.low)
    assert math.isnan(one.retrained)


def test_what_does_not_compare_is_ranked_and_not_subtracted(frame):
    moved = found(frame, FIELD, shifted(FIELD, {"gcl": 0.2}), comparable=False)
    assert {one.test for one in moved.values()} == {None}
    assert moved["gcl"].ranks == (1, 1)


def test_structures_that_do_not_apply_are_no_score(frame):
    absent = [{**row, "structure": "RV", "flag": "not applicable"} for row in FIELD]
    assert found(frame, [*FIELD, *absent], FIELD)["gcl"].test.found.mean == 0
    gone = [{**row, "flag": "not applicable"} if row["patient"] == "p00" else row for row in FIELD]
    assert found(frame, gone, FIELD)["gcl"].test is None
    nowhere = [{**row, "flag": "not applicable"} for row in FIELD]
    assert found(frame, nowhere, nowhere)["gcl"].test is None


# -- whole comparisons ------------------------------------------------------------------


@pytest.fixture
def planted(frame):
    """One setting changed, and one method better by it."""
    a = recorded(frame(*FIELD))
    protocol = changed(changed(PROTOCOL, "budget.finetune.images", 800), "hash", OTHER)
    b = recorded(frame(*moved(FIELD, "gcl", 0.05, protocol=OTHER)), protocol=protocol)
    return compared(a, b)


def test_equal_sides_say_that_nothing_changed(frame):
    both = recorded(frame(*FIELD))
    what, side = compared(both, both).sections
    assert what.verdict == (f"Nothing changed: the same protocol {HASH}.",)
    held = table(what, "what changed")
    assert list(held.loc["runs"]) == list(held.loc["runs of both"]) == ["6", "6"]
    assert list(held.index[-1:]) == ["runs of both"]
    assert side.verdict == (
        "No score differs: the Dice of 3 methods is the same on every patient.",
        "The order of the 3 methods by mean Dice is the same on both sides.",
    )
    cells = table(side, "side by side")
    assert set(cells["Dice vs A"]) == {0}
    assert set(cells["Adjusted p"]) == {1}


def test_one_setting_and_one_method_are_found_and_no_other(planted):
    what, side = planted.sections
    assert what.verdict == (
        "1 setting of the protocol changed: budget.finetune.images (1600 on A, 800 on B).",
    )
    assert list(table(what, "what changed").loc["budget.finetune.images"]) == ["1600", "800"]
    assert what.protocol == side.protocol == f"{HASH} and {OTHER}"
    assert side.verdict[0].startswith("Better on B: gcl +0.050 (95% +0.050 to +0.050, adjusted p")
    assert "As good on both sides within ± 0.01: scratch 0.000, pcl 0.000." in side.verdict
    assert "Of all that is recorded one thing differs: budget.finetune.images." in side.verdict
    cells = table(side, "side by side")
    assert cells.loc["gcl", "Dice B"] - cells.loc["gcl", "Dice A"] == pytest.approx(0.05)
    assert cells.loc["gcl", "Dice vs A"] == pytest.approx(0.05)
    assert table(what, "what changed").loc["runs of both"].tolist() == ["0", "0"]


def test_several_changes_are_never_put_down_to_one(frame):
    protocol = changed(changed(PROTOCOL, "data", "d2"), "hash", OTHER)
    b = recorded(
        frame(*moved(FIELD, "gcl", -0.05, protocol=OTHER)),
        protocol=protocol,
        software={**SOFTWARE, "torch": "2.15"},
        method={**METHOD, "code": "f00d"},
    )
    what, side = compared(recorded(frame(*FIELD)), b).sections
    assert what.verdict[1].startswith(
        "Beside the protocol changed: gcl: code (c0de on A, f00d on B), "
    )
    assert "patients are paired by name" in told(what)
    (line,) = [line for line in side.verdict if "everything that changed together" in line]
    assert line.startswith("5 things differ")
    assert "Worse on B: gcl -0.050" in told(side)


def test_a_sentence_names_few_changes_and_the_table_all(frame):
    software = {f"package{number}": "1" for number in range(9)}
    both = [recorded(frame(*FIELD), software=dict.fromkeys(software, version)) for version in "12"]
    what = compared(*both).sections[0]
    assert what.verdict[0] == f"The same protocol {HASH}."
    assert what.verdict[1].startswith("Beside the protocol changed: package0 (1 on A, 2 on B), ")
    assert what.verdict[1].endswith("and 3 more.")
    assert {*software} < {*table(what, "what changed").index}


def test_better_and_worse_are_two_sentences(frame):
    other = moved(moved(FIELD, "gcl", 0.05), "pcl", -0.02)
    side = compared(results(frame(*FIELD)), results(frame(*other))).sections[1]
    assert side.verdict[0].startswith("Better on B: gcl +0.050 (")
    assert side.verdict[1].startswith("Worse on B: pcl -0.020 (")
    assert "pcl" not in side.verdict[0]
    assert "gcl" not in side.verdict[1]


def test_missing_records_are_said(frame):
    whole, lost = recorded(frame(*FIELD)), recorded(frame(*FIELD), lost=("gcl",))
    what = compared(whole, lost).sections[0]
    assert what.verdict == (f"Nothing that is recorded changed: the same protocol {HASH}.",)
    assert "2 of 6 runs of B have no record" in told(what)
    other = results(frame(*moved(FIELD, "gcl", 0.05, protocol=OTHER)))
    what, side = compared(whole, other).sections
    assert "which settings changed is not recorded" in what.verdict[0]
    assert "6 of 6 runs of B have no record" in told(what)
    assert "their records do not tell in what" in told(side)


def test_few_patients_cannot_tell(frame):
    few = [row for row in FIELD if int(row["patient"][1:]) < 4]
    side = compared(results(frame(*few)), results(frame(*moved(few, "gcl", 0.3)))).sections[1]
    # All four patients agree: 2 of 2^4 patterns, times three methods.
    few = "With so few patients no comparison can reach a p below 0.375 after Holm"
    assert any(line.startswith(few) for line in side.verdict)
    assert "Better" not in told(side)
    assert "An interval of a difference needs 6 patients or more." in side.verdict


def test_a_side_with_one_patient_is_compared_with_nobody(frame):
    one = [row for row in FIELD if row["patient"] == "p00"]
    side = compared(results(frame(*FIELD)), results(frame(*one))).sections[1]
    assert side.verdict[0].startswith("No method was tested on the same patients")
    assert "(A tested 12, B 1, 1 of them the same)" in told(side)
    assert table(side, "side by side")["Dice vs A"].isna().all()
    both = compared(results(frame(*one)), results(frame(*moved(one, "gcl", 0.3)))).sections[1]
    assert "a p below 1 after Holm" in told(both)


def test_another_metric_contract_is_no_difference(frame):
    other = moved(FIELD, "gcl", 0.05, protocol=OTHER, metric_contract=2)
    side = compared(results(frame(*FIELD)), results(frame(*other))).sections[1]
    assert side.verdict[0].startswith("The metric contracts differ (1 on A, 2 on B)")
    cells = table(side, "side by side")
    assert cells[["Dice vs A", "p", "Adjusted p"]].isna().all(axis=None)
    assert cells["Dice B"].notna().all()
    assert "beyond" not in told(side)


def test_other_structures_are_no_difference(frame):
    more = [*FIELD, *({**row, "structure": "aorta"} for row in FIELD)]
    side = compared(results(frame(*FIELD)), results(frame(*more))).sections[1]
    assert side.verdict[0].startswith("Not the same structures are scored (A LV; B LV, aorta)")
    assert table(side, "side by side")["Dice vs A"].isna().all()


def test_structures_that_apply_nowhere_and_distances_on_two_scales(frame):
    gone = [{**row, "flag": "not applicable"} for row in FIELD]
    side = compared(results(frame(*gone)), results(frame(*FIELD))).sections[1]
    assert "(A tested 0, B 12, 0 of them the same)" in told(side)
    voxels = [{**row, "asd_mm": None, "asd_voxel": 3.0} for row in FIELD]
    side = compared(results(frame(*FIELD)), results(frame(*voxels))).sections[1]
    assert "not on one scale: ASD mm on A, ASD voxel on B" in told(side)
    assert set(table(side, "side by side")["ASD voxel B"]) == {3.0}


def test_the_order_and_its_tau(frame):
    other = moved(FIELD, "pcl", 0.15)
    side = compared(results(frame(*FIELD)), results(frame(*other))).sections[1]
    tau = stats.kendalltau([1, 2, 3], [1, 3, 2]).statistic
    (line,) = [line for line in side.verdict if "order" in line]
    assert f"(Kendall's tau {tau:.2f})" in line
    assert "scratch from 2 to 3, pcl from 3 to 2" in line
    cells = table(side, "side by side")
    assert list(cells["Rank B"]) == [1, 3, 2]


def test_methods_of_one_side_are_named(frame):
    a, b = [*FIELD, *study("byol", 0.5)], [*FIELD, *study("vicreg", deviations="long")]
    side = compared(results(frame(*a)), results(frame(*b))).sections[1]
    assert side.verdict[-2:] == ("On A alone: byol.", "On B alone: vicreg (long).")
    cells = table(side, "side by side")
    assert list(cells.index[-2:]) == ["byol", "vicreg"]
    assert math.isnan(cells.loc["byol", "Dice B"])
    assert table(side, "runs").loc["vicreg", "Patients B"] == 12


def test_other_draws_are_held_against_the_verdict(frame):
    other = moved(FIELD, "gcl", 0.05, draw=1)
    side = compared(results(frame(*FIELD)), results(frame(*other))).sections[1]
    assert "Trained in other folds, or with other label draws or seeds" in told(side)
    same = compared(results(frame(*FIELD)), results(frame(*moved(FIELD, "gcl", 0.05)))).sections[1]
    assert "Trained in other folds" not in told(same)


def test_several_protocols_each_have_their_sections(frame):
    quick = {"budget": "quick", "protocol": OTHER}
    ct = {"dataset": "ct", "protocol": "1" * 16}
    a = [*FIELD, *study("scratch", **quick), *study("scratch", labels="20%", fraction=0.2)]
    b = [*FIELD, *study("scratch", **quick), *study("scratch", **ct)]
    made = compared(results(frame(*a)), results(frame(*b)))
    assert [(part.title, part.labels) for part in made.sections] == [
        ("phantom, quick budget, what changed", ""),
        ("phantom, quick budget, 10% of the labels, side by side", "10%"),
        ("phantom, smoke budget, what changed", ""),
        ("phantom, smoke budget, 10% of the labels, side by side", "10%"),
    ]
    assert "of B: ct, smoke budget, protocol 1111111111111111." in told(made.sections[0])
    assert "of B: " not in told(made.sections[2])
    held = table(made.sections[2], "what changed").loc["label budgets"]
    assert list(held) == ["10%, 20%", "10%"]


def test_label_budgets_can_be_chosen(frame):
    rows = [*FIELD, *study("scratch", labels="20%", fraction=0.2)]
    both = results(frame(*rows))
    assert [part.labels for part in compared(both, both).sections] == ["", "10%", "20%"]
    assert [part.labels for part in compared(both, both, ["20%"]).sections] == ["", "20%"]
    with pytest.raises(RequestError, match="nothing to compare"):
        compared(both, both, ["40%"])


def test_rows_hold_each_run_once(frame):
    a, b = frame(*FIELD), frame(*FIELD[:12], *moved(FIELD[12:], "gcl", 0.05))
    made = compared(results(a), results(b))
    assert made.rows["run"].nunique() == 10
    assert not made.rows.duplicated(["run", "case", "structure"]).any()


@pytest.fixture
def nasty(frame):
    """Names from plug-ins, data and the user that try to break out of their cells."""
    rows = [{**row, "dataset": NASTY, "labels": NASTY, "structure": NASTY} for row in FIELD]
    rows += [{**row, "method": NASTY, "run": row["run"][:8] * 2} for row in rows[:12]]
    other = [*rows[12:], *study("only", dataset=NASTY, labels=NASTY, structure=NASTY)]
    a = recorded(frame(*rows))
    b = recorded(frame(*other), software={NASTY: NASTY}, method={"code": NASTY, "options": {}})
    return compared(a, b, names=(NASTY, NASTY))


@pytest.mark.parametrize("report", ["planted", "nasty"])
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_renders_it_twice_to_the_same_bytes(report, name, request):
    made = request.getfixturevalue(report)
    rendered = reports.get(name)().render(made)
    assert rendered == reports.get(name)().render(made)
    if isinstance(rendered, str):
        assert all(mark.isprintable() or mark == "\n" for mark in rendered) or name == "html"
        assert "<script>x" not in "".join(rendered.split("`")[::2] if name == "markdown" else "")
    if name == "html":
        assert "<script>x" not in rendered


@pytest.mark.parametrize("report", ["planted", "nasty"])
def test_the_json_follows_its_schema(report, request):
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    schema = json.loads(
        files("contrabench.report").joinpath("report.schema.json").read_text("utf-8")
    )
    made = reports.get("json")().render(request.getfixturevalue(report))
    jsonschema.Draft202012Validator(schema).validate(json.loads(made))


def test_tidy_lines_hold_every_cell(planted):
    assert isinstance(planted, Report)
    lines = list(csv.DictReader(io.StringIO(reports.get("csv")().render(planted))))
    assert len(lines) == len(list(tidy(planted)))
    side = planted.sections[1]
    column = next(one for one in side.tables[0].columns if one.name == "Dice vs A")
    shown = {line["method"]: line for line in lines if line["column"] == "Dice vs A"}
    for name, value in table(side, "side by side")["Dice vs A"].items():
        assert float(shown[name]["value"]) == value
        assert shown[name]["text"].lstrip("'") == plain(cell_text(column, value))


def test_the_sides_are_named_in_every_section(planted, nasty):
    for section in planted.sections:
        assert section.notes[0] == "A is `old` and B is `new`."
    for section in nasty.sections:
        # A name cannot end the command that it stands in.
        assert section.notes[0].count("`") == 4


def test_making_it_again_gives_the_same_report(frame):
    made = [
        reports.get("json")().render(
            compared(recorded(frame(*FIELD)), recorded(frame(*reversed(moved(FIELD, "gcl", 0.05)))))
        )
        for _ in range(2)
    ]
    assert made[0] == made[1]
