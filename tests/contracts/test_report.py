"""How every format writes a number, which one it holds, and the cells of a real report."""

import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from contrabench.contracts.report import Column, number_text
from contrabench.exchange.reading import results_at
from contrabench.report.build import build_report
from contrabench.report.tidy import TIDY, number_value, tidy

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def lines():
    """The tidy lines of a study of two label budgets, with literature beside it."""
    return list(tidy(build_report(results_at(DOCS / "example" / "mmwhs.zip"), "bench report")))


def test_tidy_lines_of_a_real_report_say_what_they_are_about(lines):
    assert all(tuple(line) == TIDY for line in lines)
    assert {line["dataset"] for line in lines} == {"mmwhs"}
    by_labels = {line["labels"] for line in lines if line["table"] == "leaderboard"}
    assert by_labels == {"10%", "40%"}
    across = [line for line in lines if line["table"] in ("label efficiency", "labels saved")]
    assert {line["labels"] for line in across} == {""}
    # Only where a table is by structure; not for `2 of 16`, `95% high` or another method.
    structures = {line["structure"] for line in lines if line["table"] == "structures"}
    assert len(structures) == 7
    assert {line["structure"] for line in lines if line["table"] != "structures"} == {""}
    for line in lines:
        by_method = line["table"] not in ("settings", "manifests", "software")
        assert bool(line["method"]) == by_method
        assert bool(line["row_name"]) == (not by_method or line["table"] == "literature")


def test_the_words_above_each_table_are_in_the_docs():
    found = results_at(DOCS / "example" / "mmwhs.zip")
    # A second dataset, for the table over both, with a control and scores on the way.
    twin = found.rows.assign(dataset="twin", protocol="0" * 16, dice_5pct=found.rows["dice"])
    first = twin[twin["run"] == twin.loc[twin["variant"] == "scratch", "run"].iloc[0]]
    control = first.assign(run="0" * 16, method="oracle", variant="oracle", family="control")
    rows = pd.concat([found.rows, twin, control], ignore_index=True)
    both = replace(found, rows=rows)
    lines = list(tidy(build_report(both, "bench report", ["10%", "40%"])))
    text = (DOCS / "report.md").read_text(encoding="utf-8")
    table = text[text.index("## The other tables") :].split("\n## ")[0]
    documented = {cells[1].strip(): cells[2] for row in table.splitlines()
                  if len(cells := row.split("|")) == 5}  # fmt: skip
    shown = {(line["table"], line["part"]) for line in lines}
    found = {(name, part) for name, part in shown if name in documented}
    assert {name for name, _ in found} == documented.keys() - {"Table", "---"}
    for name, part in found:
        if not part.startswith("ASD mm"):
            words = part.split(" at ")[0].rstrip(",") if name == "labels saved" else part
            assert f"*{words}" in documented[name]


@pytest.mark.parametrize(
    ("kind", "number", "text"),
    [
        ("difference", -0.0004, "-0.000"),
        ("difference", 0.0004, "+0.000"),
        ("difference", 0.0, "0.000"),
        ("difference", -0.0, "0.000"),
        ("difference", -0.0006, "-0.001"),
        ("difference", 0.25, "+0.250"),
        ("score", -0.0004, "0.000"),
        ("score", -0.0, "0.000"),
        ("score", 0.41, "0.410"),
        ("distance", 1.239, "1.24"),
        ("distance", 0.0, "0.00"),
        ("share", 0.955, "0.95"),
        ("share", 0.0, "0.00"),
        ("share", 1.0, "1.00"),
        ("seconds", 27.26, "27.3"),
        ("seconds", 0.0, "0.0"),
        ("count", 0, "0"),
        ("count", 2.9999999999999996, "3"),
        ("count", 20, "20"),
        ("rank", 2.5, "2.5"),
        ("rank", 3.0, "3"),
        ("rank", 2.0000000000000004, "2"),
        ("p", 0.00099, "1e-03"),
        ("p", 0.0009, "9e-04"),
        ("p", 0.001, "0.001"),
        ("p", 1.0, "1"),
        ("p", 0.0314159, "0.0314"),
        ("difference", math.nan, "–"),
        ("count", math.nan, "–"),
    ],
)
def test_a_number_is_written_as_its_kind(kind, number, text):
    assert number_text(kind, number) == text


@pytest.mark.parametrize(
    ("kind", "value", "number"),
    [
        ("count", 2.9999999999999996, 3),
        ("count", math.nan, None),
        ("score", 0.1 + 0.2, 0.1 + 0.2),
        ("difference", -0.0004, -0.0004),
        ("text", "more than 16", None),
        ("text", None, None),
    ],
)
def test_a_cell_holds_all_digits_of_its_number_and_a_text_none(kind, value, number):
    found = number_value(Column("x", kind, "Results"), value)
    assert found == number
    assert type(found) is type(number)
