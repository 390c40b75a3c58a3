"""The JSON agrees with the schema that is shipped, and a wrong one would not."""

import copy
import json
from importlib.resources import files

import pytest

from contrabench.catalogue import reports

SCHEMA = json.loads(files("contrabench").joinpath("report.schema.json").read_text("utf-8"))
TYPES = {
    "object": dict, "array": list, "string": str, "integer": int, "number": (int, float),
    "null": type(None),
}  # fmt: skip
KNOWN = {
    "$schema", "$defs", "$ref", "title", "description", "type", "required", "properties",
    "additionalProperties", "items", "minItems", "minimum", "minLength", "const", "enum",
}  # fmt: skip


def faults(schema, data, where="report"):
    """What a JSON Schema of the few words that ours uses has to say against data."""
    assert set(schema) <= KNOWN
    if "$ref" in schema:
        yield from faults(SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]], data, where)
        return
    wanted = schema.get("type", [])
    kinds = [wanted] if isinstance(wanted, str) else wanted
    if kinds and (isinstance(data, bool) or not any(isinstance(data, TYPES[k]) for k in kinds)):
        yield f"{where} is no {kinds}"
        return
    if "const" in schema and data != schema["const"]:
        yield f"{where} is not {schema['const']}"
    if "enum" in schema and data not in schema["enum"]:
        yield f"{where} is none of {schema['enum']}"
    if isinstance(data, (int, float)) and data < schema.get("minimum", data):
        yield f"{where} is too small"
    if isinstance(data, str) and len(data) < schema.get("minLength", 0):
        yield f"{where} is too short"
    if isinstance(data, list):
        if len(data) < schema.get("minItems", 0):
            yield f"{where} is too short"
        for index, item in enumerate(data):
            yield from faults(schema.get("items", {}), item, f"{where}[{index}]")
    if isinstance(data, dict):
        properties, more = schema.get("properties", {}), schema.get("additionalProperties", True)
        yield from (f"{where} lacks {k}" for k in schema.get("required", []) if k not in data)
        for key, value in data.items():
            if key not in properties and more is False:
                yield f"{where} has {key}"
            below = properties.get(key, more if isinstance(more, dict) else {})
            yield from faults(below, value, f"{where}.{key}")


@pytest.fixture
def data(report):
    return json.loads(reports.get("json")().render(report))


def test_a_report_follows_the_schema(data):
    assert list(faults(SCHEMA, data)) == []


def test_jsonschema_agrees(data):
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.Draft202012Validator(SCHEMA).validate(data)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["schema_version"], 2),
        (["sections", 0, "title"], None),
        (["sections", 0, "tables"], []),
        (["sections", 0, "tables", 0, "columns", 0, "kind"], "price"),
        (["sections", 0, "tables", 0, "rows", 0, "Method"], ["mmgl"]),
        (["sections", 0, "tables", 0, "leader"], -2),
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
    assert list(faults(SCHEMA, wrong))


def test_every_row_has_the_columns_of_its_table(data):
    for table in data["sections"][0]["tables"]:
        for row in table["rows"]:
            assert list(row) == [column["name"] for column in table["columns"]]
