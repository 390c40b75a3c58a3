"""Killed anywhere and started again, a run ends in the same rows, bit for bit."""

import multiprocessing
import os
import random
import signal
import sys
import time

import pytest

from contrabench.progress import Silent
from contrabench.store.rows import ROWS_FILE
from contrabench.study.run import prepare, run

from .conftest import RUNTIME, make_plan

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork"), reason="killing a child in the middle needs fork"
)


def _work(store):
    plan = make_plan("mmgl")
    run(plan, prepare(plan, store, Silent()), store, RUNTIME, Silent())


def _content(store):
    """Rows and predictions, by the part of their path that names no run."""
    files = [*store.glob(f"runs/*/{ROWS_FILE}"), *store.glob("stages/evaluate/*/*.npz")]
    return {path.relative_to(store).as_posix(): path.read_bytes() for path in sorted(files)}


def _kill_when(store, reached):
    """Starts a run in a child, kills it as soon as `reached()`; False if it was too quick."""
    child = multiprocessing.get_context("fork").Process(target=_work, args=(store,))
    child.start()
    while child.is_alive() and not reached():
        time.sleep(0.002)
    was_alive = child.is_alive()
    if was_alive:
        os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert was_alive or child.exitcode == 0
    return was_alive


def test_killed_in_every_stage(tmp_path):
    straight, store = tmp_path / "straight", tmp_path / "killed"
    _work(straight)

    def seen(pattern, count=1):
        return lambda: len(list(store.glob(pattern))) >= count

    moments = {
        "preparation": seen("prepared/*"),
        "a prepared case": seen("prepared/*/done.json", 2),
        "first pre-training": seen("stages/pretrain/*.work/checkpoint.safetensors"),
        "second pre-training": lambda: (
            seen("stages/pretrain/*/done.json")()
            and seen("stages/pretrain/*.work/checkpoint.safetensors")()
        ),
        "fine-tuning": seen("stages/finetune/*.work/checkpoint.safetensors"),
        "evaluation": seen("stages/evaluate/*.work/*.npz"),
    }
    killed = [name for name, reached in moments.items() if _kill_when(store, reached)]
    # The last stages are quick; all of training must have been hit.
    assert killed[:5] == list(moments)[:5]
    _work(store)
    assert _content(store) == _content(straight)
    assert not list(store.rglob("*.work"))


def test_killed_at_random_moments(tmp_path, capsys):
    straight, store = tmp_path / "straight", tmp_path / "killed"
    _work(straight)
    chance, kills = random.Random(0), 0
    for _ in range(12):
        end = time.monotonic() + chance.uniform(0.1, 2.5)
        if not _kill_when(store, lambda end=end: time.monotonic() > end):
            break
        kills += 1
    _work(store)
    assert kills >= 3
    assert _content(store) == _content(straight)
    with capsys.disabled():
        sys.stdout.write(f" [{kills} kills survived]")
