"""The tables with one row per method: the leaderboard, its structures and its runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from contrabench.contracts.report import NAME, NONE, Column, Kind, Table, number_text
from contrabench.references import REFERENCE
from contrabench.report.comparison import (
    AgainstReference,
    Comparison,
    needed,
    shared_variance,
)
from contrabench.report.entries import Entry
from contrabench.statistics.aggregate import structure_means
from contrabench.statistics.design import MOST
from contrabench.statistics.intervals import mean_interval
from contrabench.statistics.ranking import (
    SCHEMES,
    agreement,
    rank_methods,
    rank_stability,
    scheme_ranks,
)
from contrabench.statistics.signflip import LEVEL
from contrabench.statistics.variance import VarianceSplit
from contrabench.text import counted

LEADERBOARD = "leaderboard"
STRUCTURES = "structures"
NAMES = (Column("Method", "text", NAME), Column("Deviations", "text", NAME))

_RESULT, _BOUNDS, _TESTS, _RUNS = (
    "Results", "Intervals and ranks", f"Dice against {REFERENCE}", "Runs",
)  # fmt: skip


def asd_heading(distance: str) -> str:
    """How a distance column of the rows is called in a table."""
    return "ASD mm" if distance == "asd_mm" else "ASD voxel"


def names_of(entry: Entry) -> dict[str, str]:
    """The cells of `NAMES`."""
    return {"Method": entry.name, "Deviations": entry.deviations or NONE}


def make_table(
    name: str, columns: Sequence[Column], rows: Sequence[Mapping[str, Any]], **more: Any
) -> Table:
    """A table of rows given as mappings from column to cell."""
    data = pd.DataFrame(list(rows), columns=[column.name for column in columns])
    return Table(name, tuple(columns), data, **more)


def board(compared: Comparison, distance: str) -> Table:
    """The leaderboard: means, differences to the reference, ranks, tests.

    Args:
        compared: the entries of one label budget.
        distance: the column of their ASD, `asd_mm` or `asd_voxel`.
    """
    asd = asd_heading(distance)
    columns = (
        *NAMES,
        Column("Dice", "score", _RESULT),
        Column(asd, "distance", _RESULT),
        Column(f"Dice vs {REFERENCE}", "difference", _RESULT),
        Column("95% low", "difference", _RESULT),
        Column("95% high", "difference", _RESULT),
        Column("Adjusted p", "p", _RESULT),
        Column("Retrained p", "p", _RESULT),
        Column("Group", "text", _RESULT),
        Column("Dice 95% low", "score", _BOUNDS),
        Column("Dice 95% high", "score", _BOUNDS),
        Column(f"{asd} 95% low", "distance", _BOUNDS),
        Column(f"{asd} 95% high", "distance", _BOUNDS),
        Column("Rank", "rank", _BOUNDS),
        Column("Best rank", "count", _BOUNDS),
        Column("Worst rank", "count", _BOUNDS),
        Column("p", "p", _TESTS),
        Column("Smallest p", "p", _TESTS),
        Column("Wins on a patient", "share", _TESTS),
        Column("Wins 95% low", "share", _TESTS),
        Column("Wins 95% high", "share", _TESTS),
        Column("Patients needed", "text", _TESTS),
        Column("Draws needed", "text", _TESTS),
    )
    ranks = {}
    if compared.pairs is not None:
        ranks = dict(zip(compared.members, rank_methods(compared.scores("dice")), strict=True))
    rows = []
    for place, entry in enumerate(compared.entries):
        best, worst = compared.limits.get(place, (math.nan, math.nan))
        one = compared.against.get(place)
        rows.append({
            **names_of(entry),
            **_means(entry, distance),
            **(_tests(one) if one else {}),
            "Group": compared.letters.get(place),
            "Rank": ranks.get(place, math.nan),
            "Best rank": best,
            "Worst rank": worst,
        })  # fmt: skip
    return make_table(LEADERBOARD, columns, rows, leader=compared.leader)


def _means(entry: Entry, distance: str) -> dict[str, float]:
    asd = asd_heading(distance)
    dice_low, dice_high = mean_interval(entry.scores["dice"], lowest=0, highest=1)
    asd_low, asd_high = mean_interval(entry.scores[distance], lowest=0)
    return {
        "Dice": entry.dice,
        "Dice 95% low": dice_low,
        "Dice 95% high": dice_high,
        asd: float(entry.scores[distance].mean()),
        f"{asd} 95% low": asd_low,
        f"{asd} 95% high": asd_high,
    }


def _tests(one: AgainstReference) -> dict[str, Any]:
    return {
        f"Dice vs {REFERENCE}": one.found.mean,
        "95% low": one.found.low,
        "95% high": one.found.high,
        "p": one.found.p,
        "Smallest p": one.found.smallest_p,
        "Adjusted p": one.adjusted,
        "Wins on a patient": one.wins.probability,
        "Wins 95% low": one.wins.low,
        "Wins 95% high": one.wins.high,
        "Retrained p": one.retrained,
        **needed_cells(one.found.mean, one.separated, one.patients_needed, one.draws_needed),
    }


def needed_cells(
    difference: float, separated: bool, patients: float, draws: float
) -> dict[str, str | None]:
    """The cells on how many patients or label draws would separate two methods.

    Args:
        difference: between the two.
        separated: whether these patients did.
        patients: that would do; infinite where no number up to `MOST` would, NaN if unknown.
        draws: likewise.
    """
    if separated:
        return {"Patients needed": "separated"}
    return {
        "Patients needed": _needed(patients, f"over {MOST}" if difference else "no number"),
        "Draws needed": _needed(draws, "no number"),
    }


def _needed(number: float, none_would_do: str) -> str | None:
    if math.isnan(number):
        return None
    return none_would_do if math.isinf(number) else str(int(number))


def by_structure(entries: Sequence[Entry], structures: Sequence[str], distance: str) -> Table:
    """The means of each structure.

    Args:
        entries: the rows of the table.
        structures: in the order to show them.
        distance: the column of the ASD.
    """
    metrics: dict[str, tuple[str, Kind]] = {
        "Dice": ("dice", "score"),
        asd_heading(distance): (distance, "distance"),
    }
    columns = [
        Column(f"{name}: {metric}", kind, f"{metric} by structure", name, metric)
        for metric, (_, kind) in metrics.items()
        for name in structures
    ]
    rows = []
    for entry in entries:
        means = structure_means(entry.rows, ["dice", distance])
        cells = {
            f"{name}: {metric}": value
            for metric, (column, _) in metrics.items()
            for name, value in means[column].items()
        }
        rows.append(names_of(entry) | cells)
    return make_table(STRUCTURES, (*NAMES, *columns), rows)


def how_run(entries: Sequence[Entry]) -> Table:
    """How each row was made: family, fidelity, labels, patients and runs."""
    columns = (
        Column("Family", "text", _RUNS),
        Column("Fidelity", "text", _RUNS),
        Column("Labelled", "text", _RUNS),
        Column("Patients", "count", _RUNS),
        Column("Folds", "text", _RUNS),
        Column("Draws", "count", _RUNS),
        Column("Seeds", "count", _RUNS),
    )
    rows = [
        {
            **names_of(entry),
            "Family": entry.rows["family"].iloc[0],
            "Fidelity": entry.rows["fidelity"].iloc[0],
            "Labelled": labelled(entry.rows),
            "Patients": len(entry.scores),
            "Folds": entry.folds,
            "Draws": entry.rows["draw"].nunique(),
            "Seeds": entry.rows["seed"].nunique(),
        }
        for entry in entries
    ]
    return make_table("runs", (*NAMES, *columns), rows)


def labelled(rows: pd.DataFrame) -> str:
    """Labelled of training patients, e.g. `2 of 16`."""
    return f"{_range(rows['labelled_patients'])} of {_range(rows['train_patients'])}"


def _range(counts: pd.Series[int]) -> str:
    low, high = int(counts.min()), int(counts.max())
    return str(low) if low == high else f"{low} to {high}"


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
    ranks[asd] = rank_methods(-compared.scores(distance))
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


def next_method_table(compared: Comparison) -> Table | None:
    """The difference of each method to the next lower one, and what would separate the two.

    Args:
        compared: the entries of one label budget.

    Returns:
        None where fewer than two methods can be compared.
    """
    if compared.pairs is None:
        return None
    part = "Against the next of the order"
    columns = (
        *NAMES,
        Column("Next", "text", part),
        Column("Dice minus next", "difference", part),
        Column("Adjusted p", "p", part),
        Column("Patients needed", "text", part),
        Column("Draws needed", "text", part),
    )
    differences, adjusted = (
        matrix.to_numpy(dtype=float)
        for matrix in (compared.pairs.difference, compared.pairs.adjusted)
    )
    rows = []
    for number, (place, below) in enumerate(pairwise(compared.members)):
        entry, other = compared.paired[place], compared.paired[below]
        p, gap = float(adjusted[number, number + 1]), float(differences[number, number + 1])
        wanted = (math.nan, math.nan)
        if p > LEVEL:
            split = shared_variance(entry, other)
            wanted = needed(entry, other, split, compared.pairs.pairs)
        rows.append({
            **names_of(entry),
            "Next": other.label,
            "Dice minus next": gap,
            "Adjusted p": p,
            **needed_cells(gap, p <= LEVEL, *wanted),
        })  # fmt: skip
    notes = (
        "What would separate two neighbours with 80% power, Holm over "
        f"{counted(compared.pairs.pairs, 'pair')}, were the difference seen the true one and "
        "training again moved nothing.",
    )
    return make_table("neighbours", columns, rows, notes=notes, detail=True)


_SOURCES = {
    "Patients": "patients",
    "Label draws": "draws",
    "Seeds": "seeds",
    "Runs on patients": "remainder",
    "Training": "training",
}


def variance_table(compared: Comparison) -> Table | None:
    """Standard deviations of the difference in Dice, by source.

    Args:
        compared: the entries of one label budget.

    Returns:
        None where nothing can be compared with the reference.
    """
    known = {place: one.split for place, one in compared.against.items() if one.split is not None}
    if not known:
        return None
    part = f"Standard deviation of Dice minus {REFERENCE}"
    columns = (*NAMES, *(Column(name, "score", part) for name in _SOURCES))
    rows = [
        {**names_of(compared.entries[place]), **_deviations(known[place])}
        for place in sorted(known)
    ]
    notes = (
        "More patients average out the first source, more label draws the second, more seeds the "
        "third; none helps with another. A source that was not repeated is part of the others, and "
        "its own column empty.",
        "Training is what the patients of a fold share because one network scored them: draws, "
        "seeds and training patients together, estimated between folds.",
    )
    return make_table("variance", columns, rows, notes=notes, detail=True)


def _deviations(split: VarianceSplit) -> dict[str, Any]:
    """Unbiased estimates of a variance near zero can be negative, and are zero here."""
    parts = {name: float(getattr(split, source)) for name, source in _SOURCES.items()}
    return {
        name: math.nan if math.isnan(value) else math.sqrt(max(0.0, value))
        for name, value in parts.items()
    }
