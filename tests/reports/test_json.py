"""The JSON agrees with the schema that is shipped, and a wrong one would not."""

import copy
import json
from importlib.resources import files

import pytest
from jsonschema import Draft202012Validator

from contrabench.catalogue import reports

SCHEMA = json.loads(files("contrabench").joinpath("report.schema.json").read_text("utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)


@pytest.fixture
def data(report):
    return json.loads(reports.get("json")().render(report))


def test_a_report_follows_the_schema(data):
    Draft202012Validator.check_schema(SCHEMA)
    VALIDATOR.validate(data)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["schema_version"], 2),
        (["sections", 0, "title"], None),
        (["sections", 0, "tables"], []),
        (["sections", 0, "tables", 0, "columns", 0, "kind"], "price"),
        (["sections", 0, "tables", 0, "rows", 0, "Method"], ["mmgl"]),
        (["sections", 0, "tables", 0, "leader"], -2),
        (["sections", 0, "appendix"], "no"),
        (["sections", 0, "colour"], "red"),
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
