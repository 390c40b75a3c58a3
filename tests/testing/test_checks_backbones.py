"""Every broken backbone is caught by the check meant for it, and by no other."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from contrabench import plugins
from contrabench.cli.app import app
from contrabench.cli.new import starting_file
from contrabench.contracts import discovery
from contrabench.contracts.registry import backbones
from contrabench.errors import RequestError, RunError
from contrabench.testing import BACKBONE_CHECKS, check_backbone

FILE = Path(__file__).parent / "broken_backbones.py"
spec = importlib.util.spec_from_file_location(FILE.stem, FILE)
broken = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = broken
spec.loader.exec_module(broken)


@pytest.mark.parametrize(
    ("check", "backbone"),
    broken.BROKEN,
    ids=lambda item: item if isinstance(item, str) else item.__name__,
)
def test_a_fault_is_caught_by_its_own_check_alone(check, backbone):
    report = check_backbone(backbone)
    assert {result.check for result in report.failures} == {check}, report.failures_text()
    assert all(result.reason and result.hint for result in report.failures)


def test_every_check_catches_something():
    assert {check for check, _ in broken.BROKEN} == set(BACKBONE_CHECKS)


@pytest.mark.parametrize(
    ("backbone", "options"),
    [(broken.Sound, None), ("unet", None), ("unet", {"norm": "instance"}), ("resnet_unet", None)],
    ids=str,
)
def test_a_sound_backbone_passes_every_check(backbone, options):
    if backbone == "resnet_unet":
        pytest.importorskip("timm")
    report = check_backbone(backbone, options)
    assert report.passed, report.failures_text()
    assert [result.check for result in report.results] == list(BACKBONE_CHECKS)
    assert {result.status for result in report.results} == {"passed"}


def test_the_file_of_a_built_in_is_that_built_in():
    file = sys.modules[backbones.get("unet").__module__].__file__
    assert {result.plugin for result in check_backbone(file).results} == {"unet"}


def test_options_are_those_of_the_backbone():
    with pytest.raises(RequestError, match="'depth' is unknown"):
        check_backbone("unet", {"depth": 18})
    with pytest.raises(RequestError, match="did you mean 'unet'"):
        check_backbone("unett")


def test_every_check_needs_earlier_ones_alone():
    names = list(BACKBONE_CHECKS)
    for name, item in BACKBONE_CHECKS.items():
        assert set(item.needs) <= set(names[: names.index(name)])
        assert item.check.__name__ == f"check_{name}"


# -- on the command line --------------------------------------------------------------


@pytest.fixture
def bench(monkeypatch, tmp_path):
    """Runs `check` as a command of its own; what it registers is forgotten after."""
    monkeypatch.setenv(discovery.VARIABLE, "")
    monkeypatch.setattr(plugins, "__path__", list(plugins.__path__))
    backbones.entries()
    monkeypatch.setattr(backbones, "_registered", dict(backbones._registered))

    def run(*words):
        words = ["backbones", "check", *map(str, words)]
        return CliRunner().invoke(app, words, env={"COLUMNS": "160"})

    return run


def test_a_table_of_each_backbone(bench):
    done = bench("unet", "-b", "norm=instance")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].startswith("unet: 15 passed, 0 failed, 0 skipped")
    assert [line.split()[0] for line in lines[2:17]] == list(BACKBONE_CHECKS)


def test_a_failed_check_ends_with_1_and_a_hint(bench, tmp_path):
    text = starting_file("leaky_net", "my_backbone")
    file = tmp_path / "leaky_net.py"
    file.write_text(text.replace("multiple = 2**LEVELS", "multiple = 2"))
    done = bench(file, "--json")
    assert done.exit_code == 1
    assert isinstance(done.exception, RunError)
    assert "the contract of a backbone is not kept; leaky_net: " in str(done.exception)
    (told,) = json.loads(done.stdout)["backbones"]
    failed = [one for one in told["results"] if one["status"] == "failed"]
    assert (told["name"], told["passed"], [one["plugin"] for one in failed]) == (
        *("leaky_net", False),
        ["leaky_net"],
    )
    assert failed[0]["hint"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "name the backbones or files to check, or give --all"),
        (("unet", "--all"), "or give --all"),
        (("unet", "-b", "depth=18"), "option of backbone 'unet': 'depth' is unknown"),
        ((Path(broken.__file__),), "registers no backbone; put @register_backbone('name')"),
    ],
)
def test_a_wrong_request_is_one_line(bench, words, told):
    done = bench(*words)
    assert isinstance(done.exception, RequestError)
    assert told in str(done.exception)
