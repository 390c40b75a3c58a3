"""The verdict of a table in words: what the patients allow to say about methods, and no more."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence

from contrabench.contracts.report import number_text
from contrabench.protocol import NOT_APPLICABLE
from contrabench.references import REFERENCE
from contrabench.report.comparison import Against, Comparison, Effect, unmatched
from contrabench.report.entries import Entry, reference_of
from contrabench.statistics.design import MOST
from contrabench.statistics.paired import Pairwise
from contrabench.statistics.retraining import FEWEST_DRAWS, FEWEST_FOLDS, MARGIN, Retraining
from contrabench.statistics.signflip import LEVEL, fewest_patients, holm, lowest_p
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
    yield from told(
        family,
        better=f"In Dice better than {REFERENCE}",
        worse=f"In Dice worse than {REFERENCE}",
        small=f"In Dice as good as {REFERENCE}",
        rest=f"Cannot be separated from {REFERENCE} in Dice",
    )
    yield from told(
        {compared.entries[place].label: one for place, one in compared.alike.items()},
        better=f"In Dice better than {REFERENCE} that is fine-tuned alike",
        worse=f"In Dice worse than {REFERENCE} that is fine-tuned alike",
        small=f"In Dice as good as {REFERENCE} that is fine-tuned alike",
        rest=f"Cannot be separated in Dice from {REFERENCE} that is fine-tuned alike",
    )
    yield from _what_would(family)
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


def told(
    family: Mapping[str, Effect], *, better: str, worse: str, small: str, rest: str
) -> Iterator[str]:
    """What is known of each difference: its direction, that it is small, or how large it may be.

    Each word begins a sentence: on those shown to lie above zero or below, on those shown to lie
    within the margin, and on all others.
    """
    for beginning, sign in ((better, 1), (worse, -1)):
        for passing in (False, True):
            amounts = [
                f"{label} {_amount(one)}"
                for label, one in family.items()
                if one.separated and one.passing == passing and sign * one.mean > 0
            ]
            if amounts:
                limit = " with these networks, not shown for others" if passing else ""
                yield f"{beginning}{limit}: {'; '.join(amounts)}."
    others = {label: one for label, one in family.items() if not one.separated}
    close = [f"{label} {_mean(one)}" for label, one in others.items() if one.is_small]
    if close:
        yield f"{small} within ± {MARGIN:g}: {', '.join(close)}."
    unknown = [
        ", ".join([f"{label} {_mean(one)}", *_bounds(one)])
        for label, one in others.items()
        if not one.is_small
    ]
    if unknown:
        yield f"{rest}: {'; '.join(unknown)}."
    passed = [f"{label} ({_ps(one)})" for label, one in others.items() if one.passing]
    if passed:
        yield f"Different with these networks, not shown for others: {', '.join(passed)}."


def _mean(one: Effect) -> str:
    return number_text("difference", one.mean)


def _bounds(one: Effect) -> Iterator[str]:
    """How large the difference may be; an end of its interval within the margin is no news."""
    low, high = (number_text("difference", end) for end in (one.low, one.high))
    if math.isnan(one.low):
        return
    if one.low >= -MARGIN:
        yield f"at most {high}"
    elif one.high <= MARGIN:
        yield f"at least {low}"
    else:
        yield f"between {low} and {high}"


def _amount(one: Effect) -> str:
    low, high = (number_text("difference", end) for end in (one.low, one.high))
    return f"{_mean(one)} (95% {low} to {high}, {_ps(one)})"


def _ps(one: Effect) -> str:
    """Its p, the one that decides first."""
    ps = {"adjusted": one.adjusted, "retrained": one.retrained}
    order = sorted(ps, reverse=one.is_anew)
    return ", ".join(
        f"{name} p {number_text('p', ps[name])}" for name in order if not math.isnan(ps[name])
    )


def rests_on(family: Collection[Against], found: Retraining) -> Iterator[str]:
    """How a family was tested, what so few patients can tell, what training again would move."""
    counts = {one.found.patients for one in family}
    few, many, number = min(counts), max(counts), counted(len(family), "comparison")
    patients = counted(many, "patient") if few == many else f"{few} to {many} patients"
    larger = f"{number_text('share', found.inflation)} times" if found.known else ""
    if found.decides:
        yield (
            f"Paired over {patients} in {found.folds} folds, {found.draws} label draws: about "
            f"networks trained anew (Retrained p, Holm over {number}, level {LEVEL:g}), whose "
            f"standard error is estimated at {larger} that over patients alone. Intervals are of "
            "the same kind, and not adjusted."
        )
    else:
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
    if few < fewest_patients():
        yield f"An interval of a difference needs {fewest_patients()} patients or more."
    if found.known and not found.decides:
        yield (
            f"Verdicts are about the networks that were trained: {FEWEST_FOLDS} folds and "
            f"{FEWEST_DRAWS} label draws would make them about networks trained anew, whose "
            f"standard error is estimated at {larger} that over patients alone (column Retrained "
            "p)."
        )
    elif not found.known:
        yield (
            "Verdicts are about the networks that were trained: how far training again would move "
            "them cannot be told from these runs."
        )


def _what_would(family: Mapping[str, Against]) -> Iterator[str]:
    """What it would take to separate the rest, were the differences seen the true ones."""
    rest = {label: one for label, one in family.items() if not one.separated}
    wanted = {label: one.patients_needed for label, one in rest.items() if not one.is_small}
    draws = {label: one.draws_needed for label, one in rest.items() if not one.is_small}
    ways = (_least(wanted, "patients"), _least(draws, "label draws on these patients"))
    if any(ways):
        yield (
            f"To separate these (80% power, the differences seen being true): "
            f"{', or '.join(filter(None, ways))}."
        )
    elif any(map(math.isinf, wanted.values())):
        yield f"Not even {MOST} patients would separate these, the differences seen being true."
    same = [label for label, one in rest.items() if not one.mean]
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
    pairs = compared.pairs
    if pairs is None or (pairs.pairs == 1 and compared.family):
        return
    family = "the one pair" if pairs.pairs == 1 else f"all {counted(pairs.pairs, 'pair')} (Holm)"
    here, anew = (
        int((ps <= LEVEL).to_numpy().sum()) // 2 for ps in (pairs.adjusted, pairs.retrained)
    )
    number = anew if pairs.trained.decides else here
    more = ""
    if pairs.trained.decides and here > anew:
        more = f"; with these networks alone {counted(here, 'pair')} {'is' if here == 1 else 'are'}"
    if number:
        if pairs.trained.known and not pairs.trained.decides:
            part = "also" if anew == here else f"{anew or 'none'} of them"
            more = f", {part} for networks trained anew"
        yield (
            f"Over {family}, methods that share a letter of the column Group are not "
            f"separated; {counted(number, 'pair')} {'is' if number == 1 else 'are'}{more}."
        )
        if compared.leader >= 0:
            yield from _leads(compared.entries[compared.leader].label, pairs)
    else:
        apart = any(one.separated for one in compared.family.values())
        asks = f" which ask for more than the comparisons with {REFERENCE} alone," if apart else ""
        yield f"Over {family},{asks} no method is separated from any other{more}."
    if pairs.lowest_reachable > LEVEL:
        yield (
            f"With so few patients no pair could reach a p below {pairs.lowest_reachable:.3g} "
            "after Holm."
        )


def _leads(leader: str, pairs: Pairwise) -> Iterator[str]:
    more = ""
    if pairs.trained.known and not pairs.trained.decides:
        stays = (pairs.retrained.loc[leader].drop(leader) <= LEVEL).all()
        more = "; with networks trained anew that is not shown"
        more = ", and would be with networks trained anew" if stays else more
    yield f"{leader} is the best, separated from every other method{more}."


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
                "another one, made by another version or machine; all are averaged."
            )
    for label, longer in unmatched(entries).items():
        yield (
            f"{label} sees more labelled images than the others ({longer}), and {REFERENCE} that "
            "does is not in this table: it is compared with nobody. Run "
            f"`{REFERENCE}[finetune_extra=...]` with the value of this method."
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
