"""The report: which rows share a table, its numbers, and what its notes dare to say."""

import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from tests.makers.rows import results

from contrabench.contracts.report import Column, cell_text, is_missing
from contrabench.report.build import build_report
from contrabench.statistics.aggregate import macro_mean
from contrabench.statistics.paired import paired_difference


def study(variant, patients=6, shift=0.0, **changes):
    """One row per patient and structure, the same patients for every variant."""
    return [
        {
            "method": variant.split("[")[0], "variant": variant, "patient": f"p{p:02d}",
            "structure": structure, "fold": p % 2, "folds": 2,
            "dice": 0.5 + 0.02 * p + shift * (1 + 0.1 * p) - 0.1 * (structure == "RV"),
            "asd_mm": 3.0 - shift, **changes,
        }
        for p in range(patients)
        for structure in ("LV", "RV")
    ]  # fmt: skip


def references(**changes):
    full = {"labels": "100%", "fraction": 1.0, "labelled_patients": 16}
    return [
        *study("scratch", **changes),
        *study("scratch_long", shift=0.01, **changes),
        *study("scratch", shift=0.3, **{**changes, **full}),
    ]


def section(frame, *rows, labels="10%"):
    (only,) = build_report(results(frame(*rows)), "bench report", [labels]).sections
    return only


def board(part):
    """What all tables with one row per method say, side by side."""
    tables = {table.name: table.data for table in part.tables}
    more = [tables[name].drop(columns=["Method", "Deviations"]) for name in ("structures", "runs")]
    return pd.concat([tables["leaderboard"], *more], axis=1)


def line(part, name, deviations="none"):
    table = board(part)
    found = table[(table["Method"] == name) & (table["Deviations"] == deviations)]
    assert len(found) == 1
    return found.iloc[0]


def notes(part):
    return "\n".join([*part.verdict, *part.notes])


def test_numbers_are_those_of_the_statistics(frame):
    rows = [*references(), *study("mmgl", shift=0.05, family="local contrast")]
    part = section(frame, *rows)
    data = frame(*rows)
    at_budget = data[data["labels"] == "10%"]
    found = line(part, "mmgl")
    mmgl = at_budget[at_budget["variant"] == "mmgl"]
    scratch = at_budget[at_budget["variant"] == "scratch"]
    assert found["Dice"] == pytest.approx(macro_mean(mmgl, "dice"), abs=1e-12)
    assert found["ASD mm"] == pytest.approx(2.95)
    per_patient = [
        [data[data["patient"] == p]["dice"].mean() for p in sorted(set(data["patient"]))]
        for data in (mmgl, scratch)
    ]
    expected = paired_difference(*per_patient)
    assert found["Dice vs scratch"] == pytest.approx(expected.mean, abs=1e-12)
    assert found["Dice vs scratch"] == pytest.approx(
        found["Dice"] - line(part, "scratch")["Dice"], abs=1e-12
    )
    assert (found["95% low"], found["95% high"]) == pytest.approx((expected.low, expected.high))
    assert found["p"] == found["Smallest p"] == 2 / 2**6
    assert found["LV: Dice"] - found["RV: Dice"] == pytest.approx(0.1)
    assert found["Family"] == "local contrast"
    assert (found["Labelled"], found["Patients"], found["Folds"]) == ("2 of 16", 6, "2 of 2")
    assert math.isnan(line(part, "scratch")["p"])


def test_best_first_and_full_supervision_in_every_table(frame):
    rows = [*references(), *study("gcl", shift=0.02), *study("pcl", shift=0.08)]
    part = section(frame, *rows)
    assert board(part)["Method"].tolist() == [
        "full supervision", "pcl", "gcl", "scratch_long", "scratch",
    ]  # fmt: skip
    assert line(part, "full supervision")["Labelled"] == "16 of 16"
    at_full = section(frame, *rows, labels="100%")
    assert board(at_full)["Method"].tolist() == ["scratch"]


def test_columns_describe_the_table(frame):
    part = section(frame, *references(), *study("mmgl"))
    for table in part.tables:
        assert [column.name for column in table.columns] == table.data.columns.tolist()
        for column in table.columns:
            for cell in table.data[column.name]:
                text = isinstance(cell, str) or is_missing(cell)
                assert text if column.kind == "text" else float(cell) is not None, column.name
    structures = next(table for table in part.tables if table.name == "structures")
    assert {column.structure for column in structures.columns} == {"LV", "RV", ""}


@pytest.mark.parametrize(
    "other",
    [
        {"protocol": "0" * 16},
        {"metric_contract": 2},
        {"dataset": "acdc"},
        {"labels": "20%"},
        {"recipe": "published"},
    ],
    ids=str,
)
def test_what_differs_never_shares_a_table(frame, other):
    rows = frame(*study("scratch"), *study("mmgl", shift=0.1, **other))
    made = build_report(results(rows), "bench report").sections
    sections = [part for part in made if "across" not in part.title]
    assert [board(part)["Method"].tolist() for part in sections] in (
        [["scratch"], ["mmgl"]], [["mmgl"], ["scratch"]],
    )  # fmt: skip
    assert all(board(part)["Dice vs scratch"].isna().all() for part in sections)
    assert len({(part.title, part.protocol) for part in sections}) == 2


def test_a_reference_at_full_labels_of_another_protocol_is_not_borrowed(frame):
    rows = [*study("scratch"), *study("scratch", labels="100%", fraction=1.0, protocol="0" * 16)]
    part = section(frame, *rows)
    assert board(part)["Method"].tolist() == ["scratch"]
    assert "Missing reference: full supervision" in notes(part)


def test_two_versions_of_a_method_are_two_rows(frame):
    part = section(
        frame, *study("scratch"), *study("mmgl", shift=0.1, method_version=1),
        *study("mmgl", shift=0.2, method_version=2, seed=1),
    )  # fmt: skip
    assert board(part)["Method"].tolist() == ["mmgl", "mmgl (version 1)", "scratch"]
    assert board(part)["Dice vs scratch"].tolist()[:2] == pytest.approx([0.25, 0.125])


def test_the_command_for_a_missing_reference_keeps_the_recipe(frame):
    part = section(frame, *study("mmgl", recipe="published"))
    words = "--fold all --dataset phantom --budget smoke --recipe published"
    assert f"--method scratch --labels 10% {words}" in notes(part)
    assert "published recipe" in part.title


def test_missing_references_come_with_their_commands(frame):
    part = section(frame, *study("mmgl"))
    where = "--fold all --dataset phantom --budget smoke`"
    assert f"`bench run --method scratch --labels 10% {where}" in notes(part)
    assert f"`bench run --method scratch_long --labels 10% {where}" in notes(part)
    assert f"`bench run --method scratch --labels 100% {where}" in notes(part)
    assert "Missing" not in notes(section(frame, *references()))
    # A reference that deviates is another method's comparison, not the reference.
    deviating = [{**row, "deviations": "deep supervision"} for row in references()]
    assert notes(section(frame, *deviating)).count("Missing reference") == 3


def test_deviations_make_a_row_of_their_own(frame):
    more = study("scratch", shift=0.2, deviations="deep supervision")
    part = section(frame, *references(), *more)
    assert line(part, "scratch")["Dice"] < line(part, "scratch", "deep supervision")["Dice"]
    assert line(part, "scratch", "deep supervision")["p"] == 2 / 2**6


def test_five_patients_cannot_separate_anything(frame):
    rows = [*references(patients=5), *study("mmgl", patients=5, shift=0.2)]
    text = notes(section(frame, *rows))
    assert "Cannot be separated from scratch in Dice: mmgl +0.240; scratch_long +0.012." in text
    assert "better" not in text
    assert "below 0.125 after Holm" in text  # 2 x 2 / 2^5
    assert "only 5 patients" in text


def test_the_verdict_follows_the_adjusted_p(frame):
    others = [*study("gcl", 20, shift=0.05), *study("pcl", 20, shift=-0.05)]
    noise = study("simclr", 20)
    for row in noise:
        row["dice"] += 0.01 * (-1) ** int(row["patient"][1:])
    text = notes(section(frame, *study("scratch", 20), *others, *noise))
    assert "better than scratch: gcl +0.09" in text
    assert "worse than scratch: pcl -0.09" in text
    assert "In Dice as good as scratch within ± 0.01: simclr -0.000." in text
    assert "Holm over 3 comparisons" in text
    assert "Only" not in text
    assert "no comparison can reach" not in text


def test_a_p_below_the_level_that_holm_lifts_above_it_separates_nothing(frame):
    # Seven patients: p = 0.016 alone, 0.078 among five.
    rows = [*study("scratch", 7)]
    for index in range(5):
        rows += study(f"m{index}", 7, shift=0.1)
    part = section(frame, *rows)
    assert line(part, "m0")["p"] == pytest.approx(2 / 2**7)
    assert "better" not in notes(part)


def test_without_the_reference_no_verdict_is_given(frame):
    part = section(frame, *study("mmgl", shift=0.2), *study("gcl"))
    assert board(part)["p"].isna().all()
    assert "No method is compared with scratch, which is not in this table" in notes(part)


def test_other_patients_are_not_compared(frame):
    fewer = [row for row in study("mmgl", shift=0.2) if row["fold"] == 0]
    part = section(frame, *study("scratch"), *fewer)
    assert math.isnan(line(part, "mmgl")["p"])
    assert "mmgl was tested on 3 of the 6 patients (1 of 2 folds)" in notes(part)


def test_seeds_are_averaged_within_patients(frame):
    seeds = [row for seed in range(3) for row in study("mmgl", shift=0.1 * seed, seed=seed)]
    part = section(frame, *study("scratch"), *seeds)
    found = line(part, "mmgl")
    assert (found["Patients"], found["Seeds"], found["Draws"]) == (6, 3, 1)
    assert found["p"] == 2 / 2**6  # six replicates, not eighteen
    assert "Not the same label draws and seeds as scratch: mmgl" in notes(part)


def test_two_runs_of_the_same_cell_are_pointed_out(frame):
    again = [{**row, "run": "f" * 15 + str(row["fold"])} for row in study("mmgl", shift=0.1)]
    text = notes(section(frame, *study("mmgl"), *again))
    assert "mmgl: 2 of 4 runs repeat the fold, draw and seed" in text


def test_flags_are_counted(frame):
    rows = references()
    rows[0] |= {"dice": 0.0, "flag": "prediction empty"}
    rows[3] |= {"flag": "not applicable"}
    part = section(frame, *rows)
    assert "In 1 of 36 rows a structure was missed altogether" in notes(part)
    assert "left out of means): scratch 1." in notes(part)


def test_unknown_spacing_reports_voxels(frame):
    rows = [{**row, "asd_mm": None, "asd_voxel": 1.5} for row in references()]
    part = section(frame, *rows)
    assert "ASD mm" not in board(part).columns
    assert board(part)["ASD voxel"].tolist() == [1.5] * 3
    assert "distances are in voxels" in notes(part)


def test_the_order_of_the_rows_does_not_matter(frame):
    rows = [*references(), *study("mmgl", shift=0.05)]
    shuffled = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    first, second = section(frame, *rows), section(frame, *shuffled)
    assert first.verdict == second.verdict
    for one, other in zip(first.tables, second.tables, strict=True):
        pd.testing.assert_frame_equal(one.data, other.data, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("score", 0.81249, "0.812"), ("distance", 1.005001, "1.01"), ("difference", 0.02, "+0.020"),
        ("difference", -0.0001, "-0.000"), ("difference", 0.0, "0.000"),
        ("difference", -0.01, "-0.010"), ("count", 12.0, "12"),
        ("p", 0.0625, "0.0625"), ("p", 2 / 2**20, "2e-06"), ("p", 1.0, "1"),
        ("score", math.nan, "–"), ("p", math.nan, "–"), ("text", " a\nb\x1b[31m ", "a b [31m"),
    ],
)  # fmt: skip
def test_cells_are_written_one_way(kind, value, text):
    assert cell_text(Column("x", kind, "result"), value) == text


def test_statistics_need_no_torch():
    code = (
        "import sys, contrabench.report.build, contrabench.store.rows\n"
        "from contrabench.contracts.registry import reports\n"
        "[reports.get(name) for name in reports.names()]\n"
        "print([name for name in ('torch', 'monai', 'lightly') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_full_supervision_is_that_of_the_newest_version(frame):
    full = {"labels": "100%", "fraction": 1.0, "labelled_patients": 16}
    old = study("scratch", shift=0.1, method_version=1, **full)
    new = study("scratch", shift=0.3, method_version=2, **full)
    part = section(frame, *study("scratch"), *study("mmgl"), *old, *new)
    assert line(part, "full supervision")["Dice"] == pytest.approx(
        np.mean([row["dice"] for row in new])
    )


def test_a_method_that_sees_more_labelled_images_is_compared_where_scratch_does_too(frame):
    longer = {"deviations": "finetune x6"}
    rows = [*references(), *study("x", shift=0.3, **longer)]
    alone = line(section(frame, *rows), "x", "finetune x6")
    assert is_missing(alone["Group"])
    assert is_missing(alone["Best rank"])
    assert is_missing(alone["Dice vs scratch"])
    assert any("x (finetune x6) sees more labelled images" in one for one in notes_of(frame, rows))
    rows += study("scratch[finetune_extra=5]", shift=0.1, **longer)
    beside = line(section(frame, *rows), "x", "finetune x6")
    assert not is_missing(beside["Dice vs scratch"])
    assert not any("sees more labelled images" in one for one in notes_of(frame, rows))


def notes_of(frame, rows):
    return section(frame, *rows).notes


def test_a_run_that_could_not_be_read_is_named_in_the_report_itself(frame):
    rows = [
        {"method": name, "patient": f"p{p}", "labels": labels}
        for name in ("scratch", "gcl")
        for p in range(3)
        for labels in ("10%", "20%")
    ]
    problems = [f"run {number} is left out: its scores are not finite" for number in range(8)]
    made = build_report(results(frame(*rows), problems=problems), "bench report")
    notes = [note for section in made.sections for note in section.notes]
    assert [note for note in notes if "not finite" in note] == problems[:6]
    assert notes.count("2 more runs are left out.") == 1
