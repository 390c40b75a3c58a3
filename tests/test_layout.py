"""What import-linter (`pyproject.toml`) cannot say: names of content, and what a wheel holds."""

from __future__ import annotations

import ast
import importlib.util
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
ENGINE = ROOT / "benchmark" / "contrabench"
CONTENT = ("methods", "datasets", "reports")
FILES = sorted(file for folder in CONTENT for file in (ROOT / folder).rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

NAMED = {
    "cli/options.py": {"phantom"},
    "references.py": {"scratch", "scratch_long", "oracle", "noise"},
    "testing/checks_loss.py": {"simclr"},
    "views/intensity.py": {"noise"},
}
"""Names of content that the engine may say: examples of commands, the default dataset, the
references that rule 10 of the protocol demands beside every method, every study's controls, and
the method that costs are compared with; one word is also that of a grey value's noise."""


def strings(file: Path) -> set[str]:
    """Every string of a file's code that is a value, not a docstring."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    told = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    values = (node for node in nodes if isinstance(node, ast.Constant) and id(node) not in told)
    return {node.value for node in values if isinstance(node.value, str)}


def test_content_folders_are_no_packages():
    """A top-level package called `datasets` would take the place of another project's."""
    for folder in CONTENT:
        assert (ROOT / folder).is_dir()
        assert not (ROOT / folder / "__init__.py").exists()


def test_content_reaches_no_other_content_through_the_package():
    """As modules of the package, the content is beyond the linter's sight."""
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        assert not [name for name in (*CONTENT, "plugins") if f"contrabench.{name}" in text], file


def test_the_engine_names_no_method_and_no_dataset():
    found = (path for folder in ("methods", "datasets") for path in (ROOT / folder).iterdir())
    names = {path.stem for path in found if not path.name.startswith("_")}
    assert {"mmgl", "simclr", "phantom"} <= names
    said = {file.relative_to(ENGINE).as_posix(): strings(file) & names
            for file in ENGINE.rglob("*.py")}  # fmt: skip
    assert {file: found for file, found in said.items() if found} == NAMED


@pytest.fixture
def hook(monkeypatch):
    """The build hook on a stand-in for its base class, which only a build has."""

    class BuildHookInterface:
        def __init__(self, root: str) -> None:
            self.root = root

    name = "hatchling.builders.hooks.plugin.interface"
    module = ModuleType(name)
    module.BuildHookInterface = BuildHookInterface
    monkeypatch.setitem(sys.modules, name, module)
    spec = importlib.util.spec_from_file_location("the_build_hook", ROOT / "hatch_build.py")
    built = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(built)

    def run(version: str) -> dict[str, str]:
        data = {"force_include": {}}
        built.ContentHook(str(ROOT)).initialize(version, data)
        return data["force_include"]

    return run


def test_a_wheel_carries_every_content_file_inside_the_package_and_overwrites_none(hook):
    included = hook("standard")
    assert included == {str(f): f"contrabench/{f.relative_to(ROOT).as_posix()}" for f in FILES}
    engine = {f"contrabench/{f.relative_to(ENGINE).as_posix()}" for f in ENGINE.rglob("*.py")}
    assert not engine & set(included.values())


def test_an_editable_install_copies_nothing(hook):
    assert hook("editable") == {}


def test_a_wheel_holds_one_top_level_package():
    targets = PROJECT["tool"]["hatch"]["build"]["targets"]
    assert targets["wheel"]["packages"] == ["benchmark/contrabench"]
    assert {*CONTENT, "benchmark", "hatch_build.py"} <= set(targets["sdist"]["include"])
    assert PROJECT["project"]["scripts"] == dict.fromkeys(
        ("bench", "contrabench"), "contrabench.cli.app:main"
    )
