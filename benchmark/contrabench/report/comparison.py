"""The entries of one table compared: each with the reference, and all with each other."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from contrabench.references import FULL_SUPERVISION, REFERENCE
from contrabench.report.entries import Entry, reference_of
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
    deciding_interval,
    equivalence_p,
    retrained_ps,
    retraining,
    with_reference,
)
from contrabench.statistics.signflip import LEVEL, holm
from contrabench.statistics.variance import VarianceSplit, variance_split


@dataclass(frozen=True)
class Effect:
    """A difference in Dice with what is known of it.

    Attributes:
        mean: the difference seen.
        low: its 95 % interval, of the kind of the p that decides; not adjusted for others.
        high: likewise; NaN where no interval exists.
        equivalence: p of the claim that it lies within +- `MARGIN`, of the same kind.
        adjusted: its p after Holm; NaN for full supervision, no competitor.
        retrained: the same for networks trained anew, NaN where the runs cannot tell.
        is_anew: whether `retrained` decides.
    """

    mean: float
    low: float
    high: float
    equivalence: float
    adjusted: float
    retrained: float = math.nan
    is_anew: bool = False

    @property
    def deciding(self) -> float:
        """The p that verdicts go by."""
        return self.retrained if self.is_anew else self.adjusted

    @property
    def separated(self) -> bool:
        """Whether it is shown to differ from zero; False for full supervision."""
        return self.deciding <= LEVEL

    @property
    def passing(self) -> bool:
        """Whether it differs with these networks, and is not shown to for others."""
        return self.adjusted <= LEVEL < self.retrained

    @property
    def is_small(self) -> bool:
        """Whether it is shown to lie within +- `MARGIN`."""
        return self.equivalence <= LEVEL


@dataclass(frozen=True, kw_only=True)
class Against(Effect):
    """What the patients say about the Dice of a method, minus that of the reference or another.

    Attributes:
        found: the test over patients.
        error: the standard error, with what training again adds where that is known.
        wins: how often the method is the better one.
        split: where the difference varies; None where no run has a counterpart.
        patients_needed: patients that would separate the two, see `needed`; NaN where they are
            separated or not compared.
        draws_needed: label draws that would do so with these patients; likewise.
    """

    found: PairedDifference
    error: float
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
        retraining: what training again adds to `against`, and whether that decides.
        alike: by place, what fine-tunes otherwise than the reference, against the one of its kind
            that does so too: what is left of a difference when that is taken away.
    """

    entries: tuple[Entry, ...]
    paired: dict[int, Entry]
    against: dict[int, Against]
    retraining: Retraining
    alike: dict[int, Against]

    @property
    def family(self) -> dict[str, Against]:
        """The comparisons with the reference that are tested together, by label."""
        known = {self.entries[place].label: one for place, one in self.against.items()}
        return {label: one for label, one in known.items() if not math.isnan(one.adjusted)}

    @property
    def members(self) -> tuple[int, ...]:
        """Places of the entries that are compared with each other."""
        return tuple(place for place, entry in self.paired.items() if not entry.is_ceiling)

    @cached_property
    def pairs(self) -> Pairwise | None:
        """All members with each other, named by their labels; None for fewer than two."""
        if len(self.members) < 2:
            return None
        entries = [self.paired[place] for place in self.members]
        return pairwise(self.scores("dice"), _shared_folds(entries), _draws(entries))

    @cached_property
    def letters(self) -> dict[int, str]:
        """Tie group letters by place in `entries`."""
        marks = letters(self.pairs.separated().to_numpy()) if self.pairs else ()
        return dict(zip(self.members, marks, strict=False))

    @cached_property
    def limits(self) -> dict[int, tuple[int, int]]:
        """The ranks that the tests leave open, by place in `entries`."""
        if self.pairs is None:
            return {}
        ends = rank_limits(self.pairs).astype(int).itertuples(index=False, name=None)
        return dict(zip(self.members, ends, strict=True))

    @property
    def leader(self) -> int:
        """Place of the method that is separated from every other and the best; else -1."""
        apart = unmatched(self.entries)
        rivals = [one for one in self.entries if not one.is_ceiling and one.label not in apart]
        alone = [place for place, (_, worst) in self.limits.items() if worst == 1]
        return alone[0] if alone and len(rivals) == len(self.members) else -1

    def scores(self, metric: str) -> pd.DataFrame:
        """The members' scores, one row per patient, one column per label."""
        members = (self.paired[place] for place in self.members)
        return pd.DataFrame({entry.label: entry.scores[metric] for entry in members})


def compare(entries: Sequence[Entry]) -> Comparison:
    """Compares what was tested on the same patients."""
    paired = _same_patients(entries)
    apart = unmatched(entries)
    paired = {place: one for place, one in paired.items() if one.label not in apart}
    reference = reference_of(list(paired.values()))
    against, trained = all_against({
        place: (entry, reference)
        for place, entry in paired.items()
        if reference and not entry.is_reference
    })  # fmt: skip
    own = {one.tuned_otherwise: one for one in paired.values() if _is_scratch(one)}
    alike, _ = all_against({
        place: (entry, own[entry.tuned_otherwise])
        for place, entry in paired.items()
        if entry.tuned_otherwise in own and entry.tuned_otherwise and not _is_scratch(entry)
    })  # fmt: skip
    return Comparison(tuple(entries), paired, against, trained, alike)


def _is_scratch(entry: Entry) -> bool:
    """Whether it is the reference, or that with deviations, at the label budget itself."""
    return entry.method == REFERENCE and not entry.name.startswith(FULL_SUPERVISION)


def unmatched(entries: Sequence[Entry]) -> dict[str, str]:
    """Methods that see more labelled images, without scratch that does: by label, how much longer.

    They are compared with nobody: what the others lack may be these images alone.
    """
    held = {one.longer for one in entries if one.method == REFERENCE}
    return {entry.label: entry.longer for entry in entries if entry.longer not in {"", *held}}


def _shared_folds(entries: Sequence[Entry]) -> list[int] | None:
    """The fold that tests each patient; None where the entries disagree on patients or folds."""
    folds = [entry.tested.loc[entry.scores.index] for entry in entries]
    same = all(one.equals(folds[0]) for one in folds)
    return [int(fold) for fold in folds[0]] if folds and same else None


def _draws(entries: Sequence[Entry]) -> int:
    """The label draws of a family; one method with fewer makes no verdict on it easier."""
    return max((int(entry.cells["draw"].nunique()) for entry in entries), default=0)


def _same_patients(entries: Sequence[Entry]) -> dict[int, Entry]:
    """The entries that most others share their tested patients with, on those all can score.

    A method that finds nothing where there is nothing has no score there, and was tested all
    the same. Of sets that are equally common the reference's comes first, then the larger.
    """
    tested = {
        place: tuple(entry.tested.index) for place, entry in enumerate(entries) if len(entry.scores)
    }
    rivals = {place: entries[place] for place in tested if not entries[place].is_ceiling}
    if not rivals:
        return {}
    counts = Counter(tested[place] for place in rivals)
    preferred = {tested[place] for place, entry in rivals.items() if entry.is_reference}
    patients = max(counts, key=lambda one: (counts[one], one in preferred, len(one), one))
    same = {place: entries[place] for place in tested if tested[place] == patients}
    scored = pd.Index(patients)
    for entry in same.values():
        scored = scored.intersection(entry.scores.index)
    return {place: entry.on(scored) for place, entry in same.items()} if len(scored) else {}


def all_against(pairs: Mapping[int, tuple[Entry, Entry]]) -> tuple[dict[int, Against], Retraining]:
    """Compares the first entry of each pair with the second; those that compete are one family.

    Both entries of a pair have scores of the same patients. What training again adds to all of
    them, and so `Effect.retrained`, is unknown unless those that compete share their patients and
    the folds of these.
    """
    gaps = {place: _score_gaps(*pair) for place, pair in pairs.items()}
    found = {
        place: paired_difference(one.scores["dice"], other.scores["dice"])
        for place, (one, other) in pairs.items()
    }
    family = [place for place, pair in pairs.items() if not pair[0].is_ceiling]
    ps = [found[place].p for place in family]
    entries = [entry for place in family for entry in pairs[place]]
    folds = _shared_folds(entries)
    trained, retrained = UNKNOWN, [math.nan] * len(ps)
    if folds is not None:
        together = np.stack([gaps[place] for place in family])
        # Pairs may share networks: their reference, or a pre-training.
        trained = retraining(together, folds, with_reference(len(ps)), _draws(entries))
        retrained = retrained_ps(together, ps, trained).tolist()
    adjusted = dict(zip(family, zip(holm(ps), retrained, strict=True), strict=True))
    against = {}
    for place, (one, other) in pairs.items():
        p, again = adjusted.get(place, (math.nan, math.nan))
        low, high = deciding_interval(gaps[place], trained)
        known = Against(
            mean=found[place].mean,
            low=low,
            high=high,
            equivalence=equivalence_p(gaps[place], trained),
            adjusted=p,
            retrained=again,
            is_anew=trained.decides,
            found=found[place],
            error=float(trained.error(gaps[place])) if gaps[place].size > 1 else math.nan,
            wins=superiority(one.scores["dice"], other.scores["dice"]),
            split=shared_variance(one, other),
        )
        if known.deciding > LEVEL:
            patients, draws = needed(one, other, known.split, len(ps), trained)
            known = replace(known, patients_needed=patients, draws_needed=draws)
        against[place] = known
    return against, trained


def _score_gaps(entry: Entry, other: Entry) -> NDArray[np.float64]:
    """Differences in Dice by patient, shape (patients,), of entries with the same patients."""
    ours, theirs = (one.scores["dice"].to_numpy(dtype=float) for one in (entry, other))
    return score_differences(ours, theirs)


def shared_variance(entry: Entry, other: Entry) -> VarianceSplit | None:
    """Where a difference in Dice varies; None where no two runs share fold, draw and seed."""
    shared = differences(entry.observed, other.observed)
    return variance_split(shared) if len(shared) else None


def needed(
    entry: Entry, other: Entry, split: VarianceSplit | None, comparisons: int, trained: Retraining
) -> tuple[float, float]:
    """What would separate two methods on the same patients, were the difference seen the true one.

    `split` says where it varies, `comparisons` counts the family it is tested in, `trained` is
    what training again adds there: where that decides, more patients means more folds of the same
    size. Gives patients, and label draws on these patients; infinite where no
    number would do, NaN with fewer than two patients, and for draws where these are not repeated.
    """
    gaps = _score_gaps(entry, other)
    if len(gaps) < 2:
        return math.nan, math.nan
    mean, deviation = float(gaps.mean()), float(gaps.std(ddof=1))
    if trained.decides:
        deviation *= trained.inflation
    # What was run did not do, so the answer is no number that was run.
    patients = max(patients_needed(mean, deviation, comparisons), len(gaps) + 1.0)
    draws = math.nan if split is None else draws_needed(mean, split, len(gaps), comparisons)
    return patients, draws
