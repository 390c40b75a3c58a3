"""Whether papers order methods as a study here does: Kendall's tau, and the pairs that turn.

    python docs/scripts/published_order.py STORE_OR_ARCHIVE [--protocol HASH]

Prints Markdown. Each published list of ACDC is held against the label budget here that is nearest
to its own, over the methods that both have, three at least. The range is over resampled patients
here; a paper gives one number a method. A pair "turns" where the paper has one method above the
other by at least `MARGIN` points and the 95 % interval of the difference here lies below zero.
"""

from __future__ import annotations

import argparse
import sys
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from contrabench.exchange.reading import results_at
from contrabench.statistics.aggregate import patient_scores
from contrabench.statistics.intervals import RESAMPLES, resampled_counts
from contrabench.statistics.ranking import kendall

MARGIN = 1.0
"""Dice points; less is within what one paper's own repetition moves."""


class Published(NamedTuple):
    """A list of mean Dice in per cent: where it stands, of how many patients, held against."""

    source: str
    labelled: str
    ours: str
    dice: dict[str, float]


PUBLISHED = (
    Published(
        "MACL (JBHI 2026), table I",
        "8 of 80",
        "8 patients",
        {
            **{"scratch": 79.99, "simclr": 78.60, "moco": 81.34, "byol": 77.55},
            **{"gcl": 84.86, "pcl": 84.91},
        },
    ),
    Published(
        "MACL (JBHI 2026), table I",
        "20 of 80",
        "8 patients",
        {
            **{"scratch": 88.99, "simclr": 88.55, "moco": 88.38, "byol": 89.27},
            **{"gcl": 88.55, "pcl": 88.97},
        },
    ),
    Published(
        "MACL (JBHI 2026), table XII",
        "8 of 80",
        "8 patients",
        {"scratch": 77.66, "mean_teacher": 81.11, "bcp": 88.48},
    ),
    Published(
        "ARCO (NeurIPS 2023), table 1",
        "3 of 70",
        "2 patients",
        {"scratch": 51.7, "mean_teacher": 58.3, "global_local": 70.6},
    ),
    Published(
        "ARCO (NeurIPS 2023), table 1",
        "7 of 70",
        "8 patients",
        {"scratch": 79.5, "mean_teacher": 80.1, "global_local": 87.0},
    ),
    Published(
        "lists on the split of SSL4MIS, as OPMatch's repository has them",
        "3 of 70",
        "2 patients",
        {"scratch": 47.83, "unimatch": 84.38, "bcp": 87.59},
    ),
    Published(
        "lists on the split of SSL4MIS, as OPMatch's repository has them",
        "7 of 70",
        "8 patients",
        {"scratch": 79.41, "unimatch": 88.08, "bcp": 88.84},
    ),
)


def scores_at(rows: pd.DataFrame, labels: str) -> pd.DataFrame:
    """Dice points of each patient (row) by each plain method (column) at a label budget."""
    part = rows[(rows["labels"] == labels) & (rows["rates"] != "gentle")]
    return pd.DataFrame(
        {
            str(name): 100 * patient_scores(each, ["dice"])["dice"]
            for name, each in part.groupby("variant", observed=True)
        }
    ).dropna()


def line(published: Published, rows: pd.DataFrame) -> str | None:
    """The list's line of the table, or nothing where three methods are not in common."""
    scores = scores_at(rows, published.ours)
    names = [name for name in published.dice if name in scores]
    if len(names) < 3:
        return None
    values = scores[names].to_numpy()
    means = resampled_counts(len(values), RESAMPLES) @ values / len(values)
    theirs = np.array([published.dice[name] for name in names])
    low, high = np.nanquantile(kendall(means, theirs), [0.025, 0.975])
    (tau,) = kendall(values.mean(axis=0)[None, :], theirs)
    turned = [
        f"{above} over {below}: {published.dice[above] - published.dice[below]:+.1f}, here "
        f"{(scores[above] - scores[below]).mean():+.1f}"
        for (one, above), (other, below) in permutations(enumerate(names), 2)
        if published.dice[above] - published.dice[below] >= MARGIN
        and np.quantile(means[:, one] - means[:, other], 0.975) < 0
    ]
    cells = (
        *(published.source, published.labelled, published.ours, ", ".join(names)),
        *(f"{tau:.2f} ({low:.2f} to {high:.2f})", "; ".join(turned) or "none"),
    )
    return f"| {' | '.join(cells)} |\n"


def main() -> None:
    """Prints the table of all published lists that share three methods with the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path)
    parser.add_argument("--protocol", help="of the rows; by default the one with most runs")
    asked = parser.parse_args()
    rows = results_at(asked.store).rows
    chosen = asked.protocol or rows.groupby("protocol", observed=True)["run"].nunique().idxmax()
    rows = rows[rows["protocol"].astype(str).str.startswith(str(chosen))]
    lines = [found for each in PUBLISHED if (found := line(each, rows))]
    sys.stdout.write(
        "| published | labelled | here | methods in common | Kendall's tau (95 %) | turned |\n"
        f"|---|---|---|---|---:|---|\n{''.join(lines)}"
    )


if __name__ == "__main__":
    main()
