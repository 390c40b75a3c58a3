"""The finished runs of a store as files: which there are, and what one of them holds.

Rows are the same wherever a run is made, to the last byte; seconds, memory and versions are not,
so these stay in the record, and are read from there as *facts*. Settings are read from the
specification. Somebody else may have written either: what is not as it should be is unknown.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from os import scandir
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from contrabench.files import MARKER, damage_of, read_json, sealed_files
from contrabench.store.rows import ROWS_FILE, SCHEMA, brought_up, row_fault, version_fault
from contrabench.store.stages import RUNS, SPEC
from contrabench.text import counted

RUN_RECORD = "run.json"
KERNELS = "kernels"
"""What sums are made by, beside the versions of packages: other ones round differently."""
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
    "finished",
)
FACTS: pa.Schema = pa.schema(
    [("run", pa.string())]
    + [(name, pa.float64()) for name in NUMBERS]
    + [(name, pa.string()) for name in WORDS]
)
"""One row per run: its key, its cost (null where unknown) and words ("" where unknown).

`device` is what trained it; `environment` (versions), `protocol` (every setting) and
`method_info` (code, options, and what is known of it as `info`) are JSON; `split` and
`labels_manifest` name the manifests, `labelled` is the patients of the latter; `evaluate`
is the stage that holds the predictions, and `finished` the day, as 2026-11-30.
"""
_LARGEST = 1e15
"""No run takes so many seconds, MiB or parameters."""


def finished_runs(store: Path) -> dict[str, str]:
    """The finished runs of a store by key, each with a stamp that tells whether it has changed.

    A folder that has lost its rows or its marker, but not both, was a run: it is among them.
    A stamp is size and time of the last change, in ns, of rows and marker.
    """
    found = {}
    try:
        with scandir(store / RUNS) as entries:
            for entry in entries:
                if "." not in entry.name:  # locks, logs, and folders that are being filled
                    stamps = [_stamp(f"{entry.path}/{name}") for name in (ROWS_FILE, MARKER)]
                    if any(stamps):
                        found[entry.name] = " ".join(stamps)
    except OSError:
        return {}
    return dict(sorted(found.items()))


def _stamp(path: str) -> str:
    try:
        status = Path(path).stat()
    except OSError:
        return ""
    return f"{status.st_size}-{status.st_mtime_ns}"


def read_run(folder: Path) -> tuple[pa.Table, str]:
    """Reads the rows of one run, if all its files are as they were when it was sealed.

    The folder is named by the run's key. Gives its table in `SCHEMA`, and "" or why it cannot be
    trusted; the table is empty then.
    """
    table = SCHEMA.empty_table()
    fault = damage_of(folder)
    if not fault and ROWS_FILE not in (sealed_files(folder) or ()):
        fault = f"its marker does not name {ROWS_FILE}"
    if fault:
        return table, (
            f"{fault}, so its numbers may not be those of the run; run the study again, or merge "
            "the run in again"
        )
    try:
        with (folder / ROWS_FILE).open("rb") as file:
            found = pq.ParquetFile(file).read(use_threads=False)
        fault = version_fault(found) or row_fault(found)
        if not fault:
            found = brought_up(found)
            fault = _not_its_own(found, folder.name)
    except (OSError, ValueError, pa.ArrowException) as error:
        fault = f"it cannot be read ({str(error).splitlines()[0]}); run the study again"
    return (table, fault) if fault else (found, "")


def _not_its_own(table: pa.Table, run: str) -> str:
    """Says whose rows these are; "" if they are those of the run that the folder stands for."""
    if not len(table):
        return "it has no rows; remove the folder and run the study again"
    others = set(table["run"].unique().to_pylist()) - {run}
    return f"its rows are those of run {', '.join(others)}; remove the folder" if others else ""


def read_facts(folder: Path) -> dict[str, Any]:
    """The facts of the run in a folder that its key names, one row of `FACTS`."""
    record, spec = (read_json(folder / name) for name in (RUN_RECORD, SPEC))
    cost, manifests = inner(record, "cost"), inner(record, "manifests")
    method = inner(spec, "method")
    labelled = inner(record, "patients").get("labelled", [])
    runtimes, environment = _runtimes(record), inner(record, "environment")
    if known := _kernels(runtimes):
        environment = {**environment, KERNELS: known}
    return {
        "run": folder.name,
        **{name: _number(cost.get(name)) for name in NUMBERS},
        "device": _joined(map(_machine, runtimes)),
        "environment": _json(environment),
        "protocol": _json(inner(spec, "protocol")),
        "method_info": _json({**method, **_told(record)} if method else {}),
        "split": str(manifests.get("split", "")),
        "labels_manifest": str(manifests.get("labels", "")),
        "labelled": ", ".join(map(str, labelled)) if isinstance(labelled, list) else "",
        "evaluate": str(inner(record, "stages").get("evaluate", "")),
        "finished": str(record.get("finished", "")) if record else "",
    }


def machine_of(folder: Path) -> str:
    """The kind of machine that trained the run in a folder, its kernels too; empty if unknown."""
    runtimes = _runtimes(read_json(folder / RUN_RECORD))
    return ", ".join(filter(None, (_joined(map(_machine, runtimes)), _kernels(runtimes))))


def _runtimes(record: Any) -> list[dict[str, Any]]:
    return [inner(one, "runtime") for one in inner(record, "training").values()]


def _kernels(runtimes: list[dict[str, Any]]) -> str:
    return _joined(str(one.get("kernels", "")) for one in runtimes)


def _joined(texts: Iterable[str]) -> str:
    return " and ".join(filter(None, dict.fromkeys(texts)))


def _told(record: Any) -> dict[str, Any]:
    """What the record says of the method, and what was noted while it ran."""
    method, marks = inner(record, "method"), record.get("marks") if record else None
    known: dict[str, Any] = {name: inner(method, name) for name in ("info", "checked")}
    known["outside"] = inner(record, "outside")
    marks = marks if isinstance(marks, list) else []
    known |= {"labels": method["labels"]} if isinstance(method.get("labels"), bool) else {}
    told = (*known.items(), ("marks", marks))
    return {name: one for name, one in told if one not in ({}, []) or name == "info"}


def parsed(text: object) -> dict[str, Any]:
    """A specification from its JSON; empty where there is none."""
    return json.loads(text) if isinstance(text, str) and text else {}


def inner(spec: Any, name: str) -> dict[str, Any]:
    """A part of a JSON object that is an object itself; empty where there is none."""
    found = spec.get(name) if isinstance(spec, dict) else None
    return found if isinstance(found, dict) else {}


def _number(value: Any) -> float | None:
    """A cost that can be one: a number that is not negative, and not beyond all measure."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < _LARGEST else None


def _json(found: dict[str, Any]) -> str:
    return json.dumps(found, sort_keys=True, separators=(",", ":")) if found else ""


def _machine(runtime: dict[str, Any]) -> str:
    """What trained a stage, e.g. `x86_64 (cpu, 2 threads)`."""
    if not runtime:
        return ""
    kind, name = runtime.get("device", ""), runtime.get("device_name", "")
    devices, threads = runtime.get("devices", 1), runtime.get("threads", 1)
    count = f"{devices} x " if devices != 1 else ""
    share = f", {counted(threads, 'thread')}" if kind == "cpu" else ""
    return f"{count}{name} ({kind}{share})"
