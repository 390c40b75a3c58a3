"""Figures for a paper: every number where the table has it, whole, in a journal's sizes."""

import re
import sys
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from tests.makers.rows import results
from tests.report.test_answer import base, study

from contrabench.contracts.report import cell_text
from contrabench.errors import RequestError
from contrabench.references import NOT_COMPARED
from contrabench.report.build import build_report
from contrabench.report.colours import GREY, family_colours
from contrabench.report.figures.make import figure, sheet
from contrabench.report.figures.sheet import DOUBLE, SINGLE, name_lines, room, signed

MORE = {"labels": "40%", "fraction": 0.4, "labelled_patients": 8}
FAMILIES = ("consistency", "contrast before", "contrast during", "reconstruction")


def report(frame, *rows, labels=()):
    return build_report(results(frame(*rows)), "bench report", labels)


KEPT = {}


def several(frame, patients=20):
    """Methods of all families at two label budgets, the references, and a control; made once."""
    if patients not in KEPT:
        every = {"patients": patients}
        methods = [
            row
            for place in range(3)
            for budget in ({}, MORE)
            for row in study(f"m{place}", 0.04 * place, place, FAMILIES[place], **budget, **every)
        ]
        scratch = study("scratch", 0.25, 0, **MORE, **every)
        KEPT[patients] = report(
            frame, *base(full=0.4, **every), *scratch, *methods,
            *study("scratch_long", 0.02, 2, **every), *study("noise", 0.0, 9, "control", **every),
        )  # fmt: skip
    return KEPT[patients]


def forty(made):
    """The same with so many methods, of one family after the other."""
    sections = []
    for section in made.sections:
        data, answer = section.plot_data, section.answer
        if answer:
            rows = answer.forest.data
            more = [rows.iloc[[0]].assign(Method=f"more_{n:02d}") for n in range(37)]
            forest = replace(answer.forest, data=pd.concat([*more, rows], ignore_index=True))
            answer = replace(answer, forest=forest)
        if data is not None and len(data.curves):
            first = next(place for place, role in enumerate(data.methods["role"]) if not role)
            own, count = data.curves[data.curves["method"] == first], len(data.methods)
            names = [data.methods.iloc[[first]].assign(Method=f"more_{n:02d}") for n in range(37)]
            data = replace(
                data,
                methods=pd.concat([data.methods, *names], ignore_index=True),
                curves=pd.concat(
                    [data.curves, *(own.assign(method=count + n) for n in range(37))],
                    ignore_index=True,
                ),
            )
        sections.append(replace(section, plot_data=data, answer=answer))
    return replace(made, sections=tuple(sections))


def one_budget(made, labels="10%"):
    return replace(made, sections=tuple(one for one in made.sections if one.labels == labels))


def answer_of(made):
    (found,) = (one.answer for one in made.sections if one.answer)
    return found


def drawn(axes):
    """By height: the mean, the ends where there is a line, and the colour of a forest's row."""
    found = {}
    for line in axes.lines:
        xs, ys = (np.asarray(part, dtype=float) for part in line.get_data())
        if line.get_marker() == "o":
            found.setdefault(ys[0], {})["mean"] = xs[0]
            found[ys[0]]["colour"] = to_hex(line.get_color())
        elif len(xs) == 2 and ys[0] == ys[1]:
            found.setdefault(ys[0], {})["ends"] = tuple(xs)
    return [found[height] for height in sorted(found)]


def words(made):
    return [text.get_text() for text in made.figure.texts]


def test_a_forest_has_the_rows_of_the_table_in_order_and_colour(frame):
    made = one_budget(several(frame))
    table = answer_of(made).forest
    page = sheet(made)
    dice, asd = page.figure.axes
    colours = family_colours(table.data["Family"])
    for axes, kind in ((dice, "difference"), (asd, "distance")):
        columns = [column.name for column in table.columns if column.kind == kind]
        rows = drawn(axes)
        assert len(rows) == len(table.data) == 6
        for row, (_, cells) in zip(rows, table.data.iterrows(), strict=True):
            np.testing.assert_equal((row["mean"], *row["ends"]), tuple(cells[columns]))
            assert row["colour"] == colours[cells["Family"]]
            assert (row["colour"] == GREY) == (cells["Family"] in NOT_COMPARED)
    names = [text for text in words(page) if text in set(table.data["Method"])]
    assert names == list(table.data["Method"])
    families = [text for text in words(page) if text in set(table.data["Family"])]
    assert families == list(dict.fromkeys(table.data["Family"]))
    assert {"reference", "control"} == set(families[-2:])


def test_the_numbers_and_letters_beside_it_are_the_cells(frame):
    long = "simclr[temperature=0.1,head_size=64]"
    made = report(frame, *base(), *study(long, 0.1, 2, "contrast before"))
    page, table = sheet(made), answer_of(made).forest
    assert page.width == DOUBLE
    gains = [column for column in table.columns if column.kind == "difference"]
    for row in range(len(table.data)):
        mean, low, high = (cell_text(c, table.data[c.name].iloc[row]) for c in gains)
        assert signed(f"{mean} [{low}, {high}]") in words(page)
    assert all(letter in words(page) for letter in table.data["Group"].dropna())
    facts = "".join(words(page)).replace(" ", "")
    told = answer_of(made)
    for part in (*told.about, *told.setting, told.basis):
        assert part.replace(" ", "") in facts


def test_the_margin_is_shaded_in_dice_alone(frame):
    made = one_budget(several(frame))
    dice, asd = sheet(made).figure.axes
    (margin,) = dice.patches
    assert margin.get_extents().transformed(dice.transData.inverted()).intervalx == pytest.approx(
        [-answer_of(made).margin, answer_of(made).margin]
    )
    assert not asd.patches


def test_what_has_no_interval_is_a_point(frame):
    """Three patients have a mean, and no interval."""
    made = several(frame, patients=3)
    page = sheet(one_budget(made))
    for axes in page.figure.axes:
        rows = drawn(axes)
        assert all(np.isfinite(row["mean"]) for row in rows[:3])
        assert all(np.isnan(row["ends"]).all() for row in rows)
    assert "Without a line" in " ".join(words(page))
    assert figure(made, "svg")


def test_a_ceiling_far_away_is_pointed_to_and_stays_where_it_is(frame):
    made = report(frame, *base(full=0.45), *study("gcl", 0.02, 5, "contrast before"))
    table = answer_of(made).forest.data.set_index("Method")
    dice = sheet(made).figure.axes[0]
    gain = table.loc["full supervision", "Dice minus scratch"]
    low, high = dice.get_xlim()
    assert low < table.loc["gcl", "95% low"] < table.loc["gcl", "95% high"] < high < gain
    assert drawn(dice)[-1]["mean"] == gain
    (mark,) = (line for line in dice.lines if line.get_marker() == ">")
    assert mark.get_xdata()[0] == high
    assert [text.get_text() for text in dice.texts] == [f"{gain:+.3f}"]
    near = report(frame, *base(full=0.05), *study("gcl", 0.02, 5, "contrast before"))
    assert all(line.get_marker() != ">" for line in sheet(near).figure.axes[0].lines)


def test_curves_have_the_points_of_the_table_and_the_same_scales(frame):
    made = several(frame)
    across = made.sections[0].plot_data
    methods = across.methods.reset_index(drop=True)
    rivals = [place for place, role in enumerate(methods["role"]) if not role]
    page = sheet(made)
    axes = page.figure.axes
    assert page.width == DOUBLE
    assert len(axes) == 2 * len(rivals)
    titles = [text for text in words(page) if text in set(methods["Method"])]
    assert sorted(titles) == sorted(methods["Method"].iloc[rivals])
    colours = family_colours(methods["family"])
    for place, name in enumerate(titles):
        number = methods.index[methods["Method"] == name][0]
        for panel, metric in zip(axes[2 * place : 2 * place + 2], ("dice", "asd"), strict=True):
            part = across.curves[
                (across.curves["method"] == number) & (across.curves["metric"] == metric)
            ].sort_values("labelled")
            (own,) = (line for line in panel.lines if line.get_marker() == "o")
            np.testing.assert_array_equal(own.get_xdata(), part["labelled"])
            np.testing.assert_array_equal(own.get_ydata(), part["mean"])
            assert to_hex(own.get_color()) == colours[methods["family"][number]]
            bars = [path.vertices[:, 1] for path in panel.collections[-1].get_paths()]
            np.testing.assert_array_equal(bars, part[["low", "high"]])
            assert panel.get_ylim() == axes[metric == "asd"].get_ylim()
            dotted = [line for line in panel.lines if line.get_linestyle() == ":"]
            ceiling = across.curves[
                (across.curves["method"] == list(methods["role"]).index("ceiling"))
                & (across.curves["metric"] == metric)
            ]
            assert [line.get_ydata()[0] for line in dotted] == list(ceiling["mean"])
            (dashed,) = (line for line in panel.lines if line.get_linestyle() == "--")
            assert list(dashed.get_xdata()) == [2, 8]
    families = [methods.set_index("Method")["family"][name] for name in titles]
    assert families[-1] == "reference"
    assert len(dict.fromkeys(families)) == 1 + sum(
        one != other for one, other in pairwise(families)
    )
    direct = [text.get_text() for panel in axes for text in panel.texts]
    assert sorted(direct) == ["full supervision", "scratch"]


def test_forty_methods_fit_a_page_and_no_words_lie_upon_others(frame):
    made = forty(several(frame))
    for page in (sheet(made), sheet(one_budget(made))):
        assert page.height < 247
        boxes = {}
        renderer = page.figure.canvas.get_renderer()
        for text in page.figure.texts:
            box = text.get_window_extent(renderer)
            assert box.x0 >= 0
            assert box.x1 <= page.figure.bbox.x1 + 0.5
            assert box.y0 >= 0
            assert box.y1 <= page.figure.bbox.y1 + 0.5
            assert not [
                other for other, known in boxes.items() if box.shrunk(0.9, 0.5).overlaps(known)
            ], text
            boxes[text.get_text(), *text.get_position()] = box


def test_several_protocols_stand_below_each_other_with_their_titles(frame):
    made = report(
        frame, *base(), *study("gcl", 0.02, 5, "contrast before"),
        *base(dataset="other", protocol="0123"),
        *study("gcl", 0.1, 5, "contrast before", dataset="other", protocol="0123"),
    )  # fmt: skip
    page = sheet(made)
    assert len(page.figure.axes) == 4
    for section in made.sections:
        assert (section.title in words(page)) == (section.answer is not None)


@pytest.mark.parametrize("kind", ["svg", "pdf", "png"])
def test_equal_reports_give_equal_bytes_whatever_the_user_has_set(frame, kind):
    import matplotlib as mpl

    made = one_budget(several(frame))
    first = figure(made, kind)
    with mpl.rc_context({"font.size": 20, "lines.linewidth": 9, "axes.grid": True}):
        assert figure(made, kind) == first


def test_an_svg_holds_text_a_pdf_its_font_and_both_a_column(frame):
    rows = [*base(), *study("gcl", 0.1, 5, "contrast before")]
    made = report(frame, *rows)
    root = ElementTree.fromstring(figure(made, "svg"))
    assert float(root.get("width").removesuffix("pt")) / 72 * 25.4 == pytest.approx(SINGLE)
    texts = list(root.iter("{http://www.w3.org/2000/svg}text"))
    assert {"gcl", "contrast before", "full supervision"} <= {text.text for text in texts}
    sizes = {re.search(r"font-size: ([\d.]+)px", text.get("style"))[1] for text in texts}
    assert sizes == {"7.5"}
    pdf = figure(made, "pdf")
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert b"/CreationDate" not in pdf


@pytest.mark.parametrize(
    "name", ["a_b[c_d=0.1,e=$x^2$]", "x" * 200, "simclr[temperature=0.1]" * 4, "<&>'\"", ""]
)
def test_a_name_is_drawn_whole(frame, name):
    for width in (10, 27, 50):
        lines = name_lines(name, width)
        assert "".join(lines) == name
        assert all(room(line) <= width or len(line) == 1 for line in lines)
    if name:
        made = report(frame, *base(), *study(name, 0.1, 2, "contrast before"))
        root = ElementTree.fromstring(figure(made, "svg"))
        texts = [text.text or "" for text in root.iter("{http://www.w3.org/2000/svg}text")]
        assert name in "".join(texts)


def test_what_is_measured_is_what_is_drawn():
    font = FontProperties(family=["DejaVu Sans"], size=7.5)
    width, _, _ = text_to_path.get_text_width_height_descent("scratch", font, ismath=False)
    assert room("scratch") == pytest.approx(width / 72 * 25.4)


def test_nothing_to_draw_and_no_matplotlib_are_a_line_each(frame, monkeypatch):
    alone = report(frame, *study("bcp", 0.2, 3, "consistency"))
    with pytest.raises(RequestError, match="nothing to draw") as nothing:
        figure(alone, "svg")
    made = several(frame)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(RequestError, match="pip install matplotlib") as missing:
        figure(made, "svg")
    assert "\n" not in f"{nothing.value}{missing.value}"
