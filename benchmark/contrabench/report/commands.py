"""Commands that a reader can paste: the runs that a table lacks, with all settings of the others.

Settings are read from the protocol in the record of a run; a record has no folder of data and no
store, so whoever knows them adds them.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from contrabench.budgets import BUDGETS
from contrabench.contracts import registry
from contrabench.errors import ContrabenchError
from contrabench.references import EVERY_LABEL, LEFT_OUT
from contrabench.store.runs import inner

Place = Callable[[str], list[str]]
"""The words of a command line that tell where a dataset's files and the store are."""

_PHASES = ("pretrain", "finetune")


class Command(NamedTuple):
    """What to paste, and whether it has every setting; what has no word is left to the reader."""

    text: str
    whole: bool


def nowhere(dataset: str) -> list[str]:
    """A place without words: the default store, and data that is configured."""
    return []


def command_for(
    method: str, labels: str, rows: pd.DataFrame, protocol: Mapping[str, Any], place: Place
) -> Command:
    """The command that runs a reference in the folds, draws and seeds of some rows.

    `protocol` is that of their record, empty where there is none.
    """
    first = rows.iloc[0]
    words, unsaid = ["--dataset", str(first["dataset"])], ["settings"]
    if protocol:
        words, unsaid = _settings(protocol)
    else:
        words += ["--budget", str(first["budget"])]
        words += [] if first["recipe"] == "common" else ["--recipe", str(first["recipe"])]
    folds, draws, seeds = (sorted(set(rows[name])) for name in ("fold", "draw", "seed"))
    fold = ",".join(map(str, folds))
    every = "all" if len(folds) == rows["folds"].iloc[0] else fold
    # All labels are the same in every draw.
    draws = [0] if labels == EVERY_LABEL else draws
    if len(draws) == len(seeds) == 1:
        asked = ["run", "--method", method, "--labels", labels]
        cells = [("--fold", every, "0"), ("--draw", draws[0], 0), ("--seed", seeds[0], 0)]
    else:
        asked = ["study", "--methods", method, "--labels", labels, "--without", ",".join(LEFT_OUT)]
        cells = [
            ("--fold", every, "all"),
            ("--draws", max(draws) + 1, 3),
            ("--seeds", max(seeds) + 1, 1),
        ]
    asked += [word for flag, value, usual in cells if value != usual for word in (flag, str(value))]
    text = shlex.join(["bench", *asked, *words, *place(str(first["dataset"]))])
    return Command(text, not unsaid)


def _settings(protocol: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The words of a protocol's settings, and those that the command line has no words for."""
    words = ["--dataset", str(protocol["dataset"])]
    words += _pairs("-d", protocol["dataset"], inner(protocol, "dataset_options"))
    unsaid = [name for name in ("split", "pool", "split_seed") if protocol.get(name)]
    if protocol.get("folds", 5) != 5 and not protocol.get("split"):
        words += ["--folds", str(protocol["folds"])]
    backbone = inner(protocol, "backbone")
    if (name := str(backbone.get("name", "unet"))) != "unet":
        words += ["--backbone", name]
    for key, value in inner(backbone, "options").items():
        words += ["-b", f"{key}={_written(value)}"]
    budget = inner(protocol, "budget")
    words += ["--budget", str(budget.get("name"))]
    parts = {inner(budget, phase).get("accumulate", 1) for phase in _PHASES}
    if parts != {1}:
        words += ["--accumulate", str(max(parts))]
    known = BUDGETS.get(str(budget.get("name")))
    if known is None or len(parts) > 1 or _alike(known.model_dump(mode="json")) != _alike(budget):
        unsaid.append("budget")
    if (recipe := protocol.get("pretraining", "common")) != "common":
        words += ["--recipe", str(recipe)]
    if precision := protocol.get("precision"):
        words += ["--precision", str(precision)]
    return words, unsaid


def _alike(budget: Mapping[str, Any]) -> dict[str, Any]:
    """A budget without what is asked for by itself."""
    phases = {phase: {**inner(budget, phase), "accumulate": 1} for phase in _PHASES}
    return {**budget, **phases}


def _pairs(flag: str, name: str, options: Mapping[str, Any]) -> Iterator[str]:
    """Options of a dataset that differ from its defaults; all, if it is not there to ask."""
    try:
        usual = registry.datasets.get(name).Options().model_dump(mode="json")
    except ContrabenchError:
        usual = {}
    for key, value in options.items():
        if key not in usual or usual[key] != value:
            yield from (flag, f"{key}={_written(value)}")


def _written(value: Any) -> str:
    """An option's value as the command line reads it."""
    return value if isinstance(value, str) else json.dumps(value)
