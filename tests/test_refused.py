"""The page of the docs that tells what is refused has every row of the tests."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def script():
    """The script that writes the page."""
    spec = importlib.util.spec_from_file_location("refused", ROOT / "docs/scripts/refused.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_row_stands_in_the_page(script):
    page = script.PAGE.read_text(encoding="utf-8")
    rows = [case for family in script.families().values() for case in family.REFUSALS]
    wanted = [script.cell(case.what) for case in rows]
    missing = [what for what in wanted if f"\n| {what} | " not in page]
    assert not missing, "docs/refused.md is old; write it with: python docs/scripts/refused.py"
    assert len(wanted) == page.count("``") // 2, "docs/refused.md has rows that no test has"


def test_every_family_has_fifteen_rows_of_different_names(script):
    for name, family in script.families().items():
        rows = family.REFUSALS
        assert len({case.what for case in rows}) == len(rows) >= 15, name
