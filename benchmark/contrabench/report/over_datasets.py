"""Over datasets: the mean difference of each method to scratch where several were run alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from contrabench.contracts.report import Column, Kind, Section, Table
from contrabench.references import REFERENCE
from contrabench.report.appendix import settings
from contrabench.report.board import NAMES, columns, make_table, names_of
from contrabench.report.comparison import Against, Effect
from contrabench.report.judged import Judged
from contrabench.report.verdict import told
from contrabench.statistics.random_effects import CombinedEffect, random_effects
from contrabench.statistics.signflip import LEVEL, holm
from contrabench.store.runs import parsed
from contrabench.text import budget_words, counted

OVER_DATASETS = "over datasets"
ENOUGH = 3
"""Datasets from which on a verdict is given: of two, Student's t has one degree of freedom."""
_SHARED = ["budget", "recipe", "metric_contract"]
_OWN = ("dataset", "data", "pool", "structures", "folds", "split", "hash")
"""Settings of a protocol that each dataset has of its own: these, and those that begin so."""


def over_datasets(known: Sequence[Judged], runs: pd.DataFrame) -> list[Section]:
    """One section for each label budget of several datasets that were run under one protocol.

    Apart from what belongs to the dataset all settings are equal, as far as records tell them.
    """
    groups: dict[tuple[str, ...], list[Judged]] = {}
    for one in known:
        first = one.budget.rows.iloc[0]
        shared = [str(first[column]) for column in _SHARED]
        key = (one.budget.labels, *shared, *_alike(runs, str(first["run"])))
        if one.compared.family:
            groups.setdefault(key, []).append(one)
    return [part for group in groups.values() for part in _section(group)]


def _alike(runs: pd.DataFrame, run: str) -> list[str]:
    """The settings that datasets have to share; nothing without a record."""
    text = runs["protocol"].get(run)
    found = settings(parsed(text)).items()
    return [f"{path}={value}" for path, value in found if not path.startswith(_OWN)]


def _section(group: Sequence[Judged]) -> Iterator[Section]:
    """The section of a group, if it has several datasets."""
    counts = Counter(map(_dataset, group))
    once = {_dataset(one): one for one in group if counts[_dataset(one)] == 1}
    if len(once) < 2:
        return
    combined = _combined([one.compared.family for one in once.values()])
    if not combined:
        return
    first = next(iter(once.values())).budget
    protocols = (str(one.budget.rows["protocol"].iloc[0]) for one in once.values())
    twice = [name for name, count in counts.items() if count > 1]
    yield Section(
        title=f"over {counted(len(once), 'dataset')}, {first.rows['budget'].iloc[0]} budget, "
        f"{budget_words([first.labels])}",
        protocol=" and ".join(protocols),
        tables=(_table(once, combined),),
        verdict=tuple(_verdict(list(once), combined)),
        notes=tuple(f"{name} is there under several protocols, and left out." for name in twice),
        labels=first.labels,
    )


def _dataset(at: Judged) -> str:
    return str(at.budget.rows["dataset"].iloc[0])


def _combined(families: Sequence[dict[str, Against]]) -> dict[str, CombinedEffect]:
    """Each method that at least two datasets have, best first."""
    found = {}
    for label in dict.fromkeys(label for family in families for label in family):
        held = [family[label] for family in families if label in family]
        effect = random_effects([one.mean for one in held], [one.error for one in held])
        if effect is not None:
            found[label] = effect
    return dict(sorted(found.items(), key=lambda item: -item[1].mean))


def _effects(combined: dict[str, CombinedEffect]) -> dict[str, Effect]:
    adjusted = holm([one.p for one in combined.values()])
    return {
        label: Effect(one.mean, one.low, one.high, one.equivalence, p)
        for (label, one), p in zip(combined.items(), adjusted, strict=True)
    }


def _verdict(datasets: Sequence[str], combined: dict[str, CombinedEffect]) -> Iterator[str]:
    # Of fewer datasets the table has the numbers, and nobody a verdict.
    combined = {label: one for label, one in combined.items() if one.datasets >= ENOUGH}
    if not combined:
        yield (
            f"{' and '.join(datasets)} tell too little of the mean over datasets like these: a "
            f"verdict takes {ENOUGH}, the table holds the numbers."
        )
        return
    yield from told(
        _effects(combined),
        better=f"Over datasets in Dice better than {REFERENCE}",
        worse=f"Over datasets in Dice worse than {REFERENCE}",
        small=f"Over datasets in Dice as good as {REFERENCE}",
        rest=f"Over datasets cannot be separated from {REFERENCE} in Dice",
    )
    yield (
        f"Random-effects mean over {', '.join(datasets)}; Student's t over the datasets less one, "
        f"Holm over {counted(len(combined), 'comparison')}, level {LEVEL:g}. The interval is about "
        "the mean of datasets like these, and not adjusted."
    )


def _table(once: dict[str, Judged], combined: dict[str, CombinedEffect]) -> Table:
    against = f"Dice vs {REFERENCE}"
    kinds: dict[Kind, Sequence[str]] = {
        "difference": [against, "95% low", "95% high"], "p": ["Adjusted p", "Equivalence p"],
        "score": ["Tau"], "share": ["I squared"], "count": ["Datasets"],
    }  # fmt: skip
    by_dataset = [
        *(Column(f"on {name}", "difference", f"{against} by dataset", name) for name in once),
        *(Column(f"error on {name}", "score", "Standard error by dataset", name) for name in once),
    ]
    rows = []
    for label, effect in _effects(combined).items():
        one = combined[label]
        cells: dict[str, Any] = {
            against: one.mean,
            "95% low": one.low,
            "95% high": one.high,
            "Adjusted p": effect.adjusted,
            "Equivalence p": one.equivalence,
            "Tau": one.tau,
            "I squared": one.i_squared,
            "Datasets": one.datasets,
        }
        for name, at in once.items():
            for place, entry in at.compared.paired.items():
                if entry.label == label:
                    known = at.compared.against[place]
                    cells |= names_of(entry)
                    cells |= {f"on {name}": known.mean, f"error on {name}": known.error}
        rows.append(cells)
    notes = (
        "Tau is the standard deviation of the true differences between datasets, I squared the "
        "share of what datasets differ in that their standard errors do not explain.",
        "Standard errors hold what training again would move, where the runs tell it.",
    )
    shown = (*NAMES, *columns("Over datasets", kinds), *by_dataset)
    return make_table(OVER_DATASETS, shown, rows, notes=notes)
