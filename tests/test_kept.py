"""What is kept is served while its origin is the same, is bounded, and never in anybody's way."""

import errno
import gzip
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from contrabench import kept as module
from contrabench.kept import MOST, code_of, contents, hash_of, load, save


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "contrabench"


def made(answers, origin="a"):
    if (found := load("things", origin)) is not None:
        return found
    answer = next(answers)
    save("things", origin, answer)
    return answer


def test_the_second_time_nothing_is_made(home):
    answers = iter([["first", None, 0.1, float("inf")], "second"])
    first = ["first", None, 0.1, float("inf")]
    assert [made(answers), made(answers)] == [first, first]
    assert [file.name for file in home.iterdir()] == ["things-a.json.gz"]


def test_of_another_origin_or_name_it_is_made(home):
    answers = iter(["first", "second"])
    assert [made(answers), made(answers, "b")] == ["first", "second"]
    assert load("other things", "a") is None


def test_the_last_ones_used_are_left(home):
    for number in range(MOST + 3):
        save("things", f"o{number:02d}", number)
        os.utime(home / f"things-o{number:02d}.json.gz", ns=(number, number))
        load("things", "o00")
    save("other", "a", 1)
    left = sorted(file.name for file in home.glob("things-*"))
    assert left == [f"things-o{n:02d}.json.gz" for n in (0, *range(4, MOST + 3))]
    assert load("other", "a") == 1


def test_what_is_too_large_is_not_kept(home, monkeypatch):
    monkeypatch.setattr(module, "LARGEST", 100)
    save("things", "a", os.urandom(200).hex())
    assert load("things", "a") is None
    assert not list(home.glob("*"))


def damaged(data):
    middle = len(data) // 2
    yield from (b"", b"{", data[:-1], data[:middle], gzip.compress(b"{"))
    yield data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    yield gzip.compress(b"[" * 100_000)


def test_a_damaged_file_costs_time_alone(home):
    save("things", "a", list(range(1000)))
    file = home / "things-a.json.gz"
    for spoilt in damaged(file.read_bytes()):
        file.write_bytes(spoilt)
        answers = iter(["fresh"])
        assert [made(answers), made(answers)] == ["fresh", "fresh"]


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    answers = iter(["first", "second"])
    assert [made(answers), made(answers)] == ["first", "second"]


def test_a_full_disk_leaves_nothing_behind(home, monkeypatch):
    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("contrabench.files.sync_file", full)
    answers = iter(["first", "second"])
    assert [made(answers), made(answers)] == ["first", "second"]
    assert not list(home.iterdir())


def test_many_at_once_find_it_whole_or_not_at_all(home):
    content = ["word"] * 20_000

    def one(number):
        if number % 2:
            save("things", "a", content)
        return load("things", "a")

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(one, range(200)))
    assert all(one in (None, content) for one in found)
    assert found.count(content) >= 100
    assert [file.name for file in home.iterdir()] == ["things-a.json.gz"]


def test_every_file_and_every_letter_of_the_code_counts(tmp_path):
    (tmp_path / "inner" / "__pycache__").mkdir(parents=True)
    files = [tmp_path / "a.py", tmp_path / "inner" / "b.csv"]
    for file in files:
        file.write_text("x = 1\n")
    codes = [hash_of(contents([tmp_path]))]
    files[1].write_text("x = 2\n")
    codes.append(hash_of(contents([tmp_path])))
    files[0].rename(tmp_path / "c.py")
    codes.append(hash_of(contents([tmp_path])))
    (tmp_path / "inner" / "__pycache__" / "b.pyc").touch()
    assert len(set(codes)) == 3
    assert hash_of(contents([tmp_path])) == codes[-1]
    assert hash_of(["ab", "c"]) != hash_of(["a", "bc"])


def test_the_engine_the_content_and_the_libraries_are_in_the_code(monkeypatch):
    codes = {code_of.__wrapped__(*packages) for packages in ((), ("contrabench.methods",))}
    monkeypatch.setattr(module, "version", lambda library: "99")
    codes.add(code_of.__wrapped__())
    assert len(codes) == 3
