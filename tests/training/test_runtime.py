import pytest
import torch

from contrabench.errors import RequestError, RunError
from contrabench.training.runtime import Runtime, make_runtime, resolve_device


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
        runtime.fabric()
