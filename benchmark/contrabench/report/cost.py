"""What the runs of a table cost: seconds, memory and parameters, as their records tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from contrabench.contracts.report import Column, Table
from contrabench.report.board import NAMES, make_table, names_of
from contrabench.report.entries import Entry
from contrabench.text import counted

COST = "cost"
TRAINING = "Training"
_TIME, _SIZE = "Seconds of a run", "Memory and parameters"
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


def cost_table(entries: Sequence[Entry], runs: pd.DataFrame) -> Table | None:
    """How long a run of each method took, and how much memory it used.

    Args:
        entries: the rows of the table.
        runs: what is known of each run, as in `contrabench.store.results.Results`.

    Returns:
        Means of seconds and the largest memory over the runs of a method; None where no
        run has a record of its cost.
    """
    known = [runs.reindex(sorted(map(str, entry.cells["run"]))) for entry in entries]
    if all(part[[*_MEANS.values(), *_MOST.values()]].isna().all(axis=None) for part in known):
        return None
    columns = (
        *NAMES,
        *(Column(name, "seconds", _TIME) for name in (TRAINING, *_MEANS)),
        *(Column(name, "count", _SIZE) for name in _MOST),
        Column("Trained on", "text", _SIZE),
    )
    rows = [names_of(entry) | _costs(part) for entry, part in zip(entries, known, strict=True)]
    return make_table(COST, columns, rows, notes=tuple(_notes(known)))


def _costs(part: pd.DataFrame) -> dict[str, Any]:
    seconds = {name: part[column].mean() for name, column in _MEANS.items()}
    total = (part["pretrain_seconds"] + part["finetune_seconds"]).mean()
    devices = sorted({str(name) for name in part["device"].dropna() if name})
    return {
        TRAINING: total,
        **seconds,
        **{name: part[column].max() for name, column in _MOST.items()},
        "Trained on": " or ".join(devices) or None,
    }


def _notes(known: Sequence[pd.DataFrame]) -> list[str]:
    notes = [
        "Training is pre-training and fine-tuning. Seconds are means over runs of what the stages "
        "took when they were made; a pre-training that serves several runs counts whole in each. "
        "They compare where the machine is the same and had nothing else to do.",
        "Parameters are those of the network that is tested; the heads are dropped after "
        "pre-training.",
    ]
    every = pd.concat(list(known))
    every = every[~every.index.duplicated()]
    devices = {str(name) for name in every["device"].dropna() if name}
    if any("(cpu" in name for name in devices):
        notes.append(
            "On a CPU the peak is that of the whole process, which may have made other stages "
            "before: the memory of a run is at most that."
        )
    lacking = int(every["finetune_seconds"].isna().sum())
    if lacking:
        notes.append(
            f"{lacking} of {counted(len(every), 'run')} without a record of the cost: not in these "
            "means."
        )
    if len(devices) > 1:
        notes.append("The runs were trained on different machines: their seconds do not compare.")
    return notes
