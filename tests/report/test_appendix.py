"""What was frozen and what runs cost, against the records that it was taken from."""

import json
import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.makers.rows import results

from contrabench.contracts.report import is_missing
from contrabench.report.appendix import appendix, cost_table, settings
from contrabench.report.entries import label_budgets
from contrabench.store.runs import parsed

ROWS = [
    {"method": method, "patient": f"p{p}", "fold": p % 2, "draw": draw, "labels": labels,
     "fraction": int(labels[:-1]) / 100, "labelled_patients": int(labels[:-1]) // 10}
    for method in ("scratch", "mmgl")
    for p in range(4)
    for draw in range(2)
    for labels in ("10%", "100%")
    if labels == "10%" or (method == "scratch" and draw == 0)
]  # fmt: skip


def records(rows, **changes):
    """One record per run, as `read_facts` would give it."""
    lines = {}
    for run, part in rows.groupby("run"):
        first = part.iloc[0]
        method = {
            "name": first["method"], "code": "c0de", "options": {"taps": ["dec3", "dec2"]},
            "info": {"fidelity": "reconstruction", "paper": "Z", "inferred": ["this", "that"]},
        }  # fmt: skip
        lines[run] = {
            "finetune_seconds": 1.0,
            "device": "x86_64 (cpu, 1 thread)",
            "environment": json.dumps({"torch": "2.15" if first["draw"] else "2.14"}),
            "protocol": json.dumps({"folds": 2, "recipe": {"field_of_view_mm": 224}}),
            "method_info": json.dumps(method),
            "split": f"s{first['fold']}",
            "labels_manifest": f"m{first['labels']}{first['fold']}{first['draw']}",
            "labelled": f"p{first['fold']}, p{first['draw'] + 2}",
        }
    return pd.DataFrame.from_dict(lines, orient="index").assign(**changes)


def tables(frame, labels=(), **changes):
    rows = frame(*ROWS)
    runs = records(rows, **changes)
    known = results(rows).runs.reindex(runs.index)
    for name in runs:
        known[name] = runs[name]
    last = appendix(rows[rows["labels"].isin(labels)] if labels else rows, known, "phantom")
    return last, {table.name: table.data for table in last.tables}


def test_every_setting(frame):
    section, found = tables(frame)
    assert section.title.endswith(", protocol")
    assert section.protocol == frame(*ROWS)["protocol"].iloc[0]
    assert dict(found["settings"].to_numpy()) == {"folds": "2", "recipe.field_of_view_mm": "224"}


def test_every_method_once(frame):
    data = tables(frame)[1]["methods"].set_index("Method")
    assert data.index.tolist() == ["mmgl", "scratch"]
    assert data.loc["mmgl"].tolist() == [
        1, "reconstruction", "Z", "taps=dec3, dec2", "c0de", "this; that",
    ]  # fmt: skip


def test_every_manifest_once_in_order(frame):
    data = tables(frame)[1]["manifests"]
    asked = [("10%", fold, draw) for fold in (0, 1) for draw in (0, 1)]
    asked += [("100%", fold, 0) for fold in (0, 1)]
    assert list(zip(data["Labels"], data["Fold"], data["Draw"], strict=True)) == asked
    for line in data.itertuples():
        assert line.Manifest == f"m{line.Labels}{line.Fold}{line.Draw}"
        assert line.Split == f"s{line.Fold}"
        assert data.loc[line.Index, "Labelled patients"] == f"p{line.Fold}, p{line.Draw + 2}"
    at_ten = tables(frame, ["10%"])[1]["manifests"]
    assert set(at_ten["Labels"]) == {"10%"}


def test_software_counts_its_runs(frame):
    data = tables(frame)[1]["software"]
    lines = set(zip(data["Software"], data["Version"], data["Runs"], strict=True))
    assert lines == {
        ("torch", "2.14", 6), ("torch", "2.15", 4), ("device", "x86_64 (cpu, 1 thread)", 10),
    }  # fmt: skip


def test_runs_without_a_record_are_counted_or_leave_no_appendix(frame):
    rows = frame(*ROWS)
    runs = records(rows)
    known = results(rows).runs.reindex(runs.index)
    for name in runs:
        known[name] = runs[name]
    known.loc[known.index[0], "protocol"] = ""
    last = appendix(rows, known, "phantom")
    assert last.notes == ("1 run without a record: not among these.",)
    assert appendix(rows, results(rows).runs, "phantom") is None


def test_a_record_in_which_anything_stands_breaks_nothing(frame):
    odd = {
        "code": ["c"],
        "options": "none",
        "info": {"paper": 3, "inferred": "all", "fidelity": {}},
    }
    deep = '{"a":' * 700 + "1" + "}" * 700
    _, found = tables(frame, method_info=json.dumps(odd), protocol=deep, environment=deep)
    line = found["methods"].iloc[0]
    assert line["Source"] == "3"
    assert line["Code"] == "['c']"
    assert line[["Options", "Inferred", "Fidelity"]].isna().all()
    assert all(isinstance(path, str) for path in found["settings"]["Setting"])


COST_ROWS = [
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
COSTS = (
    "pretrain_seconds", "finetune_seconds", "evaluate_seconds", "peak_memory_mb", "parameters",
    "pretraining_heads",
)  # fmt: skip


def cost(frame, devices=("H200 (cuda)",), costs=COST):
    rows = frame(*COST_ROWS)
    lines = {}
    for (method, draw), part in rows.groupby(["method", "draw"]):
        known = not math.isnan(costs[method][draw][0])
        device = devices[draw % len(devices)] if known else ""
        lines[part["run"].iloc[0]] = {
            **dict(zip(COSTS, costs[method][draw], strict=True)), "device": device,
        }  # fmt: skip
    runs = pd.DataFrame.from_dict(lines, orient="index")
    (budget,) = label_budgets(rows)
    return cost_table(budget.entries, runs)


def test_means_of_seconds_and_most_of_memory(frame):
    table = cost(frame)
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
    table = cost(frame, devices=("H200 (cuda)", "x86_64 (cpu, 1 thread)"))
    assert any("different machines" in note for note in table.notes)
    assert any("On a CPU the peak is that of the whole process" in note for note in table.notes)
    data = table.data.set_index("Method")
    assert data.loc["mmgl", "Trained on"] == "H200 (cuda) or x86_64 (cpu, 1 thread)"


def test_a_method_without_records_shows_none(frame):
    costs = COST | {"simclr": [(math.nan,) * 6] * 2}
    data = cost(frame, costs=costs).data.set_index("Method")
    assert math.isnan(data.loc["simclr", "Training"])
    assert math.isnan(data.loc["simclr", "Parameters"])
    assert is_missing(data.loc["simclr", "Trained on"])


def test_no_records_no_table(frame):
    unknown = {name: [(math.nan,) * 6] * 2 for name in COST}
    assert cost(frame, costs=unknown) is None


NAMES = st.text("abc_", min_size=1, max_size=4)
LEAVES = st.none() | st.booleans() | st.integers() | st.text("xyz, ", max_size=5)
TREES = st.dictionaries(
    NAMES,
    st.recursive(LEAVES, lambda inner: st.dictionaries(NAMES, inner, min_size=1, max_size=3)),
    max_size=4,
)


@given(TREES)
def test_every_leaf_is_found_under_its_path(tree):
    flat = settings(tree)
    leaves = 0

    def walk(value, path):
        nonlocal leaves
        if isinstance(value, dict):
            for name, inner in value.items():
                walk(inner, [*path, name])
        else:
            leaves += 1
            assert flat[".".join(path)] == (value if isinstance(value, str) else json.dumps(value))

    walk(tree, [])
    assert len(flat) == leaves


def test_lists_and_empty_parts_are_readable():
    spec = {"a": [0.5, 99.5], "b": {"c": ["x", "y"], "d": {}}, "e": [], "f": [{"g": 1}]}
    assert settings(spec) == {
        "a": "0.5, 99.5", "b.c": "x, y", "b.d": "{}", "e": "[]", "f": '[{"g": 1}]',
    }  # fmt: skip
    assert settings({}) == {}


def test_no_text_is_no_specification():
    assert parsed("") == parsed(None) == parsed(float("nan")) == {}
    assert parsed('{"a": {"b": 1}}') == {"a": {"b": 1}}
