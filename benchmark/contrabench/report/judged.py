"""One label budget judged: what beats scratch, what cannot be told apart, what the controls show.

Answer, instrument and advice say it in words of their own; here it is computed, once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from contrabench.references import EVERY_LABEL, FULL_SUPERVISION, REFERENCE_FAMILY
from contrabench.report.comparison import Against, Comparison, all_against, compare
from contrabench.report.entries import Control, Entry, LabelBudget, labelled_count, reference_of
from contrabench.statistics.paired import score_differences
from contrabench.statistics.retraining import FEWEST_DRAWS, FEWEST_FOLDS, deciding_interval


@dataclass(frozen=True)
class Rival:
    """What is compared with scratch, and its difference in Dice to it.

    `alike` is that to scratch which is fine-tuned alike, where it is fine-tuned otherwise.
    """

    entry: Entry
    effect: Against
    alike: Against | None = None

    @property
    def family(self) -> str:
        """The family of the method, as its rows have it."""
        return self.entry.family

    @property
    def is_above(self) -> bool:
        """Whether it is shown to beat scratch, and not by its fine-tuning alone."""
        known = [one for one in (self.effect, self.alike) if one is not None]
        return all(one.separated and one.mean > 0 for one in known)

    @property
    def most(self) -> float:
        """What it may bring at most, the upper end of an interval; NaN where there is none."""
        return self.effect.high if self.alike is None else self.alike.high

    @property
    def is_reference(self) -> bool:
        """Whether it is longer training from scratch, or its like, and no method."""
        return self.family == REFERENCE_FAMILY


@dataclass(frozen=True)
class Seen:
    """A control minus scratch in the same runs: mean and 95 % interval.

    `is_anew`: for networks trained anew, which three folds tell of, and not for these alone.
    """

    control: Control
    mean: float
    low: float
    high: float
    is_anew: bool


@dataclass(frozen=True)
class Judged:
    """One label budget with its comparisons."""

    budget: LabelBudget
    compared: Comparison

    @classmethod
    def of(cls, budget: LabelBudget) -> Judged:
        """A label budget whose entries are compared here."""
        return cls(budget, compare(budget.entries))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What each entry is called where there is little room: with deviations if two differ."""
        names = [entry.name for entry in self.compared.entries]
        return tuple(
            entry.label if names.count(entry.name) > 1 else entry.name
            for entry in self.compared.entries
        )

    @property
    def scratch(self) -> Entry | None:
        """Training from scratch."""
        return reference_of(self.budget.entries)

    @property
    def count(self) -> float:
        """Labelled patients in training."""
        return labelled_count(self.budget.rows)

    @cached_property
    def rivals(self) -> dict[str, Rival]:
        """Methods and references that are compared with scratch, best first, by name."""
        found = {
            self.names[place]: Rival(
                entry, self.compared.against[place], self.compared.alike.get(place)
            )
            for place, entry in enumerate(self.compared.entries)
            if place in self.compared.against and not entry.is_ceiling
        }
        return dict(sorted(found.items(), key=lambda one: -one[1].effect.mean))

    @cached_property
    def ceiling(self) -> Against | None:
        """All labels against those of the budget; None where there is nothing to compare."""
        for place, one in self.compared.against.items():
            if self.compared.entries[place].is_ceiling:
                return one
        return None

    @cached_property
    def room(self) -> float:
        """Full supervision minus scratch, on the patients of both.

        NaN without one of them or such patients, and at all labels, where they are one.
        """
        full, scratch = self.budget.find(FULL_SUPERVISION), self.scratch
        if self.budget.labels == EVERY_LABEL or full is None or scratch is None:
            return math.nan
        return float((full.scores["dice"] - scratch.scores["dice"]).mean())

    @property
    def is_undertrained(self) -> bool:
        """Whether every label is no better than scratch, so that nothing is said of methods."""
        return self.room <= 0

    @cached_property
    def better(self) -> dict[str, Rival]:
        """The methods that are shown to beat scratch, best first, by name."""
        return {k: one for k, one in self._above_scratch.items() if not one.is_reference}

    @cached_property
    def better_references(self) -> dict[str, Rival]:
        """The references that are."""
        return {k: one for k, one in self._above_scratch.items() if one.is_reference}

    @cached_property
    def _above_scratch(self) -> Mapping[str, Rival]:
        if self.is_undertrained:
            return {}
        return {label: one for label, one in self.rivals.items() if one.is_above}

    @cached_property
    def leaders(self) -> dict[str, Rival]:
        """What may be told to be used, best first: methods shown to beat scratch, if there are any.

        Before them stands a reference that is shown to beat the best of them too.
        """
        if not self.better or self.compared.pairs is None:
            return self.better
        best = next(iter(self.better.values()))
        above = self.compared.pairs.better()[best.entry.label]
        before = {
            name: one
            for name, one in self.better_references.items()
            if above.get(one.entry.label, False)
        }
        return {**before, **self.better}

    def ties(self, name: str) -> list[str]:
        """The rivals that cannot be told from one of them."""
        marks = {self.names[place]: set(text) for place, text in self.compared.letters.items()}
        return [one for one in self.rivals if one != name and marks.get(one, set()) & marks[name]]

    @cached_property
    def seen(self) -> tuple[Seen, ...]:
        """What is known of each control that was tested on the patients of scratch."""
        pairs = {
            place: (one.entry, one.scratch)
            for place, one in enumerate(self.budget.controls)
            if one.scratch is not None
            and len(one.entry.scores)
            and one.scratch.scores.index.equals(one.entry.scores.index)
        }
        if not pairs:
            return ()
        _, trained = all_against(pairs)
        if trained.folds >= FEWEST_FOLDS:
            # They are run in one draw; that other networks were trained shows between folds too.
            trained = replace(trained, draws=max(trained.draws, FEWEST_DRAWS))
        found = []
        for place, sides in pairs.items():
            ours, theirs = (side.scores["dice"].to_numpy(dtype=float) for side in sides)
            gaps = score_differences(ours, theirs)
            ends = deciding_interval(gaps, trained)
            control = self.budget.controls[place]
            found.append(Seen(control, float(gaps.mean()), *ends, trained.decides))
        return tuple(found)
