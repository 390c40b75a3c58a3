import pytest
import torch

from contrabench.errors import RequestError
from contrabench.training.runtime import make_runtime, resolve_device


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
