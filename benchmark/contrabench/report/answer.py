"""The answer of one label budget, to be read in half a minute: what it is, what it says, how sure.

Everything stands in the other tables too; here it is in the order in which a reader asks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from contrabench.contracts.report import NAME, Answer, Column, Kind, Table
from contrabench.references import (
    CONTROL_FAMILY,
    REFERENCE,
    REFERENCE_FAMILY,
)
from contrabench.report.board import asd_heading, columns, make_table
from contrabench.report.comparison import Against, Comparison, unmatched
from contrabench.report.entries import Entry, LabelBudget, labelled, labelled_count, reference_of
from contrabench.report.instrument import Seen, alarms_of, lacking_of, room_of, seen_of, sight_of
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
_Known = tuple[Entry, Against]


def answer(
    budget: LabelBudget, compared: Comparison, runs: pd.DataFrame, curve: pd.DataFrame | None
) -> Answer:
    """What one label budget says, first things first.

    `runs` are the facts of the records; `curve` the scores of scratch by patient and number of
    labelled patients, None where it was run at one label budget alone.
    """
    seen = seen_of(budget)
    return Answer(
        about=_about(budget, runs),
        setting=_setting(budget, runs),
        sight=(
            *sight_of(budget, compared, seen),
            *alarms_of(budget, seen),
            *lacking_of(budget),
        ),
        short=_in_short(budget, compared),
        words=tuple(_words(budget, compared, curve)),
        best=next(iter(_leaders(budget, compared)), ""),
        forest=_forest(budget, compared, seen),
        board=_board(budget, compared, runs),
        basis=_basis(compared),
        margin=MARGIN,
        scratch=_scratch(budget),
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


def _scratch(budget: LabelBudget) -> float:
    """The mean Dice of scratch; NaN where it is not there."""
    reference = reference_of(budget.entries)
    return math.nan if reference is None else reference.dice


def _basis(compared: Comparison) -> str:
    """What the intervals are about."""
    if compared.retraining.decides:
        return "95 % for networks trained anew"
    return "95 % over patients, for these networks"


def short_names(compared: Comparison) -> list[str]:
    """What each entry is called where there is little room: with deviations only if two differ."""
    names = [entry.name for entry in compared.entries]
    return [
        entry.label if names.count(entry.name) > 1 else entry.name for entry in compared.entries
    ]


def rivals_of(compared: Comparison) -> dict[str, tuple[Entry, Against]]:
    """The methods that compete, with their differences to scratch, largest first, by name."""
    names = short_names(compared)
    found = {
        names[place]: (entry, compared.against[place])
        for place, entry in enumerate(compared.entries)
        if place in compared.against and not entry.is_ceiling
    }
    return dict(sorted(found.items(), key=lambda one: -one[1][1].mean))


def family_of(entry: Entry) -> str:
    """The family of a method, as its rows have it."""
    return str(entry.rows["family"].iloc[0])


def _words(budget: LabelBudget, compared: Comparison, curve: pd.DataFrame | None) -> Iterator[str]:
    """The answer, in words that need no statistics."""
    rivals = rivals_of(compared)
    if not rivals:
        yield f"Nothing here is compared with {REFERENCE}: no method can be judged."
        return
    if _undertrained(budget):
        yield (
            f"This says nothing about methods: training on every label is no better than "
            f"{REFERENCE}, so the networks are undertrained."
        )
        return
    better = _shown(budget, compared)
    if leaders := _leaders(budget, compared):
        yield from _winner(budget, compared, leaders, better, curve)
    else:
        yield _none(rivals)
        if references := _shown(budget, compared, reference=True):
            named = listed_words([f"{name} {_gain(one)}" for name, (_, one) in references.items()])
            yield f"A reference is: {named}."
    yield from _families(rivals, better)
    yield from _not_compared(compared)


def _in_short(budget: LabelBudget, compared: Comparison) -> str:
    """The answer in a few words."""
    if not rivals_of(compared):
        return f"nothing compared with {REFERENCE}"
    if _undertrained(budget):
        return "networks undertrained"
    for label, (_, one) in _leaders(budget, compared).items():
        return f"{label} {_gain(one)} Dice"
    return f"nothing shown to beat {REFERENCE}"


def _undertrained(budget: LabelBudget) -> bool:
    """Whether every label is no better than scratch."""
    return room_of(budget) <= 0


def _shown(budget: LabelBudget, compared: Comparison, reference: bool = False) -> dict[str, _Known]:
    """The methods, or the other references, that are shown to beat scratch, best first, by name."""
    if _undertrained(budget):
        return {}
    return {
        label: one
        for label, one in rivals_of(compared).items()
        if one[1].separated
        and one[1].mean > 0
        and (family_of(one[0]) == REFERENCE_FAMILY) is reference
    }


def _leaders(budget: LabelBudget, compared: Comparison) -> dict[str, _Known]:
    """What may be told to be used, best first: methods shown to beat scratch, if there are any.

    Before them stands a reference that is shown to beat the best of them too.
    """
    better = _shown(budget, compared)
    if not better or compared.pairs is None:
        return better
    (best, _), *_ = better.values()
    above = compared.pairs.better()[best.label]
    before = {
        name: one
        for name, one in _shown(budget, compared, reference=True).items()
        if above.get(one[0].label, False)
    }
    return {**before, **better}


def _winner(
    budget: LabelBudget,
    compared: Comparison,
    leaders: Mapping[str, _Known],
    better: Mapping[str, _Known],
    curve: pd.DataFrame | None,
) -> Iterator[str]:
    """What is best of all that is shown to beat scratch, and which cannot be told from it."""
    label, (entry, one) = next(iter(leaders.items()))
    count = labelled(budget.rows).split(" of ")[0]
    hearts = f"{count} labelled patient{'' if count == '1' else 's'}"
    saved = _saved(budget, entry, compared, curve)
    yield f"Use {label}: {_gain(one)} Dice over training from scratch with {hearts}{saved}."
    if label not in better:
        name, (_, most) = next(iter(better.items()))
        yield f"No method is shown to beat that; the best is {name} with {_gain(most)}."
    names = short_names(compared)
    marks = {names[place]: set(text) for place, text in compared.letters.items()}
    rivals = rivals_of(compared)
    ties = [name for name in rivals if name != label and marks.get(name, set()) & marks[label]]
    if ties:
        yield f"Cannot be told from it: {some(ties, _NAMED)}."
    if one.passing or not one.is_anew:
        yield "That is shown for these networks, not yet for networks trained anew."


def _not_compared(compared: Comparison) -> Iterator[str]:
    """Which methods of the table the answer says nothing of."""
    longer = unmatched(compared.entries)
    names = short_names(compared)
    left = [
        names[place]
        for place, entry in enumerate(compared.entries)
        if place not in compared.paired and not entry.is_ceiling and entry.label not in longer
    ]
    if left:
        yield f"Not compared, for they were tested on other patients: {some(left, _NAMED)}."


def _saved(
    budget: LabelBudget, entry: Entry, compared: Comparison, curve: pd.DataFrame | None
) -> str:
    """With how many labelled patients scratch is as good."""
    if curve is None or not entry.scores.index.equals(curve.index):
        return ""
    counts = [float(str(count)) for count in curve]
    needed = labels_needed(counts, curve, entry.scores["dice"], compared.retraining).needed
    if math.isinf(needed):
        return f", in the mean above scratch with {counts[-1]:g}"
    if needed <= labelled_count(budget.rows):
        return ""
    return f", in the mean as good as scratch with {needed:{'.0f' if needed >= _WHOLE else '.2g'}}"


def _none(rivals: Mapping[str, tuple[Entry, Against]]) -> str:
    """That nothing beats scratch, and by how much it might all the same."""
    methods = {k: one for k, (entry, one) in rivals.items() if family_of(entry) != REFERENCE_FAMILY}
    ends = [one.high for one in (methods or {k: one for k, (_, one) in rivals.items()}).values()]
    if any(map(math.isnan, ends)):
        return f"No method is shown to beat {REFERENCE}; the patients are too few to say more."
    most = _upward(max(ends))
    if most <= 0:
        return f"No method is shown to beat {REFERENCE}; none can be better."
    return f"No method is shown to beat {REFERENCE}; none can be more than {most:.2f} Dice better."


def _families(
    rivals: Mapping[str, tuple[Entry, Against]], better: Mapping[str, tuple[Entry, Against]]
) -> Iterator[str]:
    """What each other family brings; of those that are shown to bring something, how much."""
    groups: dict[str, list[tuple[str, Against]]] = {}
    for label, (entry, one) in rivals.items():
        groups.setdefault(family_of(entry), []).append((label, one))
    leading = family_of(next(iter(better.values()))[0]) if better else None
    for family, members in groups.items():
        if family in (leading, REFERENCE_FAMILY) or not better:
            continue
        name = family.capitalize()
        shown = [(label, one) for label, one in members if label in better]
        if shown:
            named = listed_words([f"{label} {_gain(one)}" for label, one in shown[:_NAMED]])
            yield f"{name} helps too: {named}."
        elif not any(math.isnan(one.high) for _, one in members):
            most = _upward(max(one.high for _, one in members))
            names = listed_words([label for label, _ in members[:_NAMED]])
            yield f"{name} ({names}) is not shown to help: at most {max(0.0, most):+.2f}."


def _upward(bound: float) -> float:
    """A bound with two decimals that still is one."""
    return math.ceil(100 * bound - 1e-9) / 100


def _gain(one: Against) -> str:
    return f"{one.mean:+.2f}"


def _forest(budget: LabelBudget, compared: Comparison, seen: Sequence[Seen]) -> Table:
    """Differences to scratch in Dice and ASD with their intervals, families together."""
    distance, reference = budget.distance, reference_of(list(compared.paired.values()))
    names, asd_names = short_names(compared), (_asd_gain(distance), *_ASD_ENDS)
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
            "Method": names[place],
            "Family": REFERENCE_FAMILY if entry.is_ceiling else family_of(entry),
            **dict(zip((DICE_GAIN, *_ENDS), (one.mean, one.low, one.high), strict=True)),
            **dict(zip(asd_names, (float(gaps.mean()), low, high), strict=True)),
            "Group": compared.letters.get(place),
        })  # fmt: skip
    for control in seen:
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


def _board(budget: LabelBudget, compared: Comparison, runs: pd.DataFrame) -> Table:
    """The leaderboard as a paper prints it: few columns, best Dice first."""
    asd, names = asd_heading(budget.distance), short_names(compared)
    rows = []
    for place, entry in enumerate(compared.entries):
        one = compared.against.get(place)
        facts = runs.reindex(sorted(map(str, entry.cells["run"])))
        seconds = facts[["pretrain_seconds", "finetune_seconds"]].sum(axis=1, min_count=2)
        known = noted(entry, runs)
        fidelity = ", ".join(filter(None, (str(entry.rows["fidelity"].iloc[0]), known.told)))
        rows.append({
            "Method": names[place],
            "Dice": entry.dice,
            asd: entry.means[budget.distance][0],
            "median": float(entry.scores[budget.distance].median()),
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
