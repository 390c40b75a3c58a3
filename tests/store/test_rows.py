"""Result rows: exact round trip, equal bytes, and files that cannot be trusted."""

import dataclasses
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contrabench.errors import RunError
from contrabench.evaluation.metrics import METRIC_CONTRACT, StructureScore
from contrabench.files import seal_folder
from contrabench.store.results import read_rows
from contrabench.store.rows import SCHEMA_VERSION, ResultRow, write_rows

CONTEXT = {
    "run": "0123456789abcdef", "protocol": "fedcba9876543210", "dataset": "phantom",
    "budget": "smoke", "method": "simclr", "variant": "simclr[temperature=0.1]",
    "method_version": 1, "recipe": "common",
    "family": "instance contrast", "fidelity": "re-implementation", "deviations": "",
    "labels": "10%", "fraction": 0.1, "labelled_patients": 1, "train_patients": 8,
    "test_patients": 2, "fold": 0, "folds": 5, "draw": 0, "seed": 0, "patient": "p1",
    "case": "p1_ed",
}  # fmt: skip
SCORE = StructureScore("LV", 0.1 + 0.2, 1.5, 3.0, 0.5, 1.25, 1.75, 120, 90)
NOTHING = StructureScore("RV", *[math.nan] * 6, 0, 0, "not applicable")


def row(score=SCORE, spacing_known=True, **changes):
    return ResultRow(**{**CONTEXT, **score.columns(spacing_known), **changes})


def put(store, rows, key="0123456789abcdef", done=True):
    folder = store / "runs" / key
    folder.mkdir(parents=True)
    write_rows(folder / "rows.parquet", rows)
    if done:
        seal_folder(folder)
    return folder / "rows.parquet"


def test_round_trip(tmp_path):
    rows = [row(), row(NOTHING), row(spacing_known=False, patient='Müller, "A"\n', seed=2**40)]
    put(tmp_path, rows)
    frame, problems = read_rows(tmp_path)
    assert problems == []
    assert list(frame.columns) == [
        "schema_version",
        *(f.name for f in dataclasses.fields(ResultRow)),
    ]
    for written, (_, read) in zip(rows, frame.iterrows(), strict=True):
        assert read["schema_version"] == SCHEMA_VERSION
        for name, value in dataclasses.asdict(written).items():
            missing = value is None or value != value
            assert math.isnan(read[name]) if missing else read[name] == value, name
    assert frame["metric_contract"].tolist() == [METRIC_CONTRACT] * 3


def test_an_unknown_spacing_leaves_millimetres_empty(tmp_path):
    table = pq.read_table(put(tmp_path, [row(spacing_known=False)]))
    assert table["asd_voxel"].to_pylist() == [1.5]
    for name in ("asd_mm", "hd95_mm", "surface_dice_2mm", "asd_slice2d_mm"):
        assert table[name].to_pylist() == [None]


def test_what_does_not_apply_is_null_on_disk(tmp_path):
    table = pq.read_table(put(tmp_path, [row(NOTHING)]))
    assert table["dice"].to_pylist() == table["asd_mm"].to_pylist() == [None]


def test_equal_rows_give_equal_bytes(tmp_path):
    first, second = tmp_path / "a.parquet", tmp_path / "b.parquet"
    write_rows(first, [row(), row(NOTHING)])
    write_rows(second, [row(), row(NOTHING)])
    assert first.read_bytes() == second.read_bytes()
    write_rows(second, [row(dice=0.3), row(NOTHING)])
    assert first.read_bytes() != second.read_bytes()


def lose_row(folder):
    path = folder / "rows.parquet"
    pq.write_table(pq.read_table(path).slice(1), path, compression="zstd")


def raise_score(folder):
    write_rows(folder / "rows.parquet", [row(dice=0.9), row(NOTHING)])


def lose_rows(folder):
    (folder / "rows.parquet").unlink()


def change_record(folder):
    (folder / "run.json").write_text('{"cost": {"finetune_seconds": 1}}')


def lose_marker(folder):
    (folder / "done.json").unlink()


def empty_marker(folder):
    (folder / "done.json").write_text('{"files": {}}')


@pytest.mark.parametrize(
    ("tamper", "reason"),
    [
        (lose_row, "the file rows.parquet has changed since it was written"),
        (raise_score, "the file rows.parquet has changed since it was written"),
        (lose_rows, "the file rows.parquet is missing"),
        (change_record, "the file run.json has changed since it was written"),
        (lose_marker, "its marker is missing or unreadable"),
        (empty_marker, "its marker does not name rows.parquet"),
    ],
)
def test_a_run_that_is_not_as_it_was_sealed_is_left_out_with_a_line(tmp_path, tamper, reason):
    folder = put(tmp_path, [row(run="1" * 16), row(NOTHING, run="1" * 16)], key="1" * 16).parent
    (folder / "run.json").write_text("{}")
    seal_folder(folder)
    put(tmp_path, [row()])
    assert read_rows(tmp_path)[1] == []
    tamper(folder)
    frame, (problem,) = read_rows(tmp_path)
    assert set(frame["run"]) == {"0123456789abcdef"}
    assert problem.startswith(f"run {'1' * 16} is left out: {reason}, so its numbers ")
    assert problem.endswith("run the study again, or merge the run in again")
    assert "\n" not in problem


def test_a_run_without_a_row_is_told(tmp_path):
    put(tmp_path, [])
    frame, (problem,) = read_rows(tmp_path)
    assert frame.empty
    assert "it has no rows" in problem


def spoil_bytes(path):
    path.write_bytes(path.read_bytes()[:-20])


def spoil_version(path):
    table = pq.read_table(path)
    newer = pa.array([SCHEMA_VERSION + 1] * len(table), pa.int32())
    pq.write_table(table.set_column(0, "schema_version", newer), path)


def spoil_columns(path):
    pq.write_table(pq.read_table(path).drop_columns(["dice"]), path)


def spoil_dice(path):
    table = pq.read_table(path)
    index = table.column_names.index("dice")
    pq.write_table(table.set_column(index, "dice", pa.nulls(len(table), pa.float64())), path)


def spoil_all(path):
    pq.write_table(pa.table({"x": [1]}), path)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (spoil_bytes, "cannot be read"),
        (spoil_version, "newer contrabench"),
        (spoil_columns, "no column dice"),
        (spoil_dice, "no Dice"),
        (spoil_all, "no result rows"),
    ],
)
def test_a_bad_file_is_named_and_hurts_no_other(tmp_path, spoil, reason):
    path = put(tmp_path, [row()], key="1" * 16)
    spoil(path)
    seal_folder(path.parent)  # so written by its author
    put(tmp_path, [row(), row(NOTHING)], key="0123456789abcdef")
    frame, problems = read_rows(tmp_path)
    assert len(frame) == 2
    (problem,) = problems
    assert "run 1111111111111111 is left out" in problem
    assert reason in problem
    assert "\n" not in problem


@pytest.mark.parametrize(
    "changes", [{"dice": math.nan}, {"asd_mm": None}, {"asd_voxel": 1.0}], ids=str
)
def test_a_row_that_would_flatter_is_not_written(tmp_path, changes):
    with pytest.raises(RunError, match="not written"):
        write_rows(tmp_path / "rows.parquet", [row(**changes)])
    assert not list(tmp_path.iterdir())


def test_rows_of_version_2_are_read_as_of_one_rate_and_without_scores_on_the_way(tmp_path):
    path = put(tmp_path, [row(), row(NOTHING)], done=False)
    table = pq.read_table(path)
    new = ["rates", *(name for name in table.column_names if name.endswith("pct"))]
    assert len(new) == 5
    old = table.drop_columns(["schema_version", *new])
    pq.write_table(old.append_column("schema_version", pa.array([2, 2], pa.int32())), path)
    seal_folder(path.parent)
    frame, problems = read_rows(tmp_path)
    assert problems == []
    assert frame["rates"].tolist() == ["", ""]
    assert frame[new[1:]].isna().all(axis=None)
    assert frame["dice"].tolist()[0] == SCORE.dice
