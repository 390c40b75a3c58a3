"""A gang of two processes: what comes back, and that none is left when something fails."""

import multiprocessing
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from contrabench.errors import RunError
from contrabench.training.multi_device import train_on
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
    assert train_on(runtime, notes, lambda *given, last: (*given, last), 1, last=2) == (
        runtime,
        notes,
        1,
        2,
    )


def test_two_devices_are_two_processes_and_the_first_one_tells():
    notes = Notes()
    word, rank, whom, one, none = train_on(light.TWO, notes, light.echo, "ab", times=2)
    assert (word, rank, one, none) == ("abab", 0, True, False)
    pids, threads = zip(*whom, strict=True)
    assert len({*pids, os.getpid()}) == 3
    assert threads == (1, 1)
    assert notes.notes == ["hello", ("work", 2), (1, "half"), (2, ""), "done"]
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("how", "kind", "text"),
    [("killed", RunError, "rank 1 of 2 died (SIGKILL)"), ("bug", ValueError, "planted")],
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
    steps = [(tmp_path / f"steps{rank}").read_text() for rank in (0, 1)]
    assert steps[0] == steps[1]


def test_ranks_do_not_outlive_the_process_that_started_them(tmp_path):
    assert run_program(tmp_path, "orphan") == -signal.SIGKILL
    assert (tmp_path / "rank1").is_file()
    assert not (tmp_path / "steps1").exists()
