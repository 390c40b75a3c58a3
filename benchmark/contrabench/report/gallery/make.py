"""The gallery of one label budget: which patients and runs, from the rows alone; and its making."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from contrabench.contracts.gallery import Drawing, Exhibit, Gallery
from contrabench.report.entries import Entry, LabelBudget, reference_of
from contrabench.report.gallery.planes import Canvas
from contrabench.report.gallery.stored import NO_IMAGE, NO_PREDICTION, LostError, Shelf
from contrabench.statistics.aggregate import applicable

_DIGITS = 12
"""Means that agree so far are a tie: the rest is rounding."""
_ADVICE = {
    NO_PREDICTION: "The predictions (`stages/evaluate`) are in the store in which the runs were "
    "made: report on that one.",
    NO_IMAGE: "Merging leaves images behind: copy the folder `stages/prepare` of each store in "
    "which the runs were made into this one.",
}


def make_gallery(store: Path, budget: LabelBudget, runs: pd.DataFrame) -> Gallery:
    """Draws the worst, the median and the best patient for every method.

    The same for the same store. What is missing or damaged is left out, and a note counts it.
    The column `evaluate` of `runs`, by key, holds the key of the stage that predicted, "" where
    unknown. RequestError if a row of a chosen patient has no Dice.
    """
    shelf = Shelf(store, runs)
    known = budget.distance == "asd_mm"
    lost: Counter[str] = Counter()
    structures: tuple[str, ...] = ()
    chosen, exhibits = choose(budget.entries), []
    for one in chosen:
        canvas, drawings = None, []
        for drawing in one.drawings:
            try:
                prediction = shelf.prediction(drawing.run, one.case)
                canvas = canvas or Canvas(*shelf.scan(prediction), prediction.structures, known)
                drawings.append(replace(drawing, contours=canvas.contours(prediction)))
            except LostError as reason:
                lost[str(reason)] += 1
        if canvas is not None:
            structures = canvas.structures
            exhibits.append(replace(one, planes=canvas.planes, drawings=tuple(drawings)))
    notes = _notes(sum(len(one.drawings) for one in chosen), lost, known)
    return Gallery(structures, tuple(exhibits), tuple(notes))


def choose(entries: Sequence[Entry]) -> tuple[Exhibit, ...]:
    """Chooses the worst, the median and the best patient, and one run for each method.

    Patients are ordered by their mean Dice over the methods that were tested on all of them
    (those of the reference, where there is one); full supervision has no say. Of an even
    number the lower middle one is the median; patients with equal means go by name.

    Takes the methods of one label budget in the order of the leaderboard. Gives exhibits in which
    nothing is drawn yet: fewer than three where there are fewer patients, none where no method
    was tested on all of them.
    """
    means = _patient_means(entries)
    order = sorted(means.index, key=lambda patient: (means[patient], patient))
    return tuple(
        _exhibit(word, order[place], means, entries) for word, place in _places(len(order))
    )


def _places(count: int) -> list[tuple[str, int]]:
    if count < 2:
        return [("only patient", 0)][:count]
    places = [("worst patient", 0), ("median patient", (count - 1) // 2), ("best patient", -1)]
    return places[::2] if count == 2 else places


def _patient_means(entries: Sequence[Entry]) -> pd.Series[float]:
    rivals = [entry for entry in entries if not entry.is_ceiling]
    reference = reference_of(rivals)
    wanted = rivals if reference is None else [reference]
    patients = sorted({patient for entry in wanted for patient in entry.scores.index})
    scores = [entry.scores["dice"] for entry in rivals if sorted(entry.scores.index) == patients]
    if not scores:
        return pd.Series(dtype=float)
    return pd.concat(scores, axis="columns").mean(axis="columns").dropna().round(_DIGITS)


def _exhibit(word: str, patient: str, means: pd.Series[float], entries: Sequence[Entry]) -> Exhibit:
    tested = [entry.rows[entry.rows["patient"] == patient] for entry in entries]
    case = min(str(name) for rows in tested for name in rows["case"].unique())
    drawings = tuple(
        _drawing(entry, rows[rows["case"] == case])
        for entry, rows in zip(entries, tested, strict=True)
        if (rows["case"] == case).any()
    )
    return Exhibit(word, patient, case, float(means[patient]), (), drawings)


def _drawing(entry: Entry, rows: pd.DataFrame) -> Drawing:
    """Of the runs the first by draw, seed and key speaks for a method."""
    *_, run = min(zip(rows["draw"], rows["seed"], rows["run"].astype(str), strict=True))
    scores = applicable(rows[rows["run"] == run], ["dice"])["dice"]
    dice = float(scores.mean()) if len(scores) else math.nan
    return Drawing(entry.name, entry.deviations, entry.family, run, dice)


def _notes(total: int, lost: Counter[str], known: bool) -> list[str]:
    """What could not be drawn, why, and what helps; and how to read the rest."""
    if not total:
        return ["There is no gallery: no method was tested on every patient."]
    notes = []
    if lost:
        what = f"{lost.total()} of {total} pictures could not be drawn"
        if lost.total() == total:
            what = f"None of the {total} pictures could be drawn"
        if total == 1:
            what = "The only picture could not be drawn"
        reasons = next(iter(lost))
        if len(lost) > 1:
            reasons = "; ".join(f"{reason} ({number})" for reason, number in sorted(lost.items()))
        advice = [words for reason, words in _ADVICE.items() if reason in lost]
        notes.append(" ".join([f"{what}: {reasons}.", *advice]))
    if not known and lost.total() < total:
        notes.append(
            "The voxel spacing of this dataset is unknown: voxels are drawn as cubes, which "
            "may distort the anatomy."
        )
    return notes
