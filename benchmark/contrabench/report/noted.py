"""What the records of runs note of a method beside its numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pandas as pd

from contrabench.contracts import conformity
from contrabench.store.runs import inner

if TYPE_CHECKING:
    from contrabench.report.entries import Entry

OUTSIDE = ("Test patients seen", "Weights trained by", "Licence of weights")
"""The columns beside a row whose method begins with weights from outside."""
_TOLD = ("source", "licence")


@dataclass(frozen=True)
class Noted:
    """What the conformance kit has found of a plug-in, "" for a built-in; and marks on its runs.

    `outside` tells weights from outside by the columns of `OUTSIDE`; empty for a method without.
    `labels` says whether a pre-training sees masks, yes or no; "" where no record tells.
    """

    outcome: str = ""
    marks: tuple[str, ...] = ()
    outside: Mapping[str, str] = field(default_factory=dict)
    labels: str = ""

    @property
    def told(self) -> str:
        """The outcome as it stands beside a fidelity."""
        done = self.outcome in (conformity.PASSED, conformity.FAILED)
        return f"{self.outcome} the kit" if done else self.outcome


def noted(entry: Entry, runs: pd.DataFrame | None) -> Noted:
    """What is noted of a method's runs; of several runs the worst that was found."""
    outcomes, marks, outside = [], dict[str, None](), list[dict[str, Any]]()
    labels = ""
    for info in _infos(entry, runs):
        checked = checked_by_now(info)
        if isinstance(told := info.get("labels"), bool):
            labels = "yes" if told else "no"
        outcomes.append(str(checked.get("outcome", "")))
        outside += filter(None, [inner(info, "outside")])
        known = info.get("marks")
        marks |= dict.fromkeys(map(str, known if isinstance(known, list) else ()))
    order = ("", conformity.PASSED, conformity.UNKNOWN, conformity.FAILED)
    known_outcomes = [one for one in outcomes if one in order]
    outcome = max(known_outcomes, key=order.index, default="")
    return Noted(outcome, tuple(marks), _outside(outside), labels)


def checked_by_now(info: dict[str, Any]) -> dict[str, Any]:
    """What the kit has found: as the record says, or since, where it had not been asked then."""
    checked = inner(info, "checked")
    if checked.get("outcome") == conformity.UNKNOWN:
        return conformity.found(str(info.get("code", "")), inner(info, "options"))
    return checked


def _outside(known: Sequence[dict[str, Any]]) -> dict[str, str]:
    """What its runs tell of weights from outside; of what they have seen, the worst."""
    if not known:
        return {}
    words = ("no", "unknown", "yes")
    seen = [word if (word := one.get("seen")) in words else "unknown" for one in known]
    told = ("; ".join(dict.fromkeys(str(one.get(n, "")) for one in known)) for n in _TOLD)
    return dict(zip(OUTSIDE, (max(seen, key=words.index), *told), strict=True))


def _infos(entry: Entry, runs: pd.DataFrame | None) -> Iterator[dict[str, Any]]:
    """What the records of its runs say of the method, each once."""
    if runs is None or "method_info" not in runs:
        return
    keys = [key for key in entry.cells["run"].astype(str).unique() if key in runs.index]
    yield from map(told_of, runs.loc[keys, "method_info"].dropna().astype(str).unique())


@lru_cache(maxsize=4096)
def told_of(text: str) -> dict[str, Any]:
    """What a record tells as a JSON object; empty where it is none."""
    with suppress(ValueError):
        found = json.loads(text or "{}")
        if isinstance(found, dict):
            return found
    return {}


def notes_of(entries: Sequence[Entry], runs: pd.DataFrame | None) -> Iterator[str]:
    """One line for each plug-in that the kit has not passed, and for what was noted of a run."""
    for entry in entries:
        known = noted(entry, runs)
        if known.outcome == conformity.UNKNOWN:
            yield (
                f"{entry.label} is a plug-in that the conformance kit has not checked: run `bench "
                "methods check` on its file."
            )
        elif known.outcome == conformity.FAILED:
            yield f"{entry.label} is a plug-in that has failed the conformance kit."
        for mark in known.marks:
            yield f"{entry.label}: {mark}."
