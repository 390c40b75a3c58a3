"""What the tables of a protocol lack: rows of runs, and references (rule 10 of the protocol).

A run without its hard structure or case would look better than it is: such a run is left out of
the tables as a whole, and named. A structure that does not apply has a row that says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from contrabench.errors import RequestError
from contrabench.references import EVERY_LABEL, FULL_SUPERVISION, LONGER, REFERENCE
from contrabench.report.commands import Command, Place, command_for, nowhere
from contrabench.store.rows import labels_of
from contrabench.store.runs import parsed
from contrabench.text import asked_labels, counted, some

if TYPE_CHECKING:
    import pandas as pd

_FOLD = ["folds", "fold"]
_ITEM = ["case", "structure"]
_ENTRY = ["labels", "variant", "deviations"]


@dataclass(frozen=True)
class Incomplete:
    """The runs of one variant at one label budget that lack rows.

    Attributes:
        variant: with its deviations.
        ceiling: whether they have all labels, and so belong to the tables of every budget.
        runs: their keys.
        whole: how many runs the variant has there, these included.
        missing: what they lack, such as `RV of p0_ed`, each once.
    """

    labels: str
    variant: str
    ceiling: bool
    runs: tuple[str, ...]
    whole: int
    missing: tuple[str, ...]

    @property
    def note(self) -> str:
        """One line that names the runs and what they lack."""
        of = f"{len(self.runs)} of {counted(self.whole, 'run')} of {self.variant} at {self.labels}"
        return (
            f"Left out: {of}, {some(self.runs)}. They lack {counted(len(self.missing), 'row')} "
            f"that other runs of the same fold have: {some(self.missing)}. A mean over the rest "
            "would not be comparable; delete the folders of these runs in `runs/` and run the "
            "study again."
        )


def incomplete_runs(rows: pd.DataFrame) -> list[Incomplete]:
    """Finds each run that lacks a case or a structure which another run of its fold has.

    `rows` are all of one protocol, those that do not apply included; words may be categories.
    """
    held = rows[["run", *_FOLD, *_ITEM]].drop_duplicates(["run", *_ITEM])
    known = held.drop_duplicates([*_FOLD, *_ITEM])
    # What a run has is part of what its fold has, so the numbers tell.
    runs = rows.drop_duplicates("run").set_index("run")
    found = held.groupby("run", observed=True).size()
    wanted = known.groupby(_FOLD, observed=True).size().rename("wanted")
    lacking = runs.join(wanted, on=_FOLD)["wanted"] > found.reindex(runs.index)
    if not lacking.any():
        return []
    of_fold = {fold: _items(part) for fold, part in known.groupby(_FOLD, observed=True)}
    bad = held[held["run"].isin(runs.index[lacking])]
    of_run = {
        str(run): of_fold[part["folds"].iloc[0], part["fold"].iloc[0]] - _items(part)
        for run, part in bad.groupby("run", observed=True)
    }
    gaps, order = [], labels_of(runs)
    for (labels, variant, deviations), part in runs.groupby(_ENTRY, observed=True):
        keys = tuple(str(run) for run in part.index if str(run) in of_run)
        if keys:
            name = f"{variant} ({deviations})" if deviations else str(variant)
            lost = sorted(set().union(*(of_run[run] for run in keys)))
            full = str(labels) == EVERY_LABEL
            gap = Incomplete(str(labels), name, full, keys, len(part), tuple(lost))
            # The order of categories says nothing, so words are sorted as words.
            gaps.append(((order.index(str(labels)), str(variant), str(deviations)), gap))
    return [gap for _, gap in sorted(gaps, key=lambda one: one[0])]


def _items(rows: pd.DataFrame) -> set[str]:
    return {f"{structure} of {case}" for case, structure in rows[_ITEM].to_numpy()}


def complete_runs(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[Incomplete]]:
    """The rows without those of incomplete runs, and these; RequestError if no run is left."""
    incomplete = incomplete_runs(rows)
    kept = rows
    if incomplete:
        kept = rows[~rows["run"].isin({run for one in incomplete for run in one.runs})]
    if incomplete and kept.empty:
        raise RequestError(
            "every run of this protocol lacks rows that another one has, so no table can be "
            f"made; {incomplete[0].note}"
        )
    return kept, incomplete


def concerning(labels: str, incomplete: list[Incomplete], kept: pd.DataFrame) -> list[Incomplete]:
    """Those that the table of a label budget must tell of, from `complete_runs`.

    That is its own, full supervision, and budgets of which no run is left, having no table.
    """
    left = set(kept["labels"].astype(str).unique()) if incomplete else set()
    return [
        one for one in incomplete if one.ceiling or one.labels == labels or one.labels not in left
    ]


@dataclass(frozen=True)
class MissingReference:
    """A reference that a table lacks: its name there, what it is, and the command to make it."""

    name: str
    what: str
    command: Command

    @property
    def advice(self) -> str:
        """The command, and what it may lack."""
        rest = "" if self.command.whole else " and the other settings of this protocol"
        return f"`{self.command.text}`{rest}"

    @property
    def note(self) -> str:
        """One line that names it and the command."""
        return f"Missing reference: {self.what}. Make it with {self.advice}."


def missing_references(
    rows: pd.DataFrame, labels: str, runs: pd.DataFrame | None = None, place: Place = nowhere
) -> list[MissingReference]:
    """References (rule 10) that the table of a label budget lacks, by all rows of the protocol.

    `runs` are facts of their records by run, from which the command takes all settings.
    """
    here = rows[rows["labels"] == labels]
    newest = here.groupby("variant", observed=True)["method_version"].transform("max")
    held = set(here["variant"][(here["deviations"] == "") & (here["method_version"] == newest)])
    asked = asked_labels(labels)
    wanted = [
        (REFERENCE, "training from scratch", REFERENCE, asked),
        (LONGER, "training from scratch for as long as pre-training takes", LONGER, asked),
    ]
    if labels != EVERY_LABEL:
        plain = rows[(rows["labels"] == EVERY_LABEL) & (rows["deviations"] == "")]
        held |= {FULL_SUPERVISION} if (plain["variant"] == REFERENCE).any() else set()
        wanted.append((FULL_SUPERVISION, "full supervision", REFERENCE, EVERY_LABEL))
    runs_here = here["run"].astype(str).unique()
    known = () if runs is None else runs["protocol"].reindex(runs_here).dropna()
    protocol = parsed(next((text for text in known if text), ""))
    return [
        MissingReference(name, what, command_for(method, budget, here, protocol, place))
        for name, what, method, budget in wanted
        if name not in held
    ]
