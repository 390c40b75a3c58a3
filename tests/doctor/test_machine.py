"""Device, disk, memory and the training step, on machines that are worse than this one."""

import shutil
from collections import namedtuple

import pytest
import torch

from contrabench.doctor import machine
from contrabench.doctor.findings import Severity
from contrabench.doctor.machine import (
    available_memory,
    check_device,
    check_disk,
    check_memory,
    check_training,
)
from contrabench.model.segmentation import SegmentationLoss

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def no_gpu(monkeypatch, tmp_path):
    """A machine without a GPU; the driver's file appears when a test writes it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(machine, "_DRIVER", tmp_path / "version")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path / "version"


def test_a_torch_without_cuda_on_a_machine_without_a_gpu(no_gpu, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    (finding,) = check_device().findings
    assert finding.severity == Severity.information
    assert "no GPU" in finding.what


def test_a_torch_without_cuda_wastes_a_gpu(no_gpu, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    no_gpu.write_text("driver")
    (finding,) = check_device().findings
    assert finding.severity == Severity.warning
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
    (finding,) = check_device().findings
    assert finding.severity == (Severity.warning if driver else Severity.information)
    assert "Found no NVIDIA driver on your system;" in finding.what
    assert "CUDA_VISIBLE_DEVICES is '7'" in finding.what


@pytest.mark.parametrize(
    ("free", "severity"), [(0.5e9, Severity.error), (5e9, Severity.warning), (50e9, None)]
)
def test_a_disk_that_is_nearly_full(tmp_path, monkeypatch, free, severity):
    asked = []

    def usage(path):
        asked.append(path)
        return Usage(100e9, 0, free)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    check = check_disk(tmp_path / "not" / "yet")
    assert asked == [tmp_path]
    assert [finding.severity for finding in check.findings] == [severity][: severity is not None]


def test_memory_is_bounded_by_a_container(tmp_path, monkeypatch):
    info = tmp_path / "meminfo"
    info.write_text("MemTotal:  16000000 kB\nMemAvailable:  8000000 kB\nHugePages_Total: 0\n")
    monkeypatch.setattr(machine, "_MEMINFO", info)
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    assert available_memory() == 8e6 * 1024
    assert check_memory().findings == ()
    (tmp_path / "memory.max").write_text("3000000000\n")
    (tmp_path / "memory.current").write_text("1000000000\n")
    assert available_memory() == 2e9
    (finding,) = check_memory().findings
    assert finding.severity == Severity.warning
    assert "1.9 GiB" in finding.what
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory() == 8e6 * 1024
    info.unlink()
    assert available_memory() is None
    assert check_memory().findings == ()


def test_a_training_step_is_taken():
    check = check_training()
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
    (finding,) = check_training().findings
    assert finding.severity == Severity.error
    assert words in finding.what
