"""The verdict of a table in words: what the patients allow to say about methods, and no more."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence

from contrabench.contracts.report import number_text
from contrabench.protocol import NOT_APPLICABLE
from contrabench.references import REFERENCE
from contrabench.report.comparison import Against, Comparison, Tested
from contrabench.report.entries import Entry, reference_of
from contrabench.statistics.design import MOST
from contrabench.statistics.retraining import Retraining
from contrabench.statistics.signflip import LEVEL, holm, lowest_p, patients_for_interval
from contrabench.text import counted

FEW_PATIENTS = 15
_NAMED = 3
"""So many of the differences that take the fewest patients to separate are named."""


def verdict(compared: Comparison) -> tuple[str, ...]:
    """Writes the verdict of one table, the same words for the same rows."""
    entries = compared.entries
    patients = max(len(entry.scores) for entry in entries)
    if not patients:
        return ("No structure applies in any case, so there is no score and nothing to compare.",)
    lines = [*_against_reference(compared), *_groups(compared)]
    if patients < FEW_PATIENTS:
        lines.append(
            f"Tested on only {counted(patients, 'patient')}: the order of the rows may be chance, "
            "and differences that are not separated here are not shown to be absent."
        )
    return tuple(lines)


def _against_reference(compared: Comparison) -> Iterator[str]:
    family = compared.family
    if not family:
        yield _alone(compared)
        return
    better, worse = f"In Dice better than {REFERENCE}", f"In Dice worse than {REFERENCE}"
    yield from told(family, better, worse, f"Cannot be separated from {REFERENCE} in Dice")
    yield from _what_would({label: one for label, one in family.items() if not one.separated})
    yield from rests_on(family.values(), compared.retraining)


def _alone(compared: Comparison) -> str:
    """Why no method is compared with the reference."""
    reference = reference_of(compared.entries)
    if reference is None:
        why = "is not in this table"
    elif any(entry.is_reference for entry in compared.paired.values()):
        why = "stands alone on these patients"
    else:
        why = (
            f"was tested on {counted(len(reference.tested), 'patient')} ({reference.folds} folds), "
            "and most others on other ones: run its missing folds"
        )
    return f"No method is compared with {REFERENCE}, which {why}."


def told(family: Mapping[str, Tested], better: str, worse: str, rest: str) -> Iterator[str]:
    """Which differences are shown, by direction, and whether for other networks as well.

    `better` begins a sentence on those above zero, `worse` on those below, `rest` on those that
    are not shown to differ from it.
    """
    for beginning, sign in ((better, 1), (worse, -1)):
        for passing in (False, True):
            amounts = [
                f"{label} {_amount(one)}"
                for label, one in family.items()
                if one.separated and one.passing == passing and sign * one.found.mean > 0
            ]
            if amounts:
                limit = " with these networks, not shown for others" if passing else ""
                yield f"{beginning}{limit}: {'; '.join(amounts)}."
    means = [
        f"{label} {number_text('difference', one.found.mean)}"
        for label, one in family.items()
        if not one.separated
    ]
    if means:
        yield f"{rest}: {', '.join(means)}."


def _amount(one: Tested) -> str:
    found = one.found
    mean, low, high = (number_text("difference", n) for n in (found.mean, found.low, found.high))
    ps = f"adjusted p {number_text('p', one.adjusted)}"
    if not math.isnan(one.retrained):
        ps += f", retrained p {number_text('p', one.retrained)}"
    return f"{mean} (95% {low} to {high}, {ps})"


def rests_on(family: Collection[Tested], found: Retraining) -> Iterator[str]:
    """How a family was tested, what so few patients can tell, what training again would move."""
    counts = {one.found.patients for one in family}
    few, many, number = min(counts), max(counts), counted(len(family), "comparison")
    patients = counted(many, "patient") if few == many else f"{few} to {many} patients"
    yield (
        f"Paired over {patients}; sign-flip test, Holm over {number}, level {LEVEL:g}; the 95% "
        "interval turns the test round and is not adjusted."
    )
    lowest = min(1.0, len(family) * lowest_p(many))
    with_ties = min(holm([one.found.smallest_p for one in family]))
    if lowest > LEVEL:
        yield (
            f"With so few patients no comparison can reach a p below {lowest:.3g} after Holm, "
            "however large the difference."
        )
    elif with_ties > LEVEL:
        yield (
            f"No comparison could reach a p below {with_ties:.3g} after Holm, since most patients "
            "have the same score with both methods."
        )
    if few < patients_for_interval():
        yield f"An interval of a difference needs {patients_for_interval()} patients or more."
    if found.known:
        yield (
            "With what training again would move, the standard error is estimated at "
            f"{number_text('share', found.inflation)} times what a test over patients takes it to "
            f"be (from {number}; column Retrained p)."
        )
    else:
        yield (
            "Verdicts are about the networks that were trained: how far training again would move "
            "them cannot be told from these runs."
        )


def _what_would(rest: Mapping[str, Against]) -> Iterator[str]:
    """What it would take to separate these, were the differences seen the true ones."""
    differing = {label: one for label, one in rest.items() if one.found.mean}
    wanted = {label: one.patients_needed for label, one in differing.items()}
    draws = {label: one.draws_needed for label, one in differing.items()}
    patients = counted(max((one.found.patients for one in rest.values()), default=0), "patient")
    ways = (_least(wanted, "patients"), _least(draws, f"label draws on these {patients}"))
    if any(ways):
        yield (
            f"To separate these with 80% power would take {', or '.join(filter(None, ways))}, if "
            "the differences seen were the true ones and training again moved nothing."
        )
    elif any(map(math.isinf, wanted.values())):
        yield (
            f"Not even {MOST} patients would separate these, if the differences seen were the true "
            "ones."
        )
    same = [label for label, one in rest.items() if not one.found.mean]
    if same:
        yield f"No difference at all was seen for {', '.join(same)}."


def _least(numbers: Mapping[str, float], noun: str) -> str:
    """The methods that take the fewest, by name: `about 55 patients (a), 130 (b)`."""
    known = sorted((number, label) for label, number in numbers.items() if math.isfinite(number))
    if not known:
        return ""
    (first, label), *others = known[:_NAMED]
    text = f"about {_rounded(first)} {noun} ({label})"
    text += "".join(f", {_rounded(number)} ({label})" for number, label in others)
    wanted = sum(not math.isnan(number) for number in numbers.values())
    return f"{text}, and more for the others" if wanted > 1 + len(others) else text


def _rounded(number: float) -> int:
    """Rounded up to two digits: more would be noise."""
    step: int = 10 ** max(0, len(str(int(number))) - 2)
    return math.ceil(number / step) * step


def _groups(compared: Comparison) -> Iterator[str]:
    """Which methods the pairs cannot separate from each other."""
    pairs, lasting = compared.pairs, compared.lasting
    if pairs is None or lasting is None or (pairs.pairs == 1 and compared.family):
        return
    family = "the one pair" if pairs.pairs == 1 else f"all {counted(pairs.pairs, 'pair')} (Holm)"
    number = int(pairs.separated().to_numpy().sum()) // 2
    if number:
        stay = int((lasting <= LEVEL).to_numpy().sum()) // 2
        known = not lasting.isna().to_numpy().any()
        part = "also" if stay == number else f"{stay or 'none'} of them"
        again = f", {part} for networks trained anew" if known else ""
        yield (
            f"Over {family}, methods that share a letter of the column Group are not "
            f"separated; {counted(number, 'pair')} {'is' if number == 1 else 'are'}{again}."
        )
        if compared.leader >= 0:
            leader = compared.entries[compared.leader].label
            more = "; with networks trained anew that is not shown" if known else ""
            if (lasting.loc[leader].drop(leader) <= LEVEL).all():
                more = ", and would be with networks trained anew"
            yield f"{leader} is the best, separated from every other method{more}."
    else:
        apart = any(one.separated for one in compared.family.values())
        asks = f" which ask for more than the comparisons with {REFERENCE} alone," if apart else ""
        yield f"Over {family},{asks} no method is separated from any other."
    if pairs.lowest_reachable > LEVEL:
        yield (
            f"With so few patients no pair could reach a p below {pairs.lowest_reachable:.3g} "
            "after Holm."
        )


def remarks(compared: Comparison, distance: str) -> tuple[str, ...]:
    """Writes the notes of one table; `distance` is the column of its ASD."""
    notes = [*_coverage(compared), *_flags(compared.entries)]
    if distance == "asd_voxel":
        notes.append("The voxel spacing of this dataset is unknown: distances are in voxels.")
    return tuple(notes)


def _coverage(compared: Comparison) -> Iterator[str]:
    """Where rows of the table rest on other patients, or on other runs, than the rest."""
    entries = compared.entries
    everyone = set().union(*(entry.tested.index for entry in entries))
    for place, entry in enumerate(entries):
        if len(entry.tested) < len(everyone):
            not_compared = place not in compared.members and not entry.is_ceiling
            yield (
                f"{entry.label} was tested on {len(entry.tested)} of the {len(everyone)} patients "
                f"({entry.folds} folds): its means are not comparable with the others'"
                f"{', and it is not compared' if not_compared else ''}."
            )
        runs = entry.cells
        repeated = int(runs.duplicated(["fold", "draw", "seed"]).sum())
        if repeated:
            yield (
                f"{entry.label}: {repeated} of {len(runs)} runs repeat the fold, draw and seed of "
                "another one, made by another version; all are averaged."
            )
    paired = compared.paired
    lost = {entries[p].label: len(entries[p].tested) - len(entries[p].scores) for p in paired}
    if any(lost.values()):
        kept = counted(len(next(iter(paired.values())).scores), "patient")
        yield (
            "Patients on whom a method rightly finds nothing have no score of it, and are left out "
            f"of every comparison, which rests on {kept}: {_numbers(lost)}."
        )
    reference = reference_of(entries)
    others = [
        entry.label
        for entry in entries
        if reference and entry.label in compared.family and entry.streams != reference.streams
    ]
    if others:
        yield (
            f"Not the same label draws and seeds as {REFERENCE}: {', '.join(others)}. Their "
            "differences hold the variation of draws and seeds as well."
        )


def _flags(entries: Sequence[Entry]) -> Iterator[str]:
    """How often a structure was missed, invented, or absent altogether."""
    worst = "Dice 0 and the diagonal of the image as distance"
    meanings = {
        "prediction empty": f"a structure was missed altogether ({worst})",
        "reference empty": f"a structure was predicted that is not there ({worst})",
        NOT_APPLICABLE: "a structure is in neither reference nor prediction (left out of means)",
    }
    rows = sum(len(entry.rows) for entry in entries)
    for flag, meaning in meanings.items():
        counts = {entry.label: int((entry.rows["flag"] == flag).sum()) for entry in entries}
        if any(counts.values()):
            yield f"In {sum(counts.values())} of {rows} rows {meaning}: {_numbers(counts)}."


def _numbers(counts: Mapping[str, int]) -> str:
    """The methods that have any, with their numbers."""
    return ", ".join(f"{label} {count}" for label, count in counts.items() if count)
