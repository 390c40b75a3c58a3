"""The committed example: its archive, in every format, gives the committed files again."""

import csv
import io
import json
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from tests.makers.page import whole

from contrabench.cli.app import main

EXAMPLE = Path(__file__).parents[1] / "docs" / "example"
STORE = "phantom-study"
SUFFIX = {
    "terminal": "txt", "markdown": "md", "latex": "tex", "csv": "csv", "json": "json",
    "parquet": "parquet", "html": "html",
}  # fmt: skip
VOID = ("wbr", "br", "img", "input", "link", "meta")
NEAR = {"rel": 1e-9, "abs": 1e-12}
"""Other releases of the numerical libraries may move the last digits of a number."""


def bench(*words):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert not ended.value.code


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with a store of the archive's runs."""
    folder = tmp_path_factory.mktemp("example")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        bench("store", "merge", str(EXAMPLE / "study.zip"), "--into", STORE)
        yield folder


@cache
def made(desk, name, time=1):
    """The bytes of a format, built with the command that the committed file names."""
    file = desk / f"report{time}.{SUFFIX[name]}"
    bench("report", "--store", STORE, "--format", name, "--out", str(file))
    return file.read_bytes()


def committed(name):
    return (EXAMPLE / f"report.{SUFFIX[name]}").read_bytes()


@pytest.mark.parametrize("name", ["terminal", "markdown", "latex"])
def test_what_is_read_is_the_same_to_the_letter(desk, name):
    assert made(desk, name) == committed(name)


def test_building_again_gives_the_same_bytes(desk):
    for name in ("json", "parquet", "html"):
        assert made(desk, name) == made(desk, name, time=2)


def numbers_apart(value):
    """A JSON value as its shape, and its numbers in order."""
    numbers = []

    def walk(part):
        if isinstance(part, dict):
            return {key: walk(inner) for key, inner in part.items()}
        if isinstance(part, list):
            return [walk(inner) for inner in part]
        if isinstance(part, float):
            numbers.append(part)
            return "number"
        return part

    return walk(value), numbers


def test_the_json_holds_the_same_numbers(desk):
    ours, theirs = (numbers_apart(json.loads(made_)) for made_ in both(desk, "json"))
    assert ours[0] == theirs[0]
    assert ours[1] == pytest.approx(theirs[1], **NEAR)


def both(desk, name):
    return made(desk, name), committed(name)


def test_the_tidy_tables_hold_the_same_numbers(desk):
    frames = [pd.read_parquet(io.BytesIO(data)) for data in both(desk, "parquet")]
    lines = [list(csv.DictReader(io.StringIO(d.decode()))) for d in both(desk, "csv")]
    for one, other in (frames, [pd.DataFrame(part) for part in lines]):
        assert one.drop(columns="value").equals(other.drop(columns="value"))
        values = [pd.to_numeric(part["value"]).tolist() for part in (one, other)]
        assert values[0] == pytest.approx(values[1], nan_ok=True, **NEAR)
    assert [line["text"] for line in lines[0]] == frames[0]["text"].tolist()


class Plain(HTMLParser):
    """The page without its gallery, which needs predictions, its scripts and drawn points."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.found, self.inside, self.skipped = [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        about = dict(attributes)
        skips = about.get("class") == "gallery" or tag in ("script", "style")
        if self.skipped or skips:
            self.skipped += tag not in VOID
            return
        values = {key: value for key, value in about.items() if key != "data-value"}
        self.found.append((tag, values))

    def handle_endtag(self, tag):
        self.skipped -= bool(self.skipped)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_data(self, data):
        if not self.skipped and data.strip():
            self.found.append(data.strip())


def test_the_page_is_the_same_but_for_the_gallery(desk):
    ours, theirs = (Plain(whole(data.decode())).found for data in both(desk, "html"))
    assert ours == theirs
    assert len(ours) > 5000


def test_the_committed_page_is_small():
    assert len(committed("html")) < 1_000_000


def test_the_tables_of_the_readme_show_files_that_are_there():
    text = (EXAMPLE / "README.md").read_text()
    named = set(re.findall(r"\]\(([^)#]+)\)", text))
    assert {f"report.{suffix}" for suffix in SUFFIX.values()} <= named
    for link in named:
        assert link.startswith("https://") or (EXAMPLE / link).exists(), link
