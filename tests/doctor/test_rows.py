"""Impossible values, and missing runs, cases and references; nothing that scoring gives is told."""

import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.doctor.looking import findings_of

from contrabench.doctor import rows as doctor
from contrabench.doctor.rows import check_readable, check_values, impossible
from contrabench.evaluation.metrics import StructureScore, score_case
from contrabench.files import seal_folder
from contrabench.store.results import read_rows
from contrabench.store.rows import write_rows

KEY = "0123456789abcdef"
DIAGONAL = {"asd_mm": 80.0, "hd95_mm": 80.0, "asd_medpy_voxel": 9.0, "asd_slice2d_mm": 8.0}
MISSED = {**DIAGONAL, "dice": 0.0, "surface_dice_2mm": 0.0, "prediction_voxels": 0,
          "flag": "prediction empty"}  # fmt: skip
INVENTED = {**MISSED, "prediction_voxels": 90, "reference_voxels": 0, "flag": "reference empty"}
NOTHING = dict.fromkeys(("dice", "surface_dice_2mm", *DIAGONAL)) | {
    "reference_voxels": 0, "prediction_voxels": 0, "flag": "not applicable",
}  # fmt: skip
VOXELS = dict.fromkeys(("asd_mm", "hd95_mm", "surface_dice_2mm", "asd_slice2d_mm"))

TWICE = "a structure of a case that has a row already"
PLANTED = [
    ("dice outside 0 to 1", {"dice": 1.3}),
    ("dice outside 0 to 1", {"dice": -0.1}),
    ("dice outside 0 to 1", {"dice": math.inf}),
    ("surface_dice_2mm outside 0 to 1", {"surface_dice_2mm": 1.01}),
    ("asd_mm below 0 or infinite", {"asd_mm": -1.0}),
    ("asd_mm below 0 or infinite", {"asd_mm": math.inf}),
    ("hd95_mm below 0 or infinite", {"hd95_mm": math.inf}),
    ("asd_voxel below 0 or infinite", {**VOXELS, "asd_voxel": -0.5}),
    ("asd_medpy_voxel below 0 or infinite", {"asd_medpy_voxel": -0.5}),
    ("asd_slice2d_mm below 0 or infinite", {"asd_slice2d_mm": math.inf}),
    ("reference_voxels below 0", {"reference_voxels": -1}),
    ("prediction_voxels below 0", {"prediction_voxels": -1}),
    ("a Dice of 1 and a distance above 0", {"dice": 1.0, "prediction_voxels": 120}),
    ("a Dice that their sizes do not allow", {"dice": 0.9}),
    ("a score missing beside others", {"hd95_mm": None}),
    ("a score missing beside others", {"asd_medpy_voxel": math.nan}),
    ("an unknown flag", {"flag": "fine"}),
    ("no flag though a structure is empty", {**MISSED, "flag": ""}),
    ("the flag 'prediction empty' and numbers that deny it", {**MISSED, "dice": 0.2}),
    ("the flag 'prediction empty' and numbers that deny it", {**MISSED, "prediction_voxels": 3}),
    ("the flag 'reference empty' and numbers that deny it", {**INVENTED, "reference_voxels": 3}),
    ("the flag 'not applicable' and numbers", {**NOTHING, "dice": 0.4}),
    ("the flag 'not applicable' and numbers", {**NOTHING, "prediction_voxels": 4}),
    ("a fold or a share of labels that cannot be", {"fold": 2}),
    ("a fold or a share of labels that cannot be", {"fraction": 1.5}),
    ("a fold or a share of labels that cannot be", {"labelled_patients": 5}),
]


def read(folder, rows):
    run = folder / "runs" / KEY
    run.mkdir(parents=True)
    write_rows(run / "rows.parquet", rows)
    seal_folder(run)
    frame, problems = read_rows(folder)
    assert not problems
    return frame


@pytest.mark.parametrize(("words", "changes"), PLANTED, ids=str)
def test_each_planted_value_is_named_alone(tmp_path, build, words, changes):
    rows = [*build.rows(KEY), *build.rows(KEY, structure="RA", case="odd_ed", **changes)[:1]]
    (finding,) = findings_of(check_values, read(tmp_path, rows))
    assert finding.severity == "error"
    assert f"run {KEY}: 1 row with {words}; the first is odd_ed, RA" in finding.what
    assert finding.do


def test_every_fault_is_planted_above(tmp_path, build):
    rows = read(tmp_path, build.rows(KEY))
    assert {words for words, _, _ in impossible(rows)} == {TWICE, *(words for words, _ in PLANTED)}


@pytest.mark.parametrize("changes", [{}, MISSED, INVENTED, NOTHING, {**VOXELS, "asd_voxel": 2.0}])
def test_honest_rows_have_no_finding(tmp_path, build, changes):
    assert not findings_of(check_values, read(tmp_path, build.rows(KEY, **changes)))


def masks():
    """Pairs of masks of two structures: equal, apart, nested, with a hole, empty, at random."""
    full = np.zeros((12, 11, 10), np.uint8)
    full[2:9, 2:9, 2:9] = 1
    hollow = full.copy()
    hollow[5, 5, 5] = 0
    cube = np.zeros_like(full)
    cube[4:7, 4:7, 4:7] = 1  # all but its centre is surface, with or without the centre
    shell = cube.copy()
    shell[5, 5, 5] = 0
    corner = np.zeros_like(full)
    corner[0, 0, 0], corner[-1, -1, -1] = 1, 2
    other = np.zeros_like(full)
    other[-2:, -2:, -2:] = 1
    yield from ((full, full), (full, hollow), (cube, shell), (corner, full), (other, full))
    yield from ((full, np.zeros_like(full)), (np.zeros_like(full), full), (full, corner))
    random = np.random.default_rng(3)
    for share in (0.02, 0.3, 0.9):
        shape = (6, 7, 8)
        yield tuple(
            np.where(random.random(shape) < share, random.integers(1, 3, shape), 0).astype(np.uint8)
            for _ in range(2)
        )


@pytest.mark.parametrize("known", [True, False])
def test_nothing_that_scoring_gives_is_a_fault(tmp_path, build, known):
    rows = []
    for number, (prediction, reference) in enumerate(masks()):
        spacing = (1.5, 0.8, 3.0) if known else (1.0, 1.0, 1.0)
        for score in score_case(prediction, reference, ["LV", "RV"], spacing):
            assert isinstance(score, StructureScore)
            columns = score.columns(known)
            rows += build.rows(KEY, **{**columns, "case": f"case {number}"})[:1]
    frame = read(tmp_path, rows)
    assert set(frame["flag"]) == {"", "prediction empty", "reference empty", "not applicable"}
    assert ((frame["asd_mm" if known else "asd_voxel"] == 0) & (frame["dice"] < 1)).any()
    assert not findings_of(check_values, frame)


def test_a_row_that_is_there_twice_is_named(tmp_path, build):
    rows = build.rows(KEY)
    (finding,) = findings_of(check_values, read(tmp_path, [*rows, rows[2]]))
    assert finding.severity == "error"
    assert f"run {KEY}: 1 row with {TWICE}" in finding.what
    assert f"{rows[2].case}, {rows[2].structure}" in finding.what


def test_unreadable_runs_are_told_by_reason_unless_their_files_are(store, build):
    sound, damaged = sorted(path.name for path in (store / "runs").iterdir())[:2]
    (store / "runs" / damaged / "rows.parquet").write_bytes(b"short")
    problems = [f"run {sound} is left out: no Dice", f"run {damaged} is left out: it is short"]
    frame = pd.DataFrame({"run": ["33"]})
    (finding,) = findings_of(check_readable, store, problems, frame)
    assert finding.severity == "error"
    assert finding.what == f"1 run left out, {sound}: no Dice"


def test_a_real_line_of_the_reader_is_understood(store, build):
    run = min((store / "runs").iterdir())
    rows = build.rows(run.name)
    table = pq.read_table(run / "rows.parquet")
    dice = pa.nulls(len(rows), pa.float64())
    pq.write_table(
        table.set_column(table.schema.get_field_index("dice"), "dice", dice), run / "rows.parquet"
    )
    seal_folder(run)
    frame, problems = read_rows(store)
    (finding,) = findings_of(check_readable, store, problems, frame)
    assert finding.what == f"1 run left out, {run.name}: a structure that applies has no Dice"


@pytest.fixture
def rows(store):
    frame, problems = read_rows(store)
    assert not problems
    return frame


def told(rows):
    """What each check of whole tables finds, if it finds anything."""
    checks = list(doctor.CHECKS.values())[1:]
    return {check: found for check in checks if (found := findings_of(check, rows))}


def only(rows, check):
    """The one finding of all checks, which is this check's."""
    found = told(rows)
    assert list(found) == [check]
    (finding,) = found[check]
    assert finding.means
    return finding


def where(rows, **values):
    mask = np.ones(len(rows), bool)
    for column, value in values.items():
        mask &= (rows[column] == value).to_numpy()
    return mask


def test_a_complete_table_has_no_finding(rows):
    assert told(rows) == {}


def test_a_missing_fold_of_a_variant_is_named(rows):
    finding = only(rows[~where(rows, variant="simclr", fold=1)], doctor.check_cells)
    assert finding.severity == "warning"
    assert finding.what.startswith("simclr (phantom, smoke")
    assert "has 1 of the 2 runs that others have; it lacks fold 1 draw 0 seed 0" in finding.what


def test_a_variant_without_a_label_budget_that_others_have(rows, store, build):
    for fold in range(2):
        for variant in ("scratch", "scratch_long"):
            build.run(store, variant=variant, fold=fold, labels="40%", fraction=0.4)
    frame, _ = read_rows(store)
    finding = only(frame, doctor.check_cells)
    assert "simclr (" in finding.what
    assert ", 40%) has 0 of the 2 runs" in finding.what


def test_the_same_variant_with_a_deviation_is_another_entry(rows, store, build):
    build.run(store, deviations="deep supervision", fold=0)
    frame, _ = read_rows(store)
    finding = only(frame, doctor.check_cells)
    assert finding.what.startswith("simclr (deep supervision) (")


def test_full_supervision_with_half_its_folds_is_named(rows):
    finding = only(rows[~where(rows, labels="100%", fold=0)], doctor.check_cells)
    assert finding.what.startswith("scratch (")
    assert ", 100%) has 1 of the 2" in finding.what


def test_a_run_without_a_case_is_named(rows):
    run = rows.loc[where(rows, variant="simclr", fold=0), "run"].iloc[0]
    finding = only(rows[~where(rows, run=run, case="p1_ed")], doctor.check_cases)
    assert finding.severity == "error"
    assert f"1 of 2 runs of simclr at 10%, {run}. They lack 2 rows" in finding.what
    assert "LV of p1_ed, RV of p1_ed" in finding.what


def test_a_run_without_a_structure_is_named(rows):
    run = rows.loc[where(rows, variant="scratch", fold=1, labels="10%"), "run"].iloc[0]
    left = rows[~where(rows, run=run, structure="RV", case="p2_ed")]
    (finding,) = told(left)[doctor.check_cases]
    assert run in finding.what
    assert "RV of p2_ed" in finding.what


def test_two_metric_contracts_under_one_protocol(rows):
    changed = rows.copy()
    run = changed["run"].iloc[0]
    changed.loc[where(changed, run=run), "metric_contract"] = 2
    finding = only(changed, doctor.check_contracts)
    assert finding.severity == "error"
    assert "(7 runs by 1, 1 run by 2)" in finding.what
    assert run in finding.do


def test_two_contracts_under_two_protocols_are_two_tables(rows):
    other = rows.copy()
    other["protocol"] = "f" * 16
    other["metric_contract"] = 2
    both = rows.astype({"protocol": str, "run": str})
    other["run"] = other["run"].astype(str).str.replace("^.", "x", regex=True)
    assert told(pd.concat([both, other], ignore_index=True)) == {}


@pytest.mark.parametrize(
    ("left_out", "words", "command"),
    [
        ({"labels": "100%"}, "full supervision is missing", "scratch --labels 100%"),
        ({"variant": "scratch_long"}, "scratch_long is missing at 10%", "scratch_long --labels"),
        (
            {"variant": "scratch", "labels": "10%"},
            "scratch is missing at 10%",
            "scratch --labels 10% --fold all --dataset phantom --budget smoke",
        ),
    ],
)
def test_a_missing_reference_is_named_with_its_command(rows, left_out, words, command):
    finding = only(rows[~where(rows, **left_out)], doctor.check_references)
    assert finding.severity == "warning"
    assert words in finding.what
    assert f"bench run --method {command}" in finding.do


def test_a_reference_with_a_deviation_is_none(rows):
    changed = rows.copy()
    changed["deviations"] = changed["deviations"].cat.add_categories("all views")
    changed.loc[where(changed, variant="scratch_long"), "deviations"] = "all views"
    finding = only(changed, doctor.check_references)
    assert "scratch_long is missing" in finding.what


def test_a_table_at_all_labels_wants_no_full_supervision(rows):
    everything = rows[where(rows, labels="10%")].copy()
    everything["labels"], everything["fraction"] = "100%", 1.0
    assert told(everything) == {}
    finding = only(everything[~where(everything, variant="scratch")], doctor.check_references)
    assert "scratch is missing at" in finding.what


def test_no_rows_no_findings(rows):
    assert told(rows.iloc[:0]) == {}
