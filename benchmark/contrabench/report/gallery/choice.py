"""Which patients are shown, and by which runs: from the rows alone, the same for all methods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from contrabench.report.entries import Entry, reference_of
from contrabench.statistics.aggregate import applicable

_DIGITS = 12
"""Means that agree so far are a tie: the rest is rounding."""


@dataclass(frozen=True)
class Pick:
    """The run that speaks for a method, and its Dice in the case; NaN where none applies."""

    entry: Entry
    run: str
    dice: float


@dataclass(frozen=True)
class Choice:
    """A patient to show.

    Attributes:
        word: its place among the patients.
        patient: its name.
        case: the first of its cases by name.
        dice: of the patient, mean over the methods that are compared.
        picks: one run for each method that was tested on the case.
    """

    word: str
    patient: str
    case: str
    dice: float
    picks: tuple[Pick, ...]


def choose(entries: Sequence[Entry]) -> tuple[Choice, ...]:
    """Chooses the worst, the median and the best patient.

    Patients are ordered by their mean Dice over the methods that were tested on all of them
    (those of the reference, where there is one); full supervision has no say. Of an even
    number the lower middle one is the median; patients with equal means go by name.

    Args:
        entries: the methods of one label budget, in the order of the leaderboard.

    Returns:
        Fewer than three where there are fewer patients; none where no method was tested on
        all of them.
    """
    means = _patient_means(entries)
    order = sorted(means.index, key=lambda patient: (means[patient], patient))
    return tuple(_choice(word, order[place], means, entries) for word, place in _places(len(order)))


def _patient_means(entries: Sequence[Entry]) -> pd.Series[float]:
    rivals = [entry for entry in entries if not entry.is_ceiling]
    if not rivals:
        return pd.Series(dtype=float)
    reference = reference_of(rivals)
    wanted = [reference] if reference is not None else rivals
    patients = sorted({patient for entry in wanted for patient in entry.scores.index})
    scores = [entry.scores["dice"] for entry in rivals if sorted(entry.scores.index) == patients]
    if not scores:
        return pd.Series(dtype=float)
    return pd.concat(scores, axis="columns").mean(axis="columns").dropna().round(_DIGITS)


def _places(count: int) -> list[tuple[str, int]]:
    if count == 1:
        return [("only patient", 0)]
    places = [("worst patient", 0), ("median patient", (count - 1) // 2), ("best patient", -1)]
    return [places[0], places[2]] if count == 2 else places[:count]


def _choice(word: str, patient: str, means: pd.Series[float], entries: Sequence[Entry]) -> Choice:
    tested = [entry.rows[entry.rows["patient"] == patient] for entry in entries]
    case = min(str(name) for rows in tested for name in rows["case"].unique())
    picks = [
        _pick(entry, rows[rows["case"] == case])
        for entry, rows in zip(entries, tested, strict=True)
        if (rows["case"] == case).any()
    ]
    return Choice(word, patient, case, float(means[patient]), tuple(picks))


def _pick(entry: Entry, rows: pd.DataFrame) -> Pick:
    """The first of the runs by draw, seed and key."""
    runs = zip(rows["draw"], rows["seed"], rows["run"].astype(str), strict=True)
    *_, run = min(runs)
    scores = applicable(rows[rows["run"] == run], ["dice"])["dice"]
    return Pick(entry, run, float(scores.mean()) if len(scores) else math.nan)
