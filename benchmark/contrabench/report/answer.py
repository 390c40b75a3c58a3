"""The answer of one label budget, to be read in half a minute: what it is, what it says, how sure.

Everything stands in the other tables too; here it is in the order in which a reader asks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from contrabench.contracts.report import NAME, Answer, Column, Kind, Table
from contrabench.references import (
    CONTROL_FAMILY,
    REFERENCE,
    REFERENCE_FAMILY,
)
from contrabench.report.board import asd_heading, columns, make_table
from contrabench.report.comparison import Comparison, unmatched
from contrabench.report.entries import Entry, LabelBudget, labelled, reference_of
from contrabench.report.instrument import instrument
from contrabench.report.judged import Judged, Rival
from contrabench.report.noted import OUTSIDE, noted
from contrabench.statistics.labels_saved import labels_needed
from contrabench.statistics.paired import score_differences
from contrabench.statistics.retraining import MARGIN, deciding_interval
from contrabench.store.runs import inner, parsed
from contrabench.text import counted, listed_words, some

FOREST, SHORT = "forest", "answer"
DICE_GAIN = f"Dice minus {REFERENCE}"
_ENDS = ("95% low", "95% high")
_ASD_ENDS = ("ASD 95% low", "ASD 95% high")
_NAMED = 4
_WHOLE = 10
"""From so many labelled patients on no tenth of one is told."""


def answer(at: Judged, runs: pd.DataFrame, curve: pd.DataFrame | None) -> Answer:
    """What one label budget says, first things first.

    `runs` are the facts of the records; `curve` the scores of scratch by patient and number of
    labelled patients, None where it was run at one label budget alone.
    """
    return Answer(
        about=_about(at.budget, runs),
        setting=_setting(at.budget, runs),
        sight=instrument(at),
        short=_in_short(at),
        words=tuple(_words(at, curve)),
        best=next(iter(at.leaders), ""),
        forest=_forest(at),
        board=_board(at, runs),
        basis=_basis(at.compared),
        margin=MARGIN,
        scratch=math.nan if at.scratch is None else at.scratch.dice,
    )


def _about(budget: LabelBudget, runs: pd.DataFrame) -> tuple[str, ...]:
    """Dataset, patients, labels, folds and draws, and the day of the last run where it is known."""
    rows = budget.rows
    days = runs["finished"].reindex(rows["run"].astype(str).unique()).dropna()
    folds = f"{rows['fold'].nunique()} of {counted(int(rows['folds'].max()), 'fold')}"
    each = rows.groupby("variant", observed=True)["draw"].nunique()
    least = f"{each.min()} to " if each.min() < each.max() else ""
    draws = least + counted(int(each.max()), "draw")
    return (
        str(rows["dataset"].iloc[0]),
        f"{counted(int(rows['patient'].nunique()), 'test patient')}",
        f"{labelled(rows)} labelled",
        f"{folds} x {draws}",
        *filter(None, [max(days, default="")]),
    )


def _setting(budget: LabelBudget, runs: pd.DataFrame) -> tuple[str, ...]:
    """Backbone, size of a slice, budget."""
    keys = budget.rows["run"].astype(str).unique()
    texts = runs["protocol"].reindex(keys).dropna() if "protocol" in runs else ()
    protocol = parsed(next((text for text in texts if text), ""))
    name = f"budget {budget.rows['budget'].iloc[0]}"
    if not protocol:
        return (name,)
    backbone, size = inner(protocol, "backbone"), inner(protocol, "budget")
    options = [f"{key} {value}" for key, value in inner(backbone, "options").items()]
    return (
        ", ".join([str(backbone.get("name", "unet")), *options]),
        f"{size.get('pixels')} px",
        f"width {size.get('width')}",
        name,
        "last step of every run",
    )


def _basis(compared: Comparison) -> str:
    """What the intervals are about."""
    if compared.retraining.decides:
        return "95 % for networks trained anew"
    return "95 % over patients, for these networks"


def _words(at: Judged, curve: pd.DataFrame | None) -> Iterator[str]:
    """The answer, in words that need no statistics."""
    if not at.rivals:
        yield f"Nothing here is compared with {REFERENCE}: no method can be judged."
        return
    if at.is_undertrained:
        yield (
            f"This says nothing about methods: training on every label is no better than "
            f"{REFERENCE}, so the networks are undertrained."
        )
        return
    if at.leaders:
        yield from _winner(at, curve)
    else:
        yield _none(at)
        if references := at.better_references:
            named = listed_words([f"{name} {_gain(one)}" for name, one in references.items()])
            yield f"A reference is: {named}."
    yield from _families(at)
    yield from _by_fine_tuning(at)
    yield from _not_compared(at)


def _in_short(at: Judged) -> str:
    """The answer in a few words."""
    if not at.rivals:
        return f"nothing compared with {REFERENCE}"
    if at.is_undertrained:
        return "networks undertrained"
    for label, one in at.leaders.items():
        return f"{label} {_gain(one)} Dice"
    return f"nothing shown to beat {REFERENCE}"


def _winner(at: Judged, curve: pd.DataFrame | None) -> Iterator[str]:
    """What is best of all that is shown to beat scratch, and which cannot be told from it."""
    label, best = next(iter(at.leaders.items()))
    count = labelled(at.budget.rows).split(" of ")[0]
    hearts = f"{count} labelled patient{'' if count == '1' else 's'}"
    saved = _saved(at, best.entry, curve)
    own = "" if best.alike is None else f" ({best.alike.mean:+.2f} over {_own(best)})"
    yield f"Use {label}: {_gain(best)} Dice over training from scratch with {hearts}{own}{saved}."
    if label not in at.better:
        name, most = next(iter(at.better.items()))
        yield f"No method is shown to beat that; the best is {name} with {_gain(most)}."
    if ties := at.ties(label):
        yield f"Cannot be told from it: {some(ties, _NAMED)}."
    if best.effect.passing or not best.effect.is_anew:
        yield "That is shown for these networks, not yet for networks trained anew."


def _by_fine_tuning(at: Judged) -> Iterator[str]:
    """What is above scratch, and not shown to be above scratch that is fine-tuned alike."""
    told = [
        f"{label} {_gain(one)} (then {one.alike.mean:+.2f})"
        for label, one in at.rivals.items()
        if one.alike and one.effect.separated and one.effect.mean > 0 and not one.is_above
    ]
    if told:
        yield (
            f"Above {REFERENCE}, but not shown to be above {REFERENCE} that is fine-tuned alike: "
            f"{some(told, _NAMED)}."
        )


def _own(one: Rival) -> str:
    """Scratch that is fine-tuned as a method is, in words."""
    return f"{REFERENCE} with {listed_words(sorted(one.entry.tuned_otherwise))}"


def _not_compared(at: Judged) -> Iterator[str]:
    """Which methods of the table the answer says nothing of."""
    longer = unmatched(at.compared.entries)
    left = [
        at.names[place]
        for place, entry in enumerate(at.compared.entries)
        if place not in at.compared.paired and not entry.is_ceiling and entry.label not in longer
    ]
    if left:
        yield f"Not compared, for they were tested on other patients: {some(left, _NAMED)}."


def _saved(at: Judged, entry: Entry, curve: pd.DataFrame | None) -> str:
    """With how many labelled patients scratch is as good."""
    if curve is None or not entry.scores.index.equals(curve.index):
        return ""
    counts = [float(str(count)) for count in curve]
    needed = labels_needed(counts, curve, entry.scores["dice"], at.compared.retraining).needed
    if math.isinf(needed):
        return f", in the mean above scratch with {counts[-1]:g}"
    if needed <= at.count:
        return ""
    return f", in the mean as good as scratch with {needed:{'.0f' if needed >= _WHOLE else '.2g'}}"


def _none(at: Judged) -> str:
    """That nothing beats scratch, and by how much it might all the same."""
    methods = [one for one in at.rivals.values() if not one.is_reference]
    ends = [one.most for one in (methods or at.rivals.values())]
    if any(map(math.isnan, ends)):
        return f"No method is shown to beat {REFERENCE}; the patients are too few to say more."
    most = _upward(max(ends))
    if most <= 0:
        return f"No method is shown to beat {REFERENCE}; none can be better."
    return f"No method is shown to beat {REFERENCE}; none can be more than {most:.2f} Dice better."


def _families(at: Judged) -> Iterator[str]:
    """What each other family brings; of those that are shown to bring something, how much."""
    if not at.better:
        return
    groups: dict[str, list[tuple[str, Rival]]] = {}
    for label, one in at.rivals.items():
        groups.setdefault(one.family, []).append((label, one))
    leading = next(iter(at.better.values())).family
    for family, members in groups.items():
        if family in (leading, REFERENCE_FAMILY):
            continue
        name = family.capitalize()
        shown = [(label, one) for label, one in members if label in at.better]
        if shown:
            named = listed_words([f"{label} {_gain(one)}" for label, one in shown[:_NAMED]])
            yield f"{name} helps too: {named}."
        elif not any(math.isnan(one.most) for _, one in members):
            most = _upward(max(one.most for _, one in members))
            names = listed_words([label for label, _ in members[:_NAMED]])
            yield f"{name} ({names}) is not shown to help: at most {max(0.0, most):+.2f}."


def _upward(bound: float) -> float:
    """A bound with two decimals that still is one."""
    return math.ceil(100 * bound - 1e-9) / 100


def _gain(one: Rival) -> str:
    return f"{one.effect.mean:+.2f}"


def _forest(at: Judged) -> Table:
    """Differences to scratch in Dice and ASD with their intervals, families together."""
    compared, distance = at.compared, at.budget.distance
    reference = reference_of(list(compared.paired.values()))
    asd_names = (_asd_gain(distance), *_ASD_ENDS)
    rows: list[dict[str, Any]] = []
    for place, entry in enumerate(compared.entries):
        one = compared.against.get(place)
        if one is None or reference is None:
            continue
        other = compared.paired[place]
        gaps = score_differences(
            *(side.scores[distance].to_numpy(dtype=float) for side in (other, reference))
        )
        low, high = deciding_interval(gaps, compared.retraining)
        rows.append({
            "Method": at.names[place],
            "Family": REFERENCE_FAMILY if entry.is_ceiling else entry.family,
            **dict(zip((DICE_GAIN, *_ENDS), (one.mean, one.low, one.high), strict=True)),
            **dict(zip(asd_names, (float(gaps.mean()), low, high), strict=True)),
            "Group": compared.letters.get(place),
        })  # fmt: skip
    for control in at.seen:
        ends = (control.mean, control.low, control.high)
        rows.append({
            "Method": control.control.label,
            "Family": CONTROL_FAMILY,
            **dict(zip((DICE_GAIN, *_ENDS), ends, strict=True)),
        })  # fmt: skip
    best: dict[str, float] = {}
    for row in rows:
        best[row["Family"]] = max(row[DICE_GAIN], best.get(row["Family"], -math.inf))
    last = (REFERENCE_FAMILY, CONTROL_FAMILY)
    rows.sort(
        key=lambda row: (
            last.index(row["Family"]) + 1 if row["Family"] in last else 0,
            -best[row["Family"]],
            row["Family"],
            -row[DICE_GAIN],
        )
    )
    part = "Against scratch"
    kinds: tuple[tuple[Kind, tuple[str, ...]], ...] = (
        ("difference", (DICE_GAIN, *_ENDS)),
        ("distance", asd_names),
        ("text", ("Group",)),
    )
    shown = [column for kind, names in kinds for column in columns(part, {kind: names})]
    heads = (Column("Method", "text", NAME), Column("Family", "text", NAME))
    return make_table(FOREST, (*heads, *shown), rows)


def _asd_gain(distance: str) -> str:
    return f"{asd_heading(distance)} minus {REFERENCE}"


def _board(at: Judged, runs: pd.DataFrame) -> Table:
    """The leaderboard as a paper prints it: few columns, best Dice first."""
    compared, distance = at.compared, at.budget.distance
    asd = asd_heading(distance)
    rows = []
    for place, entry in enumerate(compared.entries):
        one = compared.against.get(place)
        facts = runs.reindex(sorted(map(str, entry.cells["run"])))
        seconds = facts[["pretrain_seconds", "finetune_seconds"]].sum(axis=1, min_count=2)
        known = noted(entry, runs)
        fidelity = ", ".join(filter(None, (str(entry.rows["fidelity"].iloc[0]), known.told)))
        rows.append({
            "Method": at.names[place],
            "Dice": entry.dice,
            asd: entry.means[distance][0],
            "median": float(entry.scores[distance].median()),
            f"vs {REFERENCE}": one.mean if one else math.nan,
            "low": one.low if one else math.nan,
            "high": one.high if one else math.nan,
            "Group": compared.letters.get(place),
            "Hours": float(seconds.mean()) / 3600,
            "Labels before": known.labels or None,
            "Fidelity": fidelity,
            **dict(known.outside),
        })  # fmt: skip
    outside = [name for name in OUTSIDE if any(name in row for row in rows)]
    kinds: tuple[tuple[Kind, tuple[str, ...]], ...] = (
        ("score", ("Dice",)),
        ("distance", (asd, "median")),
        ("difference", (f"vs {REFERENCE}", "low", "high")),
        ("text", ("Group",)),
        ("distance", ("Hours",)),
        ("text", ("Labels before", "Fidelity", *outside)),
    )
    shown = [column for kind, names in kinds for column in columns("Answer", {kind: names})]
    return make_table(SHORT, (Column("Method", "text", NAME), *shown), rows, leader=compared.leader)
