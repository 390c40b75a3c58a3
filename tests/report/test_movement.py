"""How far methods moved, against sums by hand and a brute-force test over all sign patterns."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from contrabench.report.movement import movements

from .sides import NOISE, study

FIELD = [*study("scratch"), *study("gcl", 0.1, 1), *study("pcl", -0.1, 2)]


def shifted(rows, shifts, noise=None):
    """Rows with so much more Dice by method, and noise by patient."""
    made = []
    for row in rows:
        extra = 0 if noise is None else NOISE[noise, int(row["patient"][1:])]
        more = shifts.get(row["method"], 0) + extra
        made.append({**row, "run": row["run"][::-1], "dice": row["dice"] + more})
    return made


def found(frame, ours, theirs, **more):
    return {one.label: one for one in movements(frame(*ours), frame(*theirs), **more)}


def flips(differences):
    """The definition of the sign-flip test, pattern by pattern."""
    sums = [
        abs(np.dot(signs, differences))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    return np.mean([one >= abs(sum(differences)) - 1e-12 for one in sums])


def step_down(values):
    """Holm by its definition: the largest of all (n - rank) p up to one's own."""
    order = np.argsort(values)
    adjusted = [min(1, (len(values) - rank) * values[place]) for rank, place in enumerate(order)]
    return dict(zip(order, np.maximum.accumulate(adjusted), strict=True))


def test_differences_ps_and_holm_are_those_by_hand(frame):
    rows = [row for row in FIELD if int(row["patient"][1:]) < 8]
    other = [*shifted(rows[:8], {}, 4), *shifted(rows[8:16], {"gcl": 0.03}, 5), *rows[16:]]
    moved = found(frame, rows, other)
    ps = []
    for name, start in (("scratch", 0), ("gcl", 8), ("pcl", 16)):
        pairs = zip(rows[start : start + 8], other[start : start + 8], strict=True)
        own = [second["dice"] - first["dice"] for first, second in pairs]
        one = moved[name].movement
        assert one.found.mean == pytest.approx(np.mean(own))
        assert one.found.p == pytest.approx(flips(own))
        exact = stats.permutation_test(
            (own,), np.mean, permutation_type="samples", n_resamples=np.inf
        )
        assert one.found.p == pytest.approx(exact.pvalue)
        assert moved[name].in_common == one.found.patients == 8
        ps.append(one.found.p)
    for place, name in enumerate(("scratch", "gcl", "pcl")):
        assert moved[name].movement.adjusted == pytest.approx(step_down(ps)[place])


def test_a_planted_shift_is_found_in_its_method_alone(frame):
    moved = found(frame, FIELD, shifted(FIELD, {"gcl": 0.02}))
    assert {name: one.movement.separated for name, one in moved.items()} == {
        "gcl": True, "scratch": False, "pcl": False,
    }  # fmt: skip
    assert moved["gcl"].movement.found.mean == pytest.approx(0.02)
    back = found(frame, shifted(FIELD, {"gcl": 0.02}), FIELD)
    assert back["gcl"].movement.found.mean == pytest.approx(-0.02)


def test_equal_sides_differ_nowhere(frame):
    for one in found(frame, FIELD, FIELD).values():
        movement = one.movement
        assert (movement.found.mean, movement.found.p, movement.adjusted) == (0, 1, 1)
        assert not movement.retraining.known
        assert one.ranks[0] == one.ranks[1]


def test_training_that_moves_whole_folds_is_seen(frame):
    """Folds go up and down as a whole: the test over patients is blind to it, ours is not."""
    noise = np.random.default_rng(1).normal(0, 0.01, (2, 40))
    moves = {"calm": np.zeros(5), "moved": np.array([0.06, 0.05, 0.07, -0.06, -0.02])}
    ours = [row for fold in range(5) for row in study("scratch", fold=fold, patients=8)]
    ours = [{**row, "patient": f"{row['fold']}{row['patient']}", "folds": 5} for row in ours]
    seen = {}
    for name, by_fold in moves.items():
        theirs = [
            {**row, "run": row["run"][::-1], "dice": row["dice"] + 0.03 + by_fold[row["fold"]] + e}
            for row, e in zip(ours, noise[0], strict=True)
        ]
        seen[name] = found(frame, ours, theirs)["scratch"].movement
    assert seen["calm"].separated
    assert not seen["calm"].passing
    assert seen["moved"].separated
    assert seen["moved"].passing
    assert seen["moved"].retraining.inflation > 2 > 1.5 > seen["calm"].retraining.inflation


def test_streams_are_told_apart(frame):
    other = [{**row, "draw": 1} for row in FIELD[:12]] + FIELD[12:]
    moved = found(frame, FIELD, other)
    assert [moved[name].movement.same_streams for name in ("scratch", "gcl")] == [False, True]


def test_other_patients_are_not_tested(frame):
    fewer = [row for row in FIELD if row["method"] != "gcl" or row["patient"] != "p00"]
    moved = found(frame, FIELD, fewer)
    assert moved["gcl"].movement is None
    assert moved["gcl"].in_common == 11
    # The family is that of the others, and so are the ranks.
    assert moved["scratch"].movement.adjusted == 1
    assert math.isnan(moved["gcl"].ranks[1])
    assert (moved["scratch"].ranks, moved["pcl"].ranks) == ((1, 1), (2, 2))
    renamed = [{**row, "patient": f"q{row['patient']}"} for row in FIELD]
    moved = found(frame, FIELD, renamed)
    assert {(one.in_common, one.movement) for one in moved.values()} == {(0, None)}
    # Each side still has an order of its own.
    assert moved["gcl"].ranks == (1, 1)


def test_a_method_of_one_side_stands_alone(frame):
    moved = found(frame, [*FIELD, *study("byol", 0.5)], [*study("vicreg", 0.9), *FIELD])
    assert list(moved) == ["gcl", "scratch", "pcl", "byol", "vicreg"]
    assert moved["byol"].second is moved["vicreg"].first is None
    assert moved["byol"].movement is moved["byol"].in_common is None
    assert math.isnan(moved["vicreg"].ranks[1])
    # It takes no place from those that both sides have.
    assert moved["gcl"].ranks == (1, 1)


def test_single_versions_stand_in_one_row_and_several_in_their_own(frame):
    newer = [*FIELD[:12], *study("gcl", 0.2, 1, method_version=2)]
    moved = found(frame, FIELD, newer)
    assert moved["gcl"].movement.found.mean == pytest.approx(0.1)
    # The newest version of a variant needs no number, whatever stands on A.
    more = study("gcl", 0.3, 1, method_version=2, deviations="long")
    assert {"gcl", "gcl (long)"} < set(found(frame, [*FIELD, *more], [*newer, *more]))
    both = [*FIELD, *study("gcl", 0.2, 1, method_version=2)]
    moved = found(frame, FIELD, both)
    assert moved["gcl (version 1)"].movement.found.mean == 0
    assert moved["gcl"].first is None


def test_deviations_make_another_method(frame):
    moved = found(frame, FIELD, [*FIELD[:12], *study("gcl", 0.1, 1, deviations="deep supervision")])
    assert moved["gcl"].second is moved["gcl (deep supervision)"].first is None


def test_ranks_are_those_of_the_means(frame):
    other = shifted(FIELD, {"pcl": 0.3})
    moved = found(frame, FIELD, other)
    for side, rows in enumerate((FIELD, other)):
        means = pd.DataFrame(rows).groupby("method")["dice"].mean()
        ranks = dict(zip(means.index, stats.rankdata(-means), strict=True))
        assert {name: one.ranks[side] for name, one in moved.items()} == ranks


def test_one_patient_is_no_evidence(frame):
    first = [row for row in FIELD if row["patient"] == "p00"]
    one = found(frame, first, shifted(first, {"gcl": 0.3}))["gcl"].movement
    assert (one.found.mean, one.found.p) == (pytest.approx(0.3), 1)
    assert math.isnan(one.found.low)
    assert math.isnan(one.retrained)


def test_what_does_not_compare_is_ranked_and_not_subtracted(frame):
    moved = found(frame, FIELD, shifted(FIELD, {"gcl": 0.2}), comparable=False)
    assert {one.movement for one in moved.values()} == {None}
    assert moved["gcl"].ranks == (1, 1)


def test_structures_that_do_not_apply_are_no_score(frame):
    absent = [{**row, "structure": "RV", "flag": "not applicable"} for row in FIELD]
    assert found(frame, [*FIELD, *absent], FIELD)["gcl"].movement.found.mean == 0
    gone = [{**row, "flag": "not applicable"} if row["patient"] == "p00" else row for row in FIELD]
    assert found(frame, gone, FIELD)["gcl"].in_common == 11
    nowhere = [{**row, "flag": "not applicable"} for row in FIELD]
    moved = found(frame, nowhere, nowhere)["gcl"]
    assert (moved.movement, moved.in_common) == (None, 0)
