"""A run that another kind of machine has made anew, kept beside ours as a replicate.

It has the same fold, draw and seed, and is averaged with ours; its key tells what trained it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from contrabench.files import read_json, write_text
from contrabench.protocol import digest
from contrabench.store.rows import ROWS_FILE, ResultRow, write_rows
from contrabench.store.runs import RUN_RECORD, machine_of, read_run
from contrabench.store.stages import RUNS, SPEC, key_of


def replicate_spec(folder: Path) -> dict[str, Any]:
    """The specification of a sound run's replicate: its own, and the machine that trained it."""
    return {**read_json(folder / SPEC), "replicate": digest([machine_of(folder)])}


def write_replicate(folder: Path, work: Path) -> None:
    """Fills a folder with the rows and the record of a sound run, under the replicate's key."""
    key = key_of(RUNS, replicate_spec(folder))
    rows = read_run(folder)[0].drop_columns("schema_version").to_pylist()
    write_rows(work / ROWS_FILE, [ResultRow(**{**row, "run": key}) for row in rows])
    record = {**read_json(folder / RUN_RECORD), "run": key}
    write_text(work / RUN_RECORD, json.dumps(record, indent=1) + "\n")
