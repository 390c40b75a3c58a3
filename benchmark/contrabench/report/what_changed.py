"""The section that says what two sides are, and what changed from one to the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

from contrabench.contracts.report import NAME, Column, Section, Table
from contrabench.report.board import make_table
from contrabench.report.counterparts import SIDES, Side
from contrabench.report.protocol_changes import Change, other_changes, protocol_changes
from contrabench.text import counted

FEW = 6
"""So many changes a sentence names; the table has all of them."""

LONGEST = 40
"""So many letters of a value stand in a sentence."""

DATA = "data"
"""The setting that is the hash of the prepared images."""

PREPARATION = ("budget.pixels", "dataset_options", "dataset_version", "recipe", "structures")
"""What else that hash is made of: where one of these differs, it differs for any volumes."""

_SETTING = Column("Setting", "text", NAME)
_BOTH = "Both"


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
    def known(self) -> tuple[Change, ...]:
        """All that can be named, without what follows from it."""
        return (*(self.protocol or ()), *self.others)

    @property
    def meaning(self) -> str:
        """What a difference of scores is a difference of; "" where nothing changed."""
        together = "a difference is that of everything that changed together, not of one setting."
        if self.protocol is None:
            return f"The protocols differ, and their records do not tell in what: {together}"
        if len(self.known) > 1:
            return f"{len(self.known)} things differ between the sides: {together}"
        return "".join(
            f"Of all that is recorded one thing differs: {change.setting}." for change in self.known
        )


def find_changes(first: Side, second: Side) -> Changes:
    """Finds what differs between two sides."""
    found, others = protocol_changes(first, second), other_changes(first, second)
    if found is None:
        return Changes(None, others)
    following = tuple(change for change in found if _follows(change, found))
    return Changes(tuple(change for change in found if change not in following), others, following)


def _follows(change: Change, found: Sequence[Change]) -> bool:
    """Whether a setting could not have stayed as it was beside the other changes."""
    if change.setting == "backbone.width":
        return replace(change, setting="budget.width") in found
    return change.setting == DATA and bool(_preparing(found))


def _preparing(found: Sequence[Change]) -> list[str]:
    """The changed settings that images are prepared by."""
    return [change.setting for change in found if _is_within(change.setting, PREPARATION)]


def _is_within(setting: str, wholes: Sequence[str]) -> bool:
    return any(setting == whole or setting.startswith(f"{whole}.") for whole in wholes)


def pair_title(first: Side, second: Side) -> str:
    """What the sections of a pair share: dataset, budget and recipe."""
    budget, recipe = (
        " and ".join(dict.fromkeys(side.word(column) for side in (first, second)))
        for column in ("budget", "recipe")
    )
    title = f"{first.word('dataset')}, {budget} budget"
    return title if recipe == "common" else f"{title}, {recipe} recipe"


def pair_protocol(first: Side, second: Side) -> str:
    """The hash of the protocol of a pair, or both."""
    return " and ".join(dict.fromkeys(side.word("protocol") for side in (first, second)))


def what_changed(first: Side, second: Side, changes: Changes, notes: Sequence[str]) -> Section:
    """Makes the section before the tables of a pair; `notes` stand before its own."""
    tables = [_sides(first, second)]
    if changes.known:
        tables.insert(0, _table(changes))
    return Section(
        title=f"{pair_title(first, second)}, what changed",
        protocol=pair_protocol(first, second),
        tables=tuple(tables),
        verdict=tuple(_verdict(first, second, changes)),
        notes=(*notes, *_notes(first, second, changes)),
        dataset=first.word("dataset"),
    )


def _verdict(first: Side, second: Side, changes: Changes) -> Iterator[str]:
    beside = f"{_names(changes.others)}." if changes.others else ""
    if changes.protocol is None:
        without = " and ".join(
            name
            for name, side in zip(SIDES, (first, second), strict=True)
            if side.unrecorded == len(side.runs)
        )
        yield (
            "Not the same protocol; which settings changed is not known, as there is no record of "
            f"the runs of {without}."
        )
    elif changes.protocol:
        noun = counted(len(changes.protocol), "setting")
        yield f"{noun} of the protocol changed: {_names(changes.protocol)}."
    elif not beside:
        known = " that is recorded" if first.unrecorded or second.unrecorded else ""
        yield f"Nothing{known}: the same protocol {first.word('protocol')}."
    else:
        yield f"The same protocol {first.word('protocol')}; beside it changed: {beside}"
        return
    if beside:
        yield f"Beside the protocol changed: {beside}"


def _names(changes: Sequence[Change]) -> str:
    """The first changes in words."""
    named = [
        f"{change.setting} ({_shown(change.first)} on A, {_shown(change.second)} on B)"
        for change in changes[:FEW]
    ]
    more = len(changes) - len(named)
    return "; ".join([*named, *([f"and {more} more"] if more else [])])


def _shown(value: str | None) -> str:
    if value is None:
        return "absent"
    return value if len(value) <= LONGEST else f"{value[:LONGEST].rstrip()} ..."


def _notes(first: Side, second: Side, changes: Changes) -> Iterator[str]:
    both = list(zip(SIDES, (first, second), strict=True))
    for name, side in both:
        if side.unrecorded:
            yield (
                f"{side.unrecorded} of {counted(len(side.runs), 'run')} of {name} have no record: "
                "their settings, software, methods and manifests are not compared."
            )
    for (name, side), (_, other) in (both, both[::-1]):
        alone = [labels for labels in side.labels if labels not in other.labels]
        if alone:
            yield f"Label budgets of {name} alone, not compared: {', '.join(alone)}."
    if any(change.setting == DATA for change in changes.protocol or ()):
        yield (
            "The prepared images are not the same (setting data): patients are paired by name, and "
            "whether a name is the same patient on both sides is not known."
        )
    if any(change.setting == DATA for change in changes.following):
        yield (
            "The images were prepared by other settings "
            f"({', '.join(_preparing(changes.protocol or ()))}), and so differ; whether the "
            "volumes behind them are the same is not recorded. Patients are paired by name."
        )


def _table(changes: Changes) -> Table:
    columns = (_SETTING, *(Column(name, "text", "What changed") for name in SIDES))
    shown = sorted((*(changes.protocol or ()), *changes.following), key=attrgetter("setting"))
    shown += changes.others
    rows = [_row(one.setting, one.first, one.second) for one in shown]
    notes = []
    if any(None in (one.first, one.second) for one in shown):
        notes.append("– is a setting that this side does not have.")
    if changes.following:
        named = " and ".join(sorted(change.setting for change in changes.following))
        notes.append(f"Not counted, as following from other settings: {named}.")
    return make_table("what changed", columns, rows, notes=tuple(notes))


def _sides(first: Side, second: Side) -> Table:
    """What each side holds, and how much of it both do."""
    columns = (_SETTING, *(Column(name, "text", "The sides") for name in (*SIDES, _BOTH)))
    old, new = first.word("protocol"), second.word("protocol")
    both = [labels for labels in first.labels if labels in second.labels]
    rows = [
        _row("protocol", old, new, old if old == new else ""),
        _row("label budgets", *map(", ".join, (first.labels, second.labels, both))),
    ]
    for name, column in (("variants", "variant"), ("patients", "patient"), ("runs", "run")):
        ours, theirs = (set(side.rows[column].unique()) for side in (first, second))
        rows.append(_row(name, *(str(len(held)) for held in (ours, theirs, ours & theirs))))
    return make_table("sides", columns, rows)


def _row(setting: str, first: str | None, second: str | None, both: str = "") -> dict[str, Any]:
    return {_SETTING.name: setting, SIDES[0]: first, SIDES[1]: second, _BOTH: both or None}
