"""What the record of a run tells beside its rows: what it cost, and what it was made with.

Rows are the same wherever a run is made, to the last byte; seconds, memory and versions are
not. So these stay in the record, and are read from there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from contrabench.store.run_files import RECORD_FILE

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
FACTS: pa.Schema = pa.schema(
    [("run", pa.string())]
    + [(name, pa.float64()) for name in NUMBERS]
    + [(name, pa.string()) for name in WORDS]
)
"""One row per run: its key, its cost (null where unknown) and words ("" where unknown).

`device` is what trained it; `environment` (versions), `protocol` (every setting) and
`method_info` (code, options, what is known of it) are JSON of the record; `split` and
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
    try:
        record = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        record = {}
    cost = _part(record, "cost")
    manifests = _part(record, "manifests")
    labelled = _part(record, "patients").get("labelled", [])
    return {
        "run": folder.name,
        **{name: _number(cost.get(name)) for name in NUMBERS},
        "device": _device(record),
        "environment": _json(_part(record, "environment")),
        "protocol": _json(_part(record, "protocol")),
        "method_info": _json(_part(record, "method")),
        "split": str(manifests.get("split", "")),
        "labels_manifest": str(manifests.get("labels", "")),
        "labelled": ", ".join(map(str, labelled)) if isinstance(labelled, list) else "",
        "evaluate": str(_part(record, "stages").get("evaluate", "")),
    }


def _part(record: Any, name: str) -> dict[str, Any]:
    found = record.get(name) if isinstance(record, dict) else None
    return found if isinstance(found, dict) else {}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _json(part: dict[str, Any]) -> str:
    return json.dumps(part, sort_keys=True, separators=(",", ":")) if part else ""


def _device(record: Any) -> str:
    """On what the run was trained, e.g. `x86_64 (cpu, 2 threads)`; several are told apart."""
    found = dict.fromkeys(
        _machine(_part(stage, "runtime")) for stage in _part(record, "training").values()
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
