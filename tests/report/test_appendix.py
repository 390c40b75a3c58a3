"""What was frozen, against the records that it was taken from."""

import json

import pandas as pd
from tests.makers.rows import results

from contrabench.report.build import build_report

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
    last = build_report(results(rows, known), "bench report", labels).sections[-1]
    assert last.is_appendix
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
    last = build_report(results(rows, known), "bench report").sections[-1]
    assert last.notes == ("1 run without a record: not among these.",)
    assert not build_report(results(rows), "bench report").sections[-1].is_appendix


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
