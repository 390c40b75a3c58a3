"""The layout: content beside the engine, no name of content inside it, one wheel."""

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
FILES = sorted(file for folder in CONTENT for file in (ROOT / folder).glob("*.py"))
MODULES = sorted(ENGINE.rglob("*.py"))

LAYERS = {
    "contrabench.cli",
    "contrabench.doctor",
    "contrabench.testing",
    "contrabench.study",
    "contrabench.training",
    "contrabench.store",
}
"""What a plug-in never needs; it sees the public API, views, model and objectives."""

NAMED = {
    "cli/options.py": {"phantom"},
    "references.py": {"scratch", "scratch_long"},
    "testing/checks_training.py": {"simclr"},
}
"""Names of content that the engine may say: the default dataset, the references that rule 10
of the protocol demands beside every method, and the method that costs are compared with."""


def label(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def imports(file: Path) -> set[str]:
    """Every module that a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            found.add(base)
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def strings(file: Path) -> set[str]:
    """Every string of a file's code that is a value, not a docstring."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    texts = {
        node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    values = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    return {value for value in values - texts if isinstance(value, str)}


def test_content_folders_are_no_packages():
    """A top-level package called `datasets` would take the place of another project's."""
    for folder in CONTENT:
        assert (ROOT / folder).is_dir()
        assert not (ROOT / folder / "__init__.py").exists()


@pytest.mark.parametrize("file", FILES, ids=label)
def test_content_imports_no_other_content_and_no_upper_layer(file):
    for name in imports(file):
        assert not name.startswith("."), name
        assert name.split(".")[0] not in CONTENT, name
        if name.startswith("contrabench."):
            assert name.split(".")[1] not in CONTENT, name
            assert not any(name == layer or name.startswith(f"{layer}.") for layer in LAYERS), name


@pytest.mark.parametrize("file", [f for f in FILES if f.parent.name == "methods"], ids=label)
def test_a_method_is_written_like_a_strangers(file):
    allowed = (
        "contrabench.contracts",
        "contrabench.objectives",
        "contrabench.protocol",
        "contrabench.model",
        "contrabench.views",
    )
    for name in imports(file):
        if name.startswith("contrabench."):
            import contrabench

            public = name.removeprefix("contrabench.") in contrabench.__all__
            assert public or name.startswith(allowed), name


@pytest.mark.parametrize("file", MODULES, ids=label)
def test_the_engine_names_no_method_and_no_dataset(file):
    names = {content.stem for content in FILES if content.parent.name in ("methods", "datasets")}
    assert {"mmgl", "simclr", "phantom"} <= names
    said = strings(file) & names
    assert said <= NAMED.get(file.relative_to(ENGINE).as_posix(), set())


@pytest.mark.parametrize("file", MODULES + FILES, ids=label)
def test_modules_are_short(file):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 400


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


def test_a_wheel_carries_every_content_file_inside_the_package(hook):
    expected = {str(f): f"contrabench/{f.parent.name}/{f.name}" for f in FILES}
    assert hook("standard") == expected


def test_an_editable_install_copies_nothing(hook):
    assert hook("editable") == {}


def test_content_does_not_overwrite_a_file_of_the_engine(hook):
    engine = {f"contrabench/{file.relative_to(ENGINE).as_posix()}" for file in MODULES}
    assert not engine & set(hook("standard").values())


def test_a_wheel_holds_one_top_level_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == [
        "benchmark/contrabench"
    ]
    assert project["project"]["scripts"] == dict.fromkeys(
        ("bench", "contrabench"), "contrabench.cli.app:main"
    )


def test_the_build_is_told_of_every_folder_of_content(hook):
    included = set(
        tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"][
            "build"
        ]["targets"]["sdist"]["include"]
    )
    assert {*CONTENT, "benchmark", "hatch_build.py"} <= included
