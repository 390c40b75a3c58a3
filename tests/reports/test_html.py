"""The page holds every cell, leads back to the runs, and no name breaks out of its place."""

import dataclasses
import html
import importlib.util
import json
import os
import pickle
import re
import subprocess
import sys
from html.parser import HTMLParser

import pandas as pd
import pytest
from tests.makers.page import unpacked, whole

from contrabench.contracts.gallery import Drawing, Exhibit, Gallery, Plane
from contrabench.contracts.registry import reports
from contrabench.contracts.report import NAME, Column, PlotData, Report, Table, number_text, plain
from contrabench.report.page import points as plots
from contrabench.report.page import view
from contrabench.report.page.view import breakable, shades, typeset
from contrabench.report.tidy import tidy

VOID = {"meta", "link", "wbr", "br", "hr", "img", "input"}
NASTY = "</script><script>alert(2)</script><!-- & \" ' \u2028"


def render(report):
    """The page with its packed parts in their places."""
    return whole(reports.get("html")().render(report))


def drawn_of(text):
    """What the plots draw, by section."""
    return json.loads(unpacked(re.search(r'id="points">([^<]*)<', text)[1]))


def with_plot_data(report, **changes):
    """The report with runs, cases and curves behind its first section."""
    (section,) = report.sections
    structures = tuple(dict.fromkeys(c.structure for c in section.tables[1].columns[2:]))
    names = section.tables[0].data[["Method", "Deviations"]]
    methods = names.assign(
        family=["local", "instance", NASTY], role=["", "floor", ""],
        runs=[("aaaa", "bbbb"), ("cccc",), tuple(f"run{n:02d}" for n in range(30))],
    )  # fmt: skip
    cases = pd.DataFrame(
        [
            (method, patient, f"{patient}_ed", structure, 0.5 + 0.1 * method, 2.0 - method / 3)
            for method in range(3)
            for patient in ("p0", NASTY)
            for structure in ("", "RV", "x|y")
        ],
        columns=["method", "patient", "case", "structure", "dice", "asd"],
    )
    curves = pd.DataFrame(
        [
            (m, x, metric, 0.5, 0.4, 0.6)
            for m in range(3)
            for x in (2.0, 4.0)
            for metric in ("dice", "asd")
        ],
        columns=["method", "labelled", "metric", "mean", "low", "high"],
    )
    found = PlotData(
        structures=structures, distance="ASD mm",
        methods=methods, cases=cases, curves=curves,
        along=pd.DataFrame(columns=["method", "share", "mean"]),
    )  # fmt: skip
    found = dataclasses.replace(found, **changes)
    whole = dataclasses.replace(section, dataset="phantom", labels="10%", plot_data=found)
    return dataclasses.replace(report, sections=(whole,))


def with_tables(report):
    """With a leaderboard, a rank stability and a cost table, as the statistics make them."""
    found = with_plot_data(report)
    (section,) = found.sections
    names = section.plot_data.methods[["Method", "Deviations"]]
    kinds = {
        "leaderboard": {"Dice": "score", "ASD mm": "distance"},
        "rank stability": {
            "Dice mean score": "rank", "ASD mm mean score": "rank",
            "Resampled 95% low": "rank", "Resampled 95% high": "rank",
        },
        "cost": {"Training": "seconds"},
    }  # fmt: skip
    nan = float("nan")
    values = {
        "Dice": [0.8, 0.7, 0.6], "ASD mm": [2.0, 3.0, nan], "Dice mean score": [1.0, 2.0, 3.0],
        "ASD mm mean score": [1.5, 1.5, nan], "Resampled 95% low": [1.0, 1.0, 2.0],
        "Resampled 95% high": [2.0, 3.0, 3.0], "Training": [12.0, nan, 40.0],
    }  # fmt: skip
    tables = tuple(
        Table(
            name,
            (*section.tables[0].columns[:2], *(Column(c, k, "Part") for c, k in columns.items())),
            names.assign(**{column: values[column] for column in columns}),
        )
        for name, columns in kinds.items()
    )
    return dataclasses.replace(found, sections=(dataclasses.replace(section, tables=tables),))


class Page(HTMLParser):
    """What a reader of the page gets: its elements, checked for nesting, and its tables."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.tables, self.scripts = [], [], [], []
        self.cell = None
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        assert len(found) == len(attributes), "an attribute twice"
        self.elements.append((tag, found, tuple(self.open)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append({**found, "caption": "", "heads": [], "rows": []})
        elif tag == "caption":
            self.cell = ["caption", ""]
        elif tag == "th" and found["scope"] == "col":
            self.tables[-1]["heads"].append(found["data-column"])
            self.cell = ["head", ""]
        elif tag == "tr" and "data-row" in found:
            row = {"names": {"Deviations": "none"}, "cells": [], "class": found.get("class")}
            self.tables[-1]["rows"].append(row)
        elif "data-column" in found:
            self.cell = [found["data-column"], ""]
        elif tag == "td":
            self.cell = ["td", ""]
        elif tag == "script":
            self.scripts.append([found, ""])

    def handle_data(self, data):
        if self.cell:
            self.cell[1] += data
        if self.open and self.open[-1] == "script":
            self.scripts[-1][1] += data

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if not self.cell:
            return
        kind, text = self.cell
        row = self.tables[-1]["rows"][-1] if self.tables[-1]["rows"] else None
        if tag == "caption":
            self.tables[-1]["caption"] = text
        elif tag == "td":
            row["cells"].append(text)
        elif tag in ("a", "span", "small") and kind not in ("caption", "head", "td"):
            row["names"][kind] = text
        else:
            return
        self.cell = None


def chapters(report):
    return [chapter for group in view.groups(report) for chapter in group.heads]


@pytest.fixture
def full(report):
    return with_plot_data(report)


@pytest.fixture
def page(full):
    return Page(render(full))


@pytest.mark.parametrize("has_plot_data", [True, False])
def test_every_cell_is_that_of_the_tidy_table(report, full, has_plot_data):
    shown = Page(render(full if has_plot_data else report))
    found = {}
    for table in shown.tables:
        for number, row in enumerate(table["rows"]):
            for column, text in zip(table["heads"][1:], row["cells"], strict=True):
                place = table["data-table"], number, table["caption"], column
                assert place not in found
                found[place] = (text, row["names"])
    assert found == {
        (line["table"], line["row"], line["part"], line["column"]): (
            line["text"],
            {"Method": line["method"], "Deviations": line["deviations"]},
        )
        for line in tidy(report)
    }


def test_every_table_has_a_caption_and_every_head_a_scope(page):
    assert page.tables
    assert all(table["caption"] for table in page.tables)
    heads = [(found, path) for tag, found, path in page.elements if tag == "th"]
    assert all(found["scope"] == ("col" if "thead" in path else "row") for found, path in heads)
    assert sum(tag == "caption" for tag, *_ in page.elements) == len(page.tables)


def test_landmarks_and_headings(page):
    tags = [tag for tag, *_ in page.elements]
    for landmark in ("header", "main", "footer", "h1"):
        assert tags.count(landmark) == 1
    html = next(found for tag, found, _ in page.elements if tag == "html")
    assert html == {"lang": "en"}
    assert tags[tags.index("body") + 1] == "a"  # the skip link comes first


def test_ids_are_unique_and_every_reference_has_its_target(page):
    ids = [found["id"] for _, found, _ in page.elements if "id" in found]
    assert len(ids) == len(set(ids))
    for _, found, _ in page.elements:
        if found.get("href", "").startswith("#"):
            assert found["href"][1:] in ids
        if "aria-labelledby" in found:
            assert found["aria-labelledby"] in ids


def test_the_page_asks_for_nothing_from_outside(page):
    for _, found, _ in page.elements:
        assert not {"src", "srcset", "action", "formaction", "background"} & set(found)
        assert found.get("href", "#").startswith(("#", "data:,"))
        assert not any(name.startswith("on") for name in found)
    policy = next(f["content"] for t, f, _ in page.elements if f.get("http-equiv"))
    assert "default-src 'none'" in policy
    assert "http" not in policy
    style = render(Report((), pd.DataFrame(), "x")).split("<style>")[1].split("</style>")[0]
    assert "@import" not in style
    assert "url(" not in style


def test_names_stay_text(page, full):
    """Only our own scripts are there, whatever a name says."""
    kinds = [found.get("type") for found, _ in page.scripts]
    # The data, the library if there is one, and what uses them.
    assert kinds == [*["text/plain"] * (2 if plots.library() else 1), "module"]
    assert not any("alert(" in text for _, text in page.scripts)
    tags = {tag for tag, *_ in page.elements}
    assert not tags & {"b", "img", "iframe", "object", "embed"}


def test_no_control_or_direction_mark_gets_through(full):
    assert all(mark.isprintable() or mark == "\n" for mark in render(full))
    assert all(mark.isprintable() for mark in unpacked(plots.data(full)))


def test_the_points_are_the_cases(page, full):
    found = json.loads(unpacked(page.scripts[0][1]))["s1"]
    cases = full.sections[0].plot_data.cases
    points = [
        (method, *found["cases"][case], structure, dice, asd)
        for method, case, structure, dice, asd in found["points"]
    ]
    assert points == [
        (row.method, plain(row.patient), plain(row.case), row.structure,
         float(f"{row.dice:.3f}"), float(f"{row.asd:.2f}"))  # as tables write them
        for row in cases.itertuples()
    ]  # fmt: skip


def test_the_curves_are_those_of_the_frame(report):
    """Every number is another one, so that none can stand in the place of its neighbour."""
    metrics = {"dice": ("score", 0.5), "asd": ("distance", 3.0)}
    lines = [
        (m, x, metric, low + 0.01 * m + 0.02, low + 0.001 * x, low + 0.1 * (m + 1))
        for m in range(3)
        for x in (2.0, 4.5)
        for metric, (_, low) in metrics.items()
    ]
    columns = ["method", "labelled", "metric", "mean", "low", "high"]
    found = with_plot_data(report, curves=pd.DataFrame(lines, columns=columns))
    drawn = json.loads(unpacked(plots.data(found)))["s1"]["curves"]
    assert drawn == [
        [m, x, metric, *(float(number_text(metrics[metric][0], each)) for each in numbers)]
        for m, x, metric, *numbers in lines
    ]
    assert all(low < mean < high for *_, mean, low, high in drawn)


def test_a_missing_number_is_null(report):
    cases = pd.DataFrame(
        [(0, "p", "p_ed", "", 0.5, float("nan"))],
        columns=["method", "patient", "case", "structure", "dice", "asd"],
    )
    assert drawn_of(render(with_plot_data(report, cases=cases)))["s1"]["points"] == [
        [0, 0, "", 0.5, None]
    ]


def test_too_many_points_leave_the_means(report, monkeypatch):
    monkeypatch.setattr(plots, "MOST_POINTS", 10)
    points = drawn_of(render(with_plot_data(report)))["s1"]["points"]
    assert {point[2] for point in points} == {""}
    assert len(points) == 6
    assert "means over structures alone are drawn" in render(with_plot_data(report))
    monkeypatch.undo()
    assert "means over structures alone are drawn" not in render(with_plot_data(report))


def test_every_row_leads_to_its_runs(full):
    text = render(full)
    page = Page(text)
    links = [f["href"] for tag, f, path in page.elements if tag == "a" and "tbody" in path]
    assert set(links) == {"#s1-r0", "#s1-r1", "#s1-r2"}
    assert len(links) == sum(len(table["rows"]) for table in page.tables)
    for number, runs in enumerate(full.sections[0].plot_data.methods["runs"]):
        (listed,) = re.findall(rf'<div id="s1-r{number}".*?</div>', text, re.DOTALL)
        assert re.findall(r"<code>(.*?)</code>", listed)[0].split() == list(runs)


def test_filters_offer_what_there_is(full):
    text = render(full)
    wanted = {
        "structure": list(full.sections[0].plot_data.structures),
        "family": [plain(NASTY), "instance", "local"],
    }
    for name, options in wanted.items():
        (select,) = re.findall(rf'<select data-filter="{name}">.*?</select>', text, re.DOTALL)
        found = re.findall(r"<option([^>]*)>(.*?)</option>", select, re.DOTALL)
        assert found[0] == (' value=""', "all")
        assert [(more, html.unescape(shown)) for more, shown in found[1:]] == [
            ("", option) for option in options
        ]
    assert re.findall(r'data-filter="(\w+)"', text.split("</header>")[0]) == list(wanted)
    heads = re.findall(r'data-column="([^"]*)" data-structure="([^"]*)"', text)
    assert ("RV: Dice", "RV") in heads
    assert all(column.startswith(structure) for column, structure in heads)


def test_the_matrix_is_coloured_by_sign_and_size(report):
    (section,) = report.sections
    pairs = section.tables[2]
    columns = [column.name for column in pairs.columns[2:]]
    data = pairs.data.copy()
    data[columns] = [[0.1, -0.1, 0.0], [0.05, -0.01, float("nan")], [0.026, -0.074, 0.012]]
    changed = dataclasses.replace(pairs, data=data)
    text = render(
        dataclasses.replace(report, sections=(dataclasses.replace(section, tables=(changed,)),))
    )
    found = re.findall(r"<td(?: class=\"(\w+)\")?>", text.split("</main>")[0])
    assert found == ["up4", "down4", "", "up2", "", "", "up1", "down3", ""]


def test_a_p_is_coloured_by_the_levels_that_it_reaches():
    """A level is reached by what equals it."""
    values = {0.05: "p1", 0.06: None, 0.0500001: None, 0.01: "p2", 0.0100001: "p1", 0.001: "p3",
              0.00100001: "p2", 0.0: "p3", 1.0: None, float("nan"): None}  # fmt: skip
    names = (Column("Method", "text", NAME), Column("p vs x", "p", "Adjusted p"))
    data = pd.DataFrame({"Method": [f"m{row}" for row in range(10)], "p vs x": list(values)})
    found = shades(Table("pairs", names, data), names[1:])
    assert [found.get(("p vs x", row)) for row in range(10)] == list(values.values())


def test_structures_are_coloured_from_worst_to_best_each_in_its_direction(report):
    (section,) = report.sections
    table = section.tables[1]
    data = table.data.copy()
    data["RV: Dice"] = [0.5, 0.9, 0.6]
    data["RV: ASD mm"] = [2.0, 10.0, 3.0]
    data["LA: Dice"] = [0.4, float("nan"), 0.4]
    found = shades(dataclasses.replace(table, data=data), table.columns[2:])
    assert {k: v for k, v in found.items() if k[0].startswith(("RV", "LA: D"))} == {
        ("RV: Dice", 1): "good4", ("RV: Dice", 2): "good1",
        ("RV: ASD mm", 0): "good4", ("RV: ASD mm", 2): "good4",
    }  # fmt: skip
    assert shades(section.tables[0], section.tables[0].columns) == {}
    # What competes with none decides on no scale.
    apart = shades(dataclasses.replace(table, data=data), table.columns[2:], {1})
    assert {k: v for k, v in apart.items() if k[0] == "RV: Dice"} == {("RV: Dice", 2): "good4"}


def test_colours_are_explained(report):
    text = render(report)
    assert text.count("Coloured by sign and size") == 1
    assert text.count("Coloured from the worst method") == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("simclr +0.020, hu -0.021 (-0.05 to +0.1)",
         "simclr&nbsp;+0.020, hu&nbsp;\u22120.021 (\u22120.05 to&nbsp;+0.1)"),
        ("a[shift=-1] & <b>", "a[shift=-1] &amp; &lt;b&gt;"),
        ("10-20 of 3", "10-20 of 3"),
    ],
)  # fmt: skip
def test_numbers_of_a_verdict_stay_with_their_names(text, shown):
    assert typeset(text) == shown


def test_a_long_name_may_be_broken_where_its_parts_begin():
    assert breakable("a[x=0.5,b_c=1]") == ("a<wbr>[x=<wbr>0.<wbr>5,<wbr>b_<wbr>c=<wbr>1]")


def test_every_part_has_a_heading_and_a_link_to_it(page):
    parts = {f["id"] for tag, f, _ in page.elements if tag == "details" and f["class"] == "fold"}
    links = {f["href"][1:] for tag, f, path in page.elements if tag == "a" and "ul" in path}
    assert {"s1-t1", "s1-t2", "s1-t3", "s1-cases"} <= links & parts
    headings = [path for tag, _, path in page.elements if tag == "h3"]
    assert len(parts) == sum("summary" in path for path in headings)
    assert ("a", "#top") in [(tag, found.get("href")) for tag, found, _ in page.elements]


def test_ranks_and_costs_are_drawn_from_their_tables(report):
    drawn = json.loads(unpacked(plots.data(with_tables(report))))["s1"]
    assert drawn["ranks"] == [
        [0, "Dice mean score", 1.0], [1, "Dice mean score", 2.0], [2, "Dice mean score", 3.0],
        [0, "ASD mm mean score", 1.5], [1, "ASD mm mean score", 1.5],
    ]  # fmt: skip
    assert drawn["ranges"] == [[0, 1.0, 2.0], [1, 1.0, 3.0], [2, 2.0, 3.0]]
    assert drawn["costs"] == [[0, 12.0, 0.8, 2.0], [2, 40.0, 0.6, None]]
    bare = json.loads(unpacked(plots.data(with_plot_data(report))))["s1"]
    assert bare["ranks"] == bare["ranges"] == bare["costs"] == []


def test_the_way_through_fine_tuning_is_drawn_below_its_table(report):
    way = pd.DataFrame({"method": [0, 0, 1], "share": [5, 100, 100], "mean": [0.2, 0.51234, 0.6]})
    whole = with_plot_data(report, along=way)
    (section,) = whole.sections
    assert json.loads(unpacked(plots.data(whole)))["s1"]["along"] == [
        [0, 5, "dice", 0.2, None, None],
        [0, 100, "dice", 0.512, None, None],
        [1, 100, "dice", 0.6, None, None],
    ]
    assert "along" in plots.plots(section)
    assert "along" not in plots.plots(with_plot_data(report).sections[0])


@pytest.mark.parametrize(
    ("lost", "empty", "plots"),
    [
        ((), (), {"cases", "curves", "ranks", "costs"}),
        (("cost",), (), {"cases", "curves", "ranks"}),
        (("leaderboard",), (), {"cases", "curves", "ranks"}),
        (("rank stability",), (), {"cases", "curves", "costs"}),
        ((), ("cases",), {"curves", "ranks", "costs"}),
        ((), ("curves",), {"cases", "ranks", "costs"}),
    ],
)
def test_a_plot_is_there_where_there_is_something_to_draw(report, lost, empty, plots):
    (section,) = with_tables(report).sections
    tables = tuple(table for table in section.tables if table.name not in lost)
    frames = {name: getattr(section.plot_data, name).iloc[:0] for name in empty}
    plot_data = dataclasses.replace(section.plot_data, **frames)
    made = dataclasses.replace(section, tables=tables, plot_data=plot_data)
    (shown,) = chapters(dataclasses.replace(report, sections=(made,)))
    assert shown.plots == plots
    bare = dataclasses.replace(made, plot_data=None)
    (shown,) = chapters(dataclasses.replace(report, sections=(bare,)))
    assert shown.plots == set()


@pytest.mark.parametrize("lost", ["leaderboard", "cost", "rank stability"])
def test_the_page_has_no_plot_without_its_table(report, monkeypatch, lost):
    """Whether the library is installed or not."""
    monkeypatch.setattr(plots, "library", lambda: "packed")

    def shown(tables):
        made = dataclasses.replace(section, tables=tables)
        page = Page(render(dataclasses.replace(report, sections=(made,))))
        return {each["data-plot"] for tag, each, _ in page.elements if tag == "figure"}

    (section,) = with_tables(report).sections
    needs = {"leaderboard": "costs", "cost": "costs", "rank stability": "ranks"}
    assert shown(section.tables) == {"cases", "curves", "ranks", "costs"}
    left = shown(tuple(table for table in section.tables if table.name != lost))
    assert needs[lost] not in left


def test_cards_of_references_belong_to_no_family(report):
    """They stay, whatever family is chosen; so do those of the family of references."""
    methods = with_plot_data(report).sections[0].plot_data.methods
    methods = methods.assign(family=["local", "instance", "reference"])
    (section,) = with_plot_data(report, methods=methods).sections
    picture = Plane("axial", 1, 2, "R", 4.0, 4.0, b"png", ("M1 1l1 0 0 1z",), (0,))
    drawings = tuple(
        Drawing(line.Method, "", line.family, line.runs[-1], 0.5, (("M0 0l1 0 0 1z",),))
        for line in methods.itertuples()
    )
    exhibit = Exhibit("worst patient", "p0", "p0", 0.5, (picture,), drawings)
    shown = dataclasses.replace(section, gallery=Gallery(("RV",), (exhibit,)))
    page = Page(render(dataclasses.replace(report, sections=(shown,))))
    cards = [each for tag, each, _ in page.elements if each.get("class") == "card"]
    # That of the reference segmentation is the first.
    assert [card.get("data-family") for card in cards] == [None, "local", None, None]


@pytest.mark.parametrize("leader", [-1, 0, 2])
def test_the_leader_is_marked(full, leader):
    (section,) = full.sections
    tables = tuple(dataclasses.replace(table, leader=leader) for table in section.tables[:1])
    section = dataclasses.replace(section, tables=(*tables, *section.tables[1:]))
    page = Page(render(dataclasses.replace(full, sections=(section,))))
    found = [
        (table["data-table"], number)
        for table in page.tables
        for number, row in enumerate(table["rows"])
        if row["class"] == "leads"
    ]
    assert found == ([("leaderboard", leader)] if leader >= 0 else [])
    assert sum(each.get("class") == "leads" for _, each, _ in page.elements) == len(found)


def test_the_page_is_small_and_the_same_each_time(full):
    text = render(full)
    assert text == render(full)
    assert len(reports.get("html")().render(full).encode()) < 600_000
    assert text.endswith("</html>\n")


def test_another_process_writes_the_same_bytes(report, tmp_path):
    """Also where sets and dictionaries of strings are in another order."""
    (section,) = with_tables(report).sections
    tables = (*section.tables, *report.sections[0].tables[1:])
    named = [
        dataclasses.replace(section, tables=tables, dataset=dataset, labels=labels)
        for dataset in ("phantom", "mmwhs", "acdc")
        for labels in ("10%", "20%", "all")
    ]
    made = dataclasses.replace(report, sections=tuple(named))
    file = tmp_path / "report"
    file.write_bytes(pickle.dumps(made))
    program = (
        "import pickle, sys\n"
        "from pathlib import Path\n"
        "from contrabench.contracts.registry import reports\n"
        "made = pickle.loads(Path(sys.argv[1]).read_bytes())\n"
        "sys.stdout.buffer.write(reports.get('html')().render(made).encode())\n"
    )
    pages = [
        subprocess.run(
            [sys.executable, "-c", program, file],
            capture_output=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("0", "1")
    ]
    assert pages[0] == pages[1] == reports.get("html")().render(made).encode()


def test_without_the_library_the_page_says_so(full, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "vl_convert" else find(name)
    )
    text = render(full)
    assert "contrabench[html]" in text
    assert "<figure" not in text
    assert 'id="library"' not in text
    assert len(Page(text).tables) == 4


def test_with_the_library_there_are_plots(full):
    pytest.importorskip("vl_convert")
    text = render(full)
    assert "contrabench[html]" not in text
    # Every case, and the curves in either metric.
    assert text.count("<figure") == 3
    assert re.fullmatch(r"[A-Za-z0-9+/=]+", plots.library())
