"""The gallery of one label budget: chosen by the rows, drawn from the store."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from contrabench.contracts.gallery import Contours, Drawing, Exhibit, Gallery
from contrabench.report.gallery.canvas import Canvas, lay_canvas
from contrabench.report.gallery.choice import Choice, Pick, choose
from contrabench.report.gallery.stored import NO_IMAGE, NO_PREDICTION, LostError, Shelf

if TYPE_CHECKING:
    import pandas as pd

    from contrabench.report.efficiency import LabelBudget

_ADVICE = {
    NO_PREDICTION: "The predictions (`stages/evaluate`) are in the store in which the runs were "
    "made: report on that one.",
    NO_IMAGE: "Merging leaves images behind: copy the folder `prepared` of each store in which "
    "the runs were made into this one.",
}


def make_gallery(store: Path, budget: LabelBudget, runs: pd.DataFrame) -> Gallery:
    """Draws the worst, the median and the best patient for every method.

    Args:
        store: the folder of the runs.
        budget: the methods at one label budget.
        runs: facts of the runs by key; its column `evaluate` holds the key of the stage
            that predicted, "" where unknown.

    Returns:
        The same for the same store. What is missing or damaged is left out, and a note
        counts it.

    Raises:
        RequestError: if a row of a chosen patient has no Dice.
    """
    shelf = Shelf(store, runs)
    known = budget.distance == "asd_mm"
    lost: Counter[str] = Counter()
    total = 0
    structures: tuple[str, ...] = ()
    exhibits = []
    for choice in choose(budget.entries):
        total += len(choice.picks)
        canvas, drawings = _draw(shelf, choice, known, lost)
        if canvas is not None:
            structures = canvas.structures
            exhibits.append(_exhibit(choice, canvas, drawings))
    return Gallery(
        structures=structures,
        unit="mm" if known else "voxels",
        exhibits=tuple(exhibits),
        notes=tuple(_notes(total, lost, known)),
    )


def _draw(
    shelf: Shelf, choice: Choice, known: bool, lost: Counter[str]
) -> tuple[Canvas | None, list[Drawing]]:
    """Draws one patient; counts in `lost` what cannot be drawn, and why."""
    canvas = None
    drawings = []
    for pick in choice.picks:
        try:
            prediction = shelf.prediction(pick.run, choice.case)
            if canvas is None:
                canvas = lay_canvas(shelf, prediction, known)
            drawings.append(_drawing(pick, canvas.contours(prediction)))
        except LostError as reason:
            lost[str(reason)] += 1
    return canvas, drawings


def _drawing(pick: Pick, contours: tuple[Contours, ...]) -> Drawing:
    entry = pick.entry
    return Drawing(
        method=entry.name,
        deviations=entry.deviations,
        family=str(entry.rows["family"].iloc[0]),
        run=pick.run,
        dice=pick.dice,
        contours=contours,
    )


def _exhibit(choice: Choice, canvas: Canvas, drawings: list[Drawing]) -> Exhibit:
    return Exhibit(
        word=choice.word,
        patient=choice.patient,
        case=choice.case,
        dice=choice.dice,
        planes=canvas.planes,
        drawings=tuple(drawings),
    )


def _notes(total: int, lost: Counter[str], known: bool) -> list[str]:
    if not total:
        return ["There is no gallery: no method was tested on every patient."]
    notes = [_missing(total, lost)] if lost else []
    if lost.total() == total:
        return notes
    if not known:
        notes.append(
            "The voxel spacing of this dataset is unknown: voxels are drawn as cubes, which "
            "may distort the anatomy."
        )
    return notes


def _missing(total: int, lost: Counter[str]) -> str:
    """What could not be drawn, why, and what helps."""
    reasons = next(iter(lost))
    if len(lost) > 1:
        reasons = "; ".join(f"{reason} ({number})" for reason, number in sorted(lost.items()))
    what = f"{lost.total()} of {total} pictures could not be drawn"
    if lost.total() == total:
        what = f"None of the {total} pictures could be drawn"
    if total == 1:
        what = "The only picture could not be drawn"
    advice = [words for reason, words in _ADVICE.items() if reason in lost]
    return " ".join([f"{what}: {reasons}.", *advice])
