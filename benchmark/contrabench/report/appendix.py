"""What a protocol froze and its runs were made with: to be looked up behind every number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from contrabench.contracts.report import NAME, Column, Section, Table
from contrabench.report.board import make_table
from contrabench.report.settings import parsed, settings
from contrabench.store.facts import inner
from contrabench.text import counted

_ABOUT = ("Fidelity", "Source", "Options", "Code", "Inferred")


def appendix(rows: pd.DataFrame, runs: pd.DataFrame, name: str) -> Section | None:
    """The settings, methods, label manifests and software of the runs of one protocol.

    Args:
        rows: result rows of the protocol.
        runs: what is known of each run, as in `contrabench.store.results.Results`.
        name: title of the sections of this protocol.

    Returns:
        None where no run has a record to tell of.
    """
    each = rows.drop_duplicates("run").set_index("run")
    each.index = each.index.astype(str)
    known = runs.reindex(each.index)
    told = known[known["protocol"].fillna("").astype(str) != ""]
    if told.empty:
        return None
    each = each.loc[told.index]
    tables = (
        _settings(told),
        _methods(each, told),
        _manifests(each, told),
        _software(told),
    )
    lacking = len(known) - len(told)
    notes = (f"{counted(lacking, 'run')} without a record: not among these.",) if lacking else ()
    return Section(
        title=f"{name}, protocol",
        protocol=str(each["protocol"].iloc[0]),
        tables=tables,
        notes=notes,
        dataset=str(each["dataset"].iloc[0]),
        is_appendix=True,
    )


def _settings(told: pd.DataFrame) -> Table:
    """Every setting that rows of this protocol have in common."""
    found = settings(parsed(told["protocol"].iloc[0]))
    rows = [{"Setting": path, "Value": text} for path, text in found.items()]
    columns = (Column("Setting", "text", NAME), Column("Value", "text", "Frozen by the protocol"))
    return make_table("settings", columns, rows, detail=True)


def _methods(each: pd.DataFrame, told: pd.DataFrame) -> Table:
    """What each method is, with which options, and what of it was inferred."""
    caption = "What was run"
    columns = (
        Column("Method", "text", NAME),
        Column("Version", "count", caption),
        *(Column(name, "text", caption) for name in _ABOUT),
    )
    seen = each.assign(text=told["method_info"].astype(str))
    seen = seen.drop_duplicates(["variant", "method_version", "text"])
    rows: list[dict[str, Any]] = []
    for variant, version, text in zip(
        seen["variant"], seen["method_version"], seen["text"], strict=True
    ):
        spec = parsed(text)
        info = inner(spec, "info")
        options = settings(inner(spec, "options"))
        inferred = info.get("inferred")
        rows.append({
            "Method": str(variant),
            "Version": int(version),
            "Fidelity": _text(info.get("fidelity")),
            "Source": _text(info.get("paper")),
            "Options": ", ".join(f"{name}={value}" for name, value in options.items()) or None,
            "Code": _text(spec.get("code")),
            "Inferred": _text("; ".join(map(str, inferred)) if isinstance(inferred, list) else ""),
        })  # fmt: skip
    rows.sort(key=lambda row: (row["Method"], row["Version"], row["Code"] or ""))
    return make_table("methods", columns, rows, detail=True)


def _text(value: Any) -> str | None:
    """A text of a record, in which anything may stand."""
    return str(value) if value else None


def _manifests(each: pd.DataFrame, told: pd.DataFrame) -> Table:
    """Whose labels could be used in each fold and draw, and which patients were tested."""
    caption = "Label manifests"
    columns = (
        Column("Labels", "text", NAME),
        Column("Fold", "count", caption),
        Column("Draw", "count", caption),
        Column("Labelled", "count", caption),
        Column("of", "count", caption),
        Column("Tested", "count", caption),
        Column("Labelled patients", "text", caption),
        Column("Manifest", "text", caption),
        Column("Split", "text", caption),
    )
    kept = ["labels", "fraction", "fold", "draw"]
    counts = ["labelled_patients", "train_patients", "test_patients"]
    facts = ["labelled", "labels_manifest", "split"]
    joined = pd.concat([each[[*kept, *counts]], told[facts].astype(str)], axis=1)
    joined = joined.drop_duplicates().sort_values(["fraction", "fold", "draw", "labels_manifest"])
    names = [column.name for column in columns]
    order = ["labels", "fold", "draw", *counts, *facts]
    lines = zip(*(joined[name].tolist() for name in order), strict=True)
    return make_table(
        "manifests", columns, [dict(zip(names, line, strict=True)) for line in lines], detail=True
    )


def _software(told: pd.DataFrame) -> Table:
    """Which versions and machines made the runs, with the number of runs of each."""
    caption = "Made with"
    columns = (
        Column("Software", "text", NAME),
        Column("Version", "text", caption),
        Column("Runs", "count", caption),
    )
    counts: dict[tuple[str, str], int] = {}
    environments = told["environment"].astype(str).value_counts(sort=False)
    for text, number in environments[environments > 0].items():
        for name, version in settings(parsed(text)).items():
            counts[name, version] = counts.get((name, version), 0) + int(number)
    devices = told["device"].astype(str).value_counts(sort=False)
    for device, number in devices[devices > 0].items():
        if device:
            counts["device", str(device)] = int(number)
    order: Sequence[tuple[str, str]] = sorted(counts, key=lambda key: (key[0].lower(), key[1]))
    rows = [
        {"Software": name, "Version": version, "Runs": counts[name, version]}
        for name, version in order
    ]
    return make_table("software", columns, rows, detail=True)
