"""How finely a study measures: where differences to scratch vary, and what could be seen.

    python docs/scripts/measuring.py STORE_OR_ARCHIVE [--protocol HASH] [--labels "2 patients"]

Prints Markdown. The first table has the sources of variance of each method's difference to
scratch, as standard deviations in Dice points; the second the least difference that a study of
so many patients, folds and draws separates with a power of 80 %, and the third what a run costs.
"""

from __future__ import annotations

import argparse
import math
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from contrabench.exchange.reading import results_at
from contrabench.references import NOT_COMPARED, REFERENCE
from contrabench.statistics.aggregate import differences, observations
from contrabench.statistics.variance import VarianceSplit, variance_split

SOURCES = ("patients", "draws", "seeds", "remainder", "training")
SEEN = 2.8
"""A difference of so many standard errors is separated at the level of 5 % in 80 % of studies."""


def points(variance: float) -> str:
    """A component as a standard deviation in Dice points; a negative estimate is zero."""
    return "–" if math.isnan(variance) else f"{100 * math.sqrt(max(0.0, variance)):.1f}"


def splits_of(rows: pd.DataFrame) -> dict[str, VarianceSplit]:
    """The components of every method's difference to scratch, by method."""
    scratch = observations(rows[rows["variant"] == REFERENCE], "dice")
    rivals = rows[~rows["family"].isin(NOT_COMPARED) & (rows["rates"] != "gentle")]
    return {
        str(name): variance_split(differences(observations(part, "dice"), scratch))
        for name, part in rivals.groupby("variant", observed=True)
    }


def least(splits: dict[str, VarianceSplit], patients: int, folds: int, draws: int) -> float:
    """The difference that is separated, in Dice points, for the median method."""
    errors = [each.mean_variance(patients, folds, draws, 1) ** 0.5 for each in splits.values()]
    return float(100 * SEEN * np.median(errors))


def main() -> None:
    """Prints the three tables of each label budget."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path)
    parser.add_argument("--protocol", help="of the rows; by default the one with most runs")
    parser.add_argument("--labels", help="one label budget alone, as tables write it")
    asked = parser.parse_args()
    found = results_at(asked.store)
    rows = found.rows
    chosen = asked.protocol or rows.groupby("protocol", observed=True)["run"].nunique().idxmax()
    rows = rows[rows["protocol"].astype(str).str.startswith(str(chosen))]
    say = sys.stdout.write
    for labels, part in rows.groupby("labels", observed=True):
        if asked.labels not in (None, labels) or REFERENCE not in set(part["variant"]):
            continue
        splits = splits_of(part)
        if not splits:
            continue
        say(f"\n{labels}: standard deviation of the difference to {REFERENCE}, Dice points\n\n")
        say(f"| method | {' | '.join(SOURCES)} |\n|---|{'---:|' * len(SOURCES)}\n")
        for name, split in splits.items():
            say(f"| {name} | {' | '.join(points(getattr(split, one)) for one in SOURCES)} |\n")
        medians = (np.median([getattr(split, one) for split in splits.values()]) for one in SOURCES)
        say(f"| median | {' | '.join(map(points, medians))} |\n")
        sizes = (20, 50, 100, 400)
        heads = " | ".join(f"{patients} patients" for patients in sizes)
        say(f"\n| folds x draws | {heads} |\n|---|{'---:|' * len(sizes)}\n")
        for folds, draws in product((1, 3, 5, 10), (1, 2, 3)):
            values = (least(splits, patients, folds, draws) for patients in sizes)
            say(f"| {folds} x {draws} | {' | '.join(f'{value:.1f}' for value in values)} |\n")
        runs = found.runs.loc[part["run"].astype(str).unique()]
        seconds = runs[["pretrain_seconds", "finetune_seconds", "evaluate_seconds"]].astype(float)
        seconds["variant"] = part.groupby("run", observed=True)["variant"].first().astype(str)
        say("\n| minutes a run | pre-training | fine-tuning | evaluation |\n|---|---:|---:|---:|\n")
        for name, each in seconds.groupby("variant"):
            minutes = each.drop(columns="variant").mean() / 60
            say(f"| {name} | {' | '.join(f'{one:.1f}' for one in minutes)} |\n")


if __name__ == "__main__":
    main()
