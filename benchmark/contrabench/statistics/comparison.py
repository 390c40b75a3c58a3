"""The entries of one table compared: each with the reference, and all with each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd

from contrabench.statistics.design import draws_needed, patients_needed
from contrabench.statistics.entries import Entry, reference_of
from contrabench.statistics.groups import letters
from contrabench.statistics.observations import differences
from contrabench.statistics.paired import (
    PairedDifference,
    holm,
    paired_difference,
    score_differences,
)
from contrabench.statistics.pairwise import Pairwise, pairwise
from contrabench.statistics.ranking import rank_limits
from contrabench.statistics.superiority import Superiority, superiority
from contrabench.statistics.variance import VarianceSplit, variance_split

LEVEL = 0.05
"""The chance of any false verdict in a family of comparisons."""


@dataclass(frozen=True)
class AgainstReference:
    """What the patients say about the Dice of a method and that of the reference.

    Attributes:
        found: the paired difference, method minus reference.
        adjusted: its p after Holm over all methods; NaN for full supervision, which is
            no competitor.
        wins: how often the method is the better one.
        inflation: standard error over new draws and seeds, in units of what the test
            takes it to be; NaN where the runs cannot tell.
        split: where the difference varies; None where no run has a counterpart.
        patients_needed: patients that would separate the two; NaN where they are
            separated or not compared, infinite where no number would do.
        draws_needed: label draws that would do so with these patients; likewise, and NaN
            where draws are not repeated.
    """

    found: PairedDifference
    adjusted: float
    wins: Superiority
    inflation: float
    split: VarianceSplit | None
    patients_needed: float = math.nan
    draws_needed: float = math.nan

    @property
    def separated(self) -> bool:
        """Whether the method is shown to differ; False for full supervision."""
        return self.adjusted <= LEVEL


@dataclass(frozen=True)
class Comparison:
    """Everything that is compared in one table.

    Attributes:
        entries: the rows of the table, best Dice first.
        against: by place in `entries`; those missing have other patients.
        members: places of the entries that are compared with each other.
        pairs: these, in that order, named by their labels; None for fewer than two.
    """

    entries: tuple[Entry, ...]
    against: dict[int, AgainstReference]
    members: tuple[int, ...]
    pairs: Pairwise | None

    @property
    def family(self) -> dict[int, AgainstReference]:
        """The comparisons with the reference that are tested together."""
        return {place: one for place, one in self.against.items() if not math.isnan(one.adjusted)}

    @cached_property
    def letters(self) -> dict[int, str]:
        """Tie group letters by place in `entries`."""
        if self.pairs is None:
            return {}
        marks = letters(self.pairs.separated(LEVEL).to_numpy())
        return dict(zip(self.members, marks, strict=True))

    @cached_property
    def limits(self) -> dict[int, tuple[int, int]]:
        """The ranks that the tests leave open, by place in `entries`."""
        if self.pairs is None:
            return {}
        table = rank_limits(self.pairs, LEVEL)
        ends = zip(table["low"].astype(int), table["high"].astype(int), strict=True)
        return dict(zip(self.members, ends, strict=True))

    @property
    def leader(self) -> int:
        """Place of the method that is separated from every other and the best; else -1."""
        rivals = [place for place, entry in enumerate(self.entries) if not entry.is_ceiling]
        alone = [place for place, (_, worst) in self.limits.items() if worst == 1]
        return alone[0] if alone and len(rivals) == len(self.members) else -1

    def scores(self, metric: str) -> pd.DataFrame:
        """The members' scores, one row per patient, one column per label."""
        return member_scores([self.entries[place] for place in self.members], metric)


def compare(entries: Sequence[Entry]) -> Comparison:
    """Compares what rests on the same patients.

    Args:
        entries: the rows of one table, best Dice first.
    """
    reference = reference_of(entries)
    patients = reference.scores.index if reference is not None else _everyone(entries)
    same = [
        place
        for place, entry in enumerate(entries)
        if len(entry.scores) and entry.scores.index.equals(patients)
    ]
    members = tuple(place for place in same if not entries[place].is_ceiling)
    against = {}
    if reference is not None:
        others = [place for place in same if entries[place] is not reference]
        against = _all_against(reference, {place: entries[place] for place in others})
    pairs = None
    if len(members) > 1:
        pairs = pairwise(member_scores([entries[place] for place in members], "dice"))
    return Comparison(tuple(entries), against, members, pairs)


def member_scores(entries: Sequence[Entry], metric: str) -> pd.DataFrame:
    """Scores of entries with the same patients, one row per patient, one column per label."""
    return pd.DataFrame({entry.label: entry.scores[metric] for entry in entries})


def _everyone(entries: Sequence[Entry]) -> pd.Index[str]:
    """All patients of a table, in order."""
    everyone: pd.Index[str] = pd.concat([entry.scores for entry in entries]).index
    return everyone.unique().sort_values()


def _all_against(reference: Entry, others: dict[int, Entry]) -> dict[int, AgainstReference]:
    against = {
        place: _against(entry, reference, shared_variance(entry, reference))
        for place, entry in others.items()
    }
    family = [place for place, entry in others.items() if not entry.is_ceiling]
    adjusted = holm([against[place].found.p for place in family])
    for place, p in zip(family, adjusted, strict=True):
        one = replace(against[place], adjusted=p)
        if not one.separated:
            one = _planned(one, others[place], reference, len(family))
        against[place] = one
    return against


def shared_variance(entry: Entry, other: Entry) -> VarianceSplit | None:
    """Where a difference in Dice varies, from the runs with the same fold, draw and seed.

    Args:
        entry: a method.
        other: the one that is subtracted.

    Returns:
        None where no run has a counterpart.
    """
    shared = differences(entry.observed, other.observed)
    return variance_split(shared) if len(shared) else None


def inflation_of(split: VarianceSplit | None, patients: int) -> float:
    """Standard error over new draws and seeds, in units of what the test takes it to be.

    Args:
        split: where the difference varies.
        patients: that the test rests on.

    Returns:
        NaN where the runs cannot tell, or the test sees no variation to compare with.
    """
    if split is None:
        return math.nan
    _, draws, seeds = split.levels
    ratio = split.inflation(patients, split.folds, draws, seeds)
    return ratio if math.isfinite(ratio) else math.nan


def _against(entry: Entry, reference: Entry, split: VarianceSplit | None) -> AgainstReference:
    ours, theirs = entry.scores["dice"], reference.scores["dice"]
    return AgainstReference(
        paired_difference(ours, theirs),
        math.nan,
        superiority(ours, theirs),
        inflation_of(split, len(ours)),
        split,
    )


def _planned(
    one: AgainstReference, entry: Entry, reference: Entry, comparisons: int
) -> AgainstReference:
    """Adds what would separate the two, were the difference seen the true one."""
    patients, draws = needed(entry, reference, one.split, comparisons)
    return replace(one, patients_needed=patients, draws_needed=draws)


def needed(
    entry: Entry, other: Entry, split: VarianceSplit | None, comparisons: int
) -> tuple[float, float]:
    """What would separate two methods, were the difference seen the true one.

    Args:
        entry: a method.
        other: another one, tested on the same patients.
        split: where their difference varies.
        comparisons: of the family that they are tested in.

    Returns:
        Patients, and label draws on these patients; infinite where no number would do, NaN
        with fewer than two patients, and for draws where these are not repeated.
    """
    ours, theirs = entry.scores["dice"], other.scores["dice"]
    if len(ours) < 2:
        return math.nan, math.nan
    gaps = score_differences(ours.to_numpy(dtype=float), theirs.to_numpy(dtype=float))
    mean = float(gaps.mean())
    patients = patients_needed(mean, float(gaps.std(ddof=1)), comparisons, LEVEL)
    draws = math.nan
    if split is not None and split.levels[1] > 1:
        seeds = split.levels[2]
        draws = draws_needed(mean, split, len(ours), split.folds, seeds, comparisons, LEVEL)
    return patients, draws
