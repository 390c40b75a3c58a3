"""A listing imports what has changed since the last one, and tells what importing all tells."""

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from contrabench.cli.app import app
from contrabench.contracts.fingerprint import reached_files

FORMAT = """\
from contrabench import DatasetInfo, NiftiDataset, register_dataset
{imports}

@register_dataset("{name}")
class Mine(NiftiDataset):
    info = DatasetInfo(title={title}, modality="MR", source="s", terms="t", layout="l")
    structures = ()

    def cases(self):
        return []
"""
PROGRAM = """
import json, sys
from contrabench.cli.app import main
try:
    main(["datasets", "--json", *sys.argv[1:]])
except SystemExit as end:
    assert not end.code
loaded = [name for name in sys.modules if name.startswith("contrabench.datasets.")]
loaded += [name for name in sys.modules if name.startswith("contrabench.plugins.")]
print(json.dumps(sorted(name.removeprefix("contrabench.") for name in loaded)), file=sys.stderr)
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "contrabench"


@pytest.fixture
def listing(home, tmp_path):
    """Lists datasets in a process of its own: titles by name, and what it imported."""

    def run(**variables):
        words = ["--plugin", str(tmp_path / "mine.py")] if (tmp_path / "mine.py").exists() else []
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *words],
            capture_output=True, text=True, check=True, env={**os.environ, **variables},
        )  # fmt: skip
        shown = json.loads(done.stdout)
        titles = {row["name"]: row["title"] for row in shown["datasets"]}
        reasons = {row["name"]: row["reason"] for row in shown["broken"]}
        return titles | reasons, json.loads(done.stderr)

    return run


@pytest.fixture
def mine(tmp_path):
    def write(title="'first'", imports="", name="mine", file="mine.py"):
        text = FORMAT.format(title=title, imports=imports, name=name)
        (tmp_path / file).write_text(text)

    return write


def test_only_what_changed_is_imported(listing, mine):
    built_in, imported = listing()
    assert {"datasets.acdc", "datasets.phantom"} <= set(imported)
    assert listing() == (built_in, [])
    mine()
    assert listing() == (built_in | {"mine": "first"}, ["plugins.mine"])
    assert listing() == (built_in | {"mine": "first"}, [])
    mine("'second'")
    assert listing() == (built_in | {"mine": "second"}, ["plugins.mine"])


def test_a_helper_that_changed_is_seen(listing, mine, tmp_path):
    mine("helper.TITLE", "from contrabench.plugins import helper")
    for title in ("one", "other"):
        (tmp_path / "helper.py").write_text(f"TITLE = {title!r}\n")
        assert listing()[0]["mine"] == title
        assert listing()[1] == []


@pytest.mark.parametrize(
    ("title", "imports"),
    [
        ("os.environ.get('A_TITLE', 'none')", "import os"),
        ("open(os.environ['A_FILE']).read()", "import os"),
        ("importlib.import_module('contrabench.plugins.' + 'helper').TITLE", "import importlib"),
    ],
)
def test_what_the_code_does_not_tell_is_asked_each_time(listing, mine, tmp_path, title, imports):
    mine(title, imports)
    (tmp_path / "words").write_text("w")
    (tmp_path / "helper.py").write_text("TITLE = 'h'\n")
    for _ in range(2):
        assert "plugins.mine" in listing(A_TITLE="t", A_FILE=str(tmp_path / "words"))[1]


def test_what_is_broken_is_tried_again(listing, mine):
    mine(imports="import no_such_module_anywhere")
    for _ in range(2):
        found, imported = listing()
        assert "no_such_module_anywhere" in found["mine"]
    assert imported == []


def test_two_of_a_name_are_told_though_both_were_kept(listing, mine):
    listing()
    mine(name="acdc")
    for _ in range(2):
        assert "two datasets are called 'acdc'" in listing()[0]["acdc"]


def test_the_files_of_a_plug_in_are_found_without_importing_it(tmp_path):
    package = tmp_path / "whole"
    package.mkdir()
    (package / "__init__.py").write_text("from . import inner\nimport json\n")
    (package / "inner.py").write_text("raise SystemExit\n")
    assert reached_files({"contrabench.plugins.whole": package / "__init__.py"}) == {
        package / "__init__.py",
        package / "inner.py",
    }


def test_both_listings_of_methods_are_the_same(home):
    first, second = (CliRunner().invoke(app, ["methods", "--json"]).stdout for _ in range(2))
    assert first == second
    assert "simclr" in first
    assert len(list(home.glob("methods-*"))) == 1
