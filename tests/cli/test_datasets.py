"""`bench datasets` and `bench datasets show`."""

from __future__ import annotations

import itertools
import json
import os

import pytest

from contrabench import plugins
from contrabench.cli.app import main
from contrabench.contracts import discovery, registry
from contrabench.contracts.registry import Registry

COUNT = itertools.count()
SOURCE = """\
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


@pytest.fixture
def bench(tmp_path, monkeypatch, capsys):
    """Runs command lines against one loose dataset and no built-in."""
    package = f"no_datasets_{os.getpid()}_{next(COUNT)}"
    (tmp_path / "site" / package).mkdir(parents=True)
    (tmp_path / "site" / package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    own = Registry("dataset", package)
    monkeypatch.setattr(registry, "datasets", own)
    monkeypatch.setattr(registry, "register_dataset", own.register)
    monkeypatch.setattr(plugins, "__path__", list(plugins.__path__))
    monkeypatch.setenv("COLUMNS", "160")
    file = tmp_path / f"{package}_loose.py"
    file.write_text(SOURCE)
    monkeypatch.setenv(discovery.VARIABLE, str(file))

    def run(*words):
        with pytest.raises(SystemExit) as caught:
            main(["datasets", *words])
        out, err = capsys.readouterr()
        return caught.value.code or 0, out, err

    return run


def test_json_listing(bench):
    code, out, _ = bench("--json")
    assert code == 0
    (row,) = json.loads(out)["datasets"]
    assert row.pop("origin").endswith("_loose.py:12")
    assert row == {
        "name": "mine",
        "title": "Mine",
        "modality": "MR",
        "structures": ["LV", "RV"],
        "needs_path": True,
        "terms": "ask first",
    }


def test_table(bench):
    _, out, _ = bench()
    header, row = out.splitlines()[:2]
    assert header.split()[:3] == ["dataset", "title", "modality"]
    for fact in ("mine", "Mine", "MR", "LV, RV", "yes", "ask first"):
        assert fact in row


def test_show_json(bench):
    code, out, _ = bench("show", "mine", "--json")
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


def test_show_in_words(bench):
    _, out, _ = bench("show", "mine")
    for text in ("Somebody 2031", "one folder per patient", "111.0", "of the cycle"):
        assert text in out
    (line,) = [line for line in out.splitlines() if line.startswith("spacing known")]
    assert line.split() == ["spacing", "known", "no"]


def test_structures_that_only_the_files_know_are_left_open(bench, monkeypatch):
    from contrabench.errors import DataError

    def structures(self):
        raise DataError(["no --data folder was given"])

    monkeypatch.setattr(registry.datasets.get("mine"), "structures", property(structures))
    listing = json.loads(bench("--json")[1])
    assert listing["broken"] == []
    assert listing["datasets"][0]["structures"] is None
    assert bench("show", "mine")[0] == 0


def test_show_of_an_unknown_name(bench):
    code, _, err = bench("show", "mime")
    assert code == 2
    assert err == "error: there is no dataset 'mime'; did you mean 'mine'? there are: mine\n"


def test_every_built_in_can_be_shown_without_its_files(monkeypatch, capsys):
    monkeypatch.setenv(discovery.VARIABLE, "")
    names = [e.name for e in registry.datasets.entries() if e.origin == "built-in"]
    assert names
    for name in names:
        with pytest.raises(SystemExit) as caught:
            main(["datasets", "show", name, "--json"])
        assert not caught.value.code
        facts = json.loads(capsys.readouterr().out)
        assert facts["structures"] is None or len(facts["structures"]) > 0, name
        assert all(option["description"] for option in facts["options"]), name
