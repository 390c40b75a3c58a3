import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from filelock import FileLock

from contrabench.errors import DataError, RunError
from contrabench.files import MARKER, damage_of, seal_folder
from contrabench.progress import Silent
from contrabench.store.stages import StageStore


class Notes(Silent):
    def __init__(self):
        self.lines = []

    def line(self, text):
        self.lines.append(text)


def write(folder):
    (folder / "value.txt").write_text("42")


def test_a_stage_is_made_once(tmp_path):
    store, calls = StageStore(tmp_path, Silent()), []

    def make(folder):
        calls.append(folder)
        write(folder)

    first = store.run("k", {"a": 1}, make)
    second = store.run("k", {"a": 1}, make)
    assert (first, len(calls)) == (second, 1)
    assert (second / "value.txt").read_text() == "42"
    assert damage_of(second) is None


def test_the_key_depends_on_content_not_on_order(tmp_path):
    store = StageStore(tmp_path, Silent())
    first = store.run("k", {"a": 1, "b": [1, 2]}, write)
    assert store.run("k", {"b": [1, 2], "a": 1}, write) == first
    for other in ({"a": 1, "b": [2, 1]}, {"a": 2, "b": [1, 2]}, {"a": 1}):
        assert store.run("k", other, write).name != first.name
    assert store.run("l", {"a": 1, "b": [1, 2]}, write).name != first.name


def test_a_failure_is_recorded_never_served_and_tried_again(tmp_path):
    store = StageStore(tmp_path, Silent())

    def fail(folder):
        raise RunError("no luck")

    with pytest.raises(RunError, match="no luck"):
        store.run("k", {}, fail)
    (reason,) = (tmp_path / "stages" / "k").glob("*.failed.json")
    assert json.loads(reason.read_text())["reason"] == "no luck"

    def again(folder):
        assert not reason.exists(), "an attempt under way has not failed"
        write(folder)

    assert damage_of(store.run("k", {}, again)) is None
    assert not list((tmp_path / "stages" / "k").glob("*.failed.json"))


@pytest.mark.parametrize("spoil", ["change", "remove", "marker"])
def test_damaged_content_is_made_again_with_a_word(tmp_path, spoil):
    notes = Notes()
    store = StageStore(tmp_path, notes)
    folder = store.run("k", {}, write)
    if spoil == "change":
        (folder / "value.txt").write_text("43")
    elif spoil == "remove":
        (folder / "value.txt").unlink()
    else:
        (folder / MARKER).write_text("{")
    again = store.run("k", {}, write)
    assert (again / "value.txt").read_text() == "42"
    assert "made again" in notes.lines[0]


def test_what_an_interrupted_attempt_left_is_there_for_the_next(tmp_path):
    store = StageStore(tmp_path, Silent())

    def cut(folder):
        (folder / "half").write_text("1")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.run("k", {}, cut)

    def go_on(folder):
        assert (folder / "half").read_text() == "1"
        write(folder)

    assert damage_of(store.run("k", {}, go_on)) is None


def test_a_rival_without_a_common_lock_wins_and_is_used(tmp_path):
    def make(folder):
        write(folder)
        rival = folder.with_suffix("")
        rival.mkdir()
        (rival / "value.txt").write_text("the rival's")
        seal_folder(rival)

    final = StageStore(tmp_path, Silent()).run("k", {}, make)
    assert (final / "value.txt").read_text() == "the rival's"
    assert [path.name for path in final.parent.iterdir() if path.is_dir()] == [final.name]


def test_what_is_there_needs_no_lock(tmp_path):
    store = StageStore(tmp_path, Silent())
    folder = store.run("k", {}, write)
    with FileLock(folder.with_suffix(".lock")):
        assert store.run("k", {}, write, wait=False) == folder


def test_a_fault_of_the_users_files_is_no_failure_of_the_stage(tmp_path):
    def fail(folder):
        write(folder)
        raise DataError(["a hole"])

    with pytest.raises(DataError, match="a hole"):
        StageStore(tmp_path, Silent()).run("k", {}, fail)
    assert [path.suffix for path in (tmp_path / "stages" / "k").iterdir()] == [".lock"]


def _slow(root: str, log: str) -> None:
    def make(folder: Path) -> None:
        with Path(log).open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(1.0)
        write(folder)

    StageStore(Path(root), Silent()).run("k", {}, make)


def test_two_processes_make_it_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    log = tmp_path / "log"
    workers = [
        context.Process(target=_slow, args=(str(tmp_path / "s"), str(log))) for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert len(log.read_text().split()) == 1


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    context = multiprocessing.get_context("spawn")
    log = tmp_path / "log"
    worker = context.Process(target=_slow, args=(str(tmp_path / "s"), str(log)))
    worker.start()
    while not log.exists():
        time.sleep(0.02)
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    assert damage_of(StageStore(tmp_path / "s", Silent()).run("k", {}, write)) is None
