"""Colours of families that readers can tell apart, whatever they see."""

from itertools import combinations

import numpy as np
import pytest

from contrabench.report.colours import GREY, family_colours
from contrabench.report.gallery.svg import HUES

USUAL = ("consistency", "contrast before", "contrast during", "reconstruction")
# Machado, Oliveira and Fernandes (2009), severity 1: no red, no green, no blue.
SEEN = {
    "all": np.eye(3),
    "no red": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
    "no green": [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
    "no blue": [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def light(colour):
    part = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)


def lab(colour, seen):
    x = XYZ @ np.clip(np.asarray(SEEN[seen]) @ light(colour), 0, 1) / [0.9505, 1, 1.089]
    f = np.where(x > 0.008856, np.cbrt(x), 7.787 * x + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def apart(one, other, seen="all"):
    """CIE 1976; 2.3 is just noticeable."""
    return float(np.linalg.norm(lab(one, seen) - lab(other, seen)))


def contrast(one, other):
    low, high = sorted(XYZ[1] @ light(colour) + 0.05 for colour in (one, other))
    return high / low


@pytest.mark.parametrize("seen", SEEN)
def test_six_families_and_grey_are_told_apart(seen):
    colours = family_colours([*USUAL, "outside weights", "stranger"])
    for one, other in combinations(colours.values(), 2):
        assert apart(one, other, seen) > 15
    assert all(apart(colour, GREY, seen) > 9 for colour in colours.values())


def test_they_stand_out_on_both_pages_and_are_no_structures():
    for colour in [*family_colours([*USUAL, "a", "b"]).values()]:
        assert min(contrast(colour, page) for page in ("#ffffff", "#fafaf7", "#12171a")) > 2.9
        assert min(apart(colour, hue) for hue in HUES) > 15


def test_the_usual_families_keep_their_colours_and_references_are_grey():
    every = family_colours(reversed([*USUAL, "reference", "control", "b", "a"]))
    assert every["reference"] == every["control"] == GREY
    assert all(family_colours([family]) == {family: every[family]} for family in USUAL)
    assert every == family_colours(every)


def test_strangers_take_what_is_left():
    assert len({*family_colours("abcdef").values()}) == 6
    with_usual = family_colours([*USUAL[:3], *"abc"])
    assert len({*with_usual.values()}) == 6
    assert len(family_colours("abcdefgh")) == 8
