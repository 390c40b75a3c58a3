"""What the verdict says, word by word, of studies whose truth was planted."""

import math

import numpy as np
import pytest

from contrabench.report.comparison import compare
from contrabench.report.entries import label_budgets
from contrabench.report.verdict import remarks, verdict


def study(method, moves, noise, number=0, patients=20, labels=None, scale=0.02):
    """Five folds; `moves` adds to each fold, as its networks would."""
    luck = np.random.default_rng(number).normal(0, 1, patients)
    return [
        {"method": method, "patient": f"p{p:02d}", "fold": p % 5, "folds": 5,
         "dice": 0.6 + moves[p % 5] + noise * scale * luck[p]}
        for p in range(patients)
    ]  # fmt: skip


def text(frame, *rows):
    (budget,) = label_budgets(frame(*rows))
    compared = compare(budget.entries)
    return "\n".join((*verdict(compared), *remarks(compared, budget.distance)))


EVEN = np.zeros(5)
LUCKY = np.array([0.08, 0.06, 0.07, -0.04, -0.02])


def test_a_difference_that_training_again_may_reverse_is_told_from_one_that_stays(frame):
    rows = [*study("scratch", EVEN, 1), *study("gcl", EVEN + 0.2, 1, 1),
            *study("hu", LUCKY, 1, 2)]  # fmt: skip
    told = text(frame, *rows)
    assert "In Dice better than scratch: gcl +0.2" in told
    assert "In Dice better than scratch with these networks, not shown for others: hu +0.0" in told
    alone = text(frame, *study("scratch", EVEN, 1), *study("hu", LUCKY, 1, 2))
    assert "In Dice better than scratch with these networks, not shown for others: hu" in alone
    assert "better than scratch: " not in alone
    calm = text(frame, *study("scratch", EVEN, 1), *study("gcl", EVEN + 0.2, 1, 1))
    assert "not shown for others" not in calm
    assert "standard error is estimated at 1." in calm


def test_ties_are_not_called_few_patients(frame):
    """A rival that differs on 3 of 20 patients; one that differs on none."""
    rows = study("scratch", EVEN, 1)
    near = [
        {**row, "method": "gcl", "dice": row["dice"] + 0.1 * (number < 3)}
        for number, row in enumerate(rows)
    ]
    told = text(frame, *rows, *near)
    assert "With so few patients" not in told
    assert "No comparison could reach a p below 0.25 after Holm, since most patients have" in told
    four = text(
        frame, *study("scratch", EVEN, 1, patients=4), *study("gcl", EVEN, 1, 1, patients=4)
    )
    assert "With so few patients no comparison can reach a p below 0.125 after Holm" in four


def test_all_pairs_do_not_contradict_the_comparisons_with_scratch(frame):
    """Separated from scratch in a family of seven, in that of 28 pairs not."""
    scratch = study("scratch", EVEN, 1)
    rows = [*scratch, *study("gcl", EVEN + 0.0125, 1, 1)]
    for number in range(2, 8):
        luck = np.random.default_rng(number).normal(0, 0.001, 20)
        rows += [
            {**row, "method": f"m{number}", "dice": row["dice"] + one}
            for row, one in zip(scratch, luck, strict=True)
        ]
    told = text(frame, *rows)
    assert "In Dice better than scratch: gcl" in told
    assert "Over all 28 pairs (Holm), which ask for more than the comparisons with scratch" in told


@pytest.mark.parametrize("gap", [0.0, 1e-9])
def test_no_difference_is_not_one_that_is_too_small(frame, gap):
    rows = [*study("scratch", EVEN, 1), *study("gcl", EVEN, 1)]
    if gap:
        rows = [*study("scratch", EVEN, 1), *study("gcl", EVEN + gap, 1, 1)]
    told = text(frame, *rows)
    assert ("No difference at all was seen for gcl." in told) == (not gap)


def test_the_fewest_patients_are_named_and_rounded(frame):
    rows = study("scratch", EVEN, 1)
    for number, gap in enumerate((0.006, 0.004, 0.005, 0.003), start=1):
        rows += study(f"m{number}", EVEN + gap, 1, number)
    told = text(frame, *rows)
    (line,) = [line for line in told.splitlines() if "80% power" in line]
    assert line.count("(m") == 3
    assert "and more for the others" in line
    numbers = [int(word) for word in line.replace(",", "").split() if word.isdigit()]
    assert all(number < 100 or number % 10 == 0 for number in numbers)


def test_a_missing_fold_of_scratch_is_named_with_what_to_do(frame):
    rows = [*study("gcl", EVEN + 0.2, 1, 1), *study("hu", EVEN, 1, 2)]
    rows += [row for row in study("scratch", EVEN, 1) if row["fold"] != 4]
    told = text(frame, *rows)
    assert "scratch, which was tested on 16 patients (4 of 5 folds), and most others" in told
    assert "run its missing folds" in told
    assert "gcl is the best" not in told  # it was not compared with scratch
    assert "Over the one pair, methods that share a letter" in told


def test_a_patient_without_a_score_is_told(frame):
    rows = study("scratch", EVEN, 1)
    right = study("gcl", EVEN + 0.2, 1, 1)
    right[3] |= {"flag": "not applicable"}
    told = text(frame, *rows, *right)
    assert "left out of every comparison, which rests on 19 patients: gcl 1." in told
    assert "was tested on" not in told


@pytest.mark.parametrize(("patients", "warned"), [(14, True), (15, False)])
def test_below_fifteen_patients_the_order_may_be_chance(frame, patients, warned):
    rows = [*study("scratch", EVEN, 1, patients=patients),
            *study("gcl", EVEN, 1, 1, patients=patients)]  # fmt: skip
    assert ("the order of the rows may be chance" in text(frame, *rows)) == warned


def test_label_draws_are_planned_for_only_where_they_were_repeated(frame):
    once = [{**row, "seed": seed, "dice": row["dice"] + 0.01 * seed * (-1) ** row["fold"]}
            for name, number in (("scratch", 0), ("gcl", 1)) for seed in (0, 1)
            for row in study(name, EVEN, 1, number)]  # fmt: skip
    rows = [{**row, "draw": draw, "dice": row["dice"] + 0.02 * draw * (-1) ** row["fold"]}
            for row in once for draw in (0, 1)]  # fmt: skip

    def draws(*given):
        (budget,) = label_budgets(frame(*given))
        return next(iter(compare(budget.entries).family.values())).draws_needed

    assert math.isnan(draws(*once))
    assert not math.isnan(draws(*rows))


def drawn(rows):
    """The same with two label draws, which makes verdicts be about networks trained anew."""
    return [
        {**row, "draw": draw, "dice": row["dice"] + 0.001 * (-1) ** draw}
        for row in rows
        for draw in (0, 1)
    ]


def test_networks_that_move_folds_separate_nothing_once_draws_are_repeated(frame):
    rows = [*study("scratch", EVEN, 1, patients=40), *study("gcl", EVEN + 0.2, 1, 1, patients=40),
            *study("hu", LUCKY, 1, 2, patients=40)]  # fmt: skip
    told = text(frame, *drawn(rows))
    assert "In Dice better than scratch: gcl +0.2" in told
    assert "Cannot be separated from scratch in Dice: hu +0.0" in told
    assert "Different with these networks, not shown for others: hu (retrained p 0." in told
    assert "in 5 folds, 2 label draws: about networks trained anew (Retrained p, Holm" in told
    assert "about the networks that were trained" not in told
    assert "gcl is the best, separated from every other method." in told
    assert "; 2 pairs are; with these networks alone 3 pairs are." in told
    (budget,) = label_budgets(frame(*drawn(rows)))
    compared = compare(budget.entries)
    assert compared.letters == {0: "a", 1: "b", 2: "b"}
    assert compared.limits == {0: (1, 1), 1: (2, 3), 2: (2, 3)}
    lucky = compared.family["hu"]
    assert lucky.adjusted < 0.01 < 0.05 < lucky.retrained
    assert lucky.low < 0 < lucky.found.low
    assert lucky.patients_needed > 40


def test_what_is_known_of_a_difference_that_is_not_shown(frame):
    rows = [*study("scratch", EVEN, 0), *study("close", EVEN, 0.3, 1),
            *study("up", EVEN + 0.011, 1.2, 2), *study("down", EVEN - 0.011, 1.2, 2),
            *study("open", EVEN, 2, 4)]  # fmt: skip
    told = text(frame, *rows)
    (budget,) = label_budgets(frame(*rows))
    family = compare(budget.entries).family
    assert "In Dice as good as scratch within ± 0.01: close " in told
    assert family["close"].is_small
    assert -0.01 < family["up"].low < 0.01 < family["up"].high
    assert f"up {family['up'].mean:+.3f}, at most {family['up'].high:+.3f}" in told
    assert family["down"].low < -0.01 < family["down"].high < 0.01
    assert f"down {family['down'].mean:+.3f}, at least {family['down'].low:+.3f}" in told
    wide = family["open"]
    assert f"open {wide.mean:+.3f}, between {wide.low:+.3f} and {wide.high:+.3f}" in told
