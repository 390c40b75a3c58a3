"""`bench submit`: what it says, what it packs, and how it ends."""

import hashlib
import json
import shutil

import pytest
from tests.makers.stores import Lab

from contrabench.exchange.archive import unpacked
from contrabench.study.spec import StudySpec
from contrabench.study.status import StudyFile, StudyStage


@pytest.fixture
def lab(tmp_path):
    """A store of three runs; study `aaaa0000` has two of them and one that is not finished."""
    store = tmp_path / "lab"
    keys = [Lab.run(store, seed).name for seed in range(3)]
    write_study(store, "aaaa0000", [*keys[:2], "0" * 16])
    write_study(store, "aabb0000", ["1" * 16])
    return store, keys


def write_study(store, name, keys):
    stages = tuple(StudyStage(kind="runs", key=key, title="rows") for key in keys)
    folder = store / "studies" / name
    folder.mkdir(parents=True)
    asked = StudySpec(methods=("simclr",), labels=("10%",), dataset="phantom")
    file = StudyFile(study=name, begun=0.0, spec=asked, stages=stages)
    (folder / "study.json").write_text(file.model_dump_json())


def packed_runs(archive):
    with unpacked(archive) as store:
        return sorted(path.name for path in (store / "runs").iterdir())


def test_it_says_what_was_packed_and_how_to_know_it(lab, tmp_path, commands):
    store, keys = lab
    out = tmp_path / "a.zip"
    code, told, _ = commands("submit", "--store", str(store), "--out", str(out))
    assert code == 0
    data = out.read_bytes()
    for words in (
        hashlib.sha256(data).hexdigest(), f"({len(data)} bytes)", "3 runs, 6 rows", "phantom",
        "scratch (version 1)", "Publish the SHA-256 beside the archive", "name patients and cases",
    ):  # fmt: skip
        assert words in told
    assert "Not finished" not in told
    assert packed_runs(out) == sorted(keys)


def test_json_is_the_listing_without_its_files(lab, tmp_path, commands):
    out = tmp_path / "a.zip"
    code, told, _ = commands("submit", "--store", str(lab[0]), "--out", str(out), "--json")
    content = json.loads(told)
    assert code == 0
    assert content["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert (content["archive"], content["bytes"]) == (str(out), out.stat().st_size)
    assert (content["runs"], content["rows"], content["missing"]) == (3, 6, 0)
    assert content["methods"] == {"scratch": [1]}
    assert "files" not in content


def test_a_study_is_packed_as_far_as_it_is_done(lab, tmp_path, commands):
    store, keys = lab
    words = ("submit", "--store", str(store), "--out", str(tmp_path / "a.zip"), "--study", "aaaa")
    code, told, _ = commands(*words)
    assert code == 0
    assert "Not finished, and so not in it: 1 run of the study" in told
    assert packed_runs(tmp_path / "a.zip") == sorted(keys[:2])
    assert json.loads(commands(*words, "--json")[1])["missing"] == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--study", "bbbb"], "no study in"),
        (["--study", "aa"], "more than one study in"),
        (["--study", "aabb"], "holds no finished run of what was asked for"),
        (["--dataset", "mmwhs"], "holds no finished run of what was asked for"),
    ],
)
def test_a_wrong_request(lab, tmp_path, commands, options, words):
    out = tmp_path / "a.zip"
    code, _, told = commands("submit", "--store", str(lab[0]), "--out", str(out), *options)
    assert code == 2
    assert words in told
    assert not out.exists()


def test_a_damaged_run_of_the_study_ends_it_with_exit_code_1(lab, tmp_path, commands):
    store, keys = lab
    (store / "runs" / keys[0] / "done.json").unlink()
    words = ("submit", "--store", str(store), "--out", str(tmp_path / "a.zip"), "--study", "aaaa")
    code, _, told = commands(*words)
    assert code == 1
    assert f"{store / 'runs' / keys[0]} cannot be submitted: the file done.json is missing" in told
    assert not (tmp_path / "a.zip").exists()
    shutil.rmtree(store / "runs" / keys[0])
    assert commands(*words)[0] == 0


def test_a_narrow_terminal_cuts_nothing_off(lab, tmp_path, commands, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    out = tmp_path / "a_name_that_is_longer_than_a_narrow_terminal.zip"
    told = commands("submit", "--store", str(lab[0]), "--out", str(out))[1]
    joined = "".join(told.split())
    assert hashlib.sha256(out.read_bytes()).hexdigest() in joined
    assert "".join(str(out).split()) in joined
    assert "\N{HORIZONTAL ELLIPSIS}" not in told


def test_a_wrong_place_is_a_wrong_request(lab, tmp_path, commands):
    store, _ = lab
    (tmp_path / "file").write_text("")
    code, _, told = commands(
        "submit", "--store", str(store), "--out", str(tmp_path / "file" / "a.zip")
    )
    assert (code, "cannot be written (" in told) == (2, True)
    assert "looking through" not in told


def test_the_archive_of_another_study_is_kept(lab, tmp_path, commands):
    out = str(tmp_path / "a.zip")
    words = ("submit", "--store", str(lab[0]), "--out", out)
    assert commands(*words)[0] == 0
    code, _, told = commands(*words, "--study", "aaaa")
    assert (code, "a.zip holds 1 run that would not be in it any more" in told) == (2, True)
    assert len(packed_runs(tmp_path / "a.zip")) == 3
