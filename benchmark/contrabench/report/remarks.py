"""The lines below a table: what is missing from it, and what rests on other runs."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from contrabench.references import FULL_SUPERVISION, LONGER, REFERENCE
from contrabench.report.comparison import Comparison
from contrabench.report.entries import Entry, reference_of
from contrabench.store.rows import NOT_APPLICABLE
from contrabench.text import counted


def remarks(compared: Comparison, distance: str) -> tuple[str, ...]:
    """Writes the notes of one table.

    Args:
        compared: the rows of the table.
        distance: the column of its ASD, `asd_mm` or `asd_voxel`.
    """
    entries = compared.entries
    notes = [*reference_notes(entries), *_coverage(compared), *_flags(entries)]
    if distance == "asd_voxel":
        notes.append("The voxel spacing of this dataset is unknown: distances are in voxels.")
    return tuple(notes)


def reference_notes(entries: Sequence[Entry]) -> Iterator[str]:
    """Which of the three references the table lacks, and how to make them."""
    first = entries[0].rows.iloc[0]
    at_budget = [entry for entry in entries if entry.name != FULL_SUPERVISION]
    asked = str(at_budget[0].rows["labels"].iloc[0])
    plain = {entry.name for entry in entries if not entry.deviations}
    wanted = [
        (REFERENCE, "training from scratch", REFERENCE, asked),
        (LONGER, "training from scratch for as long as pre-training takes", LONGER, asked),
    ]
    if (at_budget[0].rows["fraction"] < 1).all():
        wanted.append((FULL_SUPERVISION, "full supervision", REFERENCE, "100%"))
    for name, words, method, labels in wanted:
        if name not in plain:
            where = ["--dataset", str(first["dataset"]), "--budget", str(first["budget"])]
            if first["recipe"] != "common":
                where += ["--recipe", str(first["recipe"])]
            command = shlex.join(["bench", "run", "--method", method, "--labels", labels, *where])
            yield (
                f"Missing reference: {words}. Make it with `{command}` and the other settings "
                "of this protocol."
            )


def _coverage(compared: Comparison) -> Iterator[str]:
    """Where rows of the table rest on other patients, or on other runs, than the rest."""
    entries = compared.entries
    everyone = set().union(*(entry.tested.index for entry in entries))
    for place, entry in enumerate(entries):
        if len(entry.tested) < len(everyone):
            not_compared = place not in compared.members and not entry.is_ceiling
            yield (
                f"{entry.label} was tested on {len(entry.tested)} of the {len(everyone)} patients "
                f"({entry.folds} folds): its means are not comparable with the others'"
                f"{', and it is not compared' if not_compared else ''}."
            )
        runs = entry.cells
        repeated = int(runs.duplicated(["fold", "draw", "seed"]).sum())
        if repeated:
            yield (
                f"{entry.label}: {repeated} of {len(runs)} runs repeat the fold, draw and seed of "
                "another one, made by another version; all are averaged."
            )
    yield from _without_score(compared)
    reference = reference_of(entries)
    if reference is not None:
        others = [
            entries[place].label
            for place in compared.family
            if entries[place].streams != reference.streams
        ]
        if others:
            yield (
                f"Not the same label draws and seeds as {REFERENCE}: {', '.join(others)}. Their "
                "differences hold the variation of draws and seeds as well."
            )


def _without_score(compared: Comparison) -> Iterator[str]:
    """Patients on whom some method has no score, so that nothing can be paired."""
    entries = [compared.entries[place] for place in compared.paired]
    lacking = {entry.label: len(entry.tested) - len(entry.scores) for entry in entries}
    named = ", ".join(f"{label} {number}" for label, number in lacking.items() if number)
    if named:
        kept = counted(len(next(iter(compared.paired.values())).scores), "patient")
        yield (
            "Patients on whom a method rightly finds nothing have no score of it, and are left out "
            f"of every comparison, which rests on {kept}: {named}."
        )


def _flags(entries: Sequence[Entry]) -> Iterator[str]:
    """How often a structure was missed, invented, or absent altogether."""
    worst = "Dice 0 and the diagonal of the image as distance"
    meanings = {
        "prediction empty": f"a structure was missed altogether ({worst})",
        "reference empty": f"a structure was predicted that is not there ({worst})",
        NOT_APPLICABLE: "a structure is in neither reference nor prediction (left out of means)",
    }
    rows = sum(len(entry.rows) for entry in entries)
    for flag, meaning in meanings.items():
        counts = {entry.label: int((entry.rows["flag"] == flag).sum()) for entry in entries}
        if any(counts.values()):
            by_method = ", ".join(f"{label} {count}" for label, count in counts.items() if count)
            yield f"In {sum(counts.values())} of {rows} rows {meaning}: {by_method}."
