"""The verdict of a table in words: what the patients allow to say about methods, and no more."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

from contrabench.report import number_text
from contrabench.statistics.comparison import LEVEL, AgainstReference, Comparison
from contrabench.statistics.entries import REFERENCE, reference_of
from contrabench.statistics.paired import holm
from contrabench.statistics.signflip import patients_for_interval
from contrabench.words import counted

FEW_PATIENTS = 15


def verdict(compared: Comparison) -> tuple[str, ...]:
    """Writes the verdict of one table, the same words for the same rows.

    Args:
        compared: the entries of one label budget.
    """
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
    labels = {place: compared.entries[place].label for place in family}
    if not family:
        why = "is not in this table" if reference_of(compared.entries) is None else "stands alone"
        yield f"No method is compared with {REFERENCE}, which {why} on these patients."
        return
    patients = next(iter(family.values())).found.patients
    found = {
        "better": {p: one for p, one in family.items() if one.separated and one.found.mean > 0},
        "worse": {p: one for p, one in family.items() if one.separated and one.found.mean < 0},
    }
    for word, group in found.items():
        if group:
            amounts = "; ".join(f"{labels[place]} {_amount(one)}" for place, one in group.items())
            yield f"In Dice {word} than {REFERENCE}: {amounts}."
    rest = {place: one for place, one in family.items() if not one.separated}
    if rest:
        means = ", ".join(
            f"{labels[place]} {number_text('difference', one.found.mean)}"
            for place, one in rest.items()
        )
        yield f"Cannot be separated from {REFERENCE} in Dice: {means}."
        yield from _what_would(rest, labels, patients)
    yield (
        f"Paired over {counted(patients, 'patient')}; sign-flip test, Holm over "
        f"{counted(len(family), 'comparison')}, level {LEVEL:g}; the 95% interval turns the test "
        "round and is not adjusted."
    )
    lowest = min(holm([one.found.smallest_p for one in family.values()]))
    if lowest > LEVEL:
        yield (
            f"With so few patients no comparison can reach a p below {lowest:.3g} after Holm, "
            "however large the difference."
        )
    if patients < patients_for_interval():
        yield f"An interval of a difference needs {patients_for_interval()} patients or more."
    yield about_training("Verdicts are", (one.inflation for one in family.values()))


def _amount(one: AgainstReference) -> str:
    mean, low, high = (
        number_text("difference", number)
        for number in (one.found.mean, one.found.low, one.found.high)
    )
    return f"by {mean} (95% {low} to {high}, adjusted p {number_text('p', one.adjusted)})"


def _what_would(
    rest: Mapping[int, AgainstReference], labels: Mapping[int, str], patients: int
) -> Iterator[str]:
    """What it would take to separate the others, were the differences seen the true ones."""
    ways = {
        "patients": {labels[place]: one.patients_needed for place, one in rest.items()},
        f"label draws on these {counted(patients, 'patient')}": {
            labels[place]: one.draws_needed for place, one in rest.items()
        },
    }
    parts = []
    for noun, numbers in ways.items():
        finite = ((number, label) for label, number in numbers.items() if math.isfinite(number))
        known = sorted(finite)
        if known:
            ends = dict.fromkeys([known[0], known[-1]])
            parts.append(f"{' to '.join(f'{n:.0f} ({label})' for n, label in ends)} {noun}")
    never = [label for label, number in ways["patients"].items() if math.isinf(number)]
    if parts:
        yield (
            f"To separate these with 80% power would take {', or '.join(parts)}, if the "
            "differences seen were the true ones."
        )
    if never:
        yield f"No difference was seen that more patients could confirm: {', '.join(never)}."


def about_training(subject: str, inflations: Iterable[float]) -> str:
    """How far a verdict may hang on the very networks that were trained, in sentences.

    Args:
        subject: with its verb, such as `Verdicts are`.
        inflations: of the comparisons; NaN where the runs cannot tell.
    """
    known = sorted(one for one in inflations if math.isfinite(one))
    if not known:
        return (
            f"{subject} about the networks that were trained: how far other label draws and seeds "
            "would move them cannot be told from these runs."
        )
    ends = dict.fromkeys(number_text("share", number) for number in (known[0], known[-1]))
    return (
        f"{subject} about the networks that were trained: over new label draws and seeds the "
        f"standard error is estimated to be {' to '.join(ends)} times what the test takes it "
        "to be (column Inflation). Far above 1, training again may reverse a verdict."
    )


def _groups(compared: Comparison) -> Iterator[str]:
    """Which methods the pairs cannot separate from each other."""
    pairs = compared.pairs
    if pairs is None:
        return
    family = f"{counted(pairs.pairs, 'pair')} (Holm)"
    separated = pairs.separated(LEVEL).to_numpy()
    number = int(separated.sum()) // 2
    if number:
        yield (
            f"Over all {family}, methods that share a letter of the column Group are not "
            f"separated; {counted(number, 'pair')} {'is' if number == 1 else 'are'}."
        )
        if compared.leader >= 0:
            leader = compared.entries[compared.leader].label
            yield f"{leader} is the best, separated from every other method."
    else:
        yield f"Over all {family}, no method is separated from any other."
    if pairs.lowest_reachable > LEVEL:
        yield (
            f"With so few patients no pair could reach a p below {pairs.lowest_reachable:.3g} "
            "after Holm."
        )
