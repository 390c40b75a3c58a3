"""Versions, torchvision's operators, and plug-ins that do not import."""

import importlib
from importlib import metadata
from types import SimpleNamespace

import pytest

from contrabench.contracts import discovery
from contrabench.doctor import environment
from contrabench.doctor.environment import check_operators, check_plugins, check_versions
from contrabench.doctor.findings import Severity


def test_this_environment_is_what_is_asked_for():
    assert check_versions().findings == ()
    assert check_operators().findings == ()
    assert "torchvision" in check_operators().seen


@pytest.fixture
def asked(monkeypatch):
    def ask(*lines):
        monkeypatch.setattr(metadata, "requires", lambda name: list(lines))
        return check_versions()

    return ask


def test_a_version_that_is_too_old_is_named(asked):
    (finding,) = asked("numpy>=1", "torch>=99; python_version>='3'").findings
    assert finding.severity == Severity.warning
    assert f"torch {metadata.version('torch')} is installed, torch>=99 is asked" in finding.what
    assert finding.do == "pip install 'torch>=99'"


def test_a_package_that_is_missing_is_an_error(asked):
    (finding,) = asked("numpy", "no-such-package-here>=2").findings
    assert finding.severity == Severity.error
    assert "no-such-package-here is missing" in finding.what


def test_extras_and_other_systems_are_not_asked_for(asked):
    check = asked("numpy", "absent-a; extra == 'umap'", "absent-b; sys_platform == 'plan9'")
    assert check.findings == ()
    assert check.seen.endswith("1 package")


def test_another_python_is_an_error(monkeypatch):
    monkeypatch.setattr(environment.platform, "python_version", lambda: "3.8.1")
    (finding,) = check_versions().findings
    assert finding.severity == Severity.error
    assert "Python 3.8.1 is installed" in finding.what


def test_a_folder_that_is_not_installed_is_told(monkeypatch):
    monkeypatch.setattr(environment, "DISTRIBUTION", "no-such-package-here")
    (finding,) = check_versions().findings
    assert finding.severity == Severity.warning
    assert "not installed" in finding.what


def unregistered(*_):
    raise RuntimeError("operator torchvision::nms does not exist")


@pytest.mark.parametrize("when", ["import", "call", "answer"])
def test_a_pair_that_does_not_fit_is_an_error(monkeypatch, when):
    import torch

    wrong = SimpleNamespace(nms=lambda *_: torch.tensor([0, 1]))
    broken = {
        "import": unregistered,
        "call": lambda name: SimpleNamespace(nms=unregistered),
        "answer": lambda name: wrong,
    }
    monkeypatch.setattr(importlib, "import_module", broken[when])
    (finding,) = check_operators().findings
    assert finding.severity == Severity.error
    assert "torchvision does not work with this torch" in finding.what
    assert "pip install" in finding.do


def test_plug_ins_that_fail_are_named_once_with_file_and_reason(tmp_path, monkeypatch):
    assert check_plugins().findings == ()
    broken, sound = tmp_path / "doctor_broken.py", tmp_path / "doctor_sound.py"
    broken.write_text("import a_module_that_is_not_there\n")
    sound.write_text("VALUE = 1\n")
    monkeypatch.setenv(discovery.VARIABLE, str(tmp_path))
    (finding,) = check_plugins().findings
    assert finding.severity == Severity.error
    for words in ("doctor_broken", str(broken), "a_module_that_is_not_there"):
        assert words in finding.what


def test_a_plug_in_path_that_does_not_exist_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv(discovery.VARIABLE, str(tmp_path / "nowhere.py"))
    (finding,) = check_plugins().findings
    assert finding.severity == Severity.error
    assert "nowhere.py does not exist" in finding.what
