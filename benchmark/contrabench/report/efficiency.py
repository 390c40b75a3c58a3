"""Label efficiency: the scores of each method against the number of labelled patients."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from contrabench.contracts.report import Column, Kind, Section, Table
from contrabench.references import FULL_SUPERVISION, REFERENCE
from contrabench.report.board import NAMES, asd_heading, make_table, names_of
from contrabench.report.entries import Entry, LabelBudget, labelled, labelled_count, reference_of
from contrabench.statistics.intervals import FEWEST
from contrabench.statistics.labels_saved import labels_needed
from contrabench.statistics.retraining import Retraining

_LOW, _HIGH = "95% low", "95% high"
_COVERED = "about 90% at a run variance of a fifth of the patients', about 84% at half of it"
"""From the simulations of `docs/statistics-simulations.md`."""


def efficiency_section(
    shown: Sequence[LabelBudget],
    known: Sequence[LabelBudget],
    name: str,
    trained: Mapping[str, Retraining],
) -> Section:
    """The tables across the label budgets of one protocol, whose sections are titled by `name`.

    A column for each of `shown`, in ascending order; the curve from scratch rests on all `known`.
    `trained` is what training again adds to the comparisons with it at each label budget.
    """
    entries: dict[str, Entry] = {}
    for budget in shown:
        for entry in budget.entries:
            entries.setdefault(entry.label, entry)
    tables = [_curves(shown, list(entries.values()))]
    curve, notes = scratch_curve(known)
    if curve is not None:
        tables.append(_labels_saved(shown, list(entries.values()), curve, trained, notes))
    return Section(
        title=f"{name}, across label budgets",
        protocol=str(shown[0].rows["protocol"].iloc[0]),
        tables=tuple(tables),
        notes=() if curve is not None else notes,
        dataset=str(shown[0].rows["dataset"].iloc[0]),
    )


def _curves(shown: Sequence[LabelBudget], entries: Sequence[Entry]) -> Table:
    """Methods by label budget: Dice with its interval, and ASD."""
    columns, cells = list(NAMES), [dict[str, Any](names_of(entry)) for entry in entries]
    distance = shown[0].distance
    kinds: dict[str, tuple[str, Kind]] = {
        "Dice": ("dice", "score"),
        asd_heading(distance): (distance, "distance"),
    }
    counts = [labelled(budget.rows) for budget in shown]
    told_apart = [
        count if counts.count(count) == 1 else budget.heading
        for budget, count in zip(shown, counts, strict=True)
    ]
    for metric, (column, kind) in kinds.items():
        for budget, patients in zip(shown, told_apart, strict=True):
            mean, *ends = (
                f"{metric}{end} at {budget.heading}" for end in ("", f" {_LOW}", f" {_HIGH}")
            )
            columns += [
                Column(mean, kind, f"{metric} by labelled patients", patients, metric),
                *(
                    Column(name, kind, f"{metric}, 95% intervals", f"{patients} {end}", metric)
                    for name, end in zip(ends, ("low", "high"), strict=True)
                ),
            ]
            for entry, row in zip(entries, cells, strict=True):
                found = budget.find(entry.label)
                if found is not None and column in found.means:
                    row |= dict(zip((mean, *ends), found.means[column], strict=True))
    notes = [
        f"{REFERENCE} is the floor, {FULL_SUPERVISION} the ceiling. Intervals are over patients "
        "and not paired: see the differences at each budget."
    ]
    if any(len(entry.scores) < FEWEST for budget in shown for entry in budget.entries):
        notes.append(f"Means over fewer than {FEWEST} patients have no interval.")
    return make_table("label efficiency", columns, cells, notes=tuple(notes))


def scratch_curve(known: Sequence[LabelBudget]) -> tuple[pd.DataFrame | None, tuple[str, ...]]:
    """Scores from scratch, one row per patient, one column per number of labelled patients.

    None where there is no curve; and why, or what of scratch is not in it, or not as it was run.
    """
    references = [(budget.labels, reference_of(budget.entries)) for budget in known]
    found = [(name, entry) for name, entry in references if entry is not None and len(entry.scores)]
    if len({labelled_count(entry.rows) for _, entry in found}) < 2:
        return None, (f"Labels saved need {REFERENCE} at two label budgets or more.",)
    patients = max((entry.scores.index for _, entry in found), key=len)
    points: dict[float, dict[str, pd.Series[float]]] = {}
    partial = []
    for name, entry in found:
        if entry.scores.index.equals(patients):
            points.setdefault(labelled_count(entry.rows), {})[name] = entry.scores["dice"]
        else:
            partial.append(name)
    if len(points) < 2:
        return None, (
            f"Labels saved are not given: {REFERENCE} was not tested on the same patients at "
            "two label budgets or more.",
        )
    notes = [
        f"{' and '.join(same)} are the same number of labelled patients: the mean of their "
        f"{REFERENCE} is one point of its curve."
        for same in points.values()
        if len(same) > 1
    ]
    if partial:
        notes.append(
            f"The curve of {REFERENCE} is without {' and '.join(partial)}, where it was not tested "
            f"on the same {len(patients)} patients."
        )
    scores = {count: pd.DataFrame(points[count]).mean(axis=1) for count in sorted(points)}
    return pd.DataFrame(scores), tuple(notes)


def _labels_saved(
    shown: Sequence[LabelBudget],
    entries: Sequence[Entry],
    curve: pd.DataFrame,
    trained: Mapping[str, Retraining],
    notes: Sequence[str],
) -> Table:
    """How many labelled patients training from scratch needs to reach each method."""
    columns = list(NAMES)
    rivals = [entry for entry in entries if not (entry.is_reference or entry.is_ceiling)]
    cells = [dict[str, Any](names_of(entry)) for entry in rivals]
    counts = [float(str(count)) for count in curve]
    held = [budget for budget in shown if any(budget.find(entry.label) for entry in rivals)]
    for budget in held:
        present = [budget.find(entry.label) for entry in rivals]
        part = f"{REFERENCE} needs, to reach the method at {budget.heading}"
        names = [f"{word} at {budget.heading}" for word in ("Needed", "Needed low", "Needed high")]
        columns += [
            Column(name, "text", part, heading)
            for name, heading in zip(names, ("labelled patients", _LOW, _HIGH), strict=True)
        ]
        for found, row in zip(present, cells, strict=True):
            if found is not None and found.scores.index.equals(curve.index):
                scores, again = found.scores["dice"], trained[budget.labels]
                needed = labels_needed(counts, curve, scores, again)
                numbers = (patients_words(number, counts) for number in needed)
                row |= dict(zip(names, numbers, strict=True))
    about = (
        f"The number of labelled patients with which {REFERENCE} has the same Dice; what it needs "
        "beyond those of the column is what the method saves.",
        f"The curve of {REFERENCE} is linear in the logarithm of the number between label budgets; "
        "beyond them nothing is extrapolated. For the estimate it is made monotone. The interval "
        "takes it as it is, and runs from the first to the last number at which the test does not "
        f"tell {REFERENCE} from the method.",
        *_about(held, trained),
        *notes,
    )
    return make_table("labels saved", columns, cells, notes=about)


def _about(held: Sequence[LabelBudget], trained: Mapping[str, Retraining]) -> Iterator[str]:
    """What the intervals are about."""
    anew = [budget.heading for budget in held if trained[budget.labels].decides]
    if anew:
        yield f"At {'; '.join(anew)} the interval is about networks trained anew (Retrained p)."
    if len(anew) < len(held):
        yield (
            f"{'Else the' if anew else 'The'} interval is about the networks that were trained. "
            "What training again would change is not in it: in simulated studies its 95% are "
            f"{_COVERED}."
        )


def patients_words(number: float, counts: Sequence[float]) -> str:
    """Labelled patients as tables show them: `5.3`, `more than 16`, `fewer than 2`."""
    if math.isinf(number):
        return f"more than {counts[-1]:g}"
    return f"{number:.3g}" if number else f"fewer than {counts[0]:g}"
