"""What is installed, and what this machine can do, on machines that are worse than this one."""

import importlib
import shutil
from collections import namedtuple
from importlib import metadata
from types import SimpleNamespace

import pytest
import torch
from tests.doctor.looking import findings_of, look_at

from contrabench.contracts import discovery
from contrabench.doctor import environment
from contrabench.doctor.environment import (
    available_memory,
    check_device,
    check_disk,
    check_memory,
    check_operators,
    check_plugins,
    check_training,
    check_versions,
)
from contrabench.model.segmentation import SegmentationLoss

Usage = namedtuple("Usage", "total used free")


def test_this_environment_is_what_is_asked_for():
    assert findings_of(check_versions) == ()
    assert findings_of(check_operators) == ()
    assert "torchvision" in look_at(check_operators).seen


@pytest.fixture
def asked(monkeypatch):
    def ask(*lines):
        monkeypatch.setattr(metadata, "requires", lambda name: list(lines))
        return look_at(check_versions)

    return ask


def test_a_version_that_is_too_old_is_named(asked):
    (finding,) = asked("numpy>=1", "torch>=99; python_version>='3'").findings
    assert finding.severity == "warning"
    assert f"torch {metadata.version('torch')} is installed, torch>=99 is asked" in finding.what
    assert finding.do == "pip install 'torch>=99'"


def test_a_package_that_is_missing_is_an_error(asked):
    (finding,) = asked("numpy", "no-such-package-here>=2").findings
    assert finding.severity == "error"
    assert "no-such-package-here is missing" in finding.what


def test_extras_and_other_systems_are_not_asked_for(asked):
    check = asked("numpy", "absent-a; extra == 'umap'", "absent-b; sys_platform == 'plan9'")
    assert check.findings == ()
    assert check.seen.endswith("1 package")


def test_another_python_is_an_error(monkeypatch):
    monkeypatch.setattr(environment.platform, "python_version", lambda: "3.8.1")
    (finding,) = findings_of(check_versions)
    assert finding.severity == "error"
    assert "Python 3.8.1 is installed" in finding.what


def test_a_folder_that_is_not_installed_is_told(monkeypatch):
    monkeypatch.setattr(environment, "DISTRIBUTION", "no-such-package-here")
    (finding,) = findings_of(check_versions)
    assert finding.severity == "warning"
    assert "not installed" in finding.what


def unregistered(*_):
    raise RuntimeError("operator torchvision::nms does not exist")


@pytest.mark.parametrize("when", ["import", "call", "answer"])
def test_a_pair_that_does_not_fit_is_an_error(monkeypatch, when):
    wrong = SimpleNamespace(nms=lambda *_: torch.tensor([0, 1]))
    broken = {
        "import": unregistered,
        "call": lambda name: SimpleNamespace(nms=unregistered),
        "answer": lambda name: wrong,
    }
    monkeypatch.setattr(importlib, "import_module", broken[when])
    (finding,) = findings_of(check_operators)
    assert finding.severity == "error"
    assert "torchvision does not work with this torch" in finding.what
    assert "pip install" in finding.do


def test_plug_ins_that_fail_are_named_once_with_file_and_reason(tmp_path, monkeypatch):
    assert findings_of(check_plugins) == ()
    broken, sound = tmp_path / "doctor_broken.py", tmp_path / "doctor_sound.py"
    broken.write_text("import a_module_that_is_not_there\n")
    sound.write_text("VALUE = 1\n")
    monkeypatch.setenv(discovery.VARIABLE, str(tmp_path))
    (finding,) = findings_of(check_plugins)
    assert finding.severity == "error"
    for words in ("doctor_broken", str(broken), "a_module_that_is_not_there"):
        assert words in finding.what


def test_a_plug_in_path_that_does_not_exist_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv(discovery.VARIABLE, str(tmp_path / "nowhere.py"))
    (finding,) = findings_of(check_plugins)
    assert finding.severity == "error"
    assert "nowhere.py does not exist" in finding.what


@pytest.fixture
def no_gpu(monkeypatch, tmp_path):
    """A machine without a GPU; the driver's file appears when a test writes it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(environment, "_DRIVER", tmp_path / "version")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path / "version"


def test_a_torch_without_cuda_on_a_machine_without_a_gpu(no_gpu, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    (finding,) = findings_of(check_device)
    assert finding.severity == "information"
    assert "no GPU" in finding.what


def test_a_torch_without_cuda_wastes_a_gpu(no_gpu, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    no_gpu.write_text("driver")
    (finding,) = findings_of(check_device)
    assert finding.severity == "warning"
    assert "built without CUDA" in finding.what
    assert "install torch" in finding.do


@pytest.mark.parametrize("driver", [False, True])
def test_a_torch_with_cuda_says_why_it_sees_none(no_gpu, monkeypatch, driver):
    def fail():
        raise RuntimeError("Found no NVIDIA driver on your system. Please check")

    monkeypatch.setattr(torch.version, "cuda", "13.2")
    monkeypatch.setattr(torch.cuda, "init", fail)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    if driver:
        no_gpu.write_text("driver")
    (finding,) = findings_of(check_device)
    assert finding.severity == ("warning" if driver else "information")
    assert "Found no NVIDIA driver on your system;" in finding.what
    assert "CUDA_VISIBLE_DEVICES is '7'" in finding.what


@pytest.mark.parametrize(("free", "severity"), [(0.5e9, "error"), (5e9, "warning"), (50e9, None)])
def test_a_disk_that_is_nearly_full(tmp_path, monkeypatch, free, severity):
    asked = []

    def usage(path):
        asked.append(path)
        return Usage(100e9, 0, free)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    check = look_at(check_disk, tmp_path / "not" / "yet")
    assert asked == [tmp_path]
    assert [finding.severity for finding in check.findings] == [severity][: severity is not None]


def test_memory_is_bounded_by_a_container(tmp_path, monkeypatch):
    info = tmp_path / "meminfo"
    info.write_text("MemTotal:  16000000 kB\nMemAvailable:  8000000 kB\nHugePages_Total: 0\n")
    monkeypatch.setattr(environment, "_MEMINFO", info)
    monkeypatch.setattr(environment, "_CGROUP", tmp_path)
    assert available_memory() == 8e6 * 1024
    assert findings_of(check_memory) == ()
    (tmp_path / "memory.max").write_text("3000000000\n")
    (tmp_path / "memory.current").write_text("1000000000\n")
    assert available_memory() == 2e9
    (finding,) = findings_of(check_memory)
    assert finding.severity == "warning"
    assert "1.9 GiB" in finding.what
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory() == 8e6 * 1024
    info.unlink()
    assert available_memory() is None
    assert findings_of(check_memory) == ()


def test_a_training_step_is_taken():
    check = look_at(check_training)
    assert check.findings == ()
    assert "loss" in check.seen


def failing(*_):
    raise RuntimeError("no kernel image is available for execution on the device")


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (failing, "no kernel image is available"),
        (lambda self, maps, label: maps["dec1"].sum() * torch.nan, "not finite"),
    ],
)
def test_a_training_step_that_fails_is_an_error(monkeypatch, loss, words):
    monkeypatch.setattr(SegmentationLoss, "forward", loss)
    (finding,) = findings_of(check_training)
    assert finding.severity == "error"
    assert words in finding.what
