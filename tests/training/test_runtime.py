import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from contrabench.errors import RequestError, RunError
from contrabench.training.runtime import Runtime, make_runtime, resolve_device

sys.path.insert(0, str(Path(__file__).parent))
import cluster_shell


def test_auto_prefers_an_accelerator(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device("auto") == "mps"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert resolve_device("auto") == "cpu"


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RequestError, match="no cuda device"):
        resolve_device("cuda")


def test_threads_are_set_and_recorded():
    before = torch.get_num_threads()
    try:
        runtime = make_runtime("cpu", threads=1)
        assert (runtime.threads, torch.get_num_threads()) == (1, 1)
        assert runtime.precision == "float32"
        assert runtime.record()["threads"] == 1
        assert runtime.peak_memory_mb() > 10
        with pytest.raises(RequestError):
            make_runtime("cpu", threads=0)
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="not on this system")
def test_the_peak_is_that_of_a_stage_and_not_of_those_before():
    runtime = Runtime(device="cpu", precision="float32", threads=1)
    for size in (400, 100, 200):
        runtime.reset_peak_memory()
        before = runtime.peak_memory_mb()
        block = torch.ones(size * 2**20, dtype=torch.uint8)
        del block
        assert runtime.peak_memory_mb() == pytest.approx(before + size, abs=40)


def test_the_peak_of_a_gpu_is_reset_by_its_own_count(monkeypatch):
    reset = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset.append)
    Runtime(device="cuda", precision="bf16", threads=1).reset_peak_memory()
    assert reset == [torch.device("cuda")]


def test_devices_share_the_cores_and_are_recorded(monkeypatch):
    before = torch.get_num_threads()
    try:
        monkeypatch.setattr("os.sched_getaffinity", lambda _: range(6), raising=False)
        monkeypatch.setattr("os.cpu_count", lambda: 6)
        runtime = make_runtime("cpu", devices=2)
        assert (runtime.threads, make_runtime("cpu").threads) == (3, 6)
        assert runtime.record()["devices"] == 2
        assert runtime.alone() == Runtime(device="cpu", precision="float32", threads=3)
    finally:
        torch.set_num_threads(before)


def test_more_devices_than_there_are_are_refused(monkeypatch):
    with pytest.raises(RequestError, match="whole number from 1"):
        make_runtime("cpu", devices=0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    with pytest.raises(RequestError, match="4 cuda devices were asked for and torch sees 3"):
        make_runtime("cuda", devices=4)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(RequestError, match="2 mps devices"):
        make_runtime("mps", devices=2)


def test_several_devices_need_as_many_processes():
    runtime = Runtime(device="cpu", precision="float32", threads=1, devices=2)
    with pytest.raises(RunError, match="2 devices was begun in a group of 1"):
        runtime.joined(torch.nn.Linear(1, 1))


def test_the_same_bits_are_asked_of_torch_before_it_begins(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    asked = []
    monkeypatch.setattr(torch, "use_deterministic_algorithms", asked.append)
    assert make_runtime("cpu", threads=1).record()["deterministic"] is False
    assert not asked
    runtime = make_runtime("cpu", threads=1, deterministic=True)
    assert asked == [True]
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    monkeypatch.setattr(torch, "set_float32_matmul_precision", str)
    for wanted in (True, False):
        replace(runtime, device="cuda", deterministic=wanted).prepare()
        assert torch.backends.cudnn.benchmark is not wanted
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)


def test_what_a_clusters_shell_has_left_behind_changes_nothing():
    """One process trains under each family."""
    shell = os.environ | cluster_shell.ALL
    subprocess.run([sys.executable, cluster_shell.__file__], env=shell, check=True)
