"""Colours of structures, as readers with and without all three kinds of cones see them."""

import itertools

import numpy as np
import pytest

from contrabench.report.gallery.svg import HUES, hue

# Machado, Oliveira and Fernandes (IEEE TVCG 15, 2009), table 1, severity 1; on linear RGB.
SIGHT = {
    "all cones": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
               [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                 [-0.011820, 0.042940, 0.968881]],
}  # fmt: skip
TO_XYZ = np.array([[41.24, 35.76, 18.05], [21.26, 71.52, 7.22], [1.93, 11.92, 95.05]])
CAT02 = np.array([[0.7328, 0.4296, -0.1624], [-0.7036, 1.6975, 0.0061], [0.003, 0.0136, 0.9834]])
HPE = np.array([[0.38971, 0.68898, -0.07868], [-0.22981, 1.1834, 0.04641], [0, 0, 1]])
LIGHT = 64 / np.pi / 5
NEIGHBOURS = [(0, 4), (1, 4), (0, 2), (0, 1), (1, 3), (2, 3), (2, 5), (3, 5), (1, 6), (5, 6)]


def linear(colour, sight="all cones"):
    coded = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    light = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    return np.clip(np.asarray(SIGHT[sight]) @ light, 0, 1)


def cones(light):
    """Responses of CIECAM02, average surround, sRGB's dim office; and the light's factor."""
    white = CAT02 @ TO_XYZ @ np.ones(3)
    share = 1 - np.exp((-LIGHT - 42) / 92) / 3.6
    adapted = (CAT02 @ TO_XYZ @ light) * (100 * share / white + 1 - share)
    k = (1 / (5 * LIGHT + 1)) ** 4
    factor = k * LIGHT + 0.1 * (1 - k) ** 2 * (5 * LIGHT) ** (1 / 3)
    pressed = HPE @ np.linalg.inv(CAT02) @ adapted
    power = (factor * np.abs(pressed) / 100) ** 0.42
    return np.sign(pressed) * 400 * power / (power + 27.13) + 0.1, factor


def ucs(light):
    """CAM02-UCS (Luo, Cui and Li, Color Res. Appl. 31, 2006): J', a', b'."""
    (r, g, b), factor = cones(light)
    (wr, wg, wb), _ = cones(np.ones(3))
    bright = ((2 * r + g + b / 20 - 0.305) / (2 * wr + wg + wb / 20 - 0.305)) ** (
        0.69 * (1.48 + np.sqrt(0.2))
    )
    red, yellow = r - 12 * g / 11 + b / 11, (r + g - 2 * b) / 9
    angle = np.arctan2(yellow, red)
    colour = 50000 / 13 * 0.725 * 0.2**-0.2 * (np.cos(angle + 2) + 3.8) / 4
    colour *= np.hypot(red, yellow) / (r + g + 1.05 * b)
    chroma = colour**0.9 * np.sqrt(bright) * (1.64 - 0.29**0.2) ** 0.73 * factor**0.25
    chroma = np.log(1 + 0.0228 * chroma) / 0.0228
    lightness = 170 * bright / (1 + 0.7 * bright)
    return np.array([lightness, chroma * np.cos(angle), chroma * np.sin(angle)])


def distance(first, second):
    """The smallest over all ways to see."""
    return min(np.linalg.norm(ucs(linear(first, s)) - ucs(linear(second, s))) for s in SIGHT)


def test_the_measure():
    """Against values of colorspacious 1.1.2, and pairs that are known to be hard."""
    assert ucs(linear("#cc3314")) == pytest.approx([51.52, 30.51, 21.25], abs=0.1)
    assert ucs(linear("#ffffff"))[0] == pytest.approx(100)
    assert distance("#4cc9f0", "#f48fff") == pytest.approx(2.4, abs=0.1)
    assert distance("#f48fff", "#7aa2ff") == pytest.approx(1.1, abs=0.1)


def test_structures_can_be_told_apart_by_everyone():
    assert len(HUES) >= 7
    assert min(distance(*two) for two in itertools.combinations(HUES, 2)) > 18


def test_structures_stand_out_from_the_reference_and_the_image():
    greys = [f"#{shade:02x}{shade:02x}{shade:02x}" for shade in (0, 40, 80, 110, 144)]
    assert min(distance(one, "#ffffff") for one in HUES) > 18
    assert min(distance(one, grey) for one in HUES for grey in greys) > 14


def test_neighbours_in_the_heart_differ_most():
    """In the order of the whole heart: LV, RV, LA, RA, myocardium, aorta, pulmonary artery."""
    assert min(distance(hue(one), hue(two)) for one, two in NEIGHBOURS) > 30
