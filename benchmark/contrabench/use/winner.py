"""Which run a store's best method is, for whoever wants the network that won."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from contrabench.errors import RequestError
from contrabench.progress import Reporter
from contrabench.references import NOT_COMPARED, REFERENCE
from contrabench.statistics.aggregate import macro_mean, ranking_rates
from contrabench.store.results import read_rows
from contrabench.store.rows import labels_of
from contrabench.text import some

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Winner:
    """The best of some methods at one label budget: its name, mean Dice, and one of its runs.

    `scratch` is the mean Dice of training from scratch there, NaN where that was not run.
    """

    variant: str
    dice: float
    labels: str
    dataset: str
    run: str
    others: int
    scratch: float


def winner_of(store: Path, dataset: str | None, labels: str | None, reporter: Reporter) -> Winner:
    """The method with the best mean Dice, of those that share a protocol with most runs.

    References and controls are not among them, nor are methods with fewer runs than others: of a
    study that was stopped, means over other patients. Of both rates of fine-tuning the uniform one
    counts. `labels` is a budget as tables write it, by default the one of fewest labels.
    RequestError if nothing fits.
    """
    rows, _ = read_rows(store, reporter=reporter)
    if dataset is not None:
        rows = rows[rows["dataset"] == dataset]
    floor = rows[rows["variant"] == REFERENCE]
    rows = rows[~rows["family"].isin(NOT_COMPARED)]
    rows = rows[rows["rates"].isin(["", ranking_rates(rows)])]
    if rows.empty:
        where = f" on '{dataset}'" if dataset else ""
        raise RequestError(f"{store} holds no finished run of a method{where}; run a study first")
    protocol = rows.groupby("protocol", observed=True)["run"].nunique().idxmax()
    rows = rows[rows["protocol"] == protocol]
    known = labels_of(rows)
    wanted = known[0] if labels is None else labels
    if wanted not in known:
        raise RequestError(
            f"{store} has no run with labels of {wanted}; there are {some(known)}: name one with "
            "--labels"
        )
    floor = floor[(floor["protocol"] == protocol) & (floor["labels"] == wanted)]
    scratch = macro_mean(floor, "dice") if len(floor) else math.nan
    return _best(rows[rows["labels"] == wanted], wanted, scratch)


def _best(rows: pd.DataFrame, labels: str, scratch: float) -> Winner:
    parts = {str(name): part for name, part in rows.groupby("variant", observed=True)}
    runs = {name: part["run"].nunique() for name, part in parts.items()}
    parts = {name: part for name, part in parts.items() if runs[name] == max(runs.values())}
    means = {name: macro_mean(part, "dice") for name, part in parts.items()}
    name = max(means, key=lambda one: (means[one], one))
    first = parts[name].iloc[0]
    others = len(means) - 1
    return Winner(
        name, means[name], labels, str(first["dataset"]), str(first["run"]), others, scratch
    )
