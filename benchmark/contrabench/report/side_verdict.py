"""The verdict on two sides in words: which methods moved, and whether their order did."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from scipy import stats

from contrabench.contracts.report import number_text
from contrabench.report.counterparts import SIDES
from contrabench.report.movement import Moved, Movement
from contrabench.report.verdict import about_training, paired_over, separated, too_few
from contrabench.statistics.signflip import patients_for_interval
from contrabench.text import counted, some

FEW = 6
"""So many methods a sentence about the order names."""


def side_verdict(methods: Sequence[Moved], meaning: str, obstacle: str) -> tuple[str, ...]:
    """Writes the verdict of one table, the same words for the same rows.

    `meaning` says what a difference is a difference of, "" where nothing but the scores may
    differ; `obstacle` why the scores of the two sides cannot be compared, "" if they can.
    """
    if obstacle:
        found = [obstacle]
    else:
        tested = {one.label: one.movement for one in methods if one.movement is not None}
        found = list(_tests(tested, meaning))
    return (*found, *_order(methods), *_alone(methods))


def _tests(tested: Mapping[str, Movement], meaning: str) -> Iterator[str]:
    if not tested:
        yield "No method was tested on the same patients on both sides, so none is compared."
        return
    found = [one.found for one in tested.values()]
    if all(one.mean == 0 and one.smallest_p == 1 for one in found):
        yield f"No score differs: on every patient the Dice of {_methods(len(found))} is the same."
        return
    few, many = min(one.patients for one in found), max(one.patients for one in found)
    limits = list(too_few(many, found))
    if not limits:
        number = sum(one.separated for one in tested.values())
        if len(found) == 1:
            who = "The method" if number else "The method is not shown to have"
        else:
            who = f"{number or 'None'} of {len(found)} methods"
        yield f"{who} moved in Dice from A to B beyond what chance over patients explains."
    yield from limits
    yield from _lists(tested)
    if meaning:
        yield meaning
    yield paired_over(
        counted(many, "patient") if few == many else f"{few} to {many} patients", len(found)
    )
    if few < patients_for_interval():
        yield f"An interval of a difference needs {patients_for_interval()} patients or more."
    yield from _training(tested)


def _lists(tested: Mapping[str, Movement]) -> Iterator[str]:
    """Which methods are better, worse, or not shown to be either."""
    yield from separated(tested, ("Better on B", "Worse on B"))
    rest = [
        f"{label} {number_text('difference', one.found.mean)}"
        for label, one in tested.items()
        if not one.separated
    ]
    if rest:
        yield f"Not shown to have moved (B minus A): {', '.join(rest)}."


def _training(tested: Mapping[str, Movement]) -> Iterator[str]:
    """How far the verdict may hang on the very networks that were trained."""
    other = [label for label, one in tested.items() if not one.same_streams]
    if other:
        named = "all of them" if len(other) == len(tested) else ", ".join(other)
        yield (
            f"Trained in other folds, or with other label draws or seeds, on B than on A: {named}. "
            "A difference may be theirs alone; a test over patients does not see it."
        )
    yield about_training(next(iter(tested.values())).retraining, len(tested))


def _order(methods: Sequence[Moved]) -> Iterator[str]:
    """Whether the ranking changed among the methods that both sides have."""
    ranks = {one.label: one.ranks for one in methods if math.isfinite(one.ranks[0])}
    if not ranks:
        return
    first, second = zip(*ranks.values(), strict=True)
    if first == second:
        yield f"The order of {_methods(len(ranks))} by mean Dice is the same on both sides."
        return
    tau = float(stats.kendalltau(first, second).statistic)
    about = f" (Kendall's tau {number_text('share', tau)})" if math.isfinite(tau) else ""
    moved = {label: pair for label, pair in ranks.items() if pair[0] != pair[1]}
    far = sorted(moved, key=lambda label: -abs(moved[label][0] - moved[label][1]))
    named = [
        f"{label} from {number_text('rank', ranks[label][0])} to "
        f"{number_text('rank', ranks[label][1])}"
        for label in far
    ]
    yield (
        f"The order of {_methods(len(ranks))} by mean Dice changed{about}, which may be chance: "
        f"{some(named, FEW)}."
    )


def _alone(methods: Sequence[Moved]) -> Iterator[str]:
    """Methods that only one side has."""
    for name, labels in zip(
        SIDES,
        (
            [one.label for one in methods if one.second is None],
            [one.label for one in methods if one.first is None],
        ),
        strict=True,
    ):
        if labels:
            yield f"On {name} alone: {', '.join(labels)}."


def _methods(number: int) -> str:
    return "the method" if number == 1 else f"the {number} methods"
