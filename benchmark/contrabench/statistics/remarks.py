"""The lines below a table: what it allows to say, and what is missing from it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from contrabench.statistics.entries import FULL_SUPERVISION, LONGER, REFERENCE, Entry
from contrabench.statistics.paired import holm
from contrabench.store.rows import NOT_APPLICABLE
from contrabench.words import counted

LEVEL = 0.05
FEW_PATIENTS = 15


def remarks(entries: Sequence[Entry], distance: str) -> tuple[str, ...]:
    """Writes the notes of one table.

    Args:
        entries: the rows of the table.
        distance: the column of its ASD, `asd_mm` or `asd_voxel`.
    """
    notes = [*_verdict(entries), *reference_notes(entries), *_coverage(entries), *_flags(entries)]
    if distance == "asd_voxel":
        notes.append("The voxel spacing of this dataset is unknown: distances are in voxels.")
    return tuple(notes)


def _verdict(entries: Sequence[Entry]) -> Iterator[str]:
    """What the paired differences allow to say, and no more."""
    compared = [
        (entry, entry.difference)
        for entry in entries
        if entry.difference is not None and entry.name != FULL_SUPERVISION
    ]
    patients = max(len(entry.scores) for entry in entries)
    if compared:
        adjusted = holm([found.p for _, found in compared])
        groups: dict[str, list[str]] = {"better": [], "worse": [], "cannot separate": []}
        for (entry, found), p in zip(compared, adjusted, strict=True):
            word = "cannot separate" if p > LEVEL else "better" if found.mean > 0 else "worse"
            groups[word].append(entry.label)
        text = "; ".join(f"{word}: {', '.join(names)}" for word, names in groups.items() if names)
        number = counted(len(compared), "comparison")
        yield (
            f"Dice against {REFERENCE}, paired over {compared[0][1].patients} patients "
            f"(sign-flip test, Holm over {number}, level {LEVEL:g}): {text}."
        )
        yield "Column p is two-sided and not adjusted; the 95% interval turns that test round."
        lowest = min(holm([found.smallest_p for _, found in compared]))
        if lowest > LEVEL:
            yield (
                f"With so few patients no comparison can reach a p below {lowest:.3g} after "
                "Holm, however large the difference."
            )
    if patients < FEW_PATIENTS:
        yield (
            f"Tested on only {counted(patients, 'patient')}: the order of the rows may be chance, "
            "and differences that are not separated here are not shown to be absent."
        )


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


def _coverage(entries: Sequence[Entry]) -> Iterator[str]:
    """Where rows of the table rest on other patients, or on other runs, than the rest."""
    everyone = set().union(*(entry.scores.index for entry in entries))
    for entry in entries:
        if len(entry.scores) < len(everyone):
            yield (
                f"{entry.label} was tested on {len(entry.scores)} of the {len(everyone)} patients "
                f"({entry.folds} folds): its means are not comparable with the others'."
            )
        runs = entry.cells
        repeated = int(runs.duplicated(["fold", "draw", "seed"]).sum())
        if repeated:
            yield (
                f"{entry.label}: {repeated} of {len(runs)} runs repeat the fold, draw and seed of "
                "another one, made by another version; all are averaged."
            )
    yield from _unequal_runs(entries)


def _unequal_runs(entries: Sequence[Entry]) -> Iterator[str]:
    reference = next((entry for entry in entries if entry.is_reference), None)
    if reference is None:
        return
    streams = _streams(reference)
    others = [
        entry.label
        for entry in entries
        if entry.difference and entry.name != FULL_SUPERVISION and _streams(entry) != streams
    ]
    if others:
        yield (
            f"Not the same label draws and seeds as {REFERENCE}: {', '.join(others)}. Their "
            "differences hold the variation of draws and seeds as well."
        )


def _streams(entry: Entry) -> set[tuple[int, int, int]]:
    runs = entry.cells
    return set(zip(runs["fold"], runs["draw"], runs["seed"], strict=True))


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
