"""`bench methods` and `bench methods show`."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from contrabench import plugins
from contrabench.cli.app import main
from contrabench.contracts import discovery, registry
from contrabench.contracts.registry import Registry
from contrabench.protocol import ENCODER

COUNT = itertools.count()
ROOT = Path(__file__).parents[2]
SOURCE = """\
from typing import Literal

from pydantic import Field

from contrabench import Method, MethodInfo, Options, Stage, ViewSpec, register_method
from contrabench.contracts.method import Deviations


class MineOptions(Options):
    temperature: float = Field(0.25, gt=0, description="tau (table 7)")
    variant: Literal["S", "U"] = Field("U", description="which pairs")


@register_method("mine")
class Mine(Method):
    info = MethodInfo(
        title="Mine",
        family="odd contrast",
        paper="Somebody et al., Somewhere 2031",
        fidelity="reconstruction",
        inferred=("the batch size", "the temperature"),
        needs=("two orientations",),
    )
    Options = MineOptions
    deviations = Deviations(deep_supervision=True)

    def stages(self):
        views = (ViewSpec(), ViewSpec(spatial=None, geometry_of=0, scale=0.5))
        first = Stage(name="wide", views=views, share=0.25)
        return first, Stage(name="near", trains=("dec4",), labels=True, partitions=3, share=0.75)

    def objective(self, stage, backbone):
        raise NotImplementedError
"""
RAISES = """\
from contrabench import Method, MethodInfo, register_method


@register_method("raises")
class Raises(Method):
    info = MethodInfo(title="R", family="f", paper="p", fidelity="official")

    def stages(self):
        raise ZeroDivisionError("no stages today")

    def objective(self, stage, backbone):
        raise NotImplementedError
"""


@pytest.fixture
def bench(tmp_path, monkeypatch, capsys):
    """Runs command lines against loose plug-ins and no built-in."""
    package = f"no_methods_{os.getpid()}_{next(COUNT)}"
    (tmp_path / "site" / package).mkdir(parents=True)
    (tmp_path / "site" / package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    own = Registry("method", package)
    monkeypatch.setattr(registry, "methods", own)
    monkeypatch.setattr(registry, "register_method", own.register)
    monkeypatch.setenv(discovery.VARIABLE, "")
    monkeypatch.setenv("COLUMNS", "220")
    monkeypatch.setattr(plugins, "__path__", list(plugins.__path__))

    def run(*words):
        with pytest.raises(SystemExit) as caught:
            main(list(words))
        out, err = capsys.readouterr()
        return caught.value.code or 0, out, err

    return run


@pytest.fixture
def write(tmp_path):
    def make(text):
        file = tmp_path / f"loose_{os.getpid()}_{next(COUNT)}.py"
        file.write_text(text)
        return str(file)

    return make


def test_json_listing(bench, write):
    file = write(SOURCE)
    code, out, err = bench("methods", "--json", "--plugin", file)
    assert (code, err) == (0, "")
    line = SOURCE.splitlines().index('@register_method("mine")') + 1
    assert json.loads(out) == {
        "methods": [
            {
                "name": "mine",
                "title": "Mine",
                "family": "odd contrast",
                "paper": "Somebody et al., Somewhere 2031",
                "fidelity": "reconstruction",
                "needs": ["two orientations"],
                "labels": True,
                "origin": f"{file}:{line}",
            }
        ],
        "broken": [],
    }


def test_table_shows_every_fact(bench, write):
    code, out, _ = bench("methods", "--plugin", write(SOURCE))
    assert code == 0
    header, row = out.splitlines()[:2]
    for heading in ("method", "family", "paper", "fidelity", "needs", "labels in pre-training"):
        assert heading in header
    for fact in ("mine", "odd contrast", "Somewhere 2031", "reconstruction", "two orient", "yes"):
        assert fact in row


def test_a_narrow_terminal_leaves_the_sentences_to_show(bench, write, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = bench("methods", "--plugin", write(SOURCE))
    assert "Somewhere 2031" not in out
    assert "reconstruction" in out
    assert "paper and needs: in `bench methods show NAME`" in out
    assert max(len(line) for line in out.splitlines()) <= 80


def test_broken_plugins_come_last_with_their_reasons(bench, write):
    missing, raising = write("import a_module_that_is_not_there\n"), write(RAISES)
    words = ("--plugin", missing, "--plugin", raising, "--plugin", write(SOURCE))
    code, out, _ = bench("methods", *words)
    assert code == 0
    lines = out.splitlines()
    assert lines[1].startswith("mine")
    broken = [line for line in lines if line.startswith("not usable: ")]
    assert lines[-2:] == broken
    (first,) = [line for line in broken if Path(missing).stem in line]
    assert "No module named 'a_module_that_is_not_there'" in first
    (second,) = [line for line in broken if "raises" in line]
    assert second.endswith("ZeroDivisionError: no stages today")
    listing = json.loads(bench("methods", "--json", *words)[1])
    assert [row["name"] for row in listing["methods"]] == ["mine"]
    assert {row["name"] for row in listing["broken"]} == {"raises", Path(missing).stem}
    assert all(set(row) == {"name", "origin", "reason"} for row in listing["broken"])


def test_show_json(bench, write):
    plugin = write(SOURCE)
    code, out, _ = bench("methods", "show", "mine", "--json", "--plugin", plugin)
    facts = json.loads(out)
    assert code == 0
    assert facts["inferred"] == ["the batch size", "the temperature"]
    assert facts["deviations"] == ["deep supervision"]
    assert facts["hands over"] == [*ENCODER, "dec4"]
    assert facts["options"] == [
        {
            "option": "temperature",
            "type": "float",
            "default": 0.25,
            "description": "tau (table 7)",
        },
        {"option": "variant", "type": "S | U", "default": "U", "description": "which pairs"},
    ]
    first, second = facts["stages"]
    assert (first["name"], first["share"], len(first["views"])) == ("wide", 0.25, 2)
    assert (second["labels"], second["trains"]) == (True, ["dec4"])
    before = json.loads(bench("methods", "--json", "show", "mine", "--plugin", plugin)[1])
    assert before == facts


def test_show_in_words(bench, write):
    _, out, _ = bench("methods", "show", "mine", "--plugin", write(SOURCE))
    for text in (
        "Somebody et al., Somewhere 2031",
        "the batch size, the temperature",
        "tau (table 7)",
        "intensity, placed as view 0, side x 0.5",
        "one slice of each of 3 parts of a volume",
        "deep supervision",
    ):
        assert text in out


def test_show_of_an_unknown_name(bench, write):
    code, out, err = bench("methods", "show", "mime", "--plugin", write(SOURCE))
    assert (code, out) == (2, "")
    assert err == "error: there is no method 'mime'; did you mean 'mine'? there are: mine\n"


def test_an_empty_registry_says_so(bench):
    assert bench("methods") == (0, "no method can be used\n", "")


def test_built_ins_and_the_example_in_a_fresh_process():
    command = [sys.executable, "-m", "contrabench", "methods", "--json"]
    plugin = str(ROOT / "examples" / "loose_method.py")
    done = subprocess.run(
        [*command, "--plugin", plugin],
        capture_output=True,
        text=True,
        check=False,
        env={key: value for key, value in os.environ.items() if key != discovery.VARIABLE},
    )
    assert done.returncode == 0, done.stderr
    listing = json.loads(done.stdout)
    origins = {row["name"]: row["origin"] for row in listing["methods"]}
    assert origins.pop("quarter_turns").startswith(f"{plugin}:")
    built_in = {name for name, origin in origins.items() if origin == "built-in"}
    assert built_in == {path.stem for path in (ROOT / "methods").glob("[!_]*.py")}
    assert listing["broken"] == []


def test_every_built_in_can_be_shown(monkeypatch, capsys):
    monkeypatch.setenv(discovery.VARIABLE, "")
    names = [e.name for e in registry.methods.entries() if e.origin == "built-in"]
    assert names
    for name in names:
        with pytest.raises(SystemExit) as caught:
            main(["methods", "show", name, "--json"])
        assert not caught.value.code
        facts = json.loads(capsys.readouterr().out)
        assert all(option["description"] for option in facts["options"]), name
