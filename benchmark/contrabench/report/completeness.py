"""Runs that lack rows which the other runs of their fold have.

A mean over fewer rows is a mean over others: a run without its hard structure, or without
its hard case, would look better than it is. Such a run is left out of the tables as a
whole, and named. A structure that does not apply has a row that says so, and is no gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from contrabench.errors import RequestError
from contrabench.text import counted, some

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 3
_FOLD = ["folds", "fold"]
_ENTRY = ["fraction", "labels", "variant", "deviations"]


@dataclass(frozen=True)
class Incomplete:
    """The runs of one variant at one label budget that lack rows.

    Attributes:
        labels: the label budget, as it was asked for.
        ceiling: whether they have all labels, and so belong to the tables of every budget.
        runs: their keys.
        note: one line that names them and what they lack.
    """

    labels: str
    ceiling: bool
    runs: tuple[str, ...]
    note: str


@dataclass(frozen=True)
class Completed:
    """The rows of one protocol without those of incomplete runs.

    Attributes:
        rows: of the complete runs; the very frame that was given if all are.
        incomplete: what was left out, by label budget and variant.
    """

    rows: pd.DataFrame
    incomplete: tuple[Incomplete, ...]

    def notes(self, labels: str) -> tuple[str, ...]:
        """What the table of a label budget must say.

        That is what is missing from it, what is missing from full supervision, and what is
        missing from budgets of which no run is left, as no table of theirs could say it.

        Args:
            labels: the label budget of the table.
        """
        left = set(self.rows["labels"].astype(str).unique()) if self.incomplete else set()
        return tuple(
            one.note
            for one in self.incomplete
            if one.labels == labels or one.ceiling or one.labels not in left
        )


def complete_runs(rows: pd.DataFrame) -> Completed:
    """Leaves out each run that lacks a case or a structure which another run of its fold has.

    Args:
        rows: all result rows of one protocol, at every label budget, those that do not
            apply included; words may be categories.

    Raises:
        RequestError: if no run is left, as each lacks what another one has.
    """
    scored = _scored(rows)
    lacking = scored.lacking()
    if not lacking.any():
        return Completed(rows, ())
    runs = scored.runs.assign(place=np.arange(len(lacking)))
    incomplete = []
    # The order of categories says nothing, so words are sorted as words.
    groups = [(tuple(map(str, key)), part) for key, part in runs.groupby(_ENTRY, observed=True)]
    for (_, labels, *entry), part in sorted(groups, key=lambda group: group[0]):
        bad = part[lacking[part["place"]]]
        if len(bad):
            keys = tuple(bad["run"].astype(str))
            share = f"{len(keys)} of {counted(len(part), 'run')} of {_words(*entry)} at {labels}"
            note = _note(share, keys, scored.missing(bad["place"].to_numpy()))
            full = bool((part["fraction"] == 1).all())
            incomplete.append(Incomplete(labels, full, keys, note))
    kept = rows[~lacking[scored.of_row]]
    if kept.empty:
        raise RequestError(
            "every run of this protocol lacks rows that another one has, so no table can be "
            f"made; {incomplete[0].note}"
        )
    return Completed(kept, tuple(incomplete))


@dataclass(frozen=True)
class _Scored:
    """Which run has a row of what.

    Attributes:
        runs: the first row of each run.
        of_row: the place in `runs` of each row's run, shape (rows,).
        fold: a number for the fold of each run, shape (runs,).
        names: case and structure of each item.
        owner: run of each item that is there, ascending, shape (n,).
        item: the items, each once in a run, shape (n,).
        known: items of each fold that any of its runs has, as fold times the number of
            items plus item, ascending.
    """

    runs: pd.DataFrame
    of_row: NDArray[np.int64]
    fold: NDArray[np.int64]
    names: list[str]
    owner: NDArray[np.int64]
    item: NDArray[np.int64]
    known: NDArray[np.int64]

    def lacking(self) -> NDArray[np.bool_]:
        """Whether each run has fewer items than its fold, shape (runs,)."""
        # What a run has is part of what its fold has, so the numbers tell.
        wanted = np.bincount(self.known // max(1, len(self.names)))
        found = np.bincount(self.owner, minlength=len(self.runs))
        few: NDArray[np.bool_] = found < wanted[self.fold]
        return few

    def missing(self, places: NDArray[np.int64]) -> list[str]:
        """What some of the runs lack: structure and case of each item, once."""
        lost: set[int] = set()
        for place in places:
            low, high = np.searchsorted(self.owner, [place, place + 1])
            first = self.fold[place] * len(self.names)
            start, end = np.searchsorted(self.known, [first, first + len(self.names)])
            lost |= set(self.known[start:end] - first) - set(self.item[low:high])
        return sorted(self.names[one] for one in lost)


def _scored(rows: pd.DataFrame) -> _Scored:
    import pandas as pd

    run, case, structure = (
        pd.factorize(rows[name])[0].astype(np.int64) for name in ("run", "case", "structure")
    )
    item, pairs = pd.factorize(case * (structure.max(initial=0) + 1) + structure)
    firsts = rows[~pd.Series(item).duplicated().to_numpy()]
    runs = rows[~pd.Series(run).duplicated().to_numpy()]
    fold = np.asarray(runs.groupby(_FOLD, observed=True).ngroup(), np.int64)
    size = max(1, len(pairs))
    there = _once(run * size + item)
    owner, item = np.divmod(there, size)
    return _Scored(
        runs=runs,
        of_row=run,
        fold=fold,
        names=[
            f"{one} of {case}"
            for one, case in zip(firsts["structure"], firsts["case"], strict=True)
        ],
        owner=owner,
        item=item,
        known=_once(fold[owner] * size + item),
    )


def _once(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each number once, ascending; for numbers almost in order much faster than `np.unique`."""
    numbers = np.sort(numbers)
    return numbers[np.diff(numbers, prepend=-1) > 0]


def _words(variant: str, deviations: str) -> str:
    return f"{variant} ({deviations})" if deviations else variant


def _note(share: str, runs: Sequence[str], missing: Sequence[str]) -> str:
    return (
        f"Left out: {share}, {some(runs)}. They lack {counted(len(missing), 'row')} that other "
        f"runs of the same fold have: {some(missing)}. A mean over the rest would not be "
        "comparable; delete the folders of these runs in `runs/` and run the study again."
    )
