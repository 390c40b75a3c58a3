"""What tables are made of: the methods at one label budget, with their scores by patient."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import attrgetter
from typing import Any

import pandas as pd

from contrabench.contracts.method import ALL_VIEWS
from contrabench.references import (
    CONTROL_FAMILY,
    EVERY_LABEL,
    FULL_SUPERVISION,
    LONGER_WORD,
    ORACLE,
    REFERENCE,
)
from contrabench.statistics.aggregate import (
    distance_of,
    observations,
    patient_scores,
    ranking_rates,
)
from contrabench.statistics.intervals import mean_interval
from contrabench.store.rows import labels_of

_DIGITS = 9
"""Counts that are equal on paper differ in the last digits."""


@dataclass(frozen=True)
class Entry:
    """One method variant at one label budget; `name` may be `FULL_SUPERVISION`.

    `deviations` are what else its runs change, "" for nothing; `scores` have one row per patient,
    one column per metric.
    """

    name: str
    deviations: str
    rows: pd.DataFrame
    scores: pd.DataFrame

    @property
    def label(self) -> str:
        """How a note names it."""
        return f"{self.name} ({self.deviations})" if self.deviations else self.name

    @property
    def longer(self) -> str:
        """How much longer its fine-tuning is than others', such as `finetune x6`; "" for none."""
        words = (word for word in self.deviations.split("; ") if word.startswith(f"{LONGER_WORD} "))
        return next(words, "")

    @property
    def method(self) -> str:
        """The registered name of what was run."""
        return str(self.rows["method"].iloc[0])

    @property
    def family(self) -> str:
        """The family of the method, as its rows have it."""
        return str(self.rows["family"].iloc[0])

    @property
    def tuned_otherwise(self) -> frozenset[str]:
        """Its deviations in fine-tuning, which a reference beside it has to share."""
        return frozenset(self.deviations.split("; ")) - {"", ALL_VIEWS}

    @property
    def is_reference(self) -> bool:
        """Whether the others are compared with it."""
        return self.name == REFERENCE and not self.deviations

    @property
    def is_ceiling(self) -> bool:
        """Whether it shows what all labels would give, and competes with nobody."""
        return self.name == FULL_SUPERVISION and not self.deviations

    @cached_property
    def cells(self) -> pd.DataFrame:
        """Run, fold, draw and seed of each run; the last three are equal for repeated runs."""
        return self.rows[["run", "fold", "draw", "seed"]].drop_duplicates()

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

    @cached_property
    def means(self) -> dict[str, tuple[float, float, float]]:
        """Mean over patients of each metric with the ends of its interval."""
        found = {}
        for metric, values in self.scores.items():
            ends = mean_interval(values, 0, 1 if metric == "dice" else math.inf)
            found[str(metric)] = (float(values.mean()), *ends)
        return found

    @property
    def dice(self) -> float:
        """Mean over patients; NaN without a structure that applies."""
        return float(self.scores["dice"].mean())

    @property
    def order(self) -> tuple[float, str]:
        """Sorts the best Dice first, those without one last, and equal ones by name."""
        return math.inf if math.isnan(self.dice) else -self.dice, self.label

    @property
    def folds(self) -> str:
        """Folds that are done, of those of the protocol."""
        return f"{self.rows['fold'].nunique()} of {int(self.rows['folds'].max())}"

    @property
    def streams(self) -> set[tuple[int, int, int]]:
        """Fold, draw and seed of its runs."""
        return set(self.cells[["fold", "draw", "seed"]].itertuples(index=False, name=None))

    def on(self, patients: pd.Index[str]) -> Entry:
        """The same on some of its patients alone."""
        if len(patients) == len(self.scores):
            return self
        rows = self.rows[self.rows["patient"].isin(patients)]
        return replace(self, rows=rows, scores=self.scores.loc[patients])


def make_entry(name: str, deviations: str, rows: pd.DataFrame, distance: str) -> Entry:
    """Computes the scores of one method from its rows; `distance` is the column of the ASD.

    RequestError if a row lacks a metric that the others have.
    """
    if isinstance(rows["run"].dtype, pd.CategoricalDtype):
        # Grouping by a category costs as much as all the words it could have been.
        rows = rows.assign(run=rows["run"].cat.remove_unused_categories())
    return Entry(name, deviations, rows, patient_scores(rows, ["dice", distance]))


def versioned(variant: str, version: int, newest: int) -> str:
    """The name of a method in a table: with its version where the table has a newer one."""
    return variant if version == newest else f"{variant} (version {version})"


def reference_of(entries: Sequence[Entry]) -> Entry | None:
    """The entry that the others are compared with, if the table has it."""
    return next((entry for entry in entries if entry.is_reference), None)


@dataclass(frozen=True)
class LabelBudget:
    """What is known at one label budget, as it was asked for: `10%`, or `3 patients`.

    `fraction` is of the training patients, the mean where folds differ; `entries` are the methods,
    best Dice first, and full supervision; `distance` is the column of the ASD, `asd_mm` or
    `asd_voxel`. `controls` are never ranked, and `aside` are methods at the rates of fine-tuning
    that do not rank, by the label of the entry.
    """

    labels: str
    fraction: float
    rows: pd.DataFrame
    entries: tuple[Entry, ...]
    distance: str
    controls: tuple[Control, ...] = ()
    aside: Mapping[str, Entry] = field(default_factory=dict)

    @property
    def heading(self) -> str:
        """How a column names it: `10%, 2 of 16`."""
        return f"{self.labels}, {labelled(self.rows)}"

    @property
    def is_ceiling(self) -> bool:
        """Whether it holds nothing but full supervision."""
        return self.labels == EVERY_LABEL and all(entry.is_reference for entry in self.entries)

    def find(self, label: str) -> Entry | None:
        """The entry of that name; at all labels, training from scratch is full supervision."""
        if label == FULL_SUPERVISION and self.labels == EVERY_LABEL:
            label = REFERENCE
        return next((entry for entry in self.entries if entry.label == label), None)


def set_apart(rows: pd.DataFrame, rates: str = "uniform") -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows that rank, and those of controls and of other rates of fine-tuning.

    Where no method has the rates that are asked for, those that it has rank; and controls alone are
    rows like others.
    """
    control = rows["family"] == CONTROL_FAMILY
    ranked = ~control & rows["rates"].isin(["", ranking_rates(rows[~control], rates)])
    return (rows[ranked], rows[~ranked]) if ranked.any() else (rows, rows[ranked])


@dataclass(frozen=True)
class Control:
    """A control at one label budget and rates of fine-tuning, with scratch in the same runs."""

    entry: Entry
    rates: str
    scratch: Entry | None

    @property
    def sees_labels(self) -> bool:
        """Whether it has seen every label; all others must equal scratch."""
        return self.entry.method == ORACLE

    @property
    def label(self) -> str:
        """How a note names it."""
        return f"{self.entry.label}, {self.rates}" if self.rates else self.entry.label


def label_budgets(rows: pd.DataFrame, apart: pd.DataFrame | None = None) -> list[LabelBudget]:
    """The label budgets of one protocol, few labels first; each has full supervision as well.

    `apart` are rows that do not rank, as of `set_apart`. RequestError if a row lacks the metric of
    the others.
    """
    others = rows.iloc[:0] if apart is None else apart
    plain = rows[(rows["variant"] == REFERENCE) & (rows["deviations"] == "")]
    full = plain[plain["labels"] == EVERY_LABEL]
    full = full[full["method_version"] == full["method_version"].max()]
    return [
        _budget(rows[rows["labels"] == labels], full, others[others["labels"] == labels])
        for labels in labels_of(rows)
    ]


def _budget(rows: pd.DataFrame, full: pd.DataFrame, apart: pd.DataFrame) -> LabelBudget:
    distance = distance_of(rows)
    entries = _entries(rows, distance)
    labels = str(rows["labels"].iloc[0])
    if labels != EVERY_LABEL and len(full):
        entries.append(make_entry(FULL_SUPERVISION, "", full, distance))
    entries.sort(key=attrgetter("order"))
    control = apart["family"] == CONTROL_FAMILY
    aside = {entry.label: entry for entry in _entries(apart[~control], distance)}
    controls = [
        Control(entry, rates, _counterpart(entry, reference_of(entries), distance))
        for (rates,), part in grouped(apart[control], ["rates"])
        for entry in _entries(part, distance)
    ]
    fraction = float(rows["fraction"].mean())
    return LabelBudget(labels, fraction, rows, tuple(entries), distance, tuple(controls), aside)


def _counterpart(entry: Entry, reference: Entry | None, distance: str) -> Entry | None:
    """The reference in the folds, draws and seeds of an entry; None where it lacks one."""
    if reference is None or not entry.streams <= reference.streams:
        return None
    keys = pd.MultiIndex.from_frame(reference.rows[["fold", "draw", "seed"]])
    rows = reference.rows[keys.isin(list(entry.streams))]
    return make_entry(reference.name, reference.deviations, rows, distance)


def _entries(rows: pd.DataFrame, distance: str) -> list[Entry]:
    """The methods of some rows at one label budget."""
    newest = rows.groupby("variant", observed=True)["method_version"].max()
    return [
        make_entry(versioned(variant, version, newest[variant]), deviations, part, distance)
        for (variant, deviations, version), part in grouped(
            rows, ["variant", "deviations", "method_version"]
        )
    ]


def grouped(
    rows: pd.DataFrame, columns: list[str]
) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    """The rows by their values in these columns, sorted; texts may be categories."""
    # The order of categories says nothing, so words are sorted as words.
    yield from sorted(rows.groupby(columns, observed=True, sort=False), key=lambda one: one[0])


def labelled(rows: pd.DataFrame) -> str:
    """Labelled of training patients, e.g. `2 of 16`."""
    return f"{_range(rows['labelled_patients'])} of {_range(rows['train_patients'])}"


def _range(counts: pd.Series[int]) -> str:
    low, high = int(counts.min()), int(counts.max())
    return str(low) if low == high else f"{low} to {high}"


def labelled_count(rows: pd.DataFrame) -> float:
    """Labelled patients behind the mean score of a method: where folds or draws differ, the mean.

    Every patient weighs the same, as in the score.
    """
    by_patient = rows.groupby("patient", observed=True)["labelled_patients"].mean()
    return round(float(by_patient.mean()), _DIGITS)
