"""Every built-in format shows the same cells, and no name breaks out of its own."""

import csv
import dataclasses
import io
import json
import math
import re

import pandas as pd
import pytest

from contrabench.contracts.registry import reports
from contrabench.contracts.report import (
    MISSING,
    NAME,
    Column,
    PlotData,
    Report,
    Table,
    cell_text,
    plain,
)
from contrabench.report.tidy import TIDY

FORMATS = ("terminal", "markdown", "latex", "csv", "json", "parquet")


def expected(report):
    """Every cell as all formats must write it, by table, row and column."""
    return {
        (table.name, row, plain(column.name)): cell_text(column, table.data[column.name].iloc[row])
        for section in report.sections
        for table in section.tables
        for row in range(len(table.data))
        for column in table.columns
    }


def render(name, report):
    return reports.get(name)().render(report)


def by_part(report, grids):
    """Cells of printed tables, one for each part of each table in order."""
    found = {}
    parts = [
        (table, (*table.part(NAME), *table.part(caption)))
        for table in report.sections[0].tables
        for caption in table.parts
    ]
    for (table, columns), (heading, rows) in zip(parts, grids, strict=True):
        assert heading == [plain(column.heading) for column in columns]
        for row, cells in enumerate(rows):
            for column, cell in zip(columns, cells, strict=True):
                found[table.name, row, plain(column.name)] = cell
    return found


def markdown_grids(text):
    for block in text.split("\n\n"):
        if block.startswith("|"):
            lines = [
                [unescape(cell.strip()) for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
                for line in block.splitlines()
            ]
            yield lines[0], lines[2:]


def unescape(text):
    text = re.sub(r"\\(.)", r"\1", text)
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


LATEX = {
    r"\textbackslash{}": "\\", r"\textasciicircum{}": "^", r"\textasciitilde{}": "~",
    r"\textless{}": "<", r"\textgreater{}": ">", r"\textbar{}": "|", r"\textasciigrave{}": "`",
    r"\textquotesingle{}": "'", r"\textendash{}": MISSING, r"\{": "{", r"\}": "}", r"\$": "$",
    r"\&": "&", r"\#": "#", r"\%": "%", r"\_": "_", "{[}": "[", "{]}": "]", "-{}-": "--",
}  # fmt: skip


def unlatex(cell):
    """The text of a cell, without what sets it."""
    cell = re.sub(r"^\\textbf\{\\boldmath (.*)\}$", r"\1", cell)
    cell = re.sub(r"^\\parbox\[t\]\{\d+pt\}\{\\raggedright (.*)\\strut\}$", r"\1", cell)
    stacked = re.match(r"^\\shortstack\[[lr]\]\{(.*)\}$", cell)
    cell = " ".join(stacked[1].split(r"\\")) if stacked else cell
    cell = re.sub(r"(?<!\\)\$(\d)\\times10\^\{-(\d+)\}\$", lambda m: f"{m[1]}e-{m[2]:0>2}", cell)
    cell = re.sub(r"(?<!\\)\$([+-][\d.]+)\$", r"\1", cell)
    pattern = "|".join(re.escape(command) for command in LATEX)
    return re.sub(pattern, lambda match: LATEX[match.group()], cell)


def latex_grids(text):
    """Heading and rows of each printed table; deviations stand in lines of their own."""
    for body in re.findall(r"\\toprule\n(.*?)\\bottomrule", text, re.DOTALL):
        lines = [
            re.split(r"(?<!\\) & ", re.sub(r" \\\\$", "", line))
            for line in body.strip().splitlines()
            if line != r"\midrule"
        ]
        heading, *rows = [[unlatex(cell) for cell in line] for line in lines]
        is_numbered = heading[0] == "#"
        names, grid = int(is_numbered), []
        for row in rows:
            if row[names].startswith("\\quad + "):
                assert set(row) == {row[names], ""} or len(row) == 1
                grid[-1][1].append(row[names].removeprefix("\\quad + "))
            else:
                assert not is_numbered or row[0] == str(len(grid) + 1)
                grid.append((row[names:], []))
        yield is_numbered, heading[names:], [
            [cells[0], "; ".join(deviations) or "none", *cells[1:]] for cells, deviations in grid
        ]  # fmt: skip


def whole_latex_grids(report, text):
    """One grid for each part: the tables that it was split into are joined again."""
    grids = latex_grids(text)
    for table in report.sections[0].tables:
        for caption in table.parts:
            columns = table.part(caption)
            headings, rows = [], [[] for _ in range(len(table.data))]
            while len(headings) < len(columns):
                is_numbered, heading, more = next(grids)
                assert heading[0] == "Method"
                headings += heading[1:]
                rows = [
                    [*(row or other[:2]), *other[2:]] for row, other in zip(rows, more, strict=True)
                ]
            if is_numbered:
                assert headings == [str(number + 1) for number in range(len(columns))]
                assert [row[0] for row in rows] == [plain(column.heading) for column in columns]
                headings = [row[0] for row in rows]
            yield ["Method", "Deviations", *headings], rows
    assert next(grids, None) is None


def test_markdown_shows_every_cell(report):
    assert by_part(report, markdown_grids(render("markdown", report))) == expected(report)


def test_latex_shows_every_cell(report):
    assert by_part(report, whole_latex_grids(report, render("latex", report))) == expected(report)


def test_json_shows_every_cell(report):
    found = {}
    (section,) = json.loads(render("json", report))["sections"]
    for table, ours in zip(section["tables"], report.sections[0].tables, strict=True):
        columns = {plain(column.name): column for column in ours.columns}
        for row, cells in enumerate(table["rows"]):
            for name, value in cells.items():
                column = columns[name]
                missing = None if column.kind == "text" else math.nan
                found[table["name"], row, name] = cell_text(
                    column, missing if value is None else value
                )
    assert found == expected(report)


def tidy(report, name):
    if name == "csv":
        lines = list(csv.DictReader(io.StringIO(render("csv", report))))
        # A guard against formulas stands before texts that would be one.
        unguarded = re.compile(r"^'(?=[=+@-])")
        return [{key: unguarded.sub("", value) for key, value in line.items()} for line in lines]
    return pd.read_parquet(io.BytesIO(render("parquet", report))).to_dict(orient="records")


@pytest.mark.parametrize("name", ["csv", "parquet"])
def test_the_tidy_formats_show_every_cell_and_all_digits(report, name):
    report = about(report)
    found = {}
    (section,) = report.sections
    tables = {table.name: table for table in section.tables}
    for line in tidy(report, name):
        assert tuple(line) == TIDY
        place = line["table"], int(line["row"]), line["column"]
        assert place not in found
        found[place] = line["text"]
        found[line["table"], int(line["row"]), "Method"] = line["method"]
        found[line["table"], int(line["row"]), "Deviations"] = line["deviations"]
        table = tables[line["table"]]
        column = {plain(column.name): column for column in table.columns}[line["column"]]
        value = table.data[column.name].iloc[int(line["row"])]
        if line["kind"] == "text" or math.isnan(value):
            assert line["value"] == "" or math.isnan(line["value"])
        else:
            assert float(line["value"]) == value
        is_structure = table.name == "structures"
        assert {key: line[key] for key in ("dataset", "labels", "row_name", "kind")} == {
            "dataset": "phantom", "labels": "10%", "row_name": "", "kind": column.kind,
        }  # fmt: skip
        assert line["section"] == plain(section.title).strip()
        assert line["protocol"] == section.protocol
        assert line["part"] == plain(column.part)
        assert line["heading"] == plain(column.heading)
        assert line["metric"] == column.metric
        assert line["structure"] == (column.heading if is_structure else "")
    assert found == expected(report)


def about(report):
    """The report with what is known of its section; `RV` is also the name of a method."""
    (section,) = report.sections
    names = tuple(dict.fromkeys(column.structure for column in section.tables[1].columns[2:]))
    empty = pd.DataFrame()
    plot_data = PlotData((*names, "mmgl"), "ASD mm", empty, empty, empty, empty)
    known = dataclasses.replace(section, dataset="phantom", labels="10%", plot_data=plot_data)
    return dataclasses.replace(report, sections=(known,))


@pytest.mark.parametrize("name", ["csv", "parquet"])
def test_tidy_columns_are_the_same_whatever_the_tables_are(report, name):
    (section,) = report.sections
    columns = [Column("Setting", "text", NAME), Column("Labels", "text", NAME)]
    data = pd.DataFrame({"Setting": ["folds"], "Labels": ["10%"], "Value": ["5"]})
    other = Table("settings", (*columns, Column("Value", "text", "Frozen")), data)
    settings = dataclasses.replace(section, tables=(other,))
    (line,) = tidy(dataclasses.replace(report, sections=(settings,)), name)
    assert tuple(line) == TIDY
    assert (line["row_name"], line["method"], line["deviations"]) == ("folds, 10%", "", "")
    assert (line["labels"], line["column"], line["text"]) == ("", "Value", "5")
    nothing = Report((), report.rows, "bench report")
    if name == "csv":
        assert reports.get("csv")().render(nothing) == ",".join(TIDY) + "\n"
    else:
        made = pd.read_parquet(io.BytesIO(reports.get("parquet")().render(nothing)))
        assert tuple(made) == TIDY


@pytest.mark.parametrize("width", [80, 100, 160])
def test_terminal_shows_every_number_whole_and_fits(report, width):
    text = reports.get("terminal")(width=width).render(report)
    assert max(map(len, text.splitlines())) <= width
    wanted = expected(report)
    found = {row: [] for row in range(2)}
    for line in text.splitlines():
        for row, name in enumerate(("mmgl", "simclr[temperature=0.1")):
            # Longer names fold; their first line holds the numbers.
            if line.startswith(name):
                found[row] += re.findall(r"(?<= )(?:[+-]?\d[\d.]*(?:e-\d+)?|–)(?= |$)", line)
    tables = [table for table in report.sections[0].tables if not table.detail]
    for row in range(2):
        assert [cell for cell in found[row] if cell != "16"] == [
            wanted[table.name, row, column.name]
            for table in tables
            for column in table.columns
            if column.kind != "text"
        ] + [
            wanted["pairs", row, plain(column.name)]
            for column in report.sections[0].tables[2].columns
            if column.kind != "text" and "Minus the column" in text
        ]


@pytest.mark.parametrize("width", [40, 80, 160])
def test_a_terminal_in_full_leaves_no_table_out(report, width):
    text = " ".join(reports.get("terminal")(width=width).render(report).split())
    for section in report.sections:
        for table in section.tables:
            for caption in table.parts:
                assert caption.split()[0] in text
    assert "Left out" not in text


def budgets(report, *names):
    (section,) = report.sections
    sections = tuple(
        dataclasses.replace(section, title=f"phantom at {name}", labels=name,
                            verdict=(f"verdict of {name}",), notes=())
        for name in names
    )  # fmt: skip
    return dataclasses.replace(report, sections=sections)


def test_several_budgets_are_told_in_full_one_after_the_other(report):
    several = budgets(report, "10%", "20%")
    text = reports.get("terminal")(width=160).render(several)
    places = [text.index(f"- verdict of {name}") for name in ("10%", "20%")]
    tables = [found.start() for found in re.finditer("^Results", text, re.MULTILINE)]
    assert [*sorted(places), *sorted(tables)] == [*places, *tables]
    assert places[0] < tables[0] < places[1] < tables[1]


class Screen(io.StringIO):
    def isatty(self):
        return True


def test_a_screen_is_filled_and_its_titles_are_bold(report, monkeypatch):
    terminal = reports.get("terminal")()
    piped = terminal.show(report)
    assert piped == terminal.render(report)
    monkeypatch.setattr("sys.stdout", Screen())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    shown = terminal.show(report)
    assert terminal.render(report) == piped
    assert shown.startswith("\x1b[1mphantom, 10% of the labels")
    bare = re.sub(r" *\x1b\[\d*m", "", shown)
    assert bare == reports.get("terminal")(width=80).render(report)
    assert max(map(len, bare.splitlines())) <= 80 < max(map(len, piped.splitlines()))
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[(3|4|9)\d", terminal.show(report))


def test_every_other_format_shows_on_a_screen_what_it_writes(report):
    for name in set(FORMATS) - {"terminal"}:
        assert reports.get(name)().show(report) == render(name, report)


@pytest.mark.parametrize("width", [40, 80])
def test_no_mark_of_a_name_is_cut(report, width):
    (section,) = report.sections
    name = "\N{ROCKET}\N{ROCKET}-net-" + "".join(str(digit % 10) for digit in range(60)) + "-end"
    path = "/".join(["folder"] * 20) + "/last"
    tables = []
    for table in section.tables[:1]:
        data = table.data.assign(Method=[name, *table.data["Method"][1:]])
        tables.append(dataclasses.replace(table, data=data))
    renamed = dataclasses.replace(section, tables=tuple(tables), verdict=(path,), title=path)
    text = reports.get("terminal")(width=width).render(
        dataclasses.replace(report, sections=(renamed,))
    )
    folded = "".join(re.findall(r"^(\S+)", text, re.MULTILINE))
    assert name in folded
    assert "".join(path.split()) in re.sub(r"\s|-", "", text)
    assert "…" not in text
    wanted = expected(report)
    for column in section.tables[0].columns[2:]:
        if column.kind != "text":
            assert wanted["leaderboard", 0, column.name] in text


def test_terminal_names_deviations_beside_every_table(report):
    text = render("terminal", report)
    assert text.count("\n  + three views") == text.count("\nmmgl ") >= 4
    assert "none" not in text


def test_markdown_escapes_names(report):
    text = render("markdown", report)
    code = re.sub(r"`[^`\n]*`", "", text)
    assert "<" not in code
    assert "[link](u)" not in code
    assert "`bench run --labels 10% -o a_b`" in text
    assert r"simclr\[temperature=0.1\]" in text


@pytest.mark.parametrize("name", ["terminal", "markdown", "latex", "csv", "json"])
def test_no_control_or_direction_mark_gets_through(report, name):
    text = render(name, report)
    assert all(mark.isprintable() or mark == "\n" for mark in text)


def test_terminal_writes_markup_as_text(report):
    text = reports.get("terminal")(width=200).render(report)
    joined = re.sub(r"\s", "", text)
    assert "[bold]red[/bold]" in joined


def test_csv_defuses_formulas(report):
    for line in csv.reader(io.StringIO(render("csv", report))):
        for index, cell in enumerate(line):
            is_number = re.fullmatch(r"[+-]?[\d.]+(e-?\d+)?", cell)
            assert is_number or not cell.startswith(("=", "+", "-", "@", "\t", "\r")), index


@pytest.mark.parametrize("sign", ["=", "+", "-", "@"])
def test_csv_guards_every_text_that_begins_like_a_formula(report, sign):
    (section,) = report.sections
    columns = (Column("Method", "text", NAME), Column("Minus", "difference", "Pairs"),
               Column(f"{sign}Next", "text", "Pairs"))  # fmt: skip
    cells = {"Method": [f"{sign}cmd"], "Minus": [-0.25], f"{sign}Next": [f"\t{sign}1+1"]}
    named = dataclasses.replace(
        section, title=f"{sign}title", dataset=f"{sign}heart", labels=f"{sign}5",
        tables=(Table("pairs", columns, pd.DataFrame(cells)),),
    )  # fmt: skip
    text = render("csv", dataclasses.replace(report, sections=(named,)))
    number, words = csv.DictReader(io.StringIO(text))
    for line in (number, words):
        about_it = {key: line[key] for key in ("method", "section", "dataset", "labels")}
        assert about_it == {
            "method": f"'{sign}cmd", "section": f"'{sign}title",
            "dataset": f"'{sign}heart", "labels": f"'{sign}5",
        }  # fmt: skip
    assert words["column"] == words["heading"] == f"'{sign}Next"
    assert words["text"] == f"'{sign}1+1"
    assert (number["value"], number["text"]) == ("-0.25", "-0.250")


def test_markdown_sets_numbers_to_the_right_and_texts_to_the_left(report):
    text = render("markdown", report)
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    parts = [(table, part) for table in report.sections[0].tables for part in table.parts]
    for (table, part), lines in zip(parts, blocks, strict=True):
        columns = [*table.part(NAME), *table.part(part)]
        marks = [cell.strip() for cell in lines[1].split("|")[1:-1]]
        assert marks == [{"text": "---"}.get(column.kind, "---:") for column in columns]
    assert blocks[0][1] == f"| --- | --- | {'---: | ' * 7}--- |"


@pytest.mark.parametrize("name", FORMATS)
def test_rendering_twice_gives_equal_bytes(report, name):
    first = render(name, report)
    assert first == render(name, report)
    info = reports.get(name).info
    assert isinstance(first, bytes) == info.binary
    assert info.suffix.startswith(".")
    assert info.binary or first.endswith("\n")


@pytest.mark.parametrize("name", FORMATS)
def test_the_environment_is_ignored(report, name, monkeypatch):
    before = render(name, report)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    assert render(name, report) == before
