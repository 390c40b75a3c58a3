"""The tables of one label budget: what each method scored, and what its patients allow to say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from contrabench.contracts.report import NAME, NONE, Column, Kind, Table, number_text
from contrabench.references import REFERENCE
from contrabench.report.comparison import (
    Against,
    Comparison,
    all_against,
    needed,
    shared_variance,
)
from contrabench.report.entries import Entry, LabelBudget, labelled, reference_of
from contrabench.report.noted import OUTSIDE, noted
from contrabench.statistics.aggregate import structure_means
from contrabench.statistics.design import MOST
from contrabench.statistics.ranking import BY_SCORE, SCHEMES, kendall, rank_methods, rank_stability
from contrabench.statistics.signflip import LEVEL
from contrabench.text import counted

LEADERBOARD = "leaderboard"
STRUCTURES = "structures"
PAIRS = "pairs"
STABILITY = "rank stability"
NAMES = (Column("Method", "text", NAME), Column("Deviations", "text", NAME))
RESAMPLED = ("Resampled 95% low", "Resampled 95% high")
"""The columns of the range of a rank over resampled patients."""

_ASIDE: Mapping[Kind, tuple[str, ...]] = {
    "score": ("Dice",),
    "difference": (f"Dice vs {REFERENCE}", "95% low", "95% high"),
}
"""What is told of a method at the rates of fine-tuning that do not rank."""
_INTERVAL = ("95% low", "95% high")
_NEEDED = ("Patients needed", "Draws needed")
_WINS = ("Wins on a patient", "Wins 95% low", "Wins 95% high")
_SOURCES = {
    "Patients": "patients",
    "Label draws": "draws",
    "Seeds": "seeds",
    "Runs on patients": "remainder",
    "Training": "training",
}


def asd_heading(distance: str) -> str:
    """How a distance column of the rows is called in a table."""
    return "ASD mm" if distance == "asd_mm" else "ASD voxel"


def names_of(entry: Entry) -> dict[str, str]:
    """The cells of `NAMES`."""
    return {"Method": entry.name, "Deviations": entry.deviations or NONE}


def columns(part: str, names: Mapping[Kind, Sequence[str]]) -> tuple[Column, ...]:
    """Columns of one part: for each kind their names."""
    return tuple(Column(name, kind, part) for kind, group in names.items() for name in group)


def make_table(
    name: str, columns: Sequence[Column], rows: Sequence[Mapping[str, Any]], **more: Any
) -> Table:
    """A table of rows given as mappings from column to cell."""
    data = pd.DataFrame(list(rows), columns=[column.name for column in columns])
    return Table(name, tuple(columns), data, **more)


def board(
    compared: Comparison,
    distance: str,
    other: str = REFERENCE,
    aside: Mapping[str, Entry] = MappingProxyType({}),
    runs: pd.DataFrame | None = None,
) -> Table:
    """The leaderboard: means, differences to `other` as the table calls it, ranks, tests.

    `aside` are methods at the rates of fine-tuning that do not rank, by their label; `runs` the
    facts of records, which tell of weights from outside.
    """
    asd, against = asd_heading(distance), f"Dice vs {other}"
    result: dict[Kind, Sequence[str]] = {
        "score": ["Dice"], "distance": [asd], "difference": [against, *_INTERVAL],
        "p": ["Adjusted p", "Retrained p"], "text": ["Group"],
    }  # fmt: skip
    bounds: dict[Kind, Sequence[str]] = {
        "score": _ends("Dice"), "distance": _ends(asd), "rank": ["Rank"],
        "count": ["Best rank", "Worst rank"],
    }  # fmt: skip
    tests: dict[Kind, Sequence[str]] = {
        "p": ["p", "Smallest p", "Equivalence p"], "share": _WINS, "text": _NEEDED,
    }  # fmt: skip
    ranks: dict[int, float] = {}
    if compared.pairs is not None:
        ranks = dict(zip(compared.members, rank_methods(compared.scores("dice")), strict=True))
    level = next((str(entry.rows["rates"].iloc[0]) for entry in aside.values()), "")
    beside = {kind: [f"{name}, {level}" for name in names] for kind, names in _ASIDE.items()}
    outside = {entry.label: noted(entry, runs).outside for entry in compared.entries}
    if any(outside.values()):
        result["text"] = ["Group", *OUTSIDE]
    other_rates, rows = _at_other_rates(aside, reference_of(compared.entries)), []
    for place, entry in enumerate(compared.entries):
        one = compared.against.get(place)
        best, worst = compared.limits.get(place, (math.nan, math.nan))
        rows.append({
            **names_of(entry),
            **_mean_cells("Dice", entry.means["dice"]),
            **_mean_cells(asd, entry.means[distance]),
            **(_against(one, against) if one else {}),
            "Group": compared.letters.get(place),
            **outside[entry.label],
            "Rank": ranks.get(place, math.nan),
            "Best rank": best,
            "Worst rank": worst,
            **{f"{name}, {level}": it for name, it in other_rates.get(entry.label, {}).items()},
        })  # fmt: skip
    shown = (
        *NAMES, *columns("Results", result),
        *(columns(f"At {level} rates of fine-tuning", beside) if aside else ()),
        *columns("Intervals and ranks", bounds), *columns(f"Dice against {other}", tests),
    )  # fmt: skip
    return make_table(LEADERBOARD, shown, rows, leader=compared.leader)


def _at_other_rates(
    aside: Mapping[str, Entry], reference: Entry | None
) -> dict[str, dict[str, float]]:
    """Methods at the rates that do not rank, by label, with their differences to the reference."""
    cells = {label: {"Dice": entry.dice} for label, entry in aside.items()}
    pairs = {
        label: (entry, reference)
        for label, entry in aside.items()
        if reference is not None
        and len(entry.scores)
        and reference.scores.index.equals(entry.scores.index)
    }
    found, _ = all_against(dict(enumerate(pairs.values()))) if pairs else ({}, None)
    for place, label in enumerate(pairs):
        one = found[place]
        cells[label] |= dict(zip(_ASIDE["difference"], (one.mean, one.low, one.high), strict=True))
    return cells


def _ends(metric: str) -> tuple[str, str]:
    return f"{metric} 95% low", f"{metric} 95% high"


def _mean_cells(metric: str, numbers: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip((metric, *_ends(metric)), numbers, strict=True))


def _against(one: Against, heading: str) -> dict[str, Any]:
    return {
        heading: one.mean,
        "95% low": one.low,
        "95% high": one.high,
        "p": one.found.p,
        "Smallest p": one.found.smallest_p,
        "Equivalence p": one.equivalence,
        "Adjusted p": one.adjusted,
        "Retrained p": one.retrained,
        **dict(zip(_WINS, one.wins, strict=True)),
        **_needed_cells(one.mean, one.separated, one.patients_needed, one.draws_needed),
    }


def _needed_cells(
    difference: float, separated: bool, patients: float, draws: float
) -> dict[str, str | None]:
    """How many patients or label draws would separate two methods that these did not."""
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


def by_structure(budget: LabelBudget) -> Table:
    """The means of each structure."""
    asd = asd_heading(budget.distance)
    metrics = {"Dice": "dice", asd: budget.distance}
    kinds: dict[str, Kind] = {"Dice": "score", asd: "distance"}
    shown = [
        Column(f"{name}: {metric}", kind, f"{metric} by structure", name, metric)
        for metric, kind in kinds.items()
        for name in dict.fromkeys(budget.rows["structure"])
    ]
    rows = []
    for entry in budget.entries:
        means = structure_means(entry.rows, list(metrics.values()))
        cells = dict[str, Any](names_of(entry))
        for metric, column in metrics.items():
            cells |= {f"{name}: {metric}": value for name, value in means[column].items()}
        rows.append(cells)
    return make_table(STRUCTURES, (*NAMES, *shown), rows)


def how_run(entries: Sequence[Entry], runs: pd.DataFrame | None = None) -> Table:
    """How each row was made: family, fidelity, labels, patients and runs, and what was noted.

    `runs` are the facts of their records; beside the fidelity of a plug-in stands whether the
    conformance kit has passed it.
    """
    kinds: dict[str, Kind] = {
        "Family": "text", "Fidelity": "text", "Labelled": "text", "Patients": "count",
        "Folds": "text", "Draws": "count", "Seeds": "count", "Marks": "text",
    }  # fmt: skip
    rows = []
    for entry in entries:
        known = noted(entry, runs)
        fidelity = str(entry.rows["fidelity"].iloc[0])
        rows.append({
            **names_of(entry),
            "Family": entry.family,
            "Fidelity": ", ".join(filter(None, (fidelity, known.told))),
            "Labelled": labelled(entry.rows),
            "Patients": len(entry.scores),
            "Folds": entry.folds,
            "Draws": entry.rows["draw"].nunique(),
            "Seeds": entry.rows["seed"].nunique(),
            "Marks": "; ".join(known.marks) or NONE,
        })  # fmt: skip
    if all(row["Marks"] == NONE for row in rows):
        del kinds["Marks"]
    shown = (Column(name, kind, "Runs") for name, kind in kinds.items())
    return make_table("runs", (*NAMES, *shown), rows)


def pair_table(compared: Comparison) -> Table | None:
    """The paired matrix: difference and adjusted p of every two methods; None for fewer."""
    pairs = compared.pairs
    if pairs is None:
        return None
    entries = [compared.entries[place] for place in compared.members]
    labels = [entry.label for entry in entries]
    part = "Dice of the row minus Dice of the column"
    shown: list[tuple[str, Kind, str, pd.DataFrame]] = [
        ("minus", "difference", part, pairs.difference),
        ("p with", "p", "Adjusted p of the pair", pairs.adjusted),
    ]
    tests = "adjusted p of the sign-flip test"
    if pairs.trained.decides:
        shown.insert(1, ("retrained p with", "p", "Retrained p of the pair", pairs.retrained))
        tests = f"retrained p decides, beside it the {tests}"
    rows = []
    for entry in entries:
        cells = dict[str, Any](names_of(entry))
        for words, _, _, found in shown:
            row = found.loc[entry.label]
            cells |= {f"{words} {it}": row[it] for it in labels if it != entry.label}
        rows.append(cells)
    heads = (
        Column(f"{words} {label}", kind, caption, label)
        for words, kind, caption, _ in shown
        for label in labels
    )
    notes = (
        f"Paired over {counted(len(pairs.scores), 'patient')}; {tests}, Holm over "
        f"{counted(pairs.pairs, 'pair')}.",
    )
    return make_table(PAIRS, (*NAMES, *heads), rows, notes=notes, detail=True)


def stability_table(compared: Comparison, distance: str) -> Table | None:
    """Ranks under each scheme, in Dice and ASD, and over resampled patients; None for one."""
    if compared.pairs is None:
        return None
    dice = compared.scores("dice")
    pairs = compared.pairs
    ranks = {f"Dice {scheme}": rank_methods(dice, scheme, pairs) for scheme in SCHEMES}
    ranks[f"{asd_heading(distance)} {BY_SCORE}"] = rank_methods(-compared.scores(distance))
    stability, resampled = rank_stability(dice)
    rows = []
    for place in compared.members:
        entry = compared.entries[place]
        moved = stability.loc[entry.label]
        rows.append({
            **names_of(entry),
            **{name: found[entry.label] for name, found in ranks.items()},
            **dict(zip(RESAMPLED, (moved["low"], moved["high"]), strict=True)),
            "First places": moved["first"],
        })  # fmt: skip
    by_mean, *others = np.array(list(ranks.values()))
    taus = zip(list(ranks)[1:], kendall(np.array(others), by_mean), strict=True)
    against = ", ".join(f"{name} {number_text('share', tau)}" for name, tau in taus)
    known = resampled[~np.isnan(resampled)]
    middle = number_text("share", float(np.median(known)) if known.size else math.nan)
    notes = (
        f"Kendall's tau with the ranking by mean Dice: {against}; over resampled patients, median "
        f"{middle}.",
        "Resampling shows how far the order hangs on single patients. It is no confidence interval "
        "of a rank: the best and worst rank of the leaderboard are.",
    )
    kinds: dict[Kind, Sequence[str]] = {"rank": [*ranks, *RESAMPLED], "share": ["First places"]}
    shown = (*NAMES, *columns("Rank stability", kinds))
    return make_table(STABILITY, shown, rows, notes=notes, detail=True)


def next_method_table(compared: Comparison) -> Table | None:
    """The difference of each method to the next lower one, and what would separate the two."""
    pairs = compared.pairs
    if pairs is None:
        return None
    beside = (pairs.difference, pairs.adjusted, pairs.retrained, pairs.deciding)
    gaps, adjusted, retrained, deciding = (np.diag(table, 1).tolist() for table in beside)
    rows = []
    for number, (place, below) in enumerate(pairwise(compared.members)):
        entry, other = compared.paired[place], compared.paired[below]
        separated, wanted = deciding[number] <= LEVEL, (math.nan, math.nan)
        if not separated:
            split = shared_variance(entry, other)
            wanted = needed(entry, other, split, pairs.pairs, pairs.trained)
        rows.append({
            **names_of(entry),
            "Next": other.label,
            "Dice minus next": gaps[number],
            "Adjusted p": adjusted[number],
            "Retrained p": retrained[number],
            **_needed_cells(gaps[number], separated, *wanted),
        })  # fmt: skip
    same = "" if pairs.trained.decides else " and training again moved nothing"
    notes = (
        "What would separate two neighbours with 80% power, Holm over "
        f"{counted(pairs.pairs, 'pair')}, were the difference seen the true one{same}.",
    )
    part = "Against the next of the order"
    kinds: dict[Kind, Sequence[str]] = {
        "text": ["Next"], "difference": ["Dice minus next"], "p": ["Adjusted p", "Retrained p"],
    }  # fmt: skip
    shown = (*NAMES, *columns(part, kinds), *columns(part, {"text": _NEEDED}))
    return make_table("neighbours", shown, rows, notes=notes, detail=True)


def variance_table(compared: Comparison) -> Table | None:
    """Standard deviations of the difference in Dice to the reference, by source; None without."""
    # Unbiased estimates of a variance near zero can be negative, and are zero here.
    rows = [
        names_of(compared.entries[place])
        | {
            name: float(np.sqrt(np.maximum(getattr(one.split, source), 0)))
            for name, source in _SOURCES.items()
        }
        for place, one in sorted(compared.against.items())
        if one.split is not None
    ]
    if not rows:
        return None
    notes = (
        "More patients average out the first source, more label draws the second, more seeds the "
        "third; none helps with another. A source that was not repeated is part of the others, and "
        "its own column empty.",
        "Training is what the patients of a fold share because one network scored them: draws, "
        "seeds and training patients together, estimated between folds.",
    )
    part = f"Standard deviation of Dice minus {REFERENCE}"
    shown = (*NAMES, *columns(part, {"score": list(_SOURCES)}))
    return make_table("variance", shown, rows, notes=notes, detail=True)
