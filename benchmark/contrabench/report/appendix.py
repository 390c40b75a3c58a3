"""What runs cost, what their protocol froze and what they were made with, from their records."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from contrabench.contracts.report import NAME, Column, Section, Table
from contrabench.report.board import NAMES, columns, make_table, names_of
from contrabench.report.entries import Entry
from contrabench.store.rows import labels_of
from contrabench.store.runs import inner, parsed
from contrabench.text import counted

COST = "cost"
TRAINING = "Training"
_MEANS = {
    "Pre-training": "pretrain_seconds",
    "Fine-tuning": "finetune_seconds",
    "Evaluation": "evaluate_seconds",
}
_MOST = {
    "Peak MiB": "peak_memory_mb",
    "Parameters": "parameters",
    "Head parameters": "pretraining_heads",
}
_COST_COLUMNS = (
    *NAMES,
    *columns("Seconds of a run", {"seconds": [TRAINING, *_MEANS]}),
    *columns("Memory and parameters", {"count": list(_MOST), "text": ["Trained on"]}),
)
_METHOD_COLUMNS = (
    NAMES[0],
    *columns(
        "What was run",
        {"count": ["Version"], "text": ["Fidelity", "Source", "Options", "Code", "Inferred"]},
    ),
)
_MANIFEST_COLUMNS = (
    Column("Labels", "text", NAME),
    *columns(
        "Label manifests",
        {
            "count": ["Fold", "Draw", "Labelled", "of", "Tested"],
            "text": ["Labelled patients", "Manifest", "Split"],
        },
    ),
)


def appendix(rows: pd.DataFrame, runs: pd.DataFrame, name: str) -> Section | None:
    """The settings, methods, label manifests and software of one protocol; None without records."""
    each = rows.drop_duplicates("run").set_index("run")
    each.index = each.index.astype(str)
    known = runs.reindex(each.index)
    told = known[known["protocol"].fillna("").astype(str) != ""]
    if told.empty:
        return None
    each = each.loc[told.index]
    lacking = len(known) - len(told)
    return Section(
        title=f"{name}, protocol",
        protocol=str(each["protocol"].iloc[0]),
        tables=(_settings(told), _methods(each, told), _manifests(each, told), _software(told)),
        notes=(f"{counted(lacking, 'run')} without a record: not among these.",) if lacking else (),
        dataset=str(each["dataset"].iloc[0]),
        is_appendix=True,
    )


def _settings(told: pd.DataFrame) -> Table:
    """Every setting that rows of this protocol have in common."""
    found = settings(parsed(told["protocol"].iloc[0]))
    rows = [{"Setting": path, "Value": text} for path, text in found.items()]
    shown = (Column("Setting", "text", NAME), Column("Value", "text", "Frozen by the protocol"))
    return make_table("settings", shown, rows, detail=True)


def _methods(each: pd.DataFrame, told: pd.DataFrame) -> Table:
    """What each method is, with which options, and what of it was inferred."""
    seen = each[["variant", "method_version"]].assign(text=told["method_info"].astype(str))
    rows: list[dict[str, Any]] = []
    for variant, version, text in seen.drop_duplicates().itertuples(index=False):
        spec = parsed(text)
        info, options = inner(spec, "info"), settings(inner(spec, "options"))
        inferred = info.get("inferred")
        row = {
            "Method": str(variant),
            "Version": int(version),
            "Fidelity": _text(info.get("fidelity")),
            "Source": _text(info.get("paper")),
            "Options": ", ".join(f"{name}={value}" for name, value in options.items()) or None,
            "Code": _text(spec.get("code")),
            "Inferred": _text("; ".join(map(str, inferred)) if isinstance(inferred, list) else ""),
        }
        # What was noted of a run is no other method.
        rows += [] if row in rows else [row]
    rows.sort(key=lambda row: (row["Method"], row["Version"], row["Code"] or ""))
    return make_table("methods", _METHOD_COLUMNS, rows, detail=True)


def _text(value: Any) -> str | None:
    """A text of a record, in which anything may stand."""
    return str(value) if value else None


def _manifests(each: pd.DataFrame, told: pd.DataFrame) -> Table:
    """Whose labels could be used in each fold and draw, and which patients were tested."""
    counts = ["labelled_patients", "train_patients", "test_patients"]
    facts = ["labelled", "labels_manifest", "split"]
    shown = ["labels", "fold", "draw", *counts, *facts]
    joined = pd.concat([each[shown[:6]], told[facts].astype(str)], axis=1).drop_duplicates()
    joined["labels"] = pd.Categorical(joined["labels"].astype(str), labels_of(each), ordered=True)
    joined = joined.sort_values(["labels", "fold", "draw", "labels_manifest"])
    joined = joined[shown].set_axis([column.name for column in _MANIFEST_COLUMNS], axis=1)
    rows: list[Any] = joined.to_dict("records")
    return make_table("manifests", _MANIFEST_COLUMNS, rows, detail=True)


def _software(told: pd.DataFrame) -> Table:
    """Which versions and machines made the runs, with the number of runs of each."""
    counts: Counter[tuple[str, str]] = Counter()
    for text, number in Counter(told["environment"].astype(str)).items():
        for name, version in settings(parsed(text)).items():
            counts[name, version] += number
    for device, number in Counter(told["device"].astype(str)).items():
        if device:
            counts["device", device] = number
    rows = [
        {"Software": name, "Version": version, "Runs": counts[name, version]}
        for name, version in sorted(counts, key=lambda key: (key[0].lower(), key[1]))
    ]
    shown = columns("Made with", {"text": ["Version"], "count": ["Runs"]})
    return make_table("software", (Column("Software", "text", NAME), *shown), rows, detail=True)


def cost_table(entries: Sequence[Entry], runs: pd.DataFrame) -> Table | None:
    """Mean seconds and largest memory of a method's runs; None where none has a record of it."""
    known = [runs.reindex(sorted(map(str, entry.cells["run"]))) for entry in entries]
    if all(part[[*_MEANS.values(), *_MOST.values()]].isna().all(axis=None) for part in known):
        return None
    rows = [names_of(entry) | _costs(part) for entry, part in zip(entries, known, strict=True)]
    return make_table(COST, _COST_COLUMNS, rows, notes=tuple(_cost_notes(known)))


def _costs(part: pd.DataFrame) -> dict[str, Any]:
    return {
        TRAINING: (part["pretrain_seconds"] + part["finetune_seconds"]).mean(),
        **{name: part[column].mean() for name, column in _MEANS.items()},
        **{name: part[column].max() for name, column in _MOST.items()},
        "Trained on": " or ".join(_devices(part)) or None,
    }


def _devices(part: pd.DataFrame) -> list[str]:
    return sorted({str(name) for name in part["device"].dropna() if name})


def _cost_notes(known: Sequence[pd.DataFrame]) -> Iterator[str]:
    yield (
        "Training is pre-training and fine-tuning. Seconds are means over runs of what the stages "
        "took when they were made; a pre-training that serves several runs counts whole in each. "
        "They compare where the machine is the same and had nothing else to do."
    )
    yield (
        "Parameters are those of the network that is tested; the heads are dropped after "
        "pre-training."
    )
    every = pd.concat(list(known))
    every = every[~every.index.duplicated()]
    devices = _devices(every)
    if any("(cpu" in name for name in devices):
        yield (
            "On a CPU the peak is that of the whole process, which may have made other stages "
            "before: the memory of a run is at most that."
        )
    lacking = int(every["finetune_seconds"].isna().sum())
    if lacking:
        yield (
            f"{lacking} of {counted(len(every), 'run')} without a record of the cost: not in these "
            "means."
        )
    if len(devices) > 1:
        yield "The runs were trained on different machines: their seconds do not compare."


def settings(spec: Mapping[str, Any]) -> dict[str, str]:
    """The text of each value of a nested specification by path, such as `budget.finetune.images`.

    In its own order; plain values of a list are joined by commas. Nothing of one that is nested
    beyond all sense.
    """
    try:
        return dict(_lines(spec))
    except RecursionError:
        return {}


def _lines(spec: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in spec.items():
        if isinstance(value, Mapping) and value:
            yield from _lines(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", _written(value)


def _written(value: Any) -> str:
    """A value as a reader would write it."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and not any(isinstance(x, dict | list) for x in value):
        return ", ".join(map(_written, value))
    return json.dumps(value)


def dataset_options(rows: pd.DataFrame, runs: pd.DataFrame) -> Mapping[str, Any] | None:
    """What was asked of the dataset, as a record of one of the runs tells; None without one."""
    specs = runs["protocol"].reindex(rows["run"].astype(str).unique()).dropna()
    found = next((parsed(text) for text in specs if text), {})
    return inner(found, "dataset_options") or None
