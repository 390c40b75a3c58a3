"""A calm stop: at which step, by which signal, and that nothing of it is lost."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from contrabench.errors import RunError
from contrabench.progress import Silent
from contrabench.training.checkpoint import FILE
from contrabench.training.loop import fit
from contrabench.training.runtime import Runtime
from contrabench.training.step import Step
from contrabench.training.stop import Interrupted, calm_stop, end_work, request_stop

sys.path.insert(0, str(Path(__file__).parent))
import stop_child

RUNTIME = Runtime(device="cpu", precision="float32", threads=1)


def train(folder, steps=stop_child.STEPS, **changes):
    task = stop_child.Line(**changes)
    step = Step(task, stop_child.PHASE, RUNTIME, steps)
    record = fit(step, folder, Silent(), "line")
    return task, record


def step_of(checkpoint):
    return torch.load(checkpoint, weights_only=True)["record"]["steps"]


def test_a_signal_leaves_the_step_under_way_and_the_rest_ends_in_the_same_bits(tmp_path):
    straight, _ = train(tmp_path / "straight")
    names = ("SIGINT", "SIGTERM")
    told = subprocess.check_output([sys.executable, stop_child.__file__, tmp_path, *names])
    assert told.decode().splitlines() == [
        "stopped after step 8 of 30; the checkpoint is written, run the same command to go on"
    ] * len(names)
    for name in names:
        assert step_of(tmp_path / name / FILE) == 8
        again, record = train(tmp_path / name)
        assert record.resumed_at == (8,)
        for key, value in straight.state_dict().items():
            assert torch.equal(value, again.state_dict()[key])


def test_another_thread_may_ask_and_a_fit_in_a_thread_stops_too(tmp_path):
    caught = []

    def work():
        try:
            train(tmp_path, at=4, act=request_stop)
        except Interrupted as stop:
            caught.append(str(stop))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert "after step 5 of" in caught[0]
    assert step_of(tmp_path / FILE) == 5
    _, record = train(tmp_path)
    assert record.resumed_at == (5,)


def test_a_stop_in_the_last_step_is_kept_too(tmp_path):
    with pytest.raises(Interrupted):
        train(tmp_path, steps=6, at=5, act=request_stop)
    task, record = train(tmp_path, steps=6)
    straight, whole = train(tmp_path / "straight", steps=6)
    assert torch.equal(task.line.weight, straight.line.weight)
    assert (record.first, record.last) == (whole.first, whole.last)


def test_a_request_before_the_fit_stops_it_after_one_step_and_no_later_one(tmp_path):
    request_stop()
    with pytest.raises(Interrupted, match="after step 1 of"):
        train(tmp_path)
    _, record = train(tmp_path)
    assert record.resumed_at == (1,)


def test_the_second_interrupt_comes_at_once_and_the_handlers_come_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    reached = []
    with pytest.raises(KeyboardInterrupt) as caught, calm_stop() as asked:
        assert not asked()
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        reached.append(asked())
        signal.raise_signal(signal.SIGINT)
        reached.append("too far")
    assert reached == [True]
    assert not isinstance(caught.value, Interrupted)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    with calm_stop() as asked:
        assert not asked()


def test_a_signal_that_nobody_answered_is_not_lost():
    with pytest.raises(KeyboardInterrupt), calm_stop():
        signal.raise_signal(signal.SIGINT)
    heard = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        with pytest.raises(RunError), calm_stop():
            signal.raise_signal(signal.SIGTERM)
            raise RunError("of another kind")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]


def test_a_signal_that_was_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with calm_stop() as asked:
            signal.raise_signal(signal.SIGINT)
            assert not asked()
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_process_is_ended_unless_its_work_can_be_stopped(monkeypatch):
    ended = []
    monkeypatch.setattr("os._exit", ended.append)
    with pytest.raises(Interrupted), calm_stop() as asked:
        end_work()
        assert asked()
        raise Interrupted
    assert ended == []
    end_work()
    assert ended == [0]
    with calm_stop() as asked:
        assert not asked()
