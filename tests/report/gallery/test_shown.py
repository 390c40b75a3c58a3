"""The gallery on the page and as a file of its own: what it shows, once, and escaped."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations
from xml.etree import ElementTree

import pandas as pd
import pytest
from tests.makers.page import whole

from contrabench.contracts.gallery import Drawing, Exhibit, Gallery, Plane
from contrabench.contracts.registry import reports
from contrabench.contracts.report import Report, Section
from contrabench.report.gallery.svg import HUES, cut_middle, data_uri, draw, exhibit_svg, row_of

NASTY = "a\"'><script>alert(1)</script>&{{ 1 }}\n\x1b]]>"
SQUARE, CIRCLE = "M1 1l4 0 0 4z", "M10 10l3 3 -6 0z"
SVG = "{http://www.w3.org/2000/svg}"


def plane(name, width, height, png, **more):
    values = {"number": 3, "count": 9, "left": "R", "reference": (SQUARE, CIRCLE, ""),
              "order": (1, 0, 2)}  # fmt: skip
    return Plane(name, width=width, height=height, png=png, **{**values, **more})


PLANES = (
    plane("axial", 100.0, 80.0, b"one"),
    plane("coronal", 100.0, 60.0, b"two"),
    plane("sagittal", 80.0, 60.0, b"three", left="A"),
)


def drawing(method, dice=0.5, deviations="", contours=((SQUARE, "", CIRCLE),) * 3):
    return Drawing(method, deviations, f"family of {method}", "ab12", dice, contours)


@pytest.fixture
def gallery():
    drawings = (drawing("ours", 0.8125), drawing("theirs", float("nan"), "three views"))
    exhibits = (
        Exhibit("worst patient", "p1", "p1_ed", 0.25, PLANES, drawings),
        Exhibit("best patient", "p2", "p2", 0.75, PLANES, drawings[:1]),
    )
    return Gallery(("LV", "RV", "left atrium"), exhibits, ("1 of 4 is left out",))


def render(gallery):
    """The gallery as it stands on the page."""
    page = whole(
        reports.get("html")().render(
            Report((Section("it", "ab12", (), gallery=gallery),), pd.DataFrame(), "bench report")
        )
    )
    found = page[page.index('<div class="gallery">') :]
    return found[: found.index("</div>\n</details>")]


def tree(page):
    """Strict reading: what is written is well-formed XML beside `<wbr>`."""
    return ElementTree.fromstring(page.replace("<wbr>", "").replace(" hidden>", ">"))


def test_one_card_for_each_method_and_the_reference(gallery):
    found = tree(render(gallery))
    assert found.tag == "div"
    assert found.get("class") == "gallery"
    sections = found.findall("section")
    headings = [" ".join("".join(s.find("h4").itertext()).split()) for s in sections]
    assert headings == [
        "Worst patient: p1 p1_ed, mean Dice 0.250",
        "Best patient: p2 mean Dice 0.750",
    ]
    captions = [
        [" ".join("".join(c.itertext()).split()) for c in s.iter("figcaption")] for s in sections
    ]
    assert captions == [
        [
            "Reference axial, coronal, sagittal",
            "ours mean Dice 0.812",
            "theirs three views mean Dice –",
        ],
        ["Reference axial, coronal, sagittal", "ours mean Dice 0.812"],
    ]
    families = [card.get("data-family") for card in sections[0].iter("figure")]
    assert families == [None, "family of ours", "family of theirs"]
    labels = [svg.get("aria-label") for svg in sections[0].iter("svg")]
    assert labels[0].startswith("Reference of p1: axial plane 3 of 9, coronal")
    assert labels[2] == "theirs (three views) on p1, mean Dice –: prediction and reference"
    assert all(svg.get("role") == "img" for svg in sections[0].iter("svg"))


def test_images_and_references_stand_once_in_each_exhibit(gallery):
    found = tree(render(gallery))
    ids = [each.get("id") for each in found.iter() if each.get("id")]
    assert len(ids) == len(set(ids))
    for number, section in enumerate(found.findall("section"), start=1):
        images = [image.get("href") for image in section.iter("image")]
        assert images == [data_uri(each) for each in PLANES]
        for place, card in enumerate(section.findall(".//figure")):
            used = [use.get("href").removeprefix("#") for use in card.iter("use")]
            # The card of the reference shows it in colour.
            assert used == [f"s1-g{number}-i", f"s1-g{number}-r"][: 2 if place else 1]
            assert set(used) <= set(ids)


def lines(card):
    """Structure, colour and path of each line of a card, from below."""
    shown = [path for path in card.iter("path") if path not in list(card.findall(".//defs//path"))]
    return [(path.get("data-structure"), path.get("stroke"), path.get("d")) for path in shown]


def test_lines_carry_their_structure_and_colour_from_the_outside_in(gallery):
    reference, card, *_ = tree(render(gallery)).findall(".//figure")
    assert lines(card) == 3 * [("LV", HUES[0], SQUARE), ("left atrium", HUES[2], CIRCLE)]
    legend = tree(render(gallery)).findall(".//ul[@class='legend']/li")
    assert [item.get("data-structure") for item in legend] == ["LV", "RV", "left atrium"]
    assert [item.find(".//path").get("stroke") for item in legend] == list(HUES[:3])
    assert lines(reference) == 3 * [("RV", HUES[1], CIRCLE), ("LV", HUES[0], SQUARE)]
    # What is dashed over the predictions has the colour of its user.
    shared = reference.findall(".//defs//path")
    assert [(p.get("data-structure"), p.get("stroke")) for p in shared] == 3 * [
        ("RV", None), ("LV", None),
    ]  # fmt: skip


def test_page_and_file_hold_the_same_pictures(gallery):
    exhibit = gallery.exhibits[0]
    page, file = render(gallery), exhibit_svg(exhibit, gallery.structures)
    for on_page, in_file in zip(
        draw(exhibit, gallery.structures, "s1-g1"),
        draw(exhibit, gallery.structures, "p"),
        strict=True,
    ):
        assert on_page.svg in page
        assert on_page.svg.replace("s1-g1", "p") == in_file.svg
        assert in_file.svg.removeprefix("<svg") in file


def test_only_a_note(gallery):
    """The element is there, so that a page can count on it."""
    found = tree(render(replace(gallery, exhibits=(), notes=("Needs `stages/evaluate`.",))))
    assert found.get("class") == "gallery"
    assert found.find(".//li/code").text == "stages/evaluate"
    assert not list(found.iter("figure"))
    assert found.find(".//ul[@class='legend']") is None


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.texts = set(), []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.texts += [value for _, value in attrs if value]

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture
def hostile():
    one = Exhibit("worst patient", NASTY, NASTY + "!", 0.1, PLANES, (drawing(NASTY, 0.1, NASTY),))
    return Gallery((NASTY, "RV", NASTY + "2"), (one,), (NASTY,))


def test_names_are_escaped_on_the_page(hostile):
    reader = Reader()
    reader.feed(render(hostile))
    assert "script" not in reader.tags
    assert any("<script>alert(1)</script>" in text for text in reader.texts)
    assert "{{ 1 }}" in "".join(reader.texts)
    assert "\x1b" not in render(hostile)


def test_names_are_escaped_in_the_file(hostile):
    text = exhibit_svg(hostile.exhibits[0], hostile.structures)
    found = ElementTree.fromstring(text)
    assert {each.tag.removeprefix(SVG) for each in found.iter()} <= {
        "svg", "rect", "text", "tspan", "defs", "g", "image", "path", "use",
    }  # fmt: skip
    assert "\x1b" not in text


def test_the_file_refers_to_nothing_outside_it(gallery):
    text = exhibit_svg(gallery.exhibits[0], gallery.structures)
    assert text == exhibit_svg(gallery.exhibits[0], gallery.structures)
    found = ElementTree.fromstring(text)
    ids = {each.get("id") for each in found.iter()}
    used = [each.get("href").removeprefix("#") for each in found.iter(f"{SVG}use")]
    assert set(used) <= ids
    images = [each.get("href") for each in found.iter(f"{SVG}image")]
    assert images == [data_uri(each) for each in PLANES]
    assert re.findall(r"https?://[^\"]+", text) == ["http://www.w3.org/2000/svg"]
    words = ["".join(each.itertext()) for each in found.iter(f"{SVG}text")]
    assert words[0] == "Worst patient: p1, mean Dice 0.250"
    assert {"ours", "mean Dice 0.812", "theirs", "mean Dice –", "Reference"} <= set(words)


def svg_texts(exhibit):
    """The file of an exhibit, and its texts."""
    found = ElementTree.fromstring(exhibit_svg(exhibit, ("LV", "RV", "left atrium")))
    return found, list(found.iter(f"{SVG}text"))


@pytest.mark.parametrize("count", range(1, 7))
@pytest.mark.parametrize("deviations", ["", "three views"])
@pytest.mark.parametrize("planes", [PLANES, PLANES[:1]])
def test_no_cell_lies_on_another_or_outside_the_picture(gallery, count, deviations, planes):
    """A cell is its image and the lines below it."""
    drawings = tuple(
        drawing(f"m{n}", deviations=deviations, contours=((SQUARE, "", CIRCLE),) * len(planes))
        for n in range(count)
    )
    found, _ = svg_texts(replace(gallery.exhibits[0], planes=planes, drawings=drawings))
    boxes = []
    for cell in found.findall(f"{SVG}g"):
        x, y = map(float, re.fullmatch(r"translate\((\S+) (\S+)\)", cell.get("transform")).groups())
        image = cell.find(f"{SVG}rect")
        lines = cell.findall(f"{SVG}text")
        letters = {float(line.get("y")): float(line.get("font-size")) for line in lines}
        # No letter stands on the image, and no line on another.
        edge = float(image.get("height"))
        for base, size in sorted(letters.items()):
            assert base - size >= edge
            edge = base + size / 4
        boxes.append((x, y, x + float(image.get("width")), y + edge))
    assert len(boxes) == count + 1
    head = max(float(text.get("y")) for text in found.findall(f"{SVG}text"))
    for left, top, right, bottom in boxes:
        assert left >= 0
        assert top >= head
        assert right <= float(found.get("width"))
        assert bottom <= float(found.get("height"))
    for one, other in combinations(boxes, 2):
        is_beside = one[2] <= other[0] or other[2] <= one[0]
        is_below = one[3] <= other[1] or other[3] <= one[1]
        assert is_beside or is_below


def test_deviations_stand_below_the_name_in_smaller_letters(gallery):
    found, texts = svg_texts(gallery.exhibits[0])
    (name,) = (each for each in texts if each.text == "theirs")
    (deviations,) = (each for each in texts if each.text == "three views")
    assert float(deviations.get("y")) > float(name.get("y"))
    assert float(deviations.get("font-size")) < float(name.get("font-size"))
    without, _ = svg_texts(gallery.exhibits[1])
    assert float(found.get("height")) > float(without.get("height"))  # the same number of lines


def test_long_names_are_cut_in_their_middle(gallery):
    """Variants that differ at their ends stay apart, and no number runs out of the picture."""
    long = "a_method_with_a_long_name[one_option=true,another_option=false,temperature=0."
    endings = ("07]", "1]")
    drawings = tuple(drawing(long + end, deviations=long + end) for end in endings)
    patient = "patient_" * 20 + "0042"
    exhibit = replace(gallery.exhibits[0], patient=patient, drawings=drawings)
    found, texts = svg_texts(exhibit)
    names = [each.text for each in texts if (each.text or "").startswith("a_method")]
    assert len(names) == len(set(names)) == 4
    assert [name[-3:] for name in names] == ["07]", "07]", ".1]", ".1]"]
    assert max(len(name) for name in names if name.endswith("07]")) <= 72
    head = texts[0].text
    assert head.endswith("0042, mean Dice 0.250")
    assert len(head) * 20 * 0.65 < float(found.get("width"))
    assert patient in found.get("aria-label")


@pytest.mark.parametrize("letters", [2, 5, 6])
def test_cut_middle(letters):
    assert cut_middle("abcdef", letters) == {2: "a…", 5: "ab…ef", 6: "abcdef"}[letters]


def test_planes_stand_side_by_side_at_one_scale():
    places, width, height = row_of(PLANES)
    assert height == 80
    assert [y for _, y in places] == [0, 10, 10]
    ends = [x + plane.width for (x, _), plane in zip(places, PLANES, strict=True)]
    assert places[0][0] == 0
    assert places[1][0] > ends[0]
    assert places[2][0] > ends[1]
    assert width == pytest.approx(ends[2])


def test_the_same_bytes_twice(gallery):
    assert render(gallery) == render(gallery)
