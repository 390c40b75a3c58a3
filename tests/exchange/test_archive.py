"""Packing: what goes in, the same bytes for the same runs, and the way back."""

import errno
import hashlib
import json
import os
import shutil
import time
import zipfile

import numpy as np
import pytest
from pandas.testing import assert_frame_equal

from contrabench.errors import DiskFullError, RequestError, RunError
from contrabench.exchange import archive as packing
from contrabench.exchange.archive import pack
from contrabench.exchange.merge import merge_stores
from contrabench.exchange.reading import results_at
from contrabench.files import MARKER, seal_folder
from contrabench.store.results import read_rows


@pytest.fixture
def store(tmp_path, lab):
    """Three runs with weights and predictions, and a manifest that none of them names."""
    for seed in range(3):
        lab.run(tmp_path / "lab", seed, dice=0.25 * seed)
    shutil.copytree(tmp_path / "lab", tmp_path / "other")
    lab.run(tmp_path / "other", 7, stages=False)
    for path in (tmp_path / "other" / "splits").iterdir():
        shutil.copy(path, tmp_path / "lab" / "splits")
    return tmp_path / "lab"


def content(archive):
    with zipfile.ZipFile(archive) as file:
        return {name: file.read(name) for name in file.namelist()}


def test_an_archive_holds_rows_records_and_named_manifests_alone(store, tmp_path):
    packed = pack(store, tmp_path / "a.zip")
    held = content(tmp_path / "a.zip")
    listing = json.loads(held.pop("submission.json"))
    expected = {
        path.relative_to(store).as_posix(): path.read_bytes()
        for path in [*store.glob("runs/*/*"), *store.glob("splits/*.json")]
    }
    unnamed = set(expected) - set(held)
    numbers = [json.loads(expected[name]) for name in unnamed]
    assert [one.get("seed", one.get("draw")) for one in numbers] == [7, 7]
    assert held == {name: expected[name] for name in held}
    assert listing["files"] == {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        for name, data in held.items()
    }
    assert (listing["runs"], listing["rows"]) == (3, len(read_rows(store)[0]))
    assert (listing["datasets"], listing["methods"]) == (["phantom"], {"scratch": [1]})
    assert listing["protocols"] == sorted(set(read_rows(store)[0]["protocol"]))
    data = (tmp_path / "a.zip").read_bytes()
    assert (packed.size, packed.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    for word in (str(tmp_path), os.uname().nodename, time.strftime("%Y-%m")):
        assert word.encode() not in data


def test_there_and_back(store, tmp_path):
    first = pack(store, tmp_path / "a.zip")
    result = merge_stores([tmp_path / "a.zip"], tmp_path / "new")
    assert (result.complete, result.taken) == (True, {"runs": 3, "splits": 6})
    assert_frame_equal(read_rows(tmp_path / "new")[0], read_rows(store)[0])
    again = pack(tmp_path / "new", tmp_path / "deep" / "er" / "b.zip")
    assert (again.sha256, again.listing) == (first.sha256, first.listing)
    board = results_at(tmp_path / "a.zip")
    assert_frame_equal(board.rows, read_rows(store)[0])
    assert board.problems == ()


def test_times_permissions_and_places_do_not_change_the_bytes(store, tmp_path):
    first = pack(store, tmp_path / "a.zip")
    shutil.copytree(store, tmp_path / "moved", copy_function=shutil.copyfile)
    for path in (tmp_path / "moved").rglob("*.*"):
        os.utime(path, (1e9, 1e9))
        path.chmod(0o600)
    assert pack(tmp_path / "moved", tmp_path / "b.zip").sha256 == first.sha256


def test_only_what_was_asked_for(store, tmp_path, lab):
    keys = {path.name for path in store.glob("runs/*") if path.is_dir()}
    wanted = sorted(keys)[:2]
    packed = pack(store, tmp_path / "a.zip", runs=[*wanted, "0" * 16])
    assert {name.split("/")[1] for name in packed.listing["files"] if "runs" in name} == {*wanted}
    assert pack(store, tmp_path / "a.zip", dataset="phantom").listing["runs"] == 3
    with pytest.raises(RequestError, match="no finished run of what was asked for"):
        pack(store, tmp_path / "a.zip", dataset="mmwhs")
    with pytest.raises(RequestError, match="no finished run of what was asked for"):
        pack(store, tmp_path / "a.zip", runs=["0" * 16])
    with pytest.raises(RequestError, match="no finished run, so"):
        pack(tmp_path / "nowhere", tmp_path / "a.zip")
    with pytest.raises(RequestError, match=r"a name in \.zip"):
        pack(store, tmp_path / "a.tar")


def changed_rows(run):
    (run / "rows.parquet").write_bytes(b"PAR1")
    return "rows.parquet has changed"


def lost_rows(run):
    (run / "rows.parquet").unlink()
    return "rows.parquet is missing"


def lost_marker(run):
    (run / MARKER).unlink()
    return "done.json is missing"


def predictions(run):
    np.savez(run / "predictions.npz", x=np.zeros(3))
    (run / MARKER).unlink()
    seal_folder(run)
    return "it holds predictions.npz, and a submission takes rows"


def lost_manifest(run):
    key = json.loads((run / "run.json").read_text())["manifests"]["split"]
    (run.parents[1] / "splits" / f"split-{key}.json").unlink()
    return f"splits/split-{key}.json', which it names, is not there"


def manifest_elsewhere(run):
    record = json.loads((run / "run.json").read_text())
    record["manifests"]["split"] = "/../../../etc/passwd"
    (run / "run.json").write_text(json.dumps(record))
    (run / MARKER).unlink()
    seal_folder(run)
    return "which it names, is not there or bad"


FAULTS = [changed_rows, lost_rows, lost_marker, predictions, lost_manifest, manifest_elsewhere]


@pytest.mark.parametrize("plant", FAULTS, ids=lambda plant: plant.__name__)
def test_a_damaged_run_is_named_and_what_was_there_stays(plant, store, tmp_path):
    out = tmp_path / "out" / "a.zip"
    pack(store, out)
    before = out.read_bytes()
    run = sorted(path for path in store.glob("runs/*") if path.is_dir())[1]
    reason = plant(run)
    with pytest.raises(RunError) as raised:
        pack(store, out)
    assert str(raised.value).startswith(f"{run} cannot be submitted: ")
    assert reason in str(raised.value)
    assert [path.name for path in out.parent.iterdir()] == ["a.zip"]
    assert out.read_bytes() == before


def test_a_run_of_another_dataset_may_be_damaged(store, tmp_path, lab):
    run = lab.run(store, 9, stages=False)
    spec = json.loads((run / "spec.json").read_text())
    spec["protocol"]["dataset"] = "mmwhs"
    (run / "spec.json").write_text(json.dumps(spec))
    assert pack(store, tmp_path / "a.zip", dataset="phantom").listing["runs"] == 3
    (run / "spec.json").write_text("{")
    with pytest.raises(RunError, match=run.name):
        pack(store, tmp_path / "a.zip", dataset="phantom")


def test_too_much_for_one_archive(store, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "MOST_FILES", 18)
    with pytest.raises(RequestError, match="too much for one archive"):
        pack(store, tmp_path / "a.zip")
    monkeypatch.setattr(packing, "MOST_FILES", 19)
    pack(store, tmp_path / "a.zip")


@pytest.mark.parametrize(
    ("number", "expected"), [(errno.ENOSPC, DiskFullError), (errno.EACCES, RequestError)]
)
def test_an_archive_that_cannot_be_written_leaves_nothing(
    store, tmp_path, monkeypatch, number, expected
):
    def fail(self, info, data):
        if "rows.parquet" in info.filename:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(zipfile.ZipFile, "writestr", fail)
    with pytest.raises(expected) as raised:
        pack(store, tmp_path / "out" / "a.zip")
    assert type(raised.value) is expected
    assert not list((tmp_path / "out").iterdir())


def test_a_place_that_cannot_be_written_is_told_before_the_work(store, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")

    def survey(*arguments):
        raise AssertionError("the work has begun")

    monkeypatch.setattr(packing, "survey", survey)
    with pytest.raises(RequestError, match=r"cannot be written \(.+\); choose"):
        pack(store, tmp_path / "file" / "a.zip")


def test_an_archive_is_replaced_only_by_one_with_all_its_runs(store, tmp_path, lab):
    out = tmp_path / "a.zip"
    first = pack(store, out, runs=[next(store.glob("runs/*")).name])
    whole = pack(store, out)
    assert first.listing["runs"] == 1 < whole.listing["runs"] == 3
    assert pack(store, out).sha256 == whole.sha256
    lab.run(tmp_path / "elsewhere", 9)
    before = out.read_bytes()
    with pytest.raises(RequestError, match="a.zip holds 3 runs that would not be in it any more"):
        pack(tmp_path / "elsewhere", out)
    assert out.read_bytes() == before


@pytest.mark.parametrize("kind", ["folder", "text", "foreign"])
def test_what_is_no_archive_of_runs_is_never_replaced(store, tmp_path, kind):
    out = tmp_path / "a.zip"
    if kind == "folder":
        out.mkdir()
    elif kind == "text":
        out.write_text("my thesis")
    else:
        with zipfile.ZipFile(out, "w") as content:
            content.writestr("thesis.tex", "text")
    size = out.stat().st_size
    with pytest.raises(RequestError, match="is there and no archive of runs"):
        pack(store, out)
    assert out.stat().st_size == size


def test_a_run_that_is_changed_while_it_is_packed(store, tmp_path, monkeypatch):
    real = packing.survey

    def survey(*arguments):
        found = real(*arguments)
        next(store.glob("runs/*/run.json")).write_text("{}")
        return found

    monkeypatch.setattr(packing, "survey", survey)
    with pytest.raises(RunError, match="was changed meanwhile"):
        pack(store, tmp_path / "out" / "a.zip")
    assert not list((tmp_path / "out").iterdir())
