"""Every pair of methods, and how far the order of methods hangs on patients and schemes."""

from __future__ import annotations

from typing import Any

import numpy as np

from contrabench.contracts.report import Column, Table, number_text
from contrabench.report.board import NAMES, asd_heading, make_table, names_of
from contrabench.report.comparison import Comparison
from contrabench.statistics.ranking import (
    SCHEMES,
    agreement,
    rank_methods,
    rank_stability,
    scheme_ranks,
)
from contrabench.text import counted

PAIRS = "pairs"
STABILITY = "rank stability"
RESAMPLED = ("Resampled 95% low", "Resampled 95% high")
"""The columns of the range of a rank over resampled patients."""
_DIFFERENCE = "Dice of the row minus Dice of the column"
_ADJUSTED = "Adjusted p of the pair"
_RANKS = "Rank stability"


def pair_table(compared: Comparison) -> Table | None:
    """The paired matrix: difference and adjusted p of every two methods.

    Args:
        compared: the entries of one label budget.

    Returns:
        None where fewer than two methods can be compared.
    """
    pairs = compared.pairs
    if pairs is None:
        return None
    labels = [compared.entries[place].label for place in compared.members]
    differences = {label: f"minus {label}" for label in labels}
    ps = {label: f"p with {label}" for label in labels}
    columns = [
        *NAMES,
        *(Column(name, "difference", _DIFFERENCE, label) for label, name in differences.items()),
        *(Column(name, "p", _ADJUSTED, label) for label, name in ps.items()),
    ]
    rows = []
    for place, label in zip(compared.members, labels, strict=True):
        minus, p = pairs.difference.loc[label], pairs.adjusted.loc[label]
        cells = dict[str, Any](names_of(compared.entries[place]))
        for other in labels:
            if other != label:
                cells |= {differences[other]: minus[other], ps[other]: p[other]}
        rows.append(cells)
    notes = (
        f"Paired over {counted(len(pairs.scores), 'patient')}; p of the sign-flip test, Holm over "
        f"{counted(pairs.pairs, 'pair')}.",
    )
    return make_table(PAIRS, columns, rows, notes=notes, detail=True)


def stability_table(compared: Comparison, distance: str) -> Table | None:
    """Ranks under each scheme, in Dice and ASD, and over resampled patients.

    Args:
        compared: the entries of one label budget.
        distance: the column of the ASD.

    Returns:
        None where fewer than two methods can be compared.
    """
    if compared.pairs is None:
        return None
    asd = asd_heading(distance)
    dice = compared.scores("dice")
    ranks = scheme_ranks(dice)
    ranks[asd] = rank_methods(compared.scores(distance), higher_is_better=False)
    stability = rank_stability(dice)
    names = {scheme: f"Dice {scheme}" for scheme in SCHEMES} | {asd: f"{asd} mean score"}
    columns = [
        *NAMES,
        *(Column(name, "rank", _RANKS) for name in names.values()),
        *(Column(name, "rank", _RANKS) for name in RESAMPLED),
        Column("First places", "share", _RANKS),
    ]
    rows = []
    for place in compared.members:
        entry = compared.entries[place]
        own, moved = ranks.loc[entry.label], stability.table.loc[entry.label]
        rows.append({
            **names_of(entry),
            **{name: own[scheme] for scheme, name in names.items()},
            **dict(zip(RESAMPLED, (moved["low"], moved["high"]), strict=True)),
            "First places": moved["first"],
        })  # fmt: skip
    taus = agreement(ranks)[SCHEMES[0]].to_dict()
    against = ", ".join(
        f"{name} {number_text('share', taus[scheme])}"
        for scheme, name in names.items()
        if scheme != SCHEMES[0]
    )
    known = stability.tau[~np.isnan(stability.tau)]
    middle = number_text("share", float(np.median(known)) if known.size else float("nan"))
    notes = (
        f"Kendall's tau with the ranking by mean Dice: {against}; over resampled patients, median "
        f"{middle}.",
        "Resampling shows how far the order hangs on single patients. It is no confidence interval "
        "of a rank: the best and worst rank of the leaderboard are.",
    )
    return make_table(STABILITY, columns, rows, notes=notes, detail=True)
