"""What a command loads: the light ones stay light."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from typer.main import get_command

from contrabench.cli.app import app

HEAVY = (
    "torch",
    "torchvision",
    "monai",
    "pandas",
    "numpy",
    "scipy",
    "lightly",
    "sklearn",
    "pyarrow",
    "nibabel",
    "lightning",
    "matplotlib",
    "ray",
    "vl_convert",
)
FRAMEWORKS = {"torch", "torchvision", "monai", "lightly", "lightning"}


def loaded_after(code: str, *arguments: str) -> set[str]:
    """Runs code in a fresh interpreter and returns the heavy packages that it loaded."""
    program = (
        "import atexit, sys\n"
        f"heavy = {HEAVY!r}\n"
        "def tell():\n"
        "    sys.stderr.write('\\nLOADED ' + ','.join(m for m in heavy if m in sys.modules))\n"
        "atexit.register(tell)\n" + code
    )
    environment = {k: v for k, v in os.environ.items() if k != "CONTRABENCH_PLUGINS"}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    names = done.stderr.rpartition("LOADED ")[2].strip()
    return set(names.split(",")) if names else set()


def commands(command, *words):
    """The words of each command and group, from the command line itself."""
    yield list(words)
    for name, inner in sorted(getattr(command, "commands", {}).items()):
        yield from commands(inner, *words, name)


COMMANDS = list(commands(get_command(app)))


def test_the_probe_sees_what_is_loaded():
    assert loaded_after("import numpy") == {"numpy"}


def test_every_command_is_known():
    """What the next test goes through is no empty list."""
    top = {words[0] for words in COMMANDS if words}
    assert {"run", "report", "submit", "study", "plan", "status", "store", "doctor"} <= top
    assert ["methods", "show"] in COMMANDS


@pytest.mark.parametrize("words", [*([*each, "--help"] for each in COMMANDS), ["--version"]],
                         ids=" ".join)  # fmt: skip
def test_help_loads_nothing_heavy(words):
    code = "from contrabench.cli.app import main\nmain(sys.argv[1:])"
    assert loaded_after(code, *words) == set()


@pytest.mark.parametrize(
    "module",
    [
        "contrabench",
        "contrabench.errors",
        "contrabench.protocol",
        "contrabench.contracts.registry",
        "contrabench.contracts.method",
        "contrabench.contracts.options",
        "contrabench.contracts.fingerprint",
        "contrabench.plugins",
        "contrabench.contracts.report",
        "contrabench.contracts.dataset",
        "contrabench.contracts.views",
    ],
)
def test_contracts_load_nothing_heavy(module):
    assert loaded_after(f"import {module}") == set()


@pytest.mark.parametrize("name", ["statistics", "reports", "store", "report", "exchange"])
def test_reading_and_reporting_load_no_torch(name):
    code = (
        "import importlib, pkgutil\n"
        "name = 'contrabench.' + sys.argv[1]\n"
        "package = importlib.import_module(name)\n"
        "found = [*pkgutil.walk_packages(package.__path__, name + '.')]\n"
        "for module in found:\n"
        "    importlib.import_module(module.name)\n"
        "assert found\n"
        "from contrabench.contracts.registry import reports\nreports.entries()\n"
    )
    assert not loaded_after(code, name) & FRAMEWORKS


def test_listing_methods_loads_no_framework_beside_torch():
    code = "from contrabench.contracts.registry import methods\nassert methods.names()"
    assert not loaded_after(code) & {"monai", "lightly", "lightning", "pandas"}


def test_listing_datasets_loads_no_torch():
    code = "from contrabench.contracts.registry import datasets\nassert datasets.names()"
    assert not loaded_after(code) & {"torch", "monai", "lightly", "lightning"}


def test_the_public_names_resolve():
    code = (
        "import contrabench\n"
        "for name in contrabench.__all__:\n"
        "    assert getattr(contrabench, name).__name__, name\n"
    )
    assert "torch" in loaded_after(code)
    import contrabench

    assert set(contrabench.__all__) == set(contrabench._HOMES)
