"""`bench methods`, `bench datasets`, `bench backbones`, and `show` of each."""

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
from contrabench.errors import DataError
from contrabench.protocol import ENCODER

COUNT = itertools.count()
ROOT = Path(__file__).parents[2]
METHOD = """\
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

DATASET = """\
from pydantic import Field

from contrabench import (
    DataRecipe, DatasetInfo, NiftiDataset, Options, Structure, register_dataset
)


class MineOptions(Options):
    phase: str = Field("ED", description="of the cycle")


@register_dataset("mine")
class Mine(NiftiDataset):
    info = DatasetInfo(
        title="Mine", modality="MR", source="Somebody 2031", terms="ask first",
        layout="one folder per patient", spacing_known=False, version=4,
    )
    Options = MineOptions
    recipe = DataRecipe(field_of_view_mm=111.0)

    @property
    def structures(self):
        return (Structure(name="LV", value=3), Structure(name="RV", value=1))

    def cases(self):
        return []
"""
BACKBONE = """\
from pydantic import Field
from torch import nn

from contrabench import Backbone, BackboneInfo, Options, register_backbone


class FlatOptions(Options):
    kernel: int = Field(3, description="side of a convolution")


@register_backbone("flat")
class Flat(Backbone):
    info = BackboneInfo(title="Flat", source="Somebody 2031", version=2)
    Options = FlatOptions
    parts = ("enc1", "centre", "dec1")
    taps = parts
    deepest, finest, deep_taps, multiple = "centre", "dec1", ("dec1", "dec1", "dec1"), 4

    def __init__(self, spec, options):
        super().__init__(spec, options)
        self.channels = {"enc1": spec.width, "centre": 3 * spec.width, "dec1": spec.width}

    def forward(self, image, taps, given):
        raise NotImplementedError
"""


@pytest.fixture
def bench(tmp_path, monkeypatch, capsys):
    """Runs command lines against loose plug-ins and no built-in."""
    package = f"nothing_{os.getpid()}_{next(COUNT)}"
    (tmp_path / "site" / package).mkdir(parents=True)
    (tmp_path / "site" / package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    for kind in ("method", "dataset", "backbone"):
        own = Registry(kind, package)
        monkeypatch.setattr(registry, f"{kind}s", own)
        # Once asked for, the public name is the package's own attribute.
        monkeypatch.setattr(f"contrabench.register_{kind}", own.register)
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
    file = write(METHOD)
    code, out, err = bench("methods", "--json", "--plugin", file)
    assert (code, err) == (0, "")
    line = METHOD.splitlines().index('@register_method("mine")') + 1
    assert json.loads(out) == {
        "methods": [
            {
                "name": "mine",
                "title": "Mine",
                "family": "odd contrast",
                "kind": "",
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
    code, out, _ = bench("methods", "--plugin", write(METHOD))
    assert code == 0
    header, row = out.splitlines()[:2]
    for heading in ("method", "family", "paper", "fidelity", "needs", "labels in pre-training"):
        assert heading in header
    for fact in ("mine", "odd contrast", "Somewhere 2031", "reconstruction", "two orient", "yes"):
        assert fact in row


def test_a_narrow_terminal_leaves_the_sentences_to_show(bench, write, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = bench("methods", "--plugin", write(METHOD))
    assert "Somewhere 2031" not in out
    assert "reconstruction" in out
    assert "paper and needs: in `bench methods show NAME`" in out
    assert max(len(line) for line in out.splitlines()) <= 80


def test_broken_plugins_come_last_with_their_reasons(bench, write):
    missing, raising = write("import a_module_that_is_not_there\n"), write(RAISES)
    words = ("--plugin", missing, "--plugin", raising, "--plugin", write(METHOD))
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
    plugin = write(METHOD)
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
    _, out, _ = bench("methods", "show", "mine", "--plugin", write(METHOD))
    for text in (
        "Somebody et al., Somewhere 2031",
        "the batch size, the temperature",
        "tau (table 7)",
        "intensity, placed as view 0, side x 0.5",
        "one slice of each of 3 parts of a volume",
        "deep supervision",
    ):
        assert text in out


def built_in(capsys, *words):
    with pytest.raises(SystemExit) as caught:
        main(["methods", *words])
    assert not caught.value.code
    return capsys.readouterr().out


def test_joint_stages_are_shown_with_what_each_stream_draws(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    out = built_in(capsys, "show", "bcp")
    _, _, table = out.partition("Joint stages, in place of the common fine-tuning\n")
    header, first, second, stream = table.splitlines()[:4]
    assert header.split("  ")[0] == "stage"
    assert first.split()[:5] == ["labelled", "0.25", "-", "labelled", "-"]
    assert second.split()[:4] == ["both", "0.75", "labelled", "labelled"]
    assert "unlabelled" in stream
    assert stream.endswith("none  ")
    out = built_in(capsys, "show", "unimatch")
    assert "spatial; intensity, placed as view 0; intensity, placed as view 0" in out
    facts = json.loads(built_in(capsys, "show", "bcp", "--json"))
    assert [(s["name"], len(s["streams"])) for s in facts["joint stages"]] == [
        ("labelled", 0), ("both", 1)
    ]  # fmt: skip
    assert "Joint stages" not in built_in(capsys, "show", "simclr")


def test_methods_of_a_family_stand_together(monkeypatch, capsys):
    rows = json.loads(built_in(capsys, "--json"))["methods"]
    families = [row["family"] for row in rows]
    assert families == sorted(families)
    for family in set(families):
        names = [row["name"] for row in rows if row["family"] == family]
        assert names == sorted(names)


def test_datasets_as_json(bench, write):
    code, out, _ = bench("datasets", "--json", "--plugin", write(DATASET))
    assert code == 0
    (row,) = json.loads(out)["datasets"]
    assert row.pop("origin").endswith(".py:12")
    assert row == {
        "name": "mine",
        "title": "Mine",
        "modality": "MR",
        "structures": ["LV", "RV"],
        "needs_path": True,
        "terms": "ask first",
    }


def test_table_of_datasets(bench, write):
    _, out, _ = bench("datasets", "--plugin", write(DATASET))
    header, row = out.splitlines()[:2]
    assert header.split()[:3] == ["dataset", "title", "modality"]
    for fact in ("mine", "Mine", "MR", "LV, RV", "yes", "ask first"):
        assert fact in row


def test_show_of_a_dataset_as_json(bench, write):
    code, out, _ = bench("datasets", "show", "mine", "--json", "--plugin", write(DATASET))
    facts = json.loads(out)
    assert code == 0
    assert facts["source"] == "Somebody 2031"
    assert facts["layout"] == "one folder per patient"
    assert facts["spacing_known"] is False
    assert facts["version"] == 4
    assert facts["recipe"]["field_of_view_mm"] == 111.0
    assert facts["options"] == [
        {"option": "phase", "type": "str", "default": "ED", "description": "of the cycle"}
    ]


def test_show_of_a_dataset_in_words(bench, write):
    _, out, _ = bench("datasets", "show", "mine", "--plugin", write(DATASET))
    for text in ("Somebody 2031", "one folder per patient", "111.0", "of the cycle"):
        assert text in out
    (line,) = [line for line in out.splitlines() if line.startswith("spacing known")]
    assert line.split() == ["spacing", "known", "no"]


def test_structures_that_only_the_files_know_are_left_open(bench, write, monkeypatch):
    def structures(self):
        raise DataError(["no --data folder was given"])

    file = write(DATASET)
    bench("datasets", "--plugin", file)
    monkeypatch.setattr(registry.datasets.get("mine"), "structures", property(structures))
    listing = json.loads(bench("datasets", "--json")[1])
    assert listing["broken"] == []
    assert listing["datasets"][0]["structures"] is None
    assert bench("datasets", "show", "mine")[0] == 0


def test_backbones_as_a_table_and_as_json(bench, write):
    file = write(BACKBONE)
    _, out, _ = bench("backbones", "--plugin", file)
    header, row = out.splitlines()[:2]
    assert header.split() == ["backbone", "title", "source", "version", "origin"]
    assert row.split()[:5] == ["flat", "Flat", "Somebody", "2031", "2"]
    (told,) = json.loads(bench("backbones", "--json")[1])["backbones"]
    assert told.pop("origin").startswith(file)
    assert told == {"name": "flat", "title": "Flat", "source": "Somebody 2031", "version": 2}


def test_show_of_a_backbone(bench, write):
    _, out, _ = bench("backbones", "show", "flat", "--plugin", write(BACKBONE))
    for text in ("enc1, centre, dec1", "multiples of 4", "3 x width", "side of a convolution"):
        assert text in out
    facts = json.loads(bench("backbones", "show", "flat", "--json")[1])
    assert facts["taps"][1] == {"tap": "centre", "channels": "3 x width"}
    assert (facts["deepest"], facts["options"][0]["default"]) == ("centre", 3)


def test_show_of_an_unknown_name(bench, write):
    code, out, err = bench("methods", "show", "mime", "--plugin", write(METHOD))
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


@pytest.mark.parametrize("kind", ["methods", "datasets", "backbones", "losses", "metrics"])
def test_every_built_in_can_be_shown(monkeypatch, capsys, kind):
    monkeypatch.setenv(discovery.VARIABLE, "")
    names = [e.name for e in getattr(registry, kind).entries() if e.origin == "built-in"]
    assert names
    for name in names:
        with pytest.raises(SystemExit) as caught:
            main([kind, "show", name, "--json"])
        assert not caught.value.code
        facts = json.loads(capsys.readouterr().out)
        assert all(option["description"] for option in facts["options"]), name
