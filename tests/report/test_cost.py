"""The cost table, against means taken by hand."""

import math

import pandas as pd
import pytest
from tests.makers.rows import results

from contrabench.contracts.report import is_missing
from contrabench.report.build import build_report

ROWS = [
    {"method": method, "patient": f"p{p}", "draw": draw, "dice": 0.5 + 0.01 * p + 0.02 * draw}
    for method in ("scratch", "mmgl", "simclr")
    for p in range(6)
    for draw in range(2)
]
COST = {
    "scratch": [(0.0, 4.0, 1.0, 100.0, 10.0, 0.0), (0.0, 6.0, 3.0, 120.0, 10.0, 0.0)],
    "mmgl": [(3.0, 5.0, 1.0, 200.0, 12.0, 7.0), (5.0, 9.0, 1.0, 150.0, 12.0, 7.0)],
    "simclr": [(2.0, 5.0, 1.0, 90.0, 10.0, 3.0), (math.nan,) * 6],
}
NAMES = (
    "pretrain_seconds", "finetune_seconds", "evaluate_seconds", "peak_memory_mb", "parameters",
    "pretraining_heads",
)  # fmt: skip


def made(frame, devices=("H200 (cuda)",), cost=COST):
    rows = frame(*ROWS)
    lines = {}
    for (method, draw), part in rows.groupby(["method", "draw"]):
        known = not math.isnan(cost[method][draw][0])
        device = devices[draw % len(devices)] if known else ""
        lines[part["run"].iloc[0]] = {
            **dict(zip(NAMES, cost[method][draw], strict=True)), "device": device,
        }  # fmt: skip
    runs = pd.DataFrame.from_dict(lines, orient="index")
    for name in ("environment", "protocol", "method_info", "split", "labels_manifest",
                 "labelled", "evaluate"):  # fmt: skip
        runs[name] = ""
    (section,) = build_report(results(rows, runs), "bench report").sections
    found = [table for table in section.tables if table.name == "cost"]
    return found[0] if found else None


def test_means_of_seconds_and_most_of_memory(frame):
    table = made(frame)
    data = table.data.set_index("Method")
    assert data.loc["scratch"].tolist()[1:8] == [5.0, 0.0, 5.0, 2.0, 120.0, 10.0, 0.0]
    assert data.loc["mmgl", ["Training", "Pre-training", "Fine-tuning"]].tolist() == [11, 4, 7]
    assert data.loc["mmgl", "Peak MiB"] == 200
    assert data.loc["mmgl", "Head parameters"] == 7
    assert set(data["Trained on"]) == {"H200 (cuda)"}
    # The run without a record is in no mean, and is told.
    assert data.loc["simclr", "Training"] == pytest.approx(7.0)
    assert any(note.startswith("1 of 6 runs without a record") for note in table.notes)
    assert not any("process" in note for note in table.notes)


def test_machines_that_differ_are_told(frame):
    table = made(frame, devices=("H200 (cuda)", "x86_64 (cpu, 1 thread)"))
    assert any("different machines" in note for note in table.notes)
    assert any("On a CPU the peak is that of the whole process" in note for note in table.notes)
    data = table.data.set_index("Method")
    assert data.loc["mmgl", "Trained on"] == "H200 (cuda) or x86_64 (cpu, 1 thread)"


def test_a_method_without_records_shows_none(frame):
    cost = COST | {"simclr": [(math.nan,) * 6] * 2}
    data = made(frame, cost=cost).data.set_index("Method")
    assert math.isnan(data.loc["simclr", "Training"])
    assert math.isnan(data.loc["simclr", "Parameters"])
    assert is_missing(data.loc["simclr", "Trained on"])


def test_no_records_no_table(frame):
    unknown = {name: [(math.nan,) * 6] * 2 for name in COST}
    assert made(frame, cost=unknown) is None
