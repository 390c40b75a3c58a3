"""What differs between two sides beside their scores: settings, software, methods, manifests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count, groupby

import pandas as pd

from contrabench.report.appendix import parsed, settings
from contrabench.report.counterparts import Side

Values = dict[str, set[str]]
"""What each setting is over the runs of a side: several values where runs differ, none where
no record tells."""

_EMPTY = "{}"
_ASKED = ["variant", "deviations", "labels"]


@dataclass(frozen=True)
class Change:
    """One thing, such as `budget.finetune.images`, on A and on B; None where a side has none."""

    setting: str
    first: str | None
    second: str | None


def protocol_changes(first: Side, second: Side) -> tuple[Change, ...] | None:
    """The settings that two protocols do not share, by their paths; nothing for equal hashes.

    None where the hashes differ and a side has no record of its protocol, so that nobody can
    tell which settings do.
    """
    if first.word("protocol") == second.word("protocol"):
        return ()
    ours, theirs = (_recorded(side.runs["protocol"]) for side in (first, second))
    if ours is None or theirs is None:
        return None
    return tuple(change for change in _differing(ours, theirs) if change.setting != "hash")


def other_changes(first: Side, second: Side) -> tuple[Change, ...]:
    """What differs beside the protocol; of what a side does not tell, nothing is said.

    Versions of software, and devices; versions, code and options of methods; manifests of the
    same fold and draw; and what was run of folds, draws and seeds. Runs of methods and label
    budgets that only one side has are no part of it.
    """
    asked, other = (pd.MultiIndex.from_frame(side.runs[_ASKED]) for side in (first, second))
    ours, theirs = first.runs[asked.isin(other)], second.runs[other.isin(asked)]
    return (
        *_named("software", _differing(_software(ours), _software(theirs))),
        *_differing(_device(ours), _device(theirs)),
        *_each(ours, theirs, "method", _code),
        *_each(ours, theirs, "variant", _options),
        *_manifests(ours, theirs, "split", ["fold"], "split"),
        *_labelled(ours, theirs),
        *_differing(_asked(ours), _asked(theirs)),
    )


def _recorded(records: Iterable[str]) -> Values | None:
    """The settings of all records that are there; None where none is."""
    known = {text for text in records if text}
    found: Values = {}
    for record in known:
        for setting, value in settings(parsed(record)).items():
            # What is empty on one side has its parts on the other.
            if value != _EMPTY:
                found.setdefault(setting, set()).add(value)
    return found if known else None


def _differing(first: Values | None, second: Values | None) -> Iterator[Change]:
    """Where two sides do not have the same values, and both tell theirs."""
    if first is None or second is None:
        return
    for setting in sorted({*first, *second}):
        ours, theirs = first.get(setting), second.get(setting)
        is_unknown = ours == set() or theirs == set()
        if ours != theirs and not is_unknown:
            yield Change(setting, _listed(ours), _listed(theirs))


def _listed(values: set[str] | None) -> str | None:
    return None if values is None else ", ".join(sorted(values))


def _named(name: str, changes: Iterable[Change]) -> Iterator[Change]:
    """Says what the settings are those of."""
    return (replace(change, setting=f"{name}: {change.setting}") for change in changes)


def _software(runs: pd.DataFrame) -> Values | None:
    return _recorded(runs["environment"])


def _device(runs: pd.DataFrame) -> Values:
    return {"device": set(runs["device"]) - {""}}


def _each(
    first: pd.DataFrame,
    second: pd.DataFrame,
    column: str,
    read: Callable[[pd.DataFrame], Values | None],
) -> Iterator[Change]:
    """What differs of each thing that a column names, the same on both sides."""
    for name in sorted({*first[column]}):
        ours, theirs = (read(runs[runs[column] == name]) for runs in (first, second))
        yield from _named(name, _differing(ours, theirs))


def _code(runs: pd.DataFrame) -> Values:
    """Version, fidelity and code of one method."""
    records = _recorded(runs["method_info"]) or {}
    return {
        "version": set(map(str, runs["method_version"])),
        "fidelity": set(runs["fidelity"]),
        "code": records.get("code", set()),
    }


def _options(runs: pd.DataFrame) -> Values | None:
    """The options of one variant."""
    records = _recorded(runs["method_info"])
    if records is None:
        return None
    return {name: values for name, values in records.items() if name.startswith("options.")}


def _labelled(first: pd.DataFrame, second: pd.DataFrame) -> Iterator[Change]:
    """The manifests of labelled patients, by label budget."""
    for labels in sorted({*first["labels"]}):
        ours, theirs = (runs[runs["labels"] == labels] for runs in (first, second))
        name = f"labelled patients at {labels}"
        yield from _manifests(ours, theirs, "labels_manifest", ["fold", "draw"], name)


def _manifests(
    first: pd.DataFrame, second: pd.DataFrame, column: str, cell: list[str], name: str
) -> Iterator[Change]:
    """Manifests that differ although the columns of `cell` say they were made for the same."""
    ours, theirs = (_by_cell(runs, column, cell) for runs in (first, second))
    places = [place for place in sorted({*ours} & {*theirs}) if ours[place] != theirs[place]]
    if places:
        more = f" and {len(places) - 1} more" if len(places) > 1 else ""
        shown = (", ".join(sorted(side[places[0]])) + more for side in (ours, theirs))
        yield Change(name, *shown)


def _by_cell(runs: pd.DataFrame, column: str, cell: list[str]) -> dict[tuple[int, ...], set[str]]:
    """The manifests of each cell, where they are known."""
    known = runs[runs[column] != ""]
    places = zip(*(known[name].astype(int) for name in cell), strict=True)
    found: dict[tuple[int, ...], set[str]] = {}
    for place, manifest in zip(places, known[column], strict=True):
        found.setdefault(place, set()).add(str(manifest))
    return found


def _asked(runs: pd.DataFrame) -> Values:
    """Which folds, draws and seeds were run."""
    return {
        f"{name} run": {_ranges(map(int, runs[column]))}
        for name, column in (("folds", "fold"), ("label draws", "draw"), ("seeds", "seed"))
    }


def _ranges(numbers: Iterable[int]) -> str:
    """Whole numbers in order, neighbours joined: `0 to 4, 7`."""
    ascending = sorted(set(numbers))
    # Neighbours have the same distance to their place.
    runs = [
        [number for number, _ in part]
        for _, part in groupby(
            zip(ascending, count(), strict=False), lambda pair: pair[0] - pair[1]
        )
    ]
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
