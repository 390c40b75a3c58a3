"""How far each method moved from one side to the other, paired by patient."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from contrabench.report.comparison import Tested, member_scores, score_gaps, shared_folds
from contrabench.report.counterparts import match
from contrabench.report.entries import Entry, make_entry, versioned
from contrabench.statistics.aggregate import distance_of
from contrabench.statistics.paired import paired_difference
from contrabench.statistics.ranking import rank_methods
from contrabench.statistics.retraining import (
    UNKNOWN,
    Retraining,
    retrained_ps,
    retraining,
    with_reference,
)
from contrabench.statistics.signflip import holm

Method = tuple[str, str, int]
"""Variant, deviations and version."""


@dataclass(frozen=True)
class Movement(Tested):
    """What the patients say about the Dice of a method on B, minus that on A.

    `same_streams` is whether folds, label draws and seeds are the same on both sides; `retraining`
    is what training again adds to all methods that are compared.
    """

    same_streams: bool
    retraining: Retraining


@dataclass(frozen=True)
class Moved:
    """One method on two sides; None where A, or B, does not have it.

    Attributes:
        name: variant; with its version where there is a newer one.
        deviations: what else its runs change; "" for nothing.
        movement: from A to B; None where nothing can be compared.
        ranks: on A and on B, among the methods that both have; NaN for the others.
    """

    name: str
    deviations: str
    first: Entry | None
    second: Entry | None
    movement: Movement | None = None
    ranks: tuple[float, float] = (math.nan, math.nan)

    @property
    def label(self) -> str:
        """How a sentence names it."""
        return f"{self.name} ({self.deviations})" if self.deviations else self.name

    @property
    def entries(self) -> tuple[Entry, Entry] | None:
        """It on both sides; None where one does not have it."""
        return (self.first, self.second) if self.first and self.second else None

    @property
    def in_common(self) -> int | None:
        """Patients that both sides tested; None where one does not have the method."""
        if self.entries is None:
            return None
        ours, theirs = (entry.scores.index for entry in self.entries)
        return len(ours.intersection(theirs))


def movements(
    first: pd.DataFrame, second: pd.DataFrame, comparable: bool = True
) -> tuple[Moved, ...]:
    """Compares every method of two sides, of one protocol at one label budget, with itself.

    A method is the same on both sides where variant, deviations and version are, or where
    each side has a single version of it. Those that both have come first, best Dice on A first;
    then those of A alone, and of B alone. `comparable` is whether scores of the two sides are of
    the same quantity. RequestError if a row lacks the metric of the others.
    """
    ours, theirs = _by_method(first), _by_method(second)
    known = list(ours), list(theirs)
    places = match(*([_keys(method) for method in side] for side in known))
    for place, other in places:
        old, new = known[0][place], known[1][other]
        # Two versions of one method stand in one row, that of the newer.
        row = max(old, new)
        ours[row], theirs[row] = ours.pop(old), theirs.pop(new)
    newest: dict[str, int] = {}
    for variant, _, version in (*ours, *theirs):
        newest[variant] = max(version, newest.get(variant, version))
    scales = distance_of(first), distance_of(second)
    made = []
    for method in sorted({*ours, *theirs}):
        variant, deviations, version = method
        name = versioned(variant, version, newest[variant])
        on_a, on_b = (
            make_entry(name, deviations, rows[method], scale) if method in rows else None
            for rows, scale in zip((ours, theirs), scales, strict=True)
        )
        made.append(Moved(name, deviations, on_a, on_b))
    if comparable:
        made = _tested(made)
    return tuple(sorted(_ranked(made), key=_place))


def _by_method(rows: pd.DataFrame) -> dict[Method, pd.DataFrame]:
    groups: list[tuple[Any, pd.DataFrame]] = list(
        rows.groupby(["variant", "deviations", "method_version"], observed=True, sort=False)
    )
    return {(str(name), str(more), int(version)): part for (name, more, version), part in groups}


def _keys(method: Method) -> tuple[Method, tuple[str, str]]:
    return method, method[:2]


def _tested(methods: Sequence[Moved]) -> list[Moved]:
    """Adds the tests, as one family, of those with the same patients on both sides."""
    sides = {
        place: one.entries
        for place, one in enumerate(methods)
        if one.entries is not None and _same_patients(*one.entries)
    }
    found = {
        place: paired_difference(second.scores["dice"], first.scores["dice"])
        for place, (first, second) in sides.items()
    }
    ps = [one.p for one in found.values()]
    adjusted = holm(ps)
    trained, retrained = _retrained(list(sides.values()), ps)
    made = list(methods)
    for (place, (first, second)), p, again in zip(sides.items(), adjusted, retrained, strict=True):
        same_streams = first.streams == second.streams
        movement = Movement(found[place], p, again, same_streams, trained)
        made[place] = replace(made[place], movement=movement)
    return made


def _same_patients(first: Entry, second: Entry) -> bool:
    return len(first.scores) > 0 and first.scores.index.equals(second.scores.index)


def _retrained(
    sides: Sequence[tuple[Entry, Entry]], ps: Sequence[float]
) -> tuple[Retraining, list[float]]:
    """What training again adds, and the p that allow for it; unknown unless all share folds."""
    entries = [entry for pair in sides for entry in pair]
    same = {tuple(entry.scores.index) for entry in entries}
    folds = shared_folds(entries) if len(same) == 1 else None
    if folds is None:
        return UNKNOWN, [math.nan] * len(sides)
    gaps = np.stack([score_gaps(second, first) for first, second in sides])
    # As for one reference: methods of a side may share networks, such as a pre-training.
    found = retraining(gaps, folds, with_reference(len(sides)))
    return found, retrained_ps(gaps, ps, found).tolist()


def _ranked(methods: Sequence[Moved]) -> list[Moved]:
    """Adds the ranks of those that both sides have, on the patients that most of them have."""
    both = {place: one.entries for place, one in enumerate(methods) if one.entries is not None}
    patients = [_most_common(side) for side in zip(*both.values(), strict=True)]
    ranked = {
        place: entries
        for place, entries in both.items()
        if [tuple(entry.scores.index) for entry in entries] == patients
    }
    made = list(methods)
    if len(ranked) > 1 and () not in patients:
        ranks = [
            rank_methods(member_scores(side, "dice")) for side in zip(*ranked.values(), strict=True)
        ]
        for place, first, second in zip(ranked, *ranks, strict=True):
            made[place] = replace(made[place], ranks=(first, second))
    return made


def _most_common(entries: Sequence[Entry]) -> tuple[str, ...]:
    """The patients that most methods were tested on; of equally common ones, the larger set."""
    counts = Counter(tuple(map(str, entry.scores.index)) for entry in entries)
    return max(counts, key=lambda patients: (counts[patients], len(patients), patients))


def _place(one: Moved) -> tuple[bool, bool, float, str]:
    """Sorts by what each side has, and by the Dice of the first that has it."""
    dice = next(entry.dice for entry in (one.first, one.second) if entry is not None)
    worst = math.inf if math.isnan(dice) else -dice
    return one.first is None, one.second is None, worst, one.label
