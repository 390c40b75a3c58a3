"""What a command loads: the light ones stay light."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from typer.main import get_command

from contrabench.cli.app import app

HEAVY = (
    "torch", "torchvision", "monai", "pandas", "numpy", "scipy", "lightly", "sklearn", "pyarrow",
    "nibabel", "lightning", "matplotlib", "ray", "vl_convert",
)  # fmt: skip
QUICK = Path(__file__).parents[1] / "docs" / "example" / "quick.zip"
FRAMEWORKS = {"torch", "torchvision", "monai", "lightly", "lightning"}

PROGRAM = """
import contextlib, io, json, sys
heavy, steps = json.loads(sys.argv[1])
loaded = {}
for name, code in steps.items():
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(code, {})
    except SystemExit as end:
        assert not end.code, name
    loaded[name] = [module for module in heavy if module in sys.modules]
print(json.dumps(loaded))
"""


def loaded_after(steps: dict[str, str]) -> dict[str, set[str]]:
    """Takes steps one after another in one fresh interpreter; the heavy packages after each."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps([HEAVY, steps])],
        capture_output=True,
        text=True,
        check=False,
        env={k: v for k, v in os.environ.items() if k != "CONTRABENCH_PLUGINS"},
    )
    assert done.returncode == 0, done.stderr
    return {name: set(found) for name, found in json.loads(done.stdout).items()}


def commands(command, *words):
    """The words of each command and group, from the command line itself."""
    yield list(words)
    for name, inner in sorted(getattr(command, "commands", {}).items()):
        yield from commands(inner, *words, name)


COMMANDS = list(commands(get_command(app)))
LIGHT = {
    name: f"import {name}"
    for name in (
        "contrabench",
        "contrabench.plugins",
        *(
            f"contrabench.contracts.{module}"
            for module in ("registry", "method", "options", "fingerprint", "report", "dataset",
                           "views", "executor")
        ),
    )
} | {
    " ".join(words): f"from contrabench.cli.app import main\nmain({words})"
    for words in ([*([*each, "--help"] for each in COMMANDS), ["--version"]])
}  # fmt: skip
TORCHLESS = {
    "datasets": "from contrabench.contracts.registry import datasets\nassert datasets.names()",
    "reports": "from contrabench.contracts.registry import reports\nassert reports.entries()",
} | {
    name: (
        "import importlib, pkgutil\n"
        f"package = importlib.import_module('contrabench.{name}')\n"
        "for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "    importlib.import_module(module.name)\n"
    )
    for name in ("statistics", "store", "report", "exchange")
}


@cache
def loaded() -> dict[str, set[str]]:
    """What each step loads; the heavier ones come last."""
    return loaded_after(LIGHT | TORCHLESS)


def test_every_command_is_known_and_the_probe_sees_what_is_loaded():
    top = {words[0] for words in COMMANDS if words}
    assert {"run", "report", "submit", "study", "plan", "status", "store", "doctor"} <= top
    assert ["methods", "show"] in COMMANDS
    assert loaded()["report"] >= {"numpy", "pandas"}


@pytest.mark.parametrize("name", LIGHT)
def test_contracts_and_help_load_nothing_heavy(name):
    assert loaded()[name] == set()


@pytest.mark.parametrize("name", TORCHLESS)
def test_reading_reporting_and_listing_datasets_load_no_torch(name):
    assert not loaded()[name] & FRAMEWORKS


def test_listing_methods_loads_no_framework_beside_torch_and_public_names_resolve():
    methods = "from contrabench.contracts.registry import methods\nassert methods.names()"
    names = (
        "import contrabench\n"
        "for name in contrabench.__all__:\n"
        "    assert getattr(contrabench, name).__name__, name\n"
    )
    found = loaded_after({"methods": methods, "names": names})
    assert not found["methods"] & {"monai", "lightly", "lightning", "pandas"}
    assert "torch" in found["names"]
    import contrabench

    assert {"Method", "register_method"} <= set(contrabench.__all__)


AGAIN = """
import sys
from contrabench.cli.app import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert not end.code
packages = ("torch", "scipy", "pandas", "pyarrow", "numpy", "contrabench.report.build")
print(*(name for name in packages if name in sys.modules), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        (["report", "--store", str(QUICK)], {"pandas", "pyarrow", "numpy"}),
        (["methods"], set()),
        (["datasets", "--json"], set()),
    ],
)
def test_what_was_asked_before_needs_few_packages(words, needed, tmp_path):
    variables = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", AGAIN, *words],
            capture_output=True, text=True, check=True, env=variables,
        )  # fmt: skip
    assert set(done.stderr.split("\n")[-2].split()) <= needed
