"""Two processes: what comes back, and that none is left when something fails."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from contrabench.errors import AuditError, DataError, RequestError, RunError
from contrabench.training.multi_device import portable, train_on
from contrabench.training.runtime import Runtime

sys.path.insert(0, str(Path(__file__).parent))
import multi_device_light as light


class Notes:
    """A reporter that remembers."""

    def __init__(self):
        self.notes = []

    def line(self, text):
        self.notes.append(text)

    @contextmanager
    def track(self, title, total):
        self.notes.append((title, total))
        yield self
        self.notes.append("done")

    def advance(self, done, detail=""):
        self.notes.append((done, detail))


def test_one_device_is_this_process():
    notes = Notes()
    runtime = Runtime(device="cpu", precision="float32", threads=1)
    assert train_on(runtime, notes, lambda *given: given, 1, 2) == (notes, 1, 2)


def test_two_devices_are_two_processes_and_the_first_one_tells():
    notes = Notes()
    word, number, whom, one, none = train_on(light.TWO, notes, light.echo, "ab", 2)
    assert (word, number, one, none) == ("abab", 0, True, False)
    pids, threads = zip(*whom, strict=True)
    assert len({*pids, os.getpid()}) == 3
    assert threads == (1, 1)
    assert notes.notes == ["hello", ("work", 2), (1, "half"), (2, ""), "done"]
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("how", "kind", "text"),
    [
        ("killed", RunError, "the process of device 1 died (SIGK"),
        ("bug", ValueError, "planted"),
    ],
)
def test_the_failure_of_one_is_the_error_and_ends_all(how, kind, text):
    notes = Notes()
    with pytest.raises(kind) as caught:
        train_on(light.TWO, notes, light.fail, how)
    assert str(caught.value).startswith(text)
    assert not multiprocessing.active_children()
    assert "done" not in notes.notes
    if how == "bug":
        assert "light.py" in caught.value.__notes__[0]


def run_program(folder, how):
    """Runs it until every process that holds its output is gone."""
    command = [sys.executable, light.__file__, folder, how]
    with subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE) as program:
        program.communicate()
    return program.returncode


def test_an_interrupt_from_the_terminal_is_passed_on_and_all_stop_together(tmp_path):
    assert run_program(tmp_path, "stop") == 3
    steps = [(tmp_path / f"steps{number}").read_text() for number in (0, 1)]
    assert steps[0] == steps[1]


def test_device_processes_do_not_outlive_the_process_that_started_them(tmp_path):
    assert run_program(tmp_path, "orphan") == -signal.SIGKILL
    assert (tmp_path / "process1").is_file()
    assert not (tmp_path / "steps1").exists()


def sent(error):
    try:
        raise error
    except Exception as raised:
        found = pickle.loads(pickle.dumps(portable(raised, 1)))
    note = vars(found).pop("__notes__")[0]
    assert note.startswith("In the process of device 1:\nTraceback")
    assert "in sent" in note
    return found


@pytest.mark.parametrize(
    "error", [AuditError(4, "planted"), DataError(["one", "two"]), RequestError("no such thing")]
)
def test_errors_of_this_package_come_back_as_they_are(error):
    found = sent(error)
    assert (type(found), str(found), vars(found)) == (type(error), str(error), vars(error))


def test_a_strangers_own_kind_of_error_comes_back_as_the_nearest_one():
    class Own(AuditError):
        pass

    class Other(ValueError):
        def __init__(self, one, two):
            super().__init__(f"{one} and {two}")

    found = sent(Own(2, "planted"))
    assert (type(found), found.rule, str(found)) == (AuditError, 2, "audit rule 2: planted")
    found = sent(Other("first", "second"))
    assert (type(found), str(found)) == (ValueError, "first and second")


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("too large"), OSError(28, "No space left on device")]
)
def test_what_ran_out_is_told(error):
    found = sent(error)
    assert (type(found), str(found)) == (type(error), str(error))
