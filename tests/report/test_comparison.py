"""What is compared in a table: with the reference, among all, and what is left out."""

import math

import numpy as np
import pandas as pd
import pytest

from contrabench.references import FULL_SUPERVISION
from contrabench.report.comparison import compare
from contrabench.report.entries import Entry
from contrabench.statistics.aggregate import differences, observations
from contrabench.statistics.design import patients_needed
from contrabench.statistics.paired import paired_difference, superiority
from contrabench.statistics.retraining import retrained_ps, retraining
from contrabench.statistics.signflip import holm
from contrabench.statistics.variance import variance_split

RNG = np.random.default_rng(3)
NOISE = RNG.normal(0, 0.03, (5, 40))


def entry(frame, name, shift=0.0, patients=8, noise=0, runs=((0, 0),), deviations=""):
    """Two folds; every draw and seed shifts the patients of a fold together."""
    rows = frame(*(
        {
            "method": name, "patient": f"p{p:02d}", "fold": p % 2, "folds": 2, "draw": draw,
            "seed": seed, "deviations": deviations,
            "dice": 0.5 + 0.01 * p + shift + NOISE[noise, p] + NOISE[noise, 20 + 4 * draw + p % 2],
        }
        for draw, seed in runs
        for p in range(patients)
    ))  # fmt: skip
    scores = rows.groupby("patient")[["dice", "asd_mm"]].mean()
    return Entry(name, deviations, rows, scores)


def test_each_method_is_compared_as_the_modules_say(frame):
    two_draws = ((0, 0), (1, 0))
    entries = [
        entry(frame, name, shift, noise=noise, runs=two_draws)
        for name, shift, noise in (("mmgl", 0.2, 1), ("gcl", 0.01, 2), ("scratch", 0, 0))
    ]
    compared = compare(entries)
    reference = entries[2]
    ps = []
    for place in (0, 1):
        one, ours = compared.against[place], entries[place].scores["dice"]
        theirs = reference.scores["dice"]
        assert one.found == paired_difference(ours, theirs)
        assert one.wins == superiority(ours, theirs)
        shared = differences(
            observations(entries[place].rows, "dice"), observations(reference.rows, "dice")
        )
        assert one.split == variance_split(shared)
        ps.append(one.found.p)
    assert [compared.against[place].adjusted for place in (0, 1)] == holm(ps)
    gaps = np.stack([e.scores["dice"] - reference.scores["dice"] for e in entries[:2]])
    again = retraining(gaps, [p % 2 for p in range(8)], 1.6)
    assert compared.retraining.inflation == pytest.approx(again.inflation)
    assert compared.retraining.freedom == pytest.approx(again.freedom)
    assert [compared.against[place].retrained for place in (0, 1)] == pytest.approx(
        retrained_ps(gaps, ps, again).tolist()
    )
    clear, close = compared.against[0], compared.against[1]
    assert clear.separated
    assert math.isnan(clear.patients_needed)
    gaps = entries[1].scores["dice"] - reference.scores["dice"]
    assert close.patients_needed == patients_needed(close.found.mean, gaps.std(ddof=1), 2)
    assert not math.isnan(close.draws_needed)


def test_full_supervision_is_shown_but_competes_with_nobody(frame):
    full = entry(frame, "scratch", 0.3)
    entries = [
        Entry(FULL_SUPERVISION, "", full.rows, full.scores),
        entry(frame, "mmgl", 0.2, noise=1), entry(frame, "scratch"),
    ]  # fmt: skip
    compared = compare(entries)
    assert compared.members == (1, 2)
    assert set(compared.against) == {0, 1}
    assert set(compared.family) == {"mmgl"}
    assert compared.against[0].found.mean == pytest.approx(0.3)
    assert compared.against[1].adjusted == compared.against[1].found.p
    assert compared.leader == 1


def test_other_patients_are_compared_with_nobody(frame):
    entries = [
        entry(frame, "mmgl", 0.3, patients=6), entry(frame, "gcl", 0.2, noise=1),
        entry(frame, "scratch"),
    ]  # fmt: skip
    compared = compare(entries)
    assert compared.members == (1, 2)
    assert set(compared.against) == {1}
    # gcl is above scratch, but nobody knows about mmgl.
    assert compared.leader == -1


def test_without_the_reference_all_pairs_are_still_compared(frame):
    entries = [entry(frame, "mmgl", 0.2), entry(frame, "gcl", noise=1), entry(frame, "pcl", 0, 4)]
    compared = compare(entries)
    assert compared.against == {}
    assert compared.members == (0, 1)
    assert compared.letters == {0: "a", 1: "b"}
    assert compared.limits == {0: (1, 1), 1: (2, 2)}


def test_identical_methods_share_letter_and_need_no_number_of_patients(frame):
    compared = compare([entry(frame, "heads_only"), entry(frame, "scratch")])
    one = compared.against[0]
    assert (one.found.mean, one.adjusted, one.wins.probability) == (0, 1, 0.5)
    assert math.isinf(one.patients_needed)
    assert compared.letters == {0: "a", 1: "a"}
    assert compared.leader == -1


def test_one_method_or_one_patient(frame):
    alone = compare([entry(frame, "scratch")])
    assert alone.against == {}
    assert alone.pairs is None
    assert alone.letters == alone.limits == {}
    single = compare([entry(frame, "mmgl", 0.1, 1), entry(frame, "scratch", patients=1)])
    assert single.against[0].adjusted == 1
    assert math.isnan(single.against[0].found.low)
    assert math.isnan(single.against[0].patients_needed)


def test_a_method_that_no_case_can_score_is_not_compared(frame):
    rows = frame({"method": "mmgl", "flag": "not applicable"})
    empty = pd.DataFrame({"dice": [], "asd_mm": []})
    compared = compare([entry(frame, "scratch"), Entry("mmgl", "", rows, empty)])
    assert compared.members == (0,)
    assert compared.against == {}


def test_a_method_that_rightly_finds_nothing_stays_in_the_comparison(frame):
    """It has no score where nothing is: that patient is left out for all, the method is not."""
    right, wrong = entry(frame, "mmgl", 0.1), entry(frame, "scratch", noise=1)
    known = right.scores.index[1:]
    compared = compare([Entry("mmgl", "", right.rows, right.scores.loc[known]), wrong])
    assert compared.members == (0, 1)
    gaps = (right.scores["dice"] - wrong.scores["dice"]).loc[known]
    assert compared.against[0].found.patients == 7
    assert compared.against[0].found.mean == pytest.approx(gaps.mean())
    assert compared.scores("dice").index.equals(known)


def test_a_missing_fold_of_the_reference_leaves_the_others_compared(frame):
    entries = [
        entry(frame, "mmgl", 0.2), entry(frame, "gcl", noise=1), entry(frame, "scratch", patients=6)
    ]  # fmt: skip
    compared = compare(entries)
    assert compared.members == (0, 1)
    assert compared.against == {}
    assert compared.pairs.separated().to_numpy()[0, 1]


def test_where_sets_of_patients_are_equally_common_the_reference_decides(frame):
    entries = [
        entry(frame, "mmgl", 0.2), entry(frame, "gcl", noise=1),
        entry(frame, "hu", 0.1, patients=6), entry(frame, "scratch", patients=6),
    ]  # fmt: skip
    assert compare(entries).members == (2, 3)


def test_folds_that_methods_disagree_on_leave_training_unknown(frame):
    moved = entry(frame, "mmgl", 0.2)
    rows = moved.rows.assign(fold=[p // 4 for p in range(8)])
    compared = compare([Entry("mmgl", "", rows, moved.scores), entry(frame, "scratch")])
    assert not compared.retraining.known
    assert math.isnan(compared.against[0].retrained)
    assert compared.pairs.retrained.isna().to_numpy()[0, 1]
    assert compared.against[0].separated


def test_what_was_run_is_not_said_to_be_enough_where_it_was_not(frame):
    """Three folds that differ much: the plain test would be content with fewer patients."""

    def made(name, gains, noise):
        rows = frame(*(
            {
                "method": name, "patient": f"p{p:02d}", "fold": p % 3, "folds": 3, "draw": draw,
                "dice": 0.5 + 0.01 * p + gains[p % 3] + 0.1 * NOISE[noise, p],
            }
            for draw in range(2)
            for p in range(12)
        ))  # fmt: skip
        return Entry(name, "", rows, rows.groupby("patient")[["dice", "asd_mm"]].mean())

    compared = compare([made("gcl", [0.03, 0.06, 0.08], 1), made("scratch", [0, 0, 0], 2)])
    known = compared.against[0]
    assert known.is_anew
    assert not known.separated
    assert known.patients_needed > 12
