"""Every built-in format shows the same cells, and no name breaks out of its own."""

import csv
import dataclasses
import io
import json
import math
import re

import pandas as pd
import pytest

from contrabench.catalogue import reports
from contrabench.report import MISSING, NAME, cell_text, plain

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
    cell = re.sub(r"^\\textbf\{(.*)\}$", r"\1", cell)
    cell = re.sub(r"^\$(.*)\$$", r"\1", cell)
    pattern = "|".join(re.escape(command) for command in LATEX)
    return re.sub(pattern, lambda match: LATEX[match.group()], cell)


def latex_grids(text):
    for body in re.findall(r"\\toprule\n(.*?)\\bottomrule", text, re.DOTALL):
        lines = [
            [unlatex(cell) for cell in re.split(r"(?<!\\) & ", line.removesuffix(r" \\"))]
            for line in body.strip().splitlines()
            if line != r"\midrule"
        ]
        yield lines[0], lines[1:]


def test_markdown_shows_every_cell(report):
    assert by_part(report, markdown_grids(render("markdown", report))) == expected(report)


def test_latex_shows_every_cell(report):
    assert by_part(report, latex_grids(render("latex", report))) == expected(report)


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
    found, table_names = {}, ("Method", "Deviations")
    tables = {table.name: table for table in report.sections[0].tables}
    for line in tidy(report, name):
        place = line["table"], int(line["row"]), line["column"]
        assert place not in found
        found[place] = line["text"]
        for column in table_names:
            found[line["table"], int(line["row"]), column] = line[column]
        table = tables[line["table"]]
        columns = {plain(column.name): column for column in table.columns}
        value = table.data[columns[line["column"]].name].iloc[int(line["row"])]
        if line["kind"] == "text" or math.isnan(value):
            assert line["value"] == "" or math.isnan(line["value"])
        else:
            assert float(line["value"]) == value
        assert line["part"] == plain(columns[line["column"]].part)
    assert found == expected(report)


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


def test_a_terminal_names_the_detail_that_does_not_fit(report):
    narrow = reports.get("terminal")(width=40).render(report)
    assert "Minus the column" not in narrow
    assert "Left out on this screen, in another format: pairs." in " ".join(narrow.split())
    assert "Minus the column" in reports.get("terminal")(width=160).render(report)
    assert "Left out" not in reports.get("terminal")(width=160).render(report)


def test_several_sections_leave_no_room_for_detail_on_a_terminal(report):
    (section,) = report.sections
    asked = dataclasses.replace(section, labels="10%")
    text = reports.get("terminal")(width=160).render(
        dataclasses.replace(report, sections=(asked, section))
    )
    assert "Minus the column" not in text
    assert "Left out on this screen, with --labels 10% or in another format: pairs." in text
    appendix = dataclasses.replace(section, is_appendix=True)
    text = reports.get("terminal")(width=160).render(
        dataclasses.replace(report, sections=(asked, appendix))
    )
    assert text.count("Minus the column") == 1
    assert "Settings, methods, label manifests and software" in text


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
