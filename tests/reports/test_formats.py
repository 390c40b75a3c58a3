"""Every built-in format shows the same numbers, and no name breaks out of its cell."""

import csv
import io
import math
import re

import pandas as pd
import pytest

from contrabench.catalogue import reports
from contrabench.report import MISSING, Column, Report, Section, cell_text

NASTY = "=HYPERLINK(1)|a*b_c_`x`[link](u)<script>&[bold]red[/bold]\n\x1b[31mx"
COLUMNS = (
    Column("Method", "text", "name"),
    Column("Deviations", "text", "name"),
    Column("Dice", "score", "result"),
    Column("ASD mm", "distance", "result"),
    Column("Dice vs scratch", "difference", "result"),
    Column("p", "p", "result"),
    Column("Family", "text", "run"),
    Column("Patients", "count", "run"),
    *(
        Column(f"{name}: {metric}", kind, "structure", name, metric)
        for name in ("left ventricle", "RV", "LA", "RA", "myocardium", "aorta", "PA", "x|y")
        for metric, kind in (("Dice", "score"), ("ASD mm", "distance"))
    ),
)
NAMES = ["mmgl", "simclr[temperature=0.1]", NASTY]


def number(kind, row, column):
    if kind == "p":
        return (1.9e-6, 0.0625, math.nan)[row]
    if kind == "count":
        return 20 + row
    if kind == "difference":
        return (0.0512, -0.0004, math.nan)[row]
    return (0.1 + 0.7 * row / 3 + 0.011 * column) * (10 if kind == "distance" else 1)


@pytest.fixture
def report():
    texts = {
        "Method": NAMES,
        "Deviations": ["three orientations; deep supervision", "none", "none"],
        "Family": ["local contrast", "instance contrast", "-cmd"],
    }
    table = pd.DataFrame({
        column.name: texts.get(column.name)
        or [number(column.kind, row, index) for row in range(3)]
        for index, column in enumerate(COLUMNS)
    })  # fmt: skip
    notes = ("a | b is <b>bold</b>", "make it with `bench run --labels 10%` soon")
    part = Section("phantom, 10% of the labels", "ab12cd34ef56ab12", COLUMNS, table, notes)
    return Report((part,), pd.DataFrame(), "bench report --format x")


def expected(report, numbers_only=True):
    """Every number as all formats must write it, by row and column."""
    table = report.sections[0].table
    return {
        (row, column.name): cell_text(column, table[column.name][row])
        for row in range(len(table))
        for column in COLUMNS
        if column.kind != "text" or not numbers_only
    }


def render(name, report):
    return reports.get(name)().render(report)


def markdown_tables(text):
    for block in text.split("\n\n"):
        if block.startswith("|"):
            lines = [
                [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
                for line in block.splitlines()
            ]
            yield lines[0], lines[2:]


def unescape(text):
    text = re.sub(r"\\(.)", r"\1", text)
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def test_markdown_shows_every_number(report):
    found = {}
    for heading, rows in markdown_tables(render("markdown", report)):
        for index, cells in enumerate(rows):
            assert len(cells) == len(heading)
            for name, cell in zip(heading, cells, strict=True):
                found[index, unescape(name)] = unescape(cell)
    assert found == expected(report, numbers_only=False)


def test_csv_shows_every_number_with_all_digits(report):
    lines = list(csv.DictReader(io.StringIO(render("csv", report))))
    table = report.sections[0].table
    found = {}
    for line in lines:
        name = (
            line["metric"]
            if line["structure"] == "all"
            else (f"{line['structure']}: {line['metric']}")
        )
        row = next(i for i in range(3) if line["Method"].lstrip("'").startswith(NAMES[i][:6]))
        value = float(line["value"]) if line["value"] else math.nan
        exact = table[name][row]
        assert value == exact or (math.isnan(value) and math.isnan(exact))
        column = next(column for column in COLUMNS if column.name == name)
        found[row, name] = cell_text(column, value)
    assert found == expected(report)
    assert len(lines) == len(found)


@pytest.mark.parametrize("width", [80, 100, 160])
def test_terminal_shows_every_number_whole_and_fits(report, width):
    text = reports.get("terminal")(width=width).render(report)
    assert max(map(len, text.splitlines())) <= width
    wanted = expected(report)
    found = {row: [] for row in range(3)}
    for line in text.splitlines():
        for row, name in enumerate(NAMES):
            # Longer names fold; their first line holds the numbers.
            if line.startswith(name[:20]):
                cells = re.findall(r"(?<= )(?:[+-]?\d[\d.]*(?:e-\d+)?|–)(?= |$)", line)
                found[row] += cells
    order = [
        *(c.name for c in COLUMNS if c.part in ("result", "run")),
        *(c.name for c in COLUMNS if c.part == "structure" and c.metric == "Dice"),
        *(c.name for c in COLUMNS if c.part == "structure" and c.metric == "ASD mm"),
    ]
    for row in range(3):
        assert found[row] == [wanted[row, name] for name in order if (row, name) in wanted]


def test_terminal_names_deviations_beside_every_table(report):
    text = render("terminal", report)
    assert text.count("\n  + three orientations") == text.count("\nmmgl ") >= 4
    assert "none" not in text


def test_missing_numbers_are_shown_as_missing(report):
    assert MISSING in render("terminal", report)
    assert f"| {MISSING} |" in render("markdown", report)
    values = [line["value"] for line in csv.DictReader(io.StringIO(render("csv", report)))]
    assert values.count("") == 2


def test_markdown_escapes_names(report):
    text = render("markdown", report)
    assert "<" not in text
    assert "[link](u)" not in text
    assert "`bench run --labels 10%`" in text
    assert r"simclr\[temperature=0.1\]" in text


def test_terminal_writes_markup_and_control_characters_as_text(report):
    text = reports.get("terminal")(width=200).render(report)
    assert "\x1b" not in text
    joined = re.sub(r"\s", "", text)
    assert "[bold]" in joined or "[bol" in joined  # folded, not swallowed


def test_csv_defuses_formulas(report):
    for line in csv.reader(io.StringIO(render("csv", report))):
        for index, cell in enumerate(line):
            is_number = re.fullmatch(r"-?[\d.]+(e-?\d+)?", cell)
            assert is_number or not cell.startswith(("=", "+", "-", "@", "\t", "\r")), index


@pytest.mark.parametrize("name", ["terminal", "markdown", "csv"])
def test_rendering_twice_gives_equal_text(report, name):
    first = render(name, report)
    assert first == render(name, report)
    assert first.endswith("\n")
    assert reports.get(name).info.suffix.startswith(".")


def test_terminal_ignores_the_environment(report, monkeypatch):
    before = render("terminal", report)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    assert render("terminal", report) == before
