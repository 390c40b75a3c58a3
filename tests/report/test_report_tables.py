"""Verdict, matrix, rank stability and label efficiency of whole reports."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from tests.makers.rows import results

from contrabench.contracts.registry import reports
from contrabench.contracts.report import is_missing
from contrabench.report.build import build_report
from contrabench.statistics.intervals import mean_interval
from contrabench.statistics.labels_saved import labels_needed
from contrabench.statistics.paired import pairwise
from contrabench.statistics.ranking import rank_limits, rank_methods, rank_stability

NOISE = np.random.default_rng(11).normal(0, 0.02, (8, 20))
FRACTIONS = {"10%": (0.125, 2), "20%": (0.25, 4), "100%": (1.0, 16)}


def study(variant, shift=0.0, noise=0, patients=12, labels="10%", **changes):
    fraction, labelled = FRACTIONS[labels]
    return [
        {
            "method": variant, "patient": f"p{p:02d}", "fold": p % 2, "folds": 2,
            "labels": labels, "fraction": fraction, "labelled_patients": labelled,
            "dice": 0.4 + 0.01 * p + shift + NOISE[noise, p], "asd_mm": 5 - 4 * NOISE[noise, p],
            **changes,
        }
        for p in range(patients)
    ]  # fmt: skip


def scores(rows, variants):
    return pd.DataFrame({
        name: {r["patient"]: r["dice"] for r in rows if r["method"] == name} for name in variants
    })  # fmt: skip


def sections(frame, *rows, labels=()):
    return build_report(results(frame(*rows)), "bench report", labels).sections


def table(section, name):
    (found,) = [table for table in section.tables if table.name == name]
    return found.data.set_index("Method")


FIELD = [
    *study("scratch"), *study("gcl", 0.1, 1), *study("pcl", -0.1, 2), *study("simclr", 0.005, 3),
]  # fmt: skip
ORDER = ["gcl", "simclr", "scratch", "pcl"]


def test_the_matrix_holds_every_pair_once_per_side(frame):
    (section,) = sections(frame, *FIELD)
    found, pairs = table(section, "pairs"), pairwise(scores(FIELD, ORDER))
    for row, column in itertools.product(ORDER, ORDER):
        minus, p = found.loc[row, f"minus {column}"], found.loc[row, f"p with {column}"]
        if row == column:
            assert math.isnan(minus)
            assert math.isnan(p)
        else:
            assert minus == pytest.approx(pairs.difference.loc[row, column], abs=1e-12)
            assert p == pytest.approx(pairs.adjusted.loc[row, column])


def test_ranks_groups_and_limits_stand_in_the_leaderboard(frame):
    (section,) = sections(frame, *FIELD)
    found, data = table(section, "leaderboard"), scores(FIELD, ORDER)
    limits = rank_limits(pairwise(data))
    assert found["Rank"].to_dict() == rank_methods(data).to_dict()
    assert found["Best rank"].to_dict() == limits["low"].to_dict()
    assert found["Worst rank"].to_dict() == limits["high"].to_dict()
    assert found["Group"].to_dict() == {"gcl": "a", "simclr": "b", "scratch": "b", "pcl": "c"}
    low, high = mean_interval(data["gcl"], lowest=0, highest=1)
    assert found.loc["gcl", ["Dice 95% low", "Dice 95% high"]].tolist() == pytest.approx(
        [low, high]
    )


def test_rank_stability_is_that_of_the_statistics(frame):
    (section,) = sections(frame, *FIELD)
    found, moved = table(section, "rank stability"), rank_stability(scores(FIELD, ORDER))[0]
    assert found["First places"].to_dict() == moved["first"].to_dict()
    assert found["Resampled 95% low"].to_dict() == moved["low"].to_dict()
    asd = pd.DataFrame({
        name: {r["patient"]: r["asd_mm"] for r in FIELD if r["method"] == name} for name in ORDER
    })  # fmt: skip
    assert found["ASD mm mean score"].to_dict() == rank_methods(-asd).to_dict()


def test_the_verdict_names_winners_losers_and_what_would_separate_the_rest(frame):
    (section,) = sections(frame, *FIELD)
    text = "\n".join(section.verdict)
    leaderboard = table(section, "leaderboard")
    mean, low, high, p = leaderboard.loc[
        "gcl", ["Dice vs scratch", "95% low", "95% high", "Adjusted p"]
    ]
    assert f"In Dice better than scratch: gcl {mean:+.3f} (95% {low:+.3f} to {high:+.3f}" in text
    assert p == pytest.approx(3 * 2 / 2**12)
    assert "In Dice worse than scratch: pcl -0." in text
    assert "Cannot be separated from scratch in Dice: simclr +0.0" in text
    needed = leaderboard.loc["simclr", "Patients needed"]
    rounded = 10 * math.ceil(int(needed) / 10)
    assert 99 < rounded < 999
    assert f"being true): about {rounded} patients (simclr)." in text
    assert leaderboard.loc["gcl", "Patients needed"] == "separated"
    assert "over patients alone (column Retrained p)" in text
    assert "gcl is the best, separated from every other method, and would be with networks" in text
    (found,) = [table.leader for table in section.tables if table.name == "leaderboard"]
    assert found == 0


def test_four_patients_end_in_no_verdict(frame):
    rows = [*study("scratch", patients=4), *study("gcl", 0.2, 1, patients=4)]
    (section,) = sections(frame, *rows)
    text = "\n".join(section.verdict)
    assert "better" not in text
    assert "no comparison can reach a p below 0.125" in text
    assert "An interval of a difference needs 6 patients" in text
    assert "Over" not in text  # the one pair is the comparison with scratch


def test_inflation_is_unknown_with_one_fold_and_one_run(frame):
    rows = [*study("scratch", fold=0, folds=1), *study("gcl", 0.1, 1, fold=0, folds=1)]
    (section,) = sections(frame, *rows)
    assert "cannot be told from these runs" in "\n".join(section.verdict)
    assert table(section, "leaderboard")["Retrained p"].isna().all()


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        (study("scratch"), "which stands alone on these patients"),
        (study("gcl"), "which is not in this table"),
        (study("scratch", flag="not applicable"), "No structure applies in any case"),
        ([*study("scratch", patients=1), *study("gcl", 0.1, patients=1)], "only 1 patient:"),
        ([*study("scratch"), *study("gcl")], "No difference at all was seen for gcl."),
    ],
    ids=["one method", "no reference", "nothing applies", "one patient", "identical"],
)
def test_small_tables_are_one_clear_line(frame, rows, line):
    (section,) = sections(frame, *rows)
    assert line in "\n".join(section.verdict)
    assert len(table(section, "leaderboard")) == len({row["method"] for row in rows})


def test_a_structure_that_never_applies_is_missing(frame):
    absent = study("scratch", structure="RV", flag="not applicable")
    (section,) = sections(frame, *study("scratch"), *absent)
    found = table(section, "structures")
    assert math.isnan(found.loc["scratch", "RV: Dice"])
    assert not math.isnan(found.loc["scratch", "LV: Dice"])


def test_categories_in_any_order_change_nothing(frame):
    data = frame(*FIELD, *study("scratch", labels="100%", noise=4))
    turned = data.copy()
    for column in data.columns[data.dtypes.map(pd.api.types.is_string_dtype)]:
        if data[column].notna().all():
            names = sorted(set(data[column]), reverse=True)
            turned[column] = pd.Categorical(data[column], categories=[*names, "never seen"])
    first = build_report(results(data), "x").sections
    second = build_report(results(turned), "x").sections
    assert [part.title for part in first] == [part.title for part in second]
    for one, other in zip(first, second, strict=True):
        assert (one.verdict, one.notes) == (other.verdict, other.notes)
        for ours, theirs in zip(one.tables, other.tables, strict=True):
            pd.testing.assert_frame_equal(ours.data, theirs.data)


CURVE = [
    *FIELD, *study("scratch", 0.04, 4, labels="20%"), *study("gcl", 0.12, 5, labels="20%"),
    *study("scratch", 0.2, 6, labels="100%"),
]  # fmt: skip


def test_label_efficiency_puts_budgets_side_by_side(frame):
    section = sections(frame, *CURVE)[0]
    assert section.title == "phantom, smoke budget, across label budgets"
    found = table(section, "label efficiency")
    for labels, (_, labelled) in FRACTIONS.items():
        rows = [row for row in CURVE if row["labels"] == labels]
        for name in {row["method"] for row in rows}:
            values = scores(rows, [name])[name]
            heading = f"Dice at {labels}, {labelled} of 16"
            assert found.loc[name, heading] == pytest.approx(values.mean())
            low = found.loc[name, heading.replace("Dice", "Dice 95% low")]
            assert low == pytest.approx(mean_interval(values, lowest=0, highest=1)[0])
    # The ceiling is the same at every budget; what was not run is missing.
    assert found.loc["full supervision"].filter(like="Dice at").nunique() == 1
    assert math.isnan(found.loc["pcl", "Dice at 20%, 4 of 16"])


def test_labels_saved_are_those_of_the_statistics(frame):
    section = sections(frame, *CURVE)[0]
    found = table(section, "labels saved")
    curve = pd.DataFrame({
        labels: scores([r for r in CURVE if r["labels"] == labels], ["scratch"])["scratch"]
        for labels in FRACTIONS
    })  # fmt: skip
    gcl = scores([r for r in CURVE if r["labels"] == "10%"], ["gcl"])["gcl"]
    needed = labels_needed([2, 4, 16], curve, gcl)
    assert 4 < needed.needed < 16
    assert found.loc["gcl", "Needed at 10%, 2 of 16"] == f"{needed.needed:.3g}"
    assert found.loc["gcl", "Needed low at 10%, 2 of 16"] == f"{needed.low:.3g}"
    assert "scratch" not in found.index


def test_no_curve_no_labels_saved_but_a_line(frame):
    rows = [*FIELD, *study("gcl", 0.12, 5, labels="20%")]
    section = sections(frame, *rows)[0]
    assert [table.name for table in section.tables] == ["label efficiency"]
    assert section.notes == ("Labels saved need scratch at two label budgets or more.",)
    fewer = [row for row in study("scratch", 0.04, labels="20%") if row["fold"] == 0]
    section = sections(frame, *FIELD, *fewer)[0]
    assert [table.name for table in section.tables] == ["label efficiency"]
    assert "not tested on the same patients" in section.notes[0]


def test_one_budget_has_no_curve(frame):
    assert len(sections(frame, *FIELD)) == 1
    assert len(sections(frame, *CURVE, labels=["10%"])) == 1


def test_protocols_have_curves_of_their_own(frame):
    other = [{**row, "protocol": "0" * 16} for row in CURVE]
    titles = [(part.title, part.protocol) for part in sections(frame, *CURVE, *other)]
    assert len(titles) == len(set(titles)) == 6
    assert sum("across" in title for title, _ in titles) == 2


def test_names_of_plug_ins_and_data_reach_every_format_as_text(frame):
    name = "<script>x</script>\\input{a}$_^~%&#|`b`\n\u202e=1"
    rows = [
        {**row, "dataset": name, "structure": name, "labels": name, "family": name}
        for row in [*study("scratch"), *study(name, 0.1, 1), *study("gcl", 0.2, 2)]
    ]
    report = build_report(results(frame(*rows)), f"bench report --dataset '{name}'")
    for format_name in ("terminal", "markdown", "latex", "csv", "json"):
        text = reports.get(format_name)().render(report)
        assert all(mark.isprintable() or mark == "\n" for mark in text)
        if format_name == "latex":
            told = [line for line in text.splitlines() if not line.startswith("%")]
            assert r"\input{a}" not in "\n".join(told)
        if format_name == "markdown":
            assert "<script>" not in "".join(text.split("`")[::2])
        if format_name == "csv":
            assert "\n=" not in text
            assert ",=" not in text


@pytest.mark.parametrize("format_name", ["terminal", "markdown", "latex", "csv", "json", "parquet"])
def test_building_again_gives_the_same_bytes(frame, format_name):
    made = [
        reports.get(format_name)().render(build_report(results(frame(*CURVE)), "bench report"))
        for _ in range(2)
    ]
    assert made[0] == made[1]


def test_a_deleted_row_leaves_its_run_out_and_nothing_is_filled_in(frame):
    whole, cut = frame(*FIELD), frame(*FIELD[:-1])
    before, after = (build_report(results(data), "x").sections[0] for data in (whole, cut))
    assert "Left out: 1 of 2 runs of simclr at 10%" in after.notes[0]
    assert "simclr was tested on 6 of the 12 patients (1 of 2 folds)" in "\n".join(after.notes)
    assert "and it is not compared" in "\n".join(after.notes)
    assert math.isnan(table(after, "leaderboard").loc["simclr", "Adjusted p"])
    assert is_missing(table(after, "leaderboard").loc["simclr", "Group"])
    assert "simclr" in table(before, "pairs").index
    assert "simclr" not in table(after, "pairs").index
