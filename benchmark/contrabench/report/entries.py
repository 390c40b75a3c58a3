"""One row of a table while it is being computed, and the references every table needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd

from contrabench.references import FULL_SUPERVISION, REFERENCE
from contrabench.statistics.aggregate import observations, patient_scores


@dataclass(frozen=True)
class Entry:
    """One method variant with its deviations at one label budget.

    Attributes:
        name: variant, or `FULL_SUPERVISION`.
        deviations: what else its runs change; "" for nothing.
        rows: its result rows.
        scores: one row per patient, one column per metric.
        cells: run, fold, draw and seed of each of its runs; the last three are equal for
            runs that repeat each other.
    """

    name: str
    deviations: str
    rows: pd.DataFrame
    scores: pd.DataFrame
    cells: pd.DataFrame

    @property
    def label(self) -> str:
        """How a note names it."""
        return f"{self.name} ({self.deviations})" if self.deviations else self.name

    @property
    def is_reference(self) -> bool:
        """Whether the others are compared with it."""
        return self.name == REFERENCE and not self.deviations

    @property
    def is_ceiling(self) -> bool:
        """Whether it shows what all labels would give, and competes with nobody."""
        return self.name == FULL_SUPERVISION and not self.deviations

    @cached_property
    def observed(self) -> pd.Series[float]:
        """Its Dice by patient, fold, label draw and seed; see `observations`."""
        return observations(self.rows, "dice")

    @cached_property
    def tested(self) -> pd.Series[int]:
        """The fold that tests each patient, by name in order, with a score or without."""
        folds = self.rows.groupby("patient", observed=True)["fold"].first()
        folds.index = folds.index.astype(str)
        return folds.sort_index()

    def on(self, patients: pd.Index[str]) -> Entry:
        """The same on some of its patients alone."""
        if len(patients) == len(self.scores):
            return self
        rows = self.rows[self.rows["patient"].isin(patients)]
        return replace(self, rows=rows, scores=self.scores.loc[patients])

    @property
    def dice(self) -> float:
        """Mean over patients; NaN without a structure that applies."""
        return float(self.scores["dice"].mean())

    @property
    def folds(self) -> str:
        """Folds that are done, of those of the protocol."""
        return f"{self.rows['fold'].nunique()} of {int(self.rows['folds'].max())}"

    @property
    def streams(self) -> set[tuple[int, int, int]]:
        """Fold, draw and seed of its runs."""
        runs = self.cells
        return set(zip(runs["fold"], runs["draw"], runs["seed"], strict=True))


def make_entry(name: str, deviations: str, rows: pd.DataFrame, distance: str) -> Entry:
    """Computes the scores of one method.

    Args:
        name: variant, or `FULL_SUPERVISION`.
        deviations: what else its runs change; "" for nothing.
        rows: its result rows.
        distance: the column of the ASD.

    Raises:
        RequestError: if a row lacks a metric that the others have.
    """
    if isinstance(rows["run"].dtype, pd.CategoricalDtype):
        # Grouping by a category costs as much as all the words it could have been.
        rows = rows.assign(run=rows["run"].cat.remove_unused_categories())
    cells = rows[["run", "fold", "draw", "seed"]].drop_duplicates()
    return Entry(name, deviations, rows, patient_scores(rows, ["dice", distance]), cells)


def versioned(variant: str, version: int, newest: int) -> str:
    """The name of a method in a table: with its version where the table has a newer one."""
    return variant if version == newest else f"{variant} (version {version})"


def reference_of(entries: Sequence[Entry]) -> Entry | None:
    """The entry that the others are compared with, if the table has it."""
    return next((entry for entry in entries if entry.is_reference), None)
