"""What a stage at work tells: never believed of the dead, never trusted as it lies there."""

import json
import os
import subprocess
import sys
import time

import pytest

from contrabench.store.failures import log_path
from contrabench.store.stages import home_of
from contrabench.study import status as module
from contrabench.study.status import SILENT_SECONDS, Beat, Heartbeat, beat_path, read_beat

KEY = "0123456789abcdef"


def write(store, **changes):
    content = {"title": "training", "done": 3, "total": 9, **changes}
    path = beat_path(store, "pretrain", KEY)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**vars(Beat("x")), **content}))


def test_a_beat_is_there_while_the_heartbeat_is_open_and_gone_after(tmp_path):
    heartbeat = Heartbeat(tmp_path, "pretrain", KEY)
    assert read_beat(tmp_path, "pretrain", KEY) is None
    with heartbeat.beating():
        assert read_beat(tmp_path, "pretrain", KEY).title == "starting"
        with heartbeat.track("training", 10) as track:
            track.advance(4, "loss 1.5")
            beat = read_beat(tmp_path, "pretrain", KEY)
            assert (beat.title, beat.done, beat.total) == ("training", 4, 10)
            assert (beat.detail, beat.pid) == ("loss 1.5", os.getpid())
    assert read_beat(tmp_path, "pretrain", KEY) is None
    with pytest.raises(RuntimeError), heartbeat.beating():
        raise RuntimeError
    assert not heartbeat.path.exists()


def test_the_time_left_counts_from_where_this_session_took_up(monkeypatch, tmp_path):
    now = {"time": 100.0}
    monkeypatch.setattr(module.time, "monotonic", lambda: now["time"])
    heartbeat = Heartbeat(tmp_path, "pretrain", KEY)
    with heartbeat.beating(), heartbeat.track("training", 100) as track:
        track.advance(50)
        assert read_beat(tmp_path, "pretrain", KEY).left is None
        now["time"] += 20.0
        track.advance(60)
        # Ten units took 20 seconds; forty are left.
        assert read_beat(tmp_path, "pretrain", KEY).left == pytest.approx(80.0)


def test_beats_are_no_more_frequent_than_a_reader_needs_but_the_last_one_counts(
    monkeypatch, tmp_path
):
    now = {"time": 0.0}
    monkeypatch.setattr(module.time, "monotonic", lambda: now["time"])
    heartbeat = Heartbeat(tmp_path, "pretrain", KEY)
    with heartbeat.beating(), heartbeat.track("training", 40) as track:
        for done in range(1, 41):
            now["time"] += 0.1
            track.advance(done)
        assert read_beat(tmp_path, "pretrain", KEY).done == 40
    told = [line for line in heartbeat.log.read_text().splitlines() if "/40" in line]
    assert 3 <= len(told) <= 6


def test_the_beat_of_a_dead_process_is_not_alive(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    write(tmp_path, pid=child.pid)
    assert read_beat(tmp_path, "pretrain", KEY) is None
    write(tmp_path, pid=os.getpid())
    assert read_beat(tmp_path, "pretrain", KEY).done == 3


def test_another_machine_is_believed_as_long_as_it_is_heard_of(tmp_path):
    write(tmp_path, host="elsewhere", pid=1)
    assert read_beat(tmp_path, "pretrain", KEY).host == "elsewhere"
    write(tmp_path, host="elsewhere", pid=1, at=time.time() - SILENT_SECONDS - 1)
    assert read_beat(tmp_path, "pretrain", KEY) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"pid": "1"},
        {"pid": "one"},
        {"pid": 10**30},
        {"pid": -1},
        {"pid": 0},
        {"done": "three"},
        {"total": None},
        {"seconds": "long"},
        {"seconds": float("inf")},
        {"at": float("nan")},
        {"at": "now", "host": "elsewhere"},
        {"host": 3},
        {"title": ["x"]},
    ],
)
def test_values_that_are_none_are_no_beat_or_are_read_as_what_they_mean(tmp_path, changes):
    write(tmp_path, **changes)
    beat = read_beat(tmp_path, "pretrain", KEY)
    if beat is not None:
        assert changes == {"pid": "1"}
        assert beat.pid == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b'{"done": 1}', b"3"])
def test_a_damaged_file_is_no_beat(tmp_path, content):
    path = beat_path(tmp_path, "pretrain", KEY)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert read_beat(tmp_path, "pretrain", KEY) is None


def test_what_cannot_be_written_costs_no_stage(tmp_path):
    heartbeat = Heartbeat(tmp_path, "pretrain", KEY)
    heartbeat.log.mkdir()
    heartbeat.path.mkdir()
    heartbeat.line("a word")
    heartbeat.beat(Beat("training"))
    assert list(heartbeat.path.iterdir()) == []


def test_no_temporary_file_stays_behind(tmp_path):
    heartbeat = Heartbeat(tmp_path, "pretrain", KEY)
    with heartbeat.beating(), heartbeat.track("training", 3) as track:
        for done in (1, 2, 3):
            track.advance(done)
    home = home_of(tmp_path, "pretrain")
    assert [path.name for path in home.iterdir()] == [log_path(home, KEY).name]
