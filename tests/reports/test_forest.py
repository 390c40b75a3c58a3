"""The forest plot of the page: every mark stands where its number says."""

import re
from xml.etree import ElementTree

import pytest

from contrabench.report.page.forest import NARROW, WIDE, pictures

HUES = {"consistency": "#009e73", "contrast before": "#0072b2", "contrast during": "#d55e00"}


@pytest.fixture
def answer(answered):
    return next(section.answer for section in answered.sections if section.answer)


def rows(picture):
    """Each row by its name: its circles and lines."""
    found = {}
    for group in ElementTree.fromstring(picture).iter("g"):
        name = group.find("title").text.split(":")[0]
        found[name] = (group.findall("circle"), group.findall("line"), group)
    return found


def scale(picture, place):
    """From a difference to a place of the picture, by the first and the last tick."""
    left, right = WIDE.panels[place]
    marks = [
        (float(mark.get("x")), float(mark.text.replace("\u2212", "-")))
        for mark in ElementTree.fromstring(picture).iter("text")
        if mark.get("class") == "mark" and mark.get("text-anchor") is None
    ]
    (x, a), *_, (y, b) = [mark for mark in marks if left <= mark[0] <= right]
    return lambda value: x + (value - a) * (y - x) / (b - a)


@pytest.mark.parametrize("place", [0, 1])
def test_points_and_ends_stand_where_the_numbers_are(answer, place):
    picture = pictures(answer, HUES)[0]
    at, table = scale(picture, place), answer.forest.data
    numbers = [c.name for c in answer.forest.columns if c.kind != "text"][3 * place :][:3]
    shown = rows(picture)
    for line in table[table["Family"].isin(list(HUES))].to_dict("records"):
        circles, lines, _ = shown[line["Method"]]
        drawn = [float(circles[place].get("cx"))] + [
            float(lines[place].get(x)) for x in ("x1", "x2")
        ]
        assert drawn == pytest.approx([at(line[name]) for name in numbers], abs=0.6)


def test_a_point_is_full_where_the_interval_leaves_zero_out(answer):
    table = answer.forest.data.set_index("Method")
    for name, (circles, _, _) in rows(pictures(answer, HUES)[0]).items():
        if name == "full supervision":
            continue
        low, high = table.loc[name, ["95% low", "95% high"]]
        assert circles[0].get("class") == ("open" if low <= 0 <= high else "found")
    assert {c[0][0].get("class") for c in rows(pictures(answer, HUES)[0]).values()} == {
        "open",
        "found",
    }


def test_families_have_their_colour_and_references_are_grey(answer):
    table = answer.forest.data.set_index("Method")
    for name, (circles, _, group) in rows(pictures(answer, HUES)[0]).items():
        family = table.loc[name, "Family"]
        assert group.get("data-family") == family
        for circle in circles:
            assert circle.get("style") == f"--hue:{HUES.get(family, '#6e7377')}"


def test_nothing_is_drawn_beyond_the_picture(answer):
    """A reference that would widen the scale too much is an arrow with its number."""
    wild = answer.forest.data.copy()
    wild.loc[wild["Method"] == "full supervision", ["Dice minus scratch", "95% high"]] = [3.0, 4.0]
    table = type(answer.forest)(answer.forest.name, answer.forest.columns, wild)
    told = type(answer)(**{**answer.__dict__, "forest": table})
    for picture, layout in zip(pictures(told, HUES), (WIDE, NARROW), strict=True):
        tree = ElementTree.fromstring(picture)
        assert "+3.000" in [text.text for text in tree.iter("text")]
        xs = [float(e.get(k)) for e in tree.iter() for k in ("x", "x1", "x2", "cx") if e.get(k)]
        assert min(xs) >= 0
        assert max(xs) <= layout.width
        left = layout.panels[0][0]
        for line in tree.iter("line"):
            assert float(line.get("x1")) >= left - 0.1


def test_a_long_name_keeps_its_end_and_is_whole_where_it_is_pointed_at(answer):
    name = "mmgl[orientations=3,strength=0.25]"
    for picture in pictures(answer, HUES):
        group = rows(picture)[name][2]
        (shown,) = (t.text for t in group.iter("text") if t.get("class") == "who")
        assert re.fullmatch(r"mmgl\[.*\u2026.*0\.25\]", shown)
