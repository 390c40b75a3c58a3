"""Killed anywhere and started again, runs and studies end in the same rows, bit for bit."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from contrabench.store.rows import ROWS_FILE

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork"), reason="killing a child in the middle needs fork"
)


class Nursery:
    """Children at work on runs or studies, see `nursery.py`."""

    def __init__(self, what):
        self.what = what
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("nursery.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, store):
        self.process.stdin.write(f"{self.what} {store}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def end(self):
        """The status of the child that was started last."""
        return int(self.process.stdout.readline())

    def run(self, store):
        self.start(store)
        assert self.end() == 0

    def kill_when(self, store, reached):
        """Kills a run as soon as `reached()`; False if it was done before."""
        child = self.start(store)
        while not reached():
            # Field 3 of stat: Z for a child that has ended; gone when it was waited for.
            try:
                ended = Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
            except OSError:
                ended = True
            if ended:
                assert self.end() == 0
                return False
            time.sleep(0.002)
        with contextlib.suppress(ProcessLookupError):
            # The workers of a study are in its group.
            os.killpg(child, signal.SIGKILL)
        return self.end() == signal.SIGKILL


@contextlib.contextmanager
def serving(what):
    made = Nursery(what)
    yield made
    made.process.stdin.close()
    made.process.wait()


@pytest.fixture(scope="module")
def nursery():
    with serving("run") as made:
        yield made


@pytest.fixture(scope="module")
def straight(nursery, tmp_path_factory):
    """The store of a run that was left alone."""
    store = tmp_path_factory.mktemp("straight")
    nursery.run(store)
    return store


def content(store):
    """Rows and predictions, by their path in the store."""
    files = [*store.glob(f"runs/*/{ROWS_FILE}"), *store.glob("stages/evaluate/*/*.npz")]
    return {path.relative_to(store).as_posix(): path.read_bytes() for path in sorted(files)}


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")
def test_killed_in_every_stage(nursery, straight, tmp_path):
    def seen(pattern, count=1):
        return lambda: len(list(tmp_path.glob(pattern))) >= count

    moments = {
        "preparation": seen("stages/prepare/*"),
        "a prepared case": seen("stages/prepare/*/done.json", 2),
        "first pre-training": seen("stages/pretrain/*.work/checkpoint.pt"),
        "second pre-training": lambda: (
            seen("stages/pretrain/*/done.json")() and seen("stages/pretrain/*.work/checkpoint.pt")()
        ),
        "fine-tuning": seen("stages/finetune/*.work/checkpoint.pt"),
        "evaluation": seen("stages/evaluate/*.work/*.npz"),
    }
    killed = [name for name, reached in moments.items() if nursery.kill_when(tmp_path, reached)]
    # The last stage is over in a moment; everything before must have been hit.
    assert killed[:5] == list(moments)[:5]
    nursery.run(tmp_path)
    assert len(content(straight)) == 3
    assert content(tmp_path) == content(straight)
    assert not list(tmp_path.rglob("*.work"))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")
def test_killed_at_random_moments(nursery, straight, tmp_path, record_property):
    chance, kills = random.Random(0), 0
    for _ in range(6):
        end = time.monotonic() + chance.uniform(0.1, 2.5)
        if not nursery.kill_when(tmp_path, lambda end=end: time.monotonic() > end):
            break
        kills += 1
    nursery.run(tmp_path)
    assert kills >= 2
    assert content(tmp_path) == content(straight)
    record_property("kills survived by a run", kills)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")
def test_a_study_survives_many_kills(tmp_path, record_property):
    """Two workers and the study itself die at once, six times or until all is done."""
    chance, kills = random.Random(1), 0
    with serving("study") as nursery:
        nursery.run(tmp_path / "straight")
        killed = tmp_path / "killed"
        while kills < 6:
            end = time.monotonic() + chance.uniform(0.05, 0.8)
            if not nursery.kill_when(killed, lambda end=end: time.monotonic() > end):
                break
            kills += 1
        nursery.run(killed)
    undisturbed = content(tmp_path / "straight")
    assert len(undisturbed) == 3 * 5
    assert content(killed) == undisturbed
    assert kills >= 4
    assert not list(killed.rglob("*.work"))
    assert not list(killed.rglob("*.running.json"))
    record_property("kills survived by a study", kills)
