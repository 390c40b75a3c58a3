"""Is it worth it here? What a study of one dataset advises, in sentences with their uncertainty.

All numbers are those of the report on the same rows; here they stand in the order in which
somebody asks who has labelled and unlabelled patients, and must decide what to do with the latter.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from contrabench.contracts.report import NAME, Answer, Column, Kind, Section, Table, number_text
from contrabench.errors import RequestError
from contrabench.references import (
    EVERY_LABEL,
    FULL_SUPERVISION,
    NOT_COMPARED,
    REFERENCE,
    REFERENCE_FAMILY,
)
from contrabench.report.answer import DICE_GAIN, answer
from contrabench.report.board import asd_heading, columns, make_table
from contrabench.report.build import TABLE, title_of
from contrabench.report.comparison import Against
from contrabench.report.completeness import complete_runs
from contrabench.report.efficiency import patients_words, scratch_curve
from contrabench.report.entries import (
    Entry,
    grouped,
    label_budgets,
    labelled,
    set_apart,
)
from contrabench.report.judged import Judged, Rival
from contrabench.report.verdict import FEW_PATIENTS
from contrabench.statistics.labels_saved import LabelsNeeded, labels_needed
from contrabench.statistics.retraining import MARGIN
from contrabench.store.results import Results
from contrabench.text import counted, some

_EACH, _FAMILIES = 2, 4
"""So many methods of a family are shown, the best, if there are not more families; else one of
each of the best families."""
_ENDS = ("95% low", "95% high")
_LABELS, _HOURS, _SAYS = "As good as", "Hours", "Known"


@dataclass(frozen=True)
class Advice:
    """What the rows of one protocol advise.

    Attributes:
        about: dataset, patients, labels, folds and draws, and by which network: lines.
        told: the answer by topic, the first question first.
        best: the method that is shown to beat scratch and is the best of those; "" for none.
        gains: what each method brings at the label budget that leads, families together.
        section: the same as the first section of a report.
    """

    about: tuple[tuple[str, ...], ...]
    told: tuple[tuple[str, str], ...]
    best: str
    gains: Table
    section: Section


@dataclass(frozen=True)
class _At(Judged):
    """One label budget with its comparisons and its answer."""

    answer: Answer

    @cached_property
    def methods(self) -> dict[str, Rival]:
        """Those of the rivals that use the images without labels."""
        return {k: one for k, one in self.rivals.items() if one.family not in NOT_COMPARED}

    @cached_property
    def worth(self) -> dict[str, Rival]:
        """The methods that are shown to beat scratch, by what may matter."""
        return {k: v for k, v in self.methods.items() if k in self.better and v.most >= MARGIN}


def advise(results: Results, rates: str = "uniform") -> Advice:
    """What results of one protocol advise.

    The label budget that leads is the largest at which methods were run. RequestError if the rows
    are of several protocols, or no method was compared at all.
    """
    parts = list(grouped(results.rows, TABLE))
    if len(parts) > 1:
        names = [f"{title_of(part)} (protocol {part['protocol'].iloc[0]})" for _, part in parts]
        raise RequestError(
            f"there are {len(parts)} comparisons, and an advice is about one: name a study, a "
            f"protocol or --dataset; there are: {'; '.join(names)}"
        )
    every, _ = complete_runs(results.rows)
    budgets = label_budgets(*set_apart(every, rates))
    curve, _ = scratch_curve(budgets)
    known = [
        _At(one.budget, one.compared, answer(one, results.runs, curve))
        for one in map(Judged.of, budgets)
    ]
    told = [one for one in known if one.methods]
    if not told:
        raise RequestError(
            "no method is compared with training from scratch in these rows, so they advise "
            "nothing; run a study with methods and scratch beside them"
        )
    lead = max(told, key=lambda one: one.count)
    # All labels of a budget of all are those of the next smaller one, for what more would bring.
    fewer = [one for one in known if one.budget.labels != EVERY_LABEL and one.scratch is not None]
    below = lead if lead in fewer else max(fewer, key=lambda one: one.count, default=lead)
    told_by = (
        *_worth(lead, below),
        *_standing(lead, below),
        *_instead(lead, below, curve),
        *_with_fewer([one for one in told if one is not lead]),
        *_sure(lead, below),
    )
    gains = _gains(lead, curve)
    section = Section(
        title=f"Is it worth it here? {title_of(every)}",
        protocol=str(every["protocol"].iloc[0]),
        tables=(gains,),
        verdict=tuple(f"{topic}: {text}" for topic, text in told_by),
        dataset=str(every["dataset"].iloc[0]),
    )
    return Advice(
        (lead.answer.about, lead.answer.setting),
        told_by,
        next(iter(lead.worth), ""),
        gains,
        section,
    )


def _worth(lead: _At, below: _At) -> Iterator[tuple[str, str]]:
    """The answer to the question."""
    topic, hearts = "Is it worth it?", f"{_number(lead.count)} labelled patients"
    if below.is_undertrained:
        yield (
            topic,
            (
                "This study cannot tell: with all labels the networks are no better than with few, "
                "so they are undertrained. Choose a larger --budget."
            ),
        )
        return
    if lead.worth:
        label, best = next(iter(lead.worth.items()))
        one = best.effect
        sure = "Yes" if one.is_anew and not one.passing else "Yes, for the networks trained here"
        text = (
            f"{sure}: {label} ({best.family}) brings {_effect(one)} Dice over training from "
            f"scratch with {hearts}."
        )
        if others := [name for name in lead.worth if name != label]:
            text += f" So {'does' if len(others) == 1 else 'do'} {some(others)}."
        yield topic, text
        return
    highs = [one.most for one in lead.methods.values()]
    patients = counted(int(lead.budget.rows["patient"].nunique()), "test patient")
    if any(map(math.isnan, highs)):
        yield topic, f"That cannot be told: {patients} are too few for any interval."
    elif max(highs) < MARGIN:
        yield (
            topic,
            (
                f"No: with {hearts} no method brings more than {MARGIN} Dice over training from "
                "scratch."
            ),
        )
    else:
        most, label = max((one.most, name) for name, one in lead.methods.items())
        yield (
            topic,
            (
                f"That is not shown: with {hearts} and {patients} no method is shown to beat "
                f"training from scratch. Up to {_signed(most)} Dice is possible ({label})."
            ),
        )


def _standing(lead: _At, below: _At) -> Iterator[tuple[str, str]]:
    """What training from scratch reaches now, and with all labels."""
    if lead.scratch is not None:
        yield "Where you stand", f"{_scores(lead)} from scratch, with {_of(lead)} labelled."
    full = below.budget.find(FULL_SUPERVISION)
    if full is None or below.ceiling is None:
        return
    every = f"all {labelled(full.rows).split(' of ')[0]} labelled"
    more = f"{_effect(below.ceiling)} over {_number(below.count)} labelled"
    more = f"Dice {_mean(full)} with {every}: {more}" if lead is below else f"{more} with {every}"
    yield "More labels", f"{more}, from scratch."


def _instead(lead: _At, below: _At, curve: pd.DataFrame | None) -> Iterator[tuple[str, str]]:
    """How many more labelled patients would bring as much as the best method."""
    topic = "Label instead?"
    if curve is None:
        yield (
            topic,
            (f"Not known: {REFERENCE} was run at one label budget, or on other patients at each."),
        )
        return
    at = lead if lead.count < float(str(curve.columns[-1])) else below
    found = _needed(at, curve, at.worth)
    if not found:
        yield (
            topic,
            (
                f"No method is shown to save labels with {_number(at.count)} labelled; more labels "
                "bring what stands above."
            ),
        )
        return
    label, needed = found[0]
    counts = [float(str(count)) for count in curve]
    words = [patients_words(number, counts) for number in needed]
    text = (
        f"{label} with {_number(at.count)} labelled is as good as {words[0]} labelled from scratch"
    )
    text += f" (95% {words[1]} to {words[2]})"
    more = needed.needed - at.count
    if math.isinf(more):
        text += ": labelling all of them would bring less"
    elif more > 0:
        text += f": labelling about {more:.2g} more patients would bring as much"
    yield topic, f"{text}."


def _needed(
    at: _At, curve: pd.DataFrame, entries: Mapping[str, Rival]
) -> list[tuple[str, LabelsNeeded]]:
    """With how many labelled patients scratch is as good as each method, where that is known."""
    counts = [float(str(count)) for count in curve]
    return [
        (label, labels_needed(counts, curve, one.entry.scores["dice"], at.compared.retraining))
        for label, one in entries.items()
        if one.entry.scores.index.equals(curve.index)
    ]


def _with_fewer(others: Sequence[_At]) -> Iterator[tuple[str, str]]:
    """The answers of the smaller label budgets, in a sentence each."""
    for one in sorted(others, key=lambda at: -at.count):
        yield f"With {_number(one.count)} labelled", " ".join(one.answer.words[:1])


def _sure(lead: _At, below: _At) -> Iterator[tuple[str, str]]:
    """What the intervals are about, and what the study can see."""
    patients = int(lead.budget.rows["patient"].nunique())
    about = "networks trained anew" if lead.compared.retraining.decides else "these networks alone"
    few = f"; {counted(patients, 'patient')} are few, and what is not shown may be there"
    yield "How sure?", " ".join((
        f"95% intervals over {counted(patients, 'patient')}, for {about}"
        f"{few if patients < FEW_PATIENTS else ''}.",
        *below.answer.sight,
    ))  # fmt: skip


def _gains(lead: _At, curve: pd.DataFrame | None) -> Table:
    """The best of each family against scratch, longer training from scratch last."""
    held = dict(_needed(lead, curve, lead.rivals)) if curve is not None else {}
    counts = [] if curve is None else [float(str(count)) for count in curve]
    board = lead.answer.board
    hours = dict(zip(board.data["Method"], board.data[_HOURS], strict=True))
    rows: list[dict[str, Any]] = []
    families = _families(lead)
    each = _EACH if len(families) <= _FAMILIES + 1 else 1
    *others, last = families
    for family in (*others[:_FAMILIES], last):
        members = [(k, v.effect) for k, v in lead.rivals.items() if v.family == family]
        for label, one in members[:each]:
            needed = held.get(label)
            rows.append({
                "Method": label,
                "Family": family,
                **dict(zip((DICE_GAIN, *_ENDS), (one.mean, one.low, one.high), strict=True)),
                _LABELS: None if needed is None else patients_words(needed.needed, counts),
                _HOURS: hours[label],
                _SAYS: _says(one),
            })  # fmt: skip
    kinds: tuple[tuple[Kind, tuple[str, ...]], ...] = (
        ("difference", (DICE_GAIN, *_ENDS)),
        ("text", (_LABELS,)),
        ("distance", (_HOURS,)),
        ("text", (_SAYS,)),
    )
    part = f"With {_of(lead)} labelled"
    shown = [column for kind, names in kinds for column in columns(part, {kind: names})]
    left = len(lead.rivals) - len(rows)
    notes = (
        f"{_LABELS}: the number of labelled patients with which {REFERENCE} has the same Dice. "
        f"{_HOURS}: of training one network. {_SAYS}: after Holm over all methods; an interval is "
        "of one." + (f" {left} more are in the report." if left else ""),
    )
    heads = (Column("Method", "text", NAME), Column("Family", "text", NAME))
    return make_table("advice", (*heads, *shown), rows, notes=notes)


def _families(lead: _At) -> list[str]:
    """The families by their best method, references last."""
    found = dict.fromkeys(one.family for one in lead.rivals.values())
    return sorted(found, key=lambda family: family == REFERENCE_FAMILY)


def _says(one: Against) -> str:
    """What is known of a difference, in words."""
    if math.isnan(one.high):
        return "too few"
    if one.separated:
        return "better" if one.mean > 0 else "worse"
    return "as good" if one.is_small else "not told apart"


def _of(at: _At) -> str:
    return labelled(at.budget.rows)


def _number(count: float) -> str:
    return f"{count:.3g}"


def _signed(value: float) -> str:
    return number_text("difference", value)


def _effect(one: Against) -> str:
    """A difference with its interval."""
    if math.isnan(one.low):
        return f"{_signed(one.mean)} (no interval)"
    return f"{_signed(one.mean)} (95% {_signed(one.low)} to {_signed(one.high)})"


def _mean(entry: Entry) -> str:
    """The mean Dice of a method with its interval."""
    mean, low, high = (number_text("score", value) for value in entry.means["dice"])
    return mean if math.isnan(entry.means["dice"][1]) else f"{mean} (95% {low} to {high})"


def _scores(at: _At) -> str:
    """Dice and ASD of training from scratch."""
    entry = at.scratch
    if entry is None:
        return ""
    metric = at.budget.distance
    name, unit = asd_heading(metric).split()
    return f"Dice {_mean(entry)}, {name} {number_text('distance', entry.means[metric][0])} {unit}"
