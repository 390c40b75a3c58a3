"""The choice of patients, against tables worked out by hand."""

import math

import pandas as pd
import pytest

from contrabench.report.gallery.make import choose

FIVE = {"a": 0.1, "b": 0.9, "c": 0.5, "d": 0.3, "e": 0.7}


def shown(entries):
    return [(choice.word, choice.patient) for choice in choose(entries)]


def test_worst_median_and_best_by_the_mean_over_methods(entry):
    """Means over both: a .45, b .5, c .25, d .55, e .6."""
    one = entry("scratch", {"a": 0.1, "b": 0.9, "c": 0.5, "d": 0.3, "e": 0.7})
    two = entry("ours", {"a": 0.8, "b": 0.1, "c": 0.0, "d": 0.8, "e": 0.5})
    assert shown([one, two]) == [
        ("worst patient", "c"), ("median patient", "b"), ("best patient", "e"),
    ]  # fmt: skip
    assert [choice.dice for choice in choose([one, two])] == pytest.approx([0.25, 0.5, 0.6])
    assert shown([two, one]) == shown([one, two])


@pytest.mark.parametrize(
    ("patients", "expected"),
    [
        ("a", [("only patient", "a")]),
        ("ab", [("worst patient", "a"), ("best patient", "b")]),
        ("ade", [("worst patient", "a"), ("median patient", "d"), ("best patient", "e")]),
        ("adeb", [("worst patient", "a"), ("median patient", "d"), ("best patient", "b")]),
    ],
)
def test_few_patients(entry, patients, expected):
    """Of an even number the lower middle one is the median."""
    assert shown([entry("scratch", {name: FIVE[name] for name in patients})]) == expected


def test_ties_go_by_name_whatever_the_rounding(entry):
    """0.1 + 0.2 and 0.3 + 0.0 differ in their last bit only."""
    one = entry("scratch", {"z": 0.3, "m": 0.1, "b": 0.2})
    two = entry("ours", {"z": 0.0, "m": 0.2, "b": 0.1})
    assert [patient for _, patient in shown([one, two])] == ["b", "m", "z"]


def test_who_has_no_say(entry):
    """Full supervision, and a method that was tested on other patients, are shown only."""
    scratch = entry("scratch", {"a": 0.1, "b": 0.5, "c": 0.9})
    full = entry("full supervision", {"a": 1.0, "b": 0.0, "c": 0.1}, runs=("ff",))
    part = entry("part", {"a": 1.0, "b": 0.0}, runs=("pp",))
    choices = choose([full, part, scratch])
    assert [choice.patient for choice in choices] == ["a", "b", "c"]
    named = [[one.method for one in choice.drawings] for choice in choices]
    everyone = ["full supervision", "part", "scratch"]
    assert named == [everyone, everyone, ["full supervision", "scratch"]]


def test_without_reference_those_tested_on_everyone_decide(entry):
    one = entry("one", {"a": 0.1, "b": 0.5, "c": 0.9})
    two = entry("two", {"a": 0.9, "b": 0.0})
    assert [patient for _, patient in shown([one, two])] == ["a", "b", "c"]
    assert choose([two, entry("three", {"c": 0.5})]) == ()
    assert choose([entry("full supervision", {"a": 1.0})]) == ()
    assert choose([]) == ()


def test_one_run_speaks_for_a_method(entry):
    """The lowest draw comes first, then the seed, then the key; the first case by name."""
    many = entry(
        "scratch", {"a": 0.5}, runs=("11", "44", "33", "22"), draws=(1, 0, 0, 0),
        seeds=(0, 2, 1, 1), cases=("es", "ed"),
    )  # fmt: skip
    rows = many.rows
    rows.loc[(rows["run"] == "22") & (rows["case"] == "a_ed"), "dice"] = [0.2, 0.6]
    (choice,) = choose([many])
    (pick,) = choice.drawings
    assert (choice.case, pick.run) == ("a_ed", "22")
    assert pick.dice == pytest.approx(0.4)


def test_structures_that_do_not_apply_are_no_zeros(entry):
    made = entry("scratch", {"a": 0.5}, cases=("ed", "es"))
    rows = made.rows
    first = rows["case"] == "a_ed"
    rows.loc[first & (rows["structure"] == "rim"), ["dice", "flag"]] = [None, "not applicable"]
    assert choose([made])[0].drawings[0].dice == pytest.approx(0.5)
    rows.loc[first, ["dice", "flag"]] = [None, "not applicable"]
    assert math.isnan(choose([made])[0].drawings[0].dice)


def test_words_may_be_categories(entry):
    """As the store reads them, with categories that no row has."""
    made = entry("scratch", {"a": 0.1, "b": 0.5})
    for name in ("patient", "case", "run"):
        values = sorted({*made.rows[name], "unused"})
        made.rows[name] = pd.Categorical(made.rows[name], categories=values)
    assert shown([made]) == [("worst patient", "a"), ("best patient", "b")]
