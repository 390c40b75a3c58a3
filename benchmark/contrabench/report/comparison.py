"""The entries of one table compared: each with the reference, and all with each other."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from contrabench.report.entries import Entry
from contrabench.statistics.aggregate import differences
from contrabench.statistics.design import draws_needed, patients_needed
from contrabench.statistics.paired import (
    PairedDifference,
    Pairwise,
    Superiority,
    paired_difference,
    pairwise,
    score_differences,
    superiority,
)
from contrabench.statistics.ranking import letters, rank_limits
from contrabench.statistics.retraining import (
    UNKNOWN,
    Retraining,
    retrained_ps,
    retraining,
    with_reference,
)
from contrabench.statistics.signflip import LEVEL, holm
from contrabench.statistics.variance import VarianceSplit, variance_split


@dataclass(frozen=True)
class Tested:
    """A paired difference in Dice, tested in a family.

    Attributes:
        found: the difference.
        adjusted: its p after Holm over the family; NaN for full supervision, which is no
            competitor.
        retrained: the same with the variation of training in the standard error; NaN where
            the runs cannot tell.
    """

    found: PairedDifference
    adjusted: float
    retrained: float

    @property
    def separated(self) -> bool:
        """Whether it is shown to differ from zero; False for full supervision."""
        return self.adjusted <= LEVEL

    @property
    def passing(self) -> bool:
        """Whether it is, but not shown to be so for networks trained anew."""
        return self.separated and self.retrained > LEVEL


@dataclass(frozen=True)
class AgainstReference(Tested):
    """What the patients say about the Dice of a method, minus that of the reference.

    Attributes:
        wins: how often the method is the better one.
        split: where the difference varies; None where no run has a counterpart.
        patients_needed: patients that would separate the two; NaN where they are
            separated or not compared, infinite where no number would do.
        draws_needed: label draws that would do so with these patients; likewise, and NaN
            where draws are not repeated.
    """

    wins: Superiority
    split: VarianceSplit | None
    patients_needed: float = math.nan
    draws_needed: float = math.nan


@dataclass(frozen=True)
class Comparison:
    """Everything that is compared in one table.

    Attributes:
        entries: the rows of the table, best Dice first.
        paired: by place in `entries`, those tested on the same patients, with nothing but
            the patients that all of them have a score of.
        against: by place, each of these against the reference.
        retraining: what training again adds to `against`.
        members: places of the entries that are compared with each other.
        pairs: these, in that order, named by their labels; None for fewer than two.
        lasting: the adjusted p of the pairs that allow for training again, as a matrix.
    """

    entries: tuple[Entry, ...]
    paired: dict[int, Entry]
    against: dict[int, AgainstReference]
    retraining: Retraining
    members: tuple[int, ...]
    pairs: Pairwise | None
    lasting: pd.DataFrame | None

    @property
    def family(self) -> dict[int, AgainstReference]:
        """The comparisons with the reference that are tested together."""
        return {place: one for place, one in self.against.items() if not math.isnan(one.adjusted)}

    @cached_property
    def letters(self) -> dict[int, str]:
        """Tie group letters by place in `entries`."""
        if self.pairs is None:
            return {}
        marks = letters(self.pairs.separated().to_numpy())
        return dict(zip(self.members, marks, strict=True))

    @cached_property
    def limits(self) -> dict[int, tuple[int, int]]:
        """The ranks that the tests leave open, by place in `entries`."""
        if self.pairs is None:
            return {}
        table = rank_limits(self.pairs)
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
        return member_scores([self.paired[place] for place in self.members], metric)


def compare(entries: Sequence[Entry]) -> Comparison:
    """Compares what was tested on the same patients.

    Args:
        entries: the rows of one table, best Dice first.
    """
    paired = _paired(entries)
    members = tuple(place for place in paired if not entries[place].is_ceiling)
    reference = next((place for place in paired if entries[place].is_reference), None)
    against: dict[int, AgainstReference] = {}
    trained = UNKNOWN
    if reference is not None:
        others = {place: entry for place, entry in paired.items() if place != reference}
        against, trained = _all_against(paired[reference], others)
    pairs = lasting = None
    if len(members) > 1:
        chosen = [paired[place] for place in members]
        pairs = pairwise(member_scores(chosen, "dice"))
        _, lasting = pairs.retrained(shared_folds(chosen))
    return Comparison(tuple(entries), paired, against, trained, members, pairs, lasting)


def member_scores(entries: Sequence[Entry], metric: str) -> pd.DataFrame:
    """Scores of entries with the same patients, one row per patient, one column per label."""
    return pd.DataFrame({entry.label: entry.scores[metric] for entry in entries})


def shared_folds(entries: Sequence[Entry]) -> list[int] | None:
    """The fold that tests each patient; None where the entries disagree on it.

    Args:
        entries: at least one, with scores of the same patients.
    """
    folds = [entry.tested.loc[entry.scores.index] for entry in entries]
    same = all(one.equals(folds[0]) for one in folds)
    return [int(fold) for fold in folds[0]] if same else None


def _paired(entries: Sequence[Entry]) -> dict[int, Entry]:
    """The entries that most others share their tested patients with, on those all can score.

    A method that finds nothing where there is nothing has no score there, and was tested all
    the same. Of sets that are equally common the reference's comes first, then the larger.
    """
    tested = {place: tuple(entry.tested.index) for place, entry in enumerate(entries)}
    rivals = [
        place for place, entry in enumerate(entries) if len(entry.scores) and not entry.is_ceiling
    ]
    if not rivals:
        return {}
    counts = Counter(tested[place] for place in rivals)
    preferred = {tested[place] for place in rivals if entries[place].is_reference}
    patients = max(counts, key=lambda one: (counts[one], one in preferred, len(one), one))
    same = {
        place: entry
        for place, entry in enumerate(entries)
        if tested[place] == patients and len(entry.scores)
    }
    scored = pd.Index(patients)
    for entry in same.values():
        scored = scored.intersection(entry.scores.index)
    return {place: entry.on(scored) for place, entry in same.items()} if len(scored) else {}


def _all_against(
    reference: Entry, others: dict[int, Entry]
) -> tuple[dict[int, AgainstReference], Retraining]:
    against = {place: _against(entry, reference) for place, entry in others.items()}
    family = [place for place, entry in others.items() if not entry.is_ceiling]
    if not family:
        return against, UNKNOWN
    gaps = np.stack([score_gaps(others[place], reference) for place in family])
    folds = shared_folds([reference, *(others[place] for place in family)])
    found = UNKNOWN if folds is None else retraining(gaps, folds, with_reference(len(family)))
    ps = [against[place].found.p for place in family]
    for place, p, again in zip(family, holm(ps), retrained_ps(gaps, ps, found), strict=True):
        one = replace(against[place], adjusted=p, retrained=float(again))
        if not one.separated:
            one = _planned(one, others[place], reference, len(family))
        against[place] = one
    return against, found


def score_gaps(entry: Entry, other: Entry) -> NDArray[np.float64]:
    """Differences in Dice by patient, shape (patients,).

    Args:
        entry: a method.
        other: the one that is subtracted, with scores of the same patients.
    """
    ours, theirs = (one.scores["dice"].to_numpy(dtype=float) for one in (entry, other))
    return score_differences(ours, theirs)


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


def _against(entry: Entry, reference: Entry) -> AgainstReference:
    ours, theirs = entry.scores["dice"], reference.scores["dice"]
    return AgainstReference(
        found=paired_difference(ours, theirs),
        adjusted=math.nan,
        retrained=math.nan,
        wins=superiority(ours, theirs),
        split=shared_variance(entry, reference),
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
    gaps = score_gaps(entry, other)
    if len(gaps) < 2:
        return math.nan, math.nan
    mean = float(gaps.mean())
    patients = patients_needed(mean, float(gaps.std(ddof=1)), comparisons)
    # Of draws that were not repeated nothing is known.
    draws = math.nan if split is None else draws_needed(mean, split, len(gaps), comparisons)
    return patients, draws
