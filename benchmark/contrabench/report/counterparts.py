"""Two sides of results, and what of one side belongs to what of the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from contrabench.contracts.report import plain
from contrabench.errors import RequestError
from contrabench.report.build import TABLE
from contrabench.report.completeness import complete_runs

if TYPE_CHECKING:
    import pandas as pd

    from contrabench.store.results import Results

SIDES = ("A", "B")
"""How tables and sentences call the two sides."""

_OF_A_RUN = [
    "run", "method", "method_version", "variant", "deviations", "fidelity", "labels", "fraction",
    "fold", "draw", "seed",
]  # fmt: skip

Keys = tuple[Hashable, ...]
"""What something may be known by, the strictest first: who shares one shares all after it."""


@dataclass(frozen=True)
class Side:
    """What one side holds of one protocol.

    `facts` are those of all its runs, as in `contrabench.store.results.Results`; `gaps` has a line
    for each group of runs that lack rows and were left out.
    """

    rows: pd.DataFrame
    facts: pd.DataFrame
    gaps: tuple[str, ...] = ()

    def word(self, column: str) -> str:
        """What all rows have in a column of the protocol."""
        return str(self.rows[column].iloc[0])

    @property
    def name(self) -> str:
        """How a sentence names it."""
        recipe = self.word("recipe")
        return (
            f"{self.word('dataset')}, {self.word('budget')} budget, "
            f"{'' if recipe == 'common' else f'{recipe} recipe, '}protocol {self.word('protocol')}"
        )

    @property
    def keys(self) -> Keys:
        """What its counterpart must share: everything, or as much as tells it apart."""
        dataset, budget, recipe = map(self.word, ("dataset", "budget", "recipe"))
        everything = tuple(map(self.word, TABLE))
        return everything, (dataset, budget, recipe), (dataset, budget), (dataset,)

    @property
    def labels(self) -> list[str]:
        """Its label budgets, few labels first."""
        fractions = dict(zip(self.runs["labels"], self.runs["fraction"], strict=True))
        return sorted(fractions, key=lambda labels: (float(fractions[labels]), labels))

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One line per run, its key the index: what was asked, and the facts as plain words."""
        asked = self.rows[_OF_A_RUN].drop_duplicates("run").set_index("run")
        asked.index = asked.index.astype(str)
        words = ["protocol", "environment", "method_info", "device", "split", "labels_manifest"]
        known = self.facts[words].astype(object)
        return asked.join(known).fillna(dict.fromkeys(words, "")).sort_index()

    @property
    def unrecorded(self) -> int:
        """Runs whose record is not at hand."""
        return int((self.runs["protocol"] == "").sum())

    def at(self, labels: str) -> pd.DataFrame:
        """The rows of one label budget."""
        return self.rows[self.rows["labels"] == labels]


def match(first: Sequence[Keys], second: Sequence[Keys]) -> list[tuple[int, int]]:
    """Pairs what is beyond doubt the same thing on both sides, by places in the order of `first`.

    Two things are a pair where each is the only one of its side with a key that they share.
    Keys, as many for each thing, are tried in order, so what is equal in everything comes first.
    """
    pairs: dict[int, int] = {}
    for level in range(len(first[0]) if first else 0):
        ours, theirs = _alone(first, level), _alone(second, level)
        pairs |= {place: theirs[key] for key, place in ours.items() if key in theirs}
    return sorted(pairs.items())


def side_pairs(
    a: Results, b: Results, labels: Sequence[str] = ()
) -> tuple[list[tuple[Side, Side]], list[str]]:
    """Pairs the protocols of two results, in the order of A; RequestError if there is no pair.

    Protocols that are equal belong together. Of the others those do that are the only
    ones of their side with this dataset, budget and recipe; with this dataset and budget;
    with this dataset. Gives also a line for each side with protocols left over. `labels` are
    the label budgets to look at; all by default.
    """
    first, second = _sides(a, labels), _sides(b, labels)
    places = match([side.keys for side in first], [side.keys for side in second])
    if not places:
        held = ", and ".join(
            f"{name} holds {'; '.join(side.name for side in sides) or 'no finished run'}"
            for name, sides in zip(SIDES, (first, second), strict=True)
        )
        raise RequestError(
            "no protocol of A has one counterpart in B, so there is nothing to compare "
            f"({plain(held)}); name two protocol hashes, or results of the same dataset"
        )
    paired = zip(*places, strict=True)
    lonely = [
        f"Not compared, for want of one counterpart beyond doubt, of {name}: {'; '.join(left)}."
        for name, sides, taken in zip(SIDES, (first, second), paired, strict=True)
        if (left := [side.name for place, side in enumerate(sides) if place not in taken])
    ]
    return [(first[ours], second[theirs]) for ours, theirs in places], lonely


def _alone(things: Sequence[Keys], level: int) -> dict[Hashable, int]:
    """The places of the things that share their key with no other one."""
    counts = Counter(keys[level] for keys in things)
    return {keys[level]: place for place, keys in enumerate(things) if counts[keys[level]] == 1}


def _sides(results: Results, labels: Sequence[str]) -> list[Side]:
    rows = results.rows
    if labels:
        rows = rows[rows["labels"].isin(labels)]
    groups: list[tuple[Any, pd.DataFrame]] = list(rows.groupby(TABLE, observed=True, sort=False))
    # The order of categories says nothing, so words are sorted as words.
    groups.sort(key=lambda group: tuple(map(str, group[0])))
    sides = []
    for _, part in groups:
        whole = complete_runs(part)
        sides.append(Side(whole.rows, results.runs, tuple(one.note for one in whole.incomplete)))
    return sides
