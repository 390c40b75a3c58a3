"""Two results side by side: how far each method moved with what changed, paired by patient."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from operator import attrgetter

import pandas as pd

from contrabench.contracts.report import NAME, Report, Section, Table, number_text
from contrabench.report.board import asd_heading, board, how_run
from contrabench.report.build import title_of
from contrabench.report.changes import (
    SIDES,
    Sides,
    changes_section,
    find_changes,
    joined,
    side_pairs,
)
from contrabench.report.comparison import Comparison, all_against, compare
from contrabench.report.entries import Entry, grouped, make_entry, versioned
from contrabench.report.verdict import rests_on, told
from contrabench.statistics.aggregate import distance_of
from contrabench.statistics.ranking import rank_methods
from contrabench.store.results import Results
from contrabench.text import budget_words, counted, some

FEW = 6
"""So many methods a sentence about the order names."""
FROM = SIDES[0]
BETWEEN = (f"Dice vs {FROM}", "95% low", "95% high", "Adjusted p", "Retrained p")
"""Columns of a leaderboard that say what lies between the sides; others are of each side."""


def compare_results(
    a: Results, b: Results, names: tuple[str, str], command: str, labels: Sequence[str] = ()
) -> Report:
    """For each pair of protocols what changed, then the label budgets that both sides have.

    `names` are what the user calls the sides, e.g. two paths; `labels` the label budgets to show,
    all by default. RequestError if no protocol of A has a counterpart in B, or a row lacks the
    metric of the others.
    """
    pairs, lonely = side_pairs(a, b, labels)
    # A name cannot end the command that it stands in.
    first, second = (name.replace("`", "'") for name in names)
    called = f"A is `{first}` and B is `{second}`."
    sections: list[Section] = []
    for sides in pairs:
        changes = find_changes(sides)
        gaps = [f"On {n}, {gap}" for n, side in zip(SIDES, sides, strict=True) for gap in side.gaps]
        notes = (called, *(() if sections else lonely), *gaps)
        sections.append(changes_section(sides, changes, notes))
        sections += [
            _section(sides, budget, changes.meaning, called)
            for budget in sides[0].labels
            if budget in sides[1].labels
        ]
    more = b.rows[~b.rows["run"].isin(a.rows["run"].unique())]
    return Report(tuple(sections), pd.concat([a.rows, more], ignore_index=True), command)


def _section(sides: Sides, labels: str, meaning: str, called: str) -> Section:
    rows = [side.rows[side.rows["labels"] == labels] for side in sides]
    scales = [distance_of(part) for part in rows]
    obstacle = _obstacle(*rows)
    compared = side_by_side(rows[0], rows[1], comparable=not obstacle)
    notes = [called]
    if scales[0] != scales[1]:
        on_a, on_b = map(asd_heading, scales)
        notes.append(f"The distances are not on one scale: {on_a} on A, {on_b} on B.")
    if len(compared[0].members) > 1:
        notes.append("Ranks and groups are among the methods that both sides have.")
    boards = [board(each, scale, FROM) for each, scale in zip(compared, scales, strict=True)]
    return Section(
        title=f"{joined(title_of(side.rows) for side in sides)}, {budget_words([labels])}, "
        "side by side",
        protocol=joined(side.word("protocol") for side in sides),
        tables=(
            _beside("side by side", boards),
            _beside("runs", [how_run(each.entries) for each in compared]),
        ),
        verdict=(
            *([obstacle] if obstacle else _tests(*compared, meaning)),
            *_order(*compared),
            *_alone(*compared),
        ),
        notes=(*notes, *([] if obstacle else _other_patients(*compared))),
        dataset=sides[0].word("dataset"),
        labels=labels,
    )


def _obstacle(first: pd.DataFrame, second: pd.DataFrame) -> str:
    """Why scores of the two sides are not of the same quantity; "" if they are."""
    contracts = [str(rows["metric_contract"].iloc[0]) for rows in (first, second)]
    if contracts[0] != contracts[1]:
        return (
            f"The metric contracts differ ({' on A, '.join(contracts)} on B): the scores are not "
            "of the same quantity, and no difference is computed."
        )
    ours, theirs = (list(map(str, rows["structure"].unique())) for rows in (first, second))
    if {*ours} != {*theirs}:
        return (
            f"Not the same structures are scored (A {', '.join(ours)}; B {', '.join(theirs)}): the "
            "means are over other things, and no difference is computed."
        )
    return ""


def side_by_side(
    first: pd.DataFrame, second: pd.DataFrame, comparable: bool = True
) -> tuple[Comparison, Comparison]:
    """Compares every method of two sides with itself.

    A method is the same on both sides where variant, deviations and version are, or where
    each side has a single version of it. The rows are those of one protocol at one label budget;
    `comparable` is whether scores of the two sides are of the same quantity.

    Each side holds first the methods that both have, compared with each other, best Dice on A
    first; then its own. `against` is empty on A, and on B holds B minus A, one family, of those
    with a score of the same patients on both. RequestError if a row lacks the metric of the others.
    """
    ours, theirs = (sorted(side, key=attrgetter("order")) for side in _entries((first, second)))
    on_b = {entry.label: entry for entry in theirs}
    both = [(entry, on_b[entry.label]) for entry in ours if entry.label in on_b]
    against, trained = all_against(
        {
            place: (new, old)
            for place, (old, new) in enumerate(both)
            if comparable and len(new.scores) and new.scores.index.equals(old.scores.index)
        }
    )
    shared = {entry.label for entry, _ in both}
    made = []
    for side, entries in enumerate((ours, theirs)):
        compared = compare([pair[side] for pair in both])
        alone = [entry for entry in entries if entry.label not in shared]
        every = (*compared.entries, *alone)
        made.append(replace(compared, entries=every, against={}, retraining=trained))
    return made[0], replace(made[1], against=against)


def _entries(sides: Sequence[pd.DataFrame]) -> list[list[Entry]]:
    """The methods of each side; single versions of both have one name, that of the newer."""
    columns = ["variant", "deviations", "method_version"]
    held = [
        {(str(name), str(more), int(str(version))): part for (name, more, version), part in found}
        for found in (grouped(rows, columns) for rows in sides)
    ]
    newest: dict[str, int] = {}
    for name, _, version in (*held[0], *held[1]):
        newest[name] = max(version, newest.get(name, version))
    made = []
    for groups, rows in zip(held, sides, strict=True):
        entries = []
        for (name, more, version), part in groups.items():
            known = [[key[2] for key in side if key[:2] == (name, more)] for side in held]
            single = [len(versions) for versions in known] == [1, 1]
            shown = max(*known[0], *known[1]) if single else version
            called = versioned(name, shown, newest[name])
            entries.append(make_entry(called, more, part, distance_of(rows)))
        made.append(entries)
    return made


def _beside(name: str, tables: Sequence[Table]) -> Table:
    """Two tables of methods in one, each column twice but for what lies between the sides."""
    named = tables[0].part(NAME)
    keys = [column.name for column in named]
    frames = (
        table.data.set_index(keys).add_suffix(f" {side}")
        for side, table in zip(SIDES, tables, strict=True)
    )
    data, columns = pd.concat(list(frames), axis="columns").reset_index(), list(named)
    for pair in zip(*(table.columns[len(keys) :] for table in tables), strict=True):
        for side, column in zip(SIDES, pair, strict=True):
            is_between = column.name in BETWEEN or column.part == f"Dice against {FROM}"
            if not is_between:
                columns.append(replace(column, name=f"{column.name} {side}"))
            elif side != FROM:
                columns.append(column)
                data[column.name] = data[f"{column.name} {side}"]
    return Table(name, tuple(columns), data[[column.name for column in columns]])


def _tests(first: Comparison, second: Comparison, meaning: str) -> Iterator[str]:
    """Which methods moved, what that is a difference of, and what it rests on."""
    tested = {second.entries[place].label: one for place, one in second.against.items()}
    if not tested:
        yield "No method was tested on the same patients on both sides, so none is compared."
        return
    if all(one.mean == 0 and one.found.smallest_p == 1 for one in tested.values()):
        who = counted(len(tested), "method")
        yield f"No score differs: the Dice of {who} is the same on every patient."
        return
    yield from told(
        tested,
        better="Better on B",
        worse="Worse on B",
        small="As good on both sides",
        rest="Not shown to have moved (B minus A)",
    )
    if meaning:
        yield meaning
    yield from rests_on(tested.values(), second.retraining)
    pairs = [(first.entries[place], second.entries[place]) for place in second.against]
    other = [new.label for old, new in pairs if old.streams != new.streams]
    if other:
        named = "all of them" if len(other) == len(tested) else ", ".join(other)
        yield (
            f"Trained in other folds, or with other label draws or seeds, on B than on A: {named}. "
            "A difference may be theirs alone; a test over patients does not see it."
        )


def _order(first: Comparison, second: Comparison) -> Iterator[str]:
    """Whether the ranking changed among the methods that both sides have."""
    if first.members != second.members or len(first.members) < 2:
        return
    old, new = (list(rank_methods(side.scores("dice"))) for side in (first, second))
    methods = f"the {len(old)} methods"
    if old == new:
        yield f"The order of {methods} by mean Dice is the same on both sides."
        return
    from scipy import stats

    tau = float(stats.kendalltau(old, new).statistic)
    about = f" (Kendall's tau {number_text('share', tau)})" if math.isfinite(tau) else ""
    moved = [each for each in zip(first.members, old, new, strict=True) if each[1] != each[2]]
    moved.sort(key=lambda each: -abs(each[1] - each[2]))
    named = (
        f"{first.entries[place].label} from {number_text('rank', was)} to {number_text('rank', it)}"
        for place, was, it in moved
    )
    yield (
        f"The order of {methods} by mean Dice changed{about}, which may be chance: "
        f"{some(named, most=FEW)}."
    )


def _alone(first: Comparison, second: Comparison) -> Iterator[str]:
    """Methods that only one side has."""
    known = [[entry.label for entry in side.entries] for side in (first, second)]
    for name, labels, others in zip(SIDES, known, known[::-1], strict=True):
        if alone := [label for label in labels if label not in others]:
            yield f"On {name} alone: {', '.join(alone)}."


def _other_patients(first: Comparison, second: Comparison) -> Iterator[str]:
    """Why a method that both sides have was not tested."""
    reasons: dict[str, list[str]] = {}
    for place, (old, new) in enumerate(zip(first.entries, second.entries, strict=False)):
        if old.label == new.label and place not in second.against:
            ours, theirs = old.scores.index, new.scores.index
            reason = (
                f"A tested {len(ours)}, B {len(theirs)}, {len(ours.intersection(theirs))} of them "
                "the same"
            )
            reasons.setdefault(reason, []).append(old.label)
    for reason, labels in reasons.items():
        yield (
            f"Not tested on the same patients ({reason}), so no difference is computed: "
            f"{', '.join(labels)}."
        )
