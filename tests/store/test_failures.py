"""What is kept of a stage that failed, and what is no failure at all."""

import errno
import json
import sqlite3

import pytest

from contrabench.errors import DiskFullError, RequestError, RunError
from contrabench.files import damage_of, is_disk_full
from contrabench.progress import Silent
from contrabench.store import failures as module
from contrabench.store.failures import (
    failure_path,
    forget_failure,
    log_path,
    read_failure,
    record_error,
    write_failure,
)
from contrabench.store.stages import StageStore, home_of

KEY = "0123456789abcdef"


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def raised(error):
    """The error with a traceback, as it comes out of a stage."""
    try:
        raise error
    except type(error) as caught:
        return caught


def test_a_failure_is_read_as_it_was_written_the_latest_counts(tmp_path):
    assert read_failure(tmp_path, KEY) is None
    write_failure(tmp_path, KEY, "first")
    write_failure(tmp_path, KEY, "second")
    failure = read_failure(tmp_path, KEY)
    assert (failure.reason, failure.log) == ("second", log_path(tmp_path, KEY))
    assert json.loads(failure_path(tmp_path, KEY).read_text())["at"].endswith("Z")
    forget_failure(tmp_path, KEY)
    forget_failure(tmp_path, KEY)
    assert read_failure(tmp_path, KEY) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff", b"3", b"null"])
def test_a_record_that_cannot_be_read_is_still_a_failure(tmp_path, content):
    failure_path(tmp_path, KEY).write_bytes(content)
    assert "cannot be read" in read_failure(tmp_path, KEY).reason


@pytest.mark.parametrize("error", [RunError("no luck"), RequestError("no such thing")])
def test_an_error_for_users_stays_as_it_is(tmp_path, error):
    assert record_error(tmp_path, KEY, "pretrain", raised(error)) is error
    assert read_failure(tmp_path, KEY).reason == str(error)


def test_an_unforeseen_error_becomes_one_line_and_its_traceback_stays_in_the_log(tmp_path):
    error = raised(KeyError("tap9"))
    shown = record_error(tmp_path, KEY, "pretrain", error)
    assert isinstance(shown, RunError)
    assert "KeyError: 'tap9'" in str(shown)
    assert "\n" not in str(shown)
    assert str(log_path(tmp_path, KEY)) in str(shown)
    assert read_failure(tmp_path, KEY).reason == str(shown)
    log = log_path(tmp_path, KEY).read_text()
    assert "Traceback (most recent call last)" in log
    assert "def raised" not in log
    assert "raise error" in log


def test_the_log_keeps_what_was_told_before(tmp_path):
    log_path(tmp_path, KEY).write_text("step 7\n")
    record_error(tmp_path, KEY, "pretrain", raised(ValueError("x")))
    record_error(tmp_path, KEY, "pretrain", raised(ValueError("y")))
    log = log_path(tmp_path, KEY).read_text()
    assert log.startswith("step 7\n")
    assert log.count("Traceback") == 2


class OutOfMemoryError(RuntimeError):
    """Named as torch names it."""


@pytest.mark.parametrize("error", [MemoryError(), OutOfMemoryError("CUDA out of memory\nmore")])
def test_want_of_memory_says_what_to_do(tmp_path, error):
    text = str(record_error(tmp_path, KEY, "pretrain", raised(error)))
    assert "out of memory" in text
    assert "--accumulate 2" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("error", "is_full"),
    [
        (OSError(errno.ENOSPC, "x"), True),
        (OSError(errno.EDQUOT, "x"), True),
        (OSError(errno.EIO, "x"), False),
        (RuntimeError("PytorchStreamWriter failed: No space left on device (os error 28)"), True),
        (sqlite3.OperationalError("disk I/O error"), False),
        (RuntimeError("no memory"), False),
        (OSError("4096 requested and 512 written"), True),
    ],
)
def test_a_full_disk_is_told_from_other_errors(error, is_full):
    assert is_disk_full(error) is is_full


def test_a_full_disk_is_no_failure_of_the_stage(tmp_path):
    store = StageStore(tmp_path, Silent())
    with pytest.raises(DiskFullError, match="Make room"):
        store.run("pretrain", {"a": 1}, full)
    home = home_of(tmp_path, "pretrain")
    assert not list(home.glob("*.failed.json"))
    assert not list(home.glob("*.log"))
    assert damage_of(store.run("pretrain", {"a": 1}, lambda folder: None)) is None


def test_a_disk_that_is_full_when_the_failure_is_recorded_is_told_as_such(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "write_failure", full)
    error = record_error(tmp_path, KEY, "pretrain", raised(RunError("no luck")))
    assert isinstance(error, DiskFullError)


def test_an_error_that_cannot_be_recorded_is_told_nevertheless(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "write_failure", broken)
    error = raised(RunError("no luck"))
    assert record_error(tmp_path, KEY, "pretrain", error) is error


def broken(*_):
    raise OSError(errno.EIO, "broken")


def test_the_log_is_kept_on_failure_and_removed_on_success(tmp_path):
    store = StageStore(tmp_path, Silent())

    def fail(folder):
        raise ZeroDivisionError

    with pytest.raises(RunError, match="ZeroDivisionError"):
        store.run("pretrain", {}, fail)
    home = home_of(tmp_path, "pretrain")
    (log,) = home.glob("*.log")
    assert "ZeroDivisionError" in log.read_text()
    store.run("pretrain", {}, lambda folder: None)
    assert not list(home.glob("*.log"))
    assert not list(home.glob("*.failed.json"))
