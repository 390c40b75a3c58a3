"""What is told of a run beside its rows: what it cost, and what it was made with.

Rows are the same wherever a run is made, to the last byte; seconds, memory and versions are
not. So these stay in the record, and are read from there. Settings are read from the
specification, of which the run's key is the hash. Somebody else may have written either:
whatever is not what it should be is unknown.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from contrabench.store.run_files import RECORD_FILE
from contrabench.store.stages import SPEC

NUMBERS = (
    "pretrain_seconds",
    "finetune_seconds",
    "evaluate_seconds",
    "peak_memory_mb",
    "parameters",
    "pretraining_heads",
)
"""What a run cost, as the record's `cost` names it."""
WORDS = (
    "device",
    "environment",
    "protocol",
    "method_info",
    "split",
    "labels_manifest",
    "labelled",
    "evaluate",
)
LARGEST = 1e15
"""No run takes so many seconds, MiB or parameters."""
FACTS: pa.Schema = pa.schema(
    [("run", pa.string())]
    + [(name, pa.float64()) for name in NUMBERS]
    + [(name, pa.string()) for name in WORDS]
)
"""One row per run: its key, its cost (null where unknown) and words ("" where unknown).

`device` is what trained it; `environment` (versions), `protocol` (every setting) and
`method_info` (code, options, and what is known of it as `info`) are JSON; `split` and
`labels_manifest` name the manifests, `labelled` is the patients of the latter; `evaluate`
is the stage that holds the predictions.
"""


def read_facts(folder: Path) -> dict[str, Any]:
    """Reads the facts of one run.

    Args:
        folder: named by the run's key.

    Returns:
        One row of `FACTS`; what the record does not tell, or no record can be read to
        tell, is unknown.
    """
    record, spec = (_read(folder / name) for name in (RECORD_FILE, SPEC))
    cost = inner(record, "cost")
    manifests = inner(record, "manifests")
    labelled = inner(record, "patients").get("labelled", [])
    return {
        "run": folder.name,
        **{name: _number(cost.get(name)) for name in NUMBERS},
        "device": _device(record),
        "environment": _json(inner(record, "environment")),
        "protocol": _json(inner(spec, "protocol")),
        "method_info": _json(_method(record, spec)),
        "split": str(manifests.get("split", "")),
        "labels_manifest": str(manifests.get("labels", "")),
        "labelled": ", ".join(map(str, labelled)) if isinstance(labelled, list) else "",
        "evaluate": str(inner(record, "stages").get("evaluate", "")),
    }


def inner(spec: Any, name: str) -> dict[str, Any]:
    """A part of a JSON object that is an object itself; empty where there is none."""
    found = spec.get(name) if isinstance(spec, dict) else None
    return found if isinstance(found, dict) else {}


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _method(record: Any, spec: Any) -> dict[str, Any]:
    known = inner(spec, "method")
    return {**known, "info": inner(inner(record, "method"), "info")} if known else {}


def _number(value: Any) -> float | None:
    """A cost that can be one: a number that is not negative, and not beyond all measure."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < LARGEST else None


def _json(found: dict[str, Any]) -> str:
    try:
        return json.dumps(found, sort_keys=True, separators=(",", ":")) if found else ""
    except RecursionError:
        return ""


def _device(record: Any) -> str:
    """On what the run was trained, e.g. `x86_64 (cpu, 2 threads)`; several are told apart."""
    found = dict.fromkeys(
        _machine(inner(stage, "runtime")) for stage in inner(record, "training").values()
    )
    return " and ".join(name for name in found if name)


def _machine(runtime: dict[str, Any]) -> str:
    if not runtime:
        return ""
    kind, name = runtime.get("device", ""), runtime.get("device_name", "")
    devices, threads = runtime.get("devices", 1), runtime.get("threads", 1)
    count = f"{devices} x " if devices != 1 else ""
    share = f", {threads} thread{'s' if threads != 1 else ''}" if kind == "cpu" else ""
    return f"{count}{name} ({kind}{share})"
