"""Two sides of results: which protocols belong together, and what changed beside the scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import attrgetter

import pandas as pd

from contrabench.contracts.report import NAME, Column, Report, Section, Table, plain
from contrabench.errors import RequestError
from contrabench.report.appendix import appendix
from contrabench.report.board import make_table
from contrabench.report.build import TABLE, title_of
from contrabench.report.completeness import complete_runs
from contrabench.report.entries import grouped, set_apart
from contrabench.report.tidy import tidy
from contrabench.store.results import Results
from contrabench.store.rows import labels_of
from contrabench.store.runs import KERNELS
from contrabench.text import counted, some

SIDES = ("A", "B")
"""How tables and sentences call the two sides."""
SHARED = (TABLE, ["dataset", "budget", "recipe"], ["dataset", "budget"], ["dataset"])
"""What two protocols may have in common, the strictest first, to be compared."""
FEW, LONGEST = 6, 40
"""So many changes a sentence names, with so many letters of a value; the table has all."""
DATA = "data"
"""The setting that is the hash of the prepared images."""
PREPARATION = ("budget.pixels.", "dataset_options.", "dataset_version.", "recipe.", "structures.")
"""What else that hash is made of: where one of these differs, it differs for any volumes."""

MACHINE = ("device", KERNELS)
"""What tells kinds of machines apart."""
_METHODS = ["variant", "deviations", "labels"]
_CELLS = ["labels", "fold", "draw"]
_NAMES = {
    ("methods", "Version"): "{}: version",
    ("methods", "Fidelity"): "{}: fidelity",
    ("methods", "Options"): "{}: options",
    ("methods", "Code"): "{}: code",
    ("software", "Version"): "{}",
    ("manifests", "Manifest"): "labelled patients at {}",
    ("manifests", "Split"): "split at {}",
}
"""How a change in a table and column of the appendix is called, by the name of the row."""


@dataclass(frozen=True)
class Side:
    """What one side holds of one protocol: its rows, and what is known of all runs of the side.

    `gaps` is one line for each group of runs that lack rows and were left out.
    """

    rows: pd.DataFrame
    facts: pd.DataFrame
    gaps: tuple[str, ...] = ()

    def word(self, column: str) -> str:
        """What all rows have in a column of the protocol."""
        return str(self.rows[column].iloc[0])

    @property
    def labels(self) -> list[str]:
        """Its label budgets, few labels first."""
        return labels_of(self.rows)

    @property
    def runs(self) -> int:
        """How many."""
        return int(self.rows["run"].nunique())

    @cached_property
    def recorded(self) -> Side:
        """One row of each run whose record is at hand."""
        known = self.facts.index[self.facts["protocol"].fillna("").astype(str) != ""]
        rows = self.rows.drop_duplicates("run")
        return replace(self, rows=rows[rows["run"].isin(known)])


Sides = tuple[Side, Side]
"""One protocol on A, and its counterpart on B."""


def side_pairs(a: Results, b: Results, labels: Sequence[str]) -> tuple[list[Sides], list[str]]:
    """Pairs the protocols of two results.

    Protocols that are equal belong together. Of the others those do that are the only ones
    of their side with this dataset, budget and recipe; dataset and budget; dataset.
    Label budgets are those of `labels`, all where there are none. With the pairs, in the order of
    A, comes one line for each side with protocols left over. RequestError if there is no pair.
    """
    sides = [_sides(results, labels) for results in (a, b)]
    pairs: dict[int, int] = {}
    for columns in SHARED:
        keys = [[[side.word(column) for column in columns] for side in held] for held in sides]
        for place, key in enumerate(keys[0]):
            if keys[0].count(key) == keys[1].count(key) == 1:
                pairs[place] = keys[1].index(key)

    def named(held: Iterable[Side]) -> str:
        return "; ".join(f"{title_of(it.rows)}, protocol {it.word('protocol')}" for it in held)

    if not pairs:
        first, second = (named(held) or "no finished run" for held in sides)
        raise RequestError(
            "no protocol of A has one counterpart in B, so there is nothing to compare (A holds "
            f"{plain(first)}, and B holds {plain(second)}); name two protocol hashes, or results "
            "of the same dataset"
        )
    lonely = [
        f"Not compared, for want of one counterpart beyond doubt, of {name}: {named(left)}."
        for name, held, taken in zip(SIDES, sides, (set(pairs), {*pairs.values()}), strict=True)
        if (left := [side for place, side in enumerate(held) if place not in taken])
    ]
    return [(sides[0][ours], sides[1][pairs[ours]]) for ours in sorted(pairs)], lonely


def _sides(results: Results, labels: Sequence[str]) -> list[Side]:
    rows = results.rows[results.rows["labels"].isin(labels)] if labels else results.rows
    ranked = (set_apart(part)[0] for _, part in grouped(rows, TABLE))
    wholes = [complete_runs(part) for part in ranked]
    return [
        Side(kept, results.runs, tuple(one.note for one in incomplete))
        for kept, incomplete in wholes
    ]


def joined(texts: Iterable[str]) -> str:
    """What the sides have in common, or both."""
    return " and ".join(dict.fromkeys(texts))


@dataclass(frozen=True)
class Change:
    """One thing that is not the same on both sides; None where a side has no such thing."""

    setting: str
    first: str | None
    second: str | None

    def __str__(self) -> str:
        values = ("absent" if each is None else each for each in (self.first, self.second))
        a, b = (v if len(v) <= LONGEST else f"{v[:LONGEST].rstrip()} ..." for v in values)
        return f"{self.setting} ({a} on A, {b} on B)"


@dataclass(frozen=True)
class Changes:
    """What differs between two sides beside their scores.

    `protocol` is None where its settings differ and nobody can tell in what; `following` are
    settings of it that differ because others do, and so are no changes of their own.
    """

    protocol: tuple[Change, ...] | None
    others: tuple[Change, ...]
    following: tuple[Change, ...] = ()

    @property
    def meaning(self) -> str:
        """What a difference of scores is a difference of; "" where nothing changed."""
        together = "a difference is that of everything that changed together, not of one setting."
        if self.protocol is None:
            return f"The protocols differ, and their records do not tell in what: {together}"
        known = (*self.protocol, *self.others)
        if len(known) > 1:
            return f"{len(known)} things differ between the sides: {together}"
        return "".join(f"Of all that is recorded one thing differs: {it.setting}." for it in known)

    @property
    def preparing(self) -> str:
        """The changed settings that images are prepared by."""
        names = [change.setting for change in self.protocol or ()]
        return ", ".join(name for name in names if f"{name}.".startswith(PREPARATION))


def find_changes(sides: Sides) -> Changes:
    """Finds what differs between the appendices of two sides; what one does not tell is none.

    Beside the protocol that is said of methods and label budgets that both sides have, and of
    label manifests of the same fold and draw.
    """
    known = sides[0].recorded, sides[1].recorded
    asked = _common(known, _METHODS)
    others = [*_differing(asked, "methods"), *_differing(asked, "software")]
    others += _differing(_common(asked, _CELLS), "manifests")
    every = _common(sides, _METHODS)
    for name, column in (("folds", "fold"), ("label draws", "draw"), ("seeds", "seed")):
        run = [sorted(map(int, side.rows[column].unique())) for side in every]
        if run[0] != run[1]:
            others.append(Change(f"{name} run", *(", ".join(map(str, each)) for each in run)))
    if sides[0].word("protocol") == sides[1].word("protocol"):
        return Changes((), tuple(others))
    if any(side.rows.empty for side in known):
        return Changes(None, tuple(others))
    found = [one for one in _differing(known, "settings") if one.setting != "hash"]
    is_prepared = bool(Changes(tuple(found), ()).preparing)
    following = [
        one
        for one in found
        if (one.setting == DATA and is_prepared)
        or (one.setting == "backbone.width" and replace(one, setting="budget.width") in found)
    ]
    own = tuple(one for one in found if one not in following)
    return Changes(own, tuple(others), tuple(following))


def _common(sides: Sides, columns: list[str]) -> Sides:
    """One row of each run whose values in some columns the other side has as well."""
    runs = [side.rows.drop_duplicates("run") for side in sides]
    keys = [pd.MultiIndex.from_frame(rows[columns].astype(str)) for rows in runs]
    kept = (rows[own.isin(other)] for rows, own, other in zip(runs, keys, keys[::-1], strict=True))
    first, second = (replace(side, rows=rows) for side, rows in zip(sides, kept, strict=True))
    return first, second


def _differing(sides: Sides, table: str) -> Iterator[Change]:
    """Where a table of the appendix does not have the same values, and both sides have one."""
    ours, theirs = (_told(side, table) for side in sides)
    for name in sorted({*ours, *theirs}) if ours and theirs else ():
        first, second = ours.get(name), theirs.get(name)
        if first != second:
            if table == "manifests" and first and second:
                first, second = first - second, second - first
            shown = (some(sorted(each)) if each else None for each in (first, second))
            yield Change(name, *shown)


def _told(side: Side, table: str) -> dict[str, set[str]]:
    """The values of each thing that a table of the appendix tells; several where runs differ."""
    section = appendix(side.rows, side.facts, "")
    tables = [one for one in section.tables if one.name == table] if section else []
    found: dict[str, set[str]] = {}
    for line in tidy(Report((Section("", "", tuple(tables)),), side.rows, "")):
        name = _NAMES.get((table, str(line["column"])), "{}" if table == "settings" else "")
        # What is empty on one side has its parts on the other.
        if name and line["text"] != "{}":
            what = f"{line['method']}{line['row_name']}"
            found.setdefault(name.format(what), set()).add(str(line["text"]))
    return found


def changes_section(sides: Sides, found: Changes, notes: Sequence[str]) -> Section:
    """Makes the section before the tables of a pair; `notes` stand before its own."""
    return Section(
        title=f"{joined(title_of(side.rows) for side in sides)}, what changed",
        protocol=joined(side.word("protocol") for side in sides),
        tables=(_table(sides, found),),
        verdict=tuple(_verdict(sides, found)),
        notes=(*notes, *_notes(sides, found)),
        dataset=sides[0].word("dataset"),
    )


def _verdict(sides: Sides, found: Changes) -> Iterator[str]:
    if found.protocol is None:
        yield "Not the same protocol; which settings changed is not recorded on both sides."
    elif found.protocol:
        number = counted(len(found.protocol), "setting")
        yield f"{number} of the protocol changed: {some(found.protocol, most=FEW)}."
    elif found.others:
        yield f"The same protocol {sides[0].word('protocol')}."
    else:
        known = " that is recorded" if any(it.runs > it.recorded.runs for it in sides) else ""
        yield f"Nothing{known} changed: the same protocol {sides[0].word('protocol')}."
    if found.others:
        yield f"Beside the protocol changed: {some(found.others, most=FEW)}."
    if any(change.setting in MACHINE for change in found.others):
        yield (
            "Made on another kind of machine: it rounds differently, and training enlarges that as "
            "much as another seed would."
        )


def _notes(sides: Sides, found: Changes) -> Iterator[str]:
    for name, side in zip(SIDES, sides, strict=True):
        if lost := side.runs - side.recorded.runs:
            yield (
                f"{lost} of {counted(side.runs, 'run')} of {name} have no record: their settings, "
                "software, methods and manifests are not compared."
            )
    if any(change.setting == DATA for change in (*(found.protocol or ()), *found.following)):
        why = f", as they were prepared by other settings ({found.preparing})"
        yield (
            f"The prepared images are not the same{why if found.preparing else ''}: patients are "
            "paired by name, and whether a name is the same patient on both sides is not known."
        )


def _table(sides: Sides, found: Changes) -> Table:
    """What each side holds, and below it what changed."""
    columns = [Column("Setting", "text", NAME), *(Column(it, "text", "The sides") for it in SIDES)]
    rows: list[tuple[str | None, ...]] = [
        ("protocol", *(side.word("protocol") for side in sides)),
        ("label budgets", *(", ".join(side.labels) for side in sides)),
    ]
    for name in ("variant", "patient", "run"):
        held = [set(side.rows[name].unique()) for side in sides]
        rows.append((f"{name}s", *(str(len(each)) for each in held)))
        rows.append((f"{name}s of both", *[str(len(held[0] & held[1]))] * 2))
    changes = sorted((*(found.protocol or ()), *found.following), key=attrgetter("setting"))
    rows += [(one.setting, one.first, one.second) for one in (*changes, *found.others)]
    notes = []
    if any(None in row for row in rows):
        notes.append("– is a setting that this side does not have.")
    if found.following:
        named = " and ".join(sorted(change.setting for change in found.following))
        notes.append(f"Not counted, as following from other settings: {named}.")
    cells = [dict(zip(("Setting", *SIDES), row, strict=True)) for row in rows]
    return make_table("what changed", columns, cells, notes=tuple(notes))
