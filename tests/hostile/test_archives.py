"""Archives of strangers: nothing of them is used, and nothing is written outside its folder."""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from tests.exchange.test_archive_attacks import ATTACKS, NAMES, add
from tests.hostile.refusals import Refusal, refused
from tests.makers.stores import Lab

from contrabench.exchange.archive import pack


@functools.cache
def packed() -> bytes:
    """An archive that is in order, of two runs."""
    with tempfile.TemporaryDirectory() as folder:
        for seed in (0, 1):
            Lab.run(Path(folder) / "lab", seed, stages=False)
        pack(Path(folder) / "lab", Path(folder) / "lab.zip")
        return (Path(folder) / "lab.zip").read_bytes()


def report(attack):
    """A report on an archive after an attack."""

    def make(given):
        (given / "lab.zip").write_bytes(packed())
        attack(given / "lab.zip")
        return ["report", "--store", str(given / "lab.zip")]

    return make


def merged(attack, *words):
    """An archive after an attack, or a store, taken into another one."""

    def make(given):
        (given / "lab.zip").write_bytes(packed())
        attack(given / "lab.zip")
        return ["store", "merge", str(given / "lab.zip"), "--into", "all", *words]

    return make


def refusal(what, attack, says):
    """A report on an archive after an attack of the usual list."""
    return Refusal(what, report(ATTACKS[attack]), f"the archive .* is refused: .*{says}")


def lab(given):
    """A store of one run."""
    Lab.run(given / "lab", 0, stages=False)
    return given / "lab"


def damaged(change):
    """A store whose run is changed, taken into another."""

    def make(given):
        change(next(one for one in (lab(given) / "runs").iterdir() if one.is_dir()))
        return ["store", "merge", str(given / "lab"), "--into", "all"]

    return make


def linked(run):
    """The rows of a run are a link that leads out of it."""
    shutil.move(run / "rows.parquet", run.parents[2] / "elsewhere")
    (run / "rows.parquet").symlink_to(run.parents[2] / "elsewhere")


def submit(*words, beside=None):
    """A store packed, where something lies at the place of the archive."""

    def make(given):
        store = lab(given)
        if beside is not None:
            beside(given)
        return [
            "submit",
            "--store",
            str(store),
            *(word.replace("GIVEN", str(given)) for word in words),
        ]

    return make


def merge_into_a_file(given):
    (given / "file").write_text("mine")
    return ["store", "merge", str(lab(given)), "--into", str(given / "file")]


def nothing(path):
    pass


def a_pipe(path):
    path.unlink()
    os.mkfifo(path)


REFUSALS = [
    refusal("an archive cut off", "cut off", "no ZIP archive"),
    refusal("an archive without its beginning", "without its beginning", ""),
    refusal("no archive at all", "no ZIP", "no ZIP archive"),
    refusal("an empty archive", "empty", "no ZIP archive"),
    refusal("a flipped bit", "a flipped bit", ""),
    refusal("a file longer than its checksum", "a longer file", ""),
    refusal("a bomb", "a bomb", "compressed"),
    refusal("a bomb that says it is stored", "a bomb that says it is stored", ""),
    refusal("a file that says it has 2 GiB", "huge", ""),
    refusal("files that overlap", "overlapping", "larger than the archive"),
    refusal("an encrypted file", "encrypted", ""),
    refusal("the same file twice", "a file twice", "there twice"),
    refusal("a link in an archive", "a link", "link or no ordinary file"),
    refusal("a device in an archive", "a device", "link or no ordinary file"),
    refusal("a table of contents of a gigabyte", "a large table of contents", "more files"),
    refusal("an archive in the form for large ones", "zip64", "more files"),
    refusal("an archive without its listing", "no listing", "is missing"),
    refusal("a listing nested too deep", "a deep listing", "no listing"),
    refusal("a file that is not listed", "an unlisted file", "not listed"),
    refusal("a file that is listed and lost", "a lost file", "missing, though listed"),
    refusal("an archive of a newer contrabench", "a newer format", "update contrabench"),
    refusal("rows of another run", "rows of another run", ""),
    refusal("rows of another protocol", "rows of another protocol", "another protocol"),
    refusal("rows without scores", "scores dropped", "no Dice"),
    refusal("rows that are no Parquet", "no rows of a run", "cannot be read"),
    refusal("a run under another name", "a smaller budget", ""),
    *(
        Refusal(
            f"a file named {name!r}",
            report(lambda path, name=name: add(path, name)),
            "no file of a submission is called that",
        )
        for name in NAMES
        if "\0" not in name
    ),
    Refusal("an archive that is a pipe", report(a_pipe), "is no|cannot be read|holds no"),
    Refusal(
        "a merge of an archive that leads out of its folder",
        merged(lambda path: add(path, "../../../out.json")),
        "refused: .*no file of a submission is called that",
        code=1,
    ),
    Refusal(
        "a merge of an archive with a flipped bit",
        merged(ATTACKS["a flipped bit"]),
        "refused: ",
        code=1,
    ),
    Refusal(
        "a merge of something that is not there",
        lambda given: ["store", "merge", str(given / "gone.zip"), "--into", "all"],
        "gone.zip",
    ),
    Refusal(
        "a merge of a store into itself",
        lambda given: ["store", "merge", str(lab(given)), "--into", str(given / "lab")],
        "itself|same|is the store",
    ),
    Refusal(
        "a merge into a file",
        merge_into_a_file,
        "file is a file; name another store",
    ),
    Refusal(
        "a merge of a store whose run has a link",
        damaged(linked),
        "refused: .*rows.parquet is a link",
        code=1,
    ),
    Refusal(
        "a merge of a store whose run was changed",
        damaged(lambda run: (run / "rows.parquet").write_bytes(b"PAR1")),
        "refused: .*rows.parquet has changed",
        code=1,
    ),
    Refusal(
        "a merge of a store whose run has a pickle",
        damaged(lambda run: (run / "done.json").write_text('{"files": {"x.pkl": "0"}}')),
        "refused: .*x.pkl",
        code=1,
    ),
    Refusal("a submission of another suffix", submit("--out", "GIVEN/x.tar"), "a name in .zip"),
    Refusal(
        "a submission over something else",
        submit("--out", "GIVEN/x.zip", beside=lambda given: (given / "x.zip").write_text("mine")),
        "is there and no archive of runs",
    ),
    Refusal(
        "a submission below a file",
        submit("--out", "GIVEN/x/y.zip", beside=lambda given: (given / "x").write_text("mine")),
        "cannot be written",
    ),
    Refusal(
        "a submission of no run", submit("--out", "x.zip", "--dataset", "acdc"), "nothing to submit"
    ),
]


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.what)
def test_refused(case, tmp_path):
    refused(case, tmp_path)


def test_the_archive_is_sound_before_it_is_attacked(tmp_path):
    case = Refusal("a sound archive", report(nothing), "scratch", code=0)
    refused(case, tmp_path)
