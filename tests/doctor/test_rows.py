"""Impossible values: each planted one is named, and nothing that scoring can give is."""

import math

import numpy as np
import pandas as pd
import pytest

from contrabench.doctor.findings import Check, Finding, Severity
from contrabench.doctor.rows import check_readable, check_repeats, check_values, faults
from contrabench.evaluation.metrics import StructureScore, score_case
from contrabench.files import seal_folder
from contrabench.store.rows import read_rows, write_rows

KEY = "0123456789abcdef"
DIAGONAL = {"asd_mm": 80.0, "hd95_mm": 80.0, "asd_medpy_voxel": 9.0, "asd_slice2d_mm": 8.0}
MISSED = {**DIAGONAL, "dice": 0.0, "surface_dice_2mm": 0.0, "prediction_voxels": 0,
          "flag": "prediction empty"}  # fmt: skip
INVENTED = {**MISSED, "prediction_voxels": 90, "reference_voxels": 0, "flag": "reference empty"}
NOTHING = dict.fromkeys(("dice", "surface_dice_2mm", *DIAGONAL)) | {
    "reference_voxels": 0, "prediction_voxels": 0, "flag": "not applicable",
}  # fmt: skip
VOXELS = dict.fromkeys(("asd_mm", "hd95_mm", "surface_dice_2mm", "asd_slice2d_mm"))

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
    (finding,) = check_values(read(tmp_path, rows)).findings
    assert finding.severity == Severity.error
    assert f"run {KEY}: 1 row with {words}; the first is odd_ed, RA" in finding.what
    assert finding.do


def test_every_fault_is_planted_above():
    assert {fault.words for fault in faults()} == {words for words, _ in PLANTED}


@pytest.mark.parametrize("changes", [{}, MISSED, INVENTED, NOTHING, {**VOXELS, "asd_voxel": 2.0}])
def test_honest_rows_have_no_finding(tmp_path, build, changes):
    assert not check_values(read(tmp_path, build.rows(KEY, **changes))).findings


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
    assert not check_values(frame).findings
    assert not check_repeats(frame).findings


def test_a_row_that_is_there_twice_is_named(tmp_path, build):
    rows = build.rows(KEY)
    (finding,) = check_repeats(read(tmp_path, [*rows, rows[2]])).findings
    assert finding.severity == Severity.error
    assert f"run {KEY}" in finding.what
    assert finding.what.endswith(f": {rows[2].case}, {rows[2].structure}")


def test_unreadable_runs_are_told_once_and_by_reason():
    problems = [f"run {run} is left out: no Dice" for run in (11, 44, 55, 66)]
    problems += ["run 22 is left out: it cannot be read", "run 77 is left out: it is new"]
    frame = pd.DataFrame({"run": ["33"]})
    told = Check("files", "", (Finding(Severity.error, "run 22: the file x has changed"),))
    several, one = check_readable(problems, frame, told).findings
    assert several.what == "4 runs left out, 11, 44, 55 and 1 more: no Dice"
    assert one.what == "1 run left out, 77: it is new"


def test_a_real_line_of_the_reader_is_understood(tmp_path, build):
    read(tmp_path, build.rows(KEY))
    (tmp_path / "runs" / KEY / "rows.parquet").write_bytes(b"short")
    frame, problems = read_rows(tmp_path)
    (finding,) = check_readable(problems, frame, Check("files", "")).findings
    assert finding.what.startswith(f"1 run left out, {KEY}: the file rows.parquet has changed")
