"""The kit as an author of a plug-in uses it: from a test, and on the command line."""

import itertools
import json
import os
from pathlib import Path
from unittest import SkipTest

import pytest
import torch
from typer.testing import CliRunner

from contrabench import RequestError, plugins
from contrabench.cli.app import app
from contrabench.contracts import conformity, discovery, registry
from contrabench.contracts.registry import Plugin
from contrabench.protocol import BackboneSpec
from contrabench.testing import (
    CHECKS,
    CheckResult,
    ConformityReport,
    assert_conforms,
    check_method,
    find_methods,
)

ROOT = Path(__file__).parents[2]
COUNT = itertools.count()
SOURCE = """\
from pydantic import Field

from contrabench import Method, MethodInfo, Options, register_method


class MineOptions(Options):
    temperature: float = Field(0.5, gt=0, description="{description}")


@register_method("{name}")
class Mine(Method):
    info = MethodInfo(title="M", family="reference", paper="P", fidelity="official")
    Options = MineOptions

    def stages(self):
        return ()

    def objective(self, stage, backbone):
        raise NotImplementedError
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a plug-in file; the list of plug-ins is as before when the test has ended."""
    monkeypatch.setenv(discovery.VARIABLE, "")
    monkeypatch.setattr(plugins, "__path__", list(plugins.__path__))
    monkeypatch.setattr(registry.methods, "_registered", dict(registry.methods._registered))

    def make(description="tau", source=SOURCE):
        stem = f"kit_{os.getpid()}_{next(COUNT)}"
        file = tmp_path / f"{stem}.py"
        file.write_text(source.replace("{name}", stem).replace("{description}", description))
        return file

    return make


@pytest.fixture
def bench():
    """Runs `check` as a command of its own."""

    def run(*words):
        words = ["methods", "check", *map(str, words)]
        return CliRunner().invoke(app, words, env={"COLUMNS": "160"})

    return run


# -- finding --------------------------------------------------------------------------


def test_a_registered_name_is_one_method():
    assert find_methods("scratch") == {"scratch": registry.methods.get("scratch")}


def test_the_file_of_a_built_in_is_that_built_in():
    file = ROOT / "methods" / "scratch.py"
    assert find_methods(str(file)) == {"scratch": registry.methods.get("scratch")}


def test_a_file_gives_all_its_methods(write):
    two = SOURCE + SOURCE.split("\n\n\n", 2)[2].replace("{name}", "{name}_too")
    file = write(source=two)
    assert set(find_methods(file)) == {file.stem, f"{file.stem}_too"}


def test_what_cannot_be_found_is_told_in_one_line(write, tmp_path):
    empty = tmp_path / f"kit_{os.getpid()}_empty.py"
    empty.write_text("x = 1\n")
    for wanted, told in (
        ("simcrl", "did you mean 'simclr'"),
        (tmp_path / "absent.py", "does not exist"),
        (write(source="import no_such_module_here\n"), "no_such_module_here"),
        (empty, "registers no method"),
    ):
        with pytest.raises(RequestError, match=told) as caught:
            check_method(wanted)
        assert "\n" not in str(caught.value)


# -- in a test ------------------------------------------------------------------------


def test_a_method_without_stages_passes_what_applies(write):
    assert_conforms(write())


@pytest.mark.parametrize("name", CHECKS)
def test_the_checks_can_be_run_one_by_one(name):
    if not CHECKS[name].whole:
        with pytest.raises(SkipTest, match="no stage of its own"):
            assert_conforms("scratch", name)
    else:
        assert_conforms("scratch", name)


def test_a_failure_tells_what_why_and_what_to_do(write):
    file = write(description="")
    with pytest.raises(AssertionError) as caught:
        assert_conforms(file)
    first, where, reason, hint = str(caught.value).splitlines()
    assert first.startswith("the contract is not kept: 1 passed, 1 failed")
    assert where == f"  {file.stem}: options"
    assert reason == "    option 'temperature' has no description"
    assert hint.startswith("    give one in its Field")
    assert_conforms(file, "declaration")


def test_options_are_those_of_the_method(write):
    assert check_method(write(), {"temperature": 0.2}).passed
    for wrong in ({"temperature": 0}, {"tau": 0.1}):
        with pytest.raises(RequestError, match=next(iter(wrong))):
            check_method(write(), wrong)


def test_what_was_checked_is_remembered(write):
    file = write()
    assert check_method(file).results[0] is check_method(file).results[0]
    assert check_method(file).results[0] is not check_method(file, {"temperature": 1}).results[0]


def test_the_random_state_and_the_threads_stay_as_they_were():
    torch.manual_seed(3)
    torch.set_num_threads(2)
    before = torch.get_rng_state()
    check_method("global_local", {"stages": "global", "global_loss": "GR"})
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == 2


def test_an_unknown_check_is_told():
    with pytest.raises(RequestError, match="there is no check 'speed'; the checks are options"):
        assert_conforms("scratch", "speed")


def test_every_check_needs_earlier_ones_alone():
    names = list(CHECKS)
    for name, item in CHECKS.items():
        assert set(item.needs) < set(names[: names.index(name)]) or not item.needs
        assert item.check.__name__ == f"check_{name}"


def test_a_report_knows_whether_it_passed():
    passed, failed = (
        CheckResult("finite", "passed", stage="a"),
        CheckResult("finite", "failed", "r", "h"),
    )
    assert ConformityReport((passed,)).passed
    assert not ConformityReport((passed, failed)).passed
    assert ConformityReport((passed, failed)).failures == (failed,)
    assert ConformityReport((passed, failed)).summary() == "1 passed, 1 failed, 0 skipped"


# -- on the command line --------------------------------------------------------------


def test_a_table_of_each_method(bench, write):
    done = bench("scratch", write())
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].startswith("scratch: 4 passed, 0 failed, 15 skipped")
    skipped = [line for line in lines if line.split()[2:3] == ["skipped"]]
    assert len(skipped) == 2 * 15
    assert all(line.endswith("the method has no stage of its own") for line in skipped)


def test_a_failed_check_ends_with_1_and_a_hint(bench, write):
    done = bench(write(description=""))
    assert done.exit_code == 1
    assert "option 'temperature' has no description" in done.stdout
    assert "give one in its Field" in done.stdout


def test_json(bench, write):
    file = write(description="")
    done = bench(file, "scratch", "--json")
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert [(item["name"], item["passed"]) for item in told["methods"]] == [
        (file.stem, False),
        ("scratch", True),
    ]
    assert told["methods"][0]["results"][0] == {
        "check": "options",
        "status": "failed",
        "reason": "option 'temperature' has no description",
        "hint": "give one in its Field; `bench methods show` prints it",
        "stage": "",
        "plugin": file.stem,
    }


def test_all_tells_what_cannot_be_used(bench, monkeypatch):
    scratch = Plugin("scratch", "built-in", registry.methods.get("scratch"))
    lost = Plugin("lost", "built-in", error="no module of that name")
    monkeypatch.setattr(registry.methods, "entries", lambda: [scratch])
    assert bench("--all").exit_code == 0
    monkeypatch.setattr(registry.methods, "entries", lambda: [lost, scratch])
    done = bench("--all")
    assert done.exit_code == 1
    assert "not usable: lost: no module of that name" in done.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("simcrl",), "did you mean 'simclr'"),
        (("absent.py",), "does not exist"),
        (("scratch", "-o", "tau=1"), "'tau' is unknown"),
        ((), "or give --all"),
        (("scratch", "--all"), "or give --all"),
    ],
)
def test_a_wrong_request_is_one_line(bench, words, told):
    done = bench(*words)
    assert isinstance(done.exception, RequestError)
    assert done.exception.exit_code == 2
    assert told in str(done.exception)


def test_a_method_is_tried_on_another_network(bench):
    pytest.importorskip("timm")
    done = bench("simsiam", "--backbone", "resnet_unet", "-b", "depth=18", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["methods"][0]["passed"]


def test_the_network_that_is_named_is_the_one_that_methods_are_tried_on(bench, write, monkeypatch):
    """A network without the parts that a method trains is told by the check of its stages."""
    from contrabench import Backbone, BackboneInfo

    class Other(Backbone):
        info = BackboneInfo(title="O", source="S")
        parts = taps = ("only",)
        deepest = finest = "only"
        deep_taps = ("only",) * 3

        def __init__(self, spec, options):
            super().__init__(spec, options)
            self.only = torch.nn.Conv2d(spec.in_channels, spec.width, 1)
            self.channels = {"only": spec.width}

        def forward(self, image, taps, given):
            return {"only": self.only(image)}

    backbones = registry.backbones
    monkeypatch.setattr(backbones, "_registered", dict(backbones._registered))
    backbones.register("other")(Other)
    report = check_method("simclr", None, BackboneSpec(name="other", width=4))
    assert {result.check for result in report.failures} == {"stages"}
    assert "which is no part of the backbone" in report.failures[0].reason
    done = bench("scratch", "--backbone", "unett")
    assert "did you mean 'unet'" in str(done.exception)
    done = bench("scratch", "-b", "depth=18")
    assert "option of backbone 'unet': 'depth' is unknown" in str(done.exception)


def test_the_verdict_on_another_network_is_not_kept(bench, write, monkeypatch):
    kept = []
    monkeypatch.setattr(conformity, "keep", lambda *told: kept.append(told))
    file = write()
    assert bench(file, "-b", "norm=instance").exit_code == 0
    assert not kept
    assert bench(file).exit_code == 0
    assert len(kept) == 1


def test_options_of_the_command_line_reach_the_method(bench, write):
    file = write()
    assert bench(file, "-o", "temperature=0.1").exit_code == 0
    done = bench(file, "-o", "temperature=0")
    assert isinstance(done.exception, RequestError)
