"""The JSON agrees with the schema that is shipped, and a wrong one would not."""

import copy
import dataclasses
import json
from importlib.resources import files

import pandas as pd
import pytest
from jsonschema import Draft202012Validator
from tests.makers.rows import results

from contrabench.contracts.registry import reports
from contrabench.contracts.report import PlotData
from contrabench.report.build import build_report

SCHEMA = json.loads(files("contrabench.report").joinpath("report.schema.json").read_text("utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)


@pytest.fixture
def full(report):
    """The report with the runs behind its rows."""
    (section,) = report.sections
    names = section.tables[0].data[["Method", "Deviations"]]
    runs = [("aaaa", "bbbb"), ("cccc",), ("dddd",)]
    methods = names.assign(family="local", role=["", "floor", ""], runs=runs)
    empty = pd.DataFrame()
    plot_data = PlotData(("RV",), "ASD mm", methods, empty, empty, empty)
    known = dataclasses.replace(section, plot_data=plot_data)
    return dataclasses.replace(report, sections=(known,))


@pytest.fixture
def data(full):
    return json.loads(reports.get("json")().render(full))


def test_each_row_has_its_runs(data, report):
    (section,) = data["sections"]
    runs = {(one["Method"], one["Deviations"]): one["runs"] for one in section["methods"]}
    for table in section["tables"]:
        found = [runs[row["Method"], row["Deviations"]] for row in table["rows"]]
        assert found == [["aaaa", "bbbb"], ["cccc"], ["dddd"]]
    bare = json.loads(reports.get("json")().render(report))
    VALIDATOR.validate(bare)
    assert bare["sections"][0]["methods"] == []


def test_a_heading_is_no_structure(data):
    tables = {table["name"]: table["columns"] for table in data["sections"][0]["tables"]}
    structures = [one["structure"] for one in tables["structures"] if one["structure"]]
    assert structures == ["RV", "RV"]
    assert [one["heading"] for one in tables["pairs"][2:4]] == ["mmgl", "simclr[temperature=0.1]"]
    assert {one["structure"] for one in tables["pairs"]} == {""}


def test_an_appendix_says_that_it_is_one(full):
    (section,) = full.sections
    appendix = dataclasses.replace(section, is_appendix=True)
    both = dataclasses.replace(full, sections=(section, appendix))
    made = json.loads(reports.get("json")().render(both))
    assert [part["appendix"] for part in made["sections"]] == [False, True]
    VALIDATOR.validate(made)


def test_a_report_follows_the_schema(data):
    Draft202012Validator.check_schema(SCHEMA)
    VALIDATOR.validate(data)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["schema_version"], 1),
        (["sections", 0, "title"], None),
        (["sections", 0, "tables"], []),
        (["sections", 0, "tables", 0, "columns", 0, "kind"], "price"),
        (["sections", 0, "tables", 0, "rows", 0, "Method"], ["mmgl"]),
        (["sections", 0, "tables", 0, "leader"], -2),
        (["sections", 0, "appendix"], "no"),
        (["sections", 0, "colour"], "red"),
        (["sections", 0, "methods", 0, "runs"], "aaaa"),
        (["sections", 0, "methods", 0, "role"], "best"),
    ],
)
def test_a_wrong_report_does_not(data, path, value):
    wrong = copy.deepcopy(data)
    *parents, last = path
    place = wrong
    for step in parents:
        place = place[step]
    place[last] = value
    assert not VALIDATOR.is_valid(wrong)


def test_every_row_has_the_columns_of_its_table(data):
    for table in data["sections"][0]["tables"]:
        for row in table["rows"]:
            assert list(row) == [column["name"] for column in table["columns"]]


def test_the_answer_is_there_with_its_tables(frame):
    rows = [
        {"method": method, "patient": f"p{p}", "dice": 0.5 + 0.01 * p + (method == "gcl") / 10}
        for method in ("scratch", "gcl")
        for p in range(8)
    ]
    made = build_report(results(frame(*rows)), "bench report")
    told = json.loads(reports.get("json")().render(made))
    VALIDATOR.validate(told)
    (section,) = (one for one in told["sections"] if one["answer"])
    assert section["answer"]["words"] == list(made.sections[0].answer.words)
    forest, board = section["answer"]["tables"]
    assert [row["Method"] for row in forest["rows"]] == ["gcl"]
    assert [row["Method"] for row in board["rows"]] == ["gcl", "scratch"]
