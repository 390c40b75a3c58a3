"""`bench store`: listing and merging from the command line."""

import json

import pytest
from tests.makers.stores import Lab
from typer.testing import CliRunner

from contrabench.cli.store import COLUMNS, app, contents, disk_use
from contrabench.errors import RequestError
from contrabench.exchange.archive import pack
from contrabench.store.results import read_rows


@pytest.fixture
def stores(tmp_path):
    Lab.run(tmp_path / "ours", 0)
    Lab.run(tmp_path / "theirs", 0)
    Lab.run(tmp_path / "theirs", 1)
    return tmp_path / "ours", tmp_path / "theirs"


def bench(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_ls_has_one_line_per_protocol_and_the_disk(stores):
    done = bench("ls", "--store", stores[1])
    assert done.exit_code == 0
    for word in ("phantom", "smoke", "10%", "stages/pretrain", "KiB"):
        assert word in done.output


def test_ls_json(stores):
    done = bench("ls", "--store", stores[1], "--json")
    content = json.loads(done.stdout)
    (line,) = content["contents"]
    assert (line["runs"], line["methods"], line["patients"]) == (2, 1, 2)
    assert content["bytes"]["runs"] > 0
    assert content["problems"] == []


def test_ls_names_a_count_once_and_few_labelled_patients_first(tmp_path):
    Lab.run(tmp_path, 0, labels="10%", fraction=0.1, labelled_patients=2)
    for fold, patients in ((0, 15), (1, 16)):
        asked = {"labels": "3 patients", "fraction": 3 / patients, "labelled_patients": 3}
        Lab.run(tmp_path, 1 + fold, fold=fold, **asked)
    Lab.run(tmp_path, 3, labels="1 patient", fraction=1 / 16, labelled_patients=1)
    (line,) = contents(read_rows(tmp_path, COLUMNS)[0])
    assert line["labels"] == ["1 patient", "10%", "3 patients"]


def test_ls_of_nothing(tmp_path):
    done = bench("ls", "--store", tmp_path / "nothing")
    assert isinstance(done.exception, RequestError)
    assert "no finished run" in bench("ls", "--store", tmp_path).output


def test_merge_counts_and_ends_well(stores):
    ours, theirs = stores
    done = bench("merge", theirs, "--into", ours, "--dry-run")
    assert (done.exit_code, "would be taken" in done.output) == (0, True)
    done = bench("merge", theirs, "--into", ours)
    assert done.exit_code == 0
    content = json.loads(bench("merge", theirs, "--into", ours, "--json").stdout)
    assert content["complete"]
    assert (content["taken"], content["duplicates"]["runs"]) == ({}, 2)


def test_a_conflict_and_a_refusal_are_named_with_exit_code_1(stores, tmp_path):
    ours, theirs = stores
    other = Lab.run(tmp_path / "other", 0, dice=0.25)
    (other.parent / ("0" * 16)).mkdir()
    done = bench("merge", tmp_path / "other", theirs, "--into", ours)
    assert done.exit_code == 1
    assert f"conflict: {other}: its rows are not those of {ours / 'runs' / other.name}" in (
        done.output
    )
    assert f"refused: {other.parent / ('0' * 16)}: the file done.json is missing" in done.output
    assert "2 left out; the rest is merged" in done.output
    content = json.loads(bench("merge", tmp_path / "other", "--into", ours, "--json").stdout)
    assert [item["verdict"] for item in content["left_out"]] == ["refused", "conflict"]


def test_a_folder_that_is_no_store_is_a_wrong_request(stores, tmp_path):
    done = bench("merge", tmp_path / "nothing", "--into", stores[0])
    assert isinstance(done.exception, RequestError)
    assert "there is no folder or file" in str(done.exception)
    assert done.exception.exit_code == 2


def test_archives_are_taken_in_beside_stores_and_a_bad_one_is_named(stores, tmp_path):
    ours, theirs = stores
    board = tmp_path / "board"
    pack(theirs, board / "b.zip")
    data = (board / "b.zip").read_bytes()
    (board / "a.zip").write_bytes(data[:-40])
    done = bench("merge", board / "a.zip", board / "b.zip", ours, "--into", tmp_path / "all")
    assert done.exit_code == 1
    assert f"refused: {board / 'a.zip'}: it is no ZIP archive, or not all" in done.output
    assert "1 left out; the rest is merged" in done.output
    content = json.loads(bench("merge", board, "--into", tmp_path / "all", "--json").stdout)
    assert (content["taken"], content["duplicates"]) == ({}, {"runs": 2, "splits": 4})
    assert [item["folder"] for item in content["left_out"]] == [str(board / "a.zip")]
    assert bench("merge", board / "b.zip", "--into", tmp_path / "all").exit_code == 0


def test_a_dry_run_never_says_that_it_merged(stores, tmp_path):
    (tmp_path / "cut.zip").write_bytes(b"no archive")
    target = tmp_path / "all"
    done = bench("merge", tmp_path / "cut.zip", stores[1], "--into", target, "--dry-run")
    assert done.exit_code == 1
    assert "1 would be left out; the rest would be merged.\nNothing was changed." in done.output
    assert "is merged" not in done.output
    assert not target.exists()


def test_where_nothing_was_taken_there_is_no_rest(stores, tmp_path):
    (tmp_path / "cut.zip").write_bytes(b"no archive")
    done = bench("merge", tmp_path / "cut.zip", "--into", stores[0])
    assert done.exit_code == 1
    assert "nothing that can be taken" in done.output
    assert "1 left out." in done.output
    assert "the rest" not in done.output
    assert "nothing finished was found" not in done.output
    (tmp_path / "bare" / "runs").mkdir(parents=True)
    done = bench("merge", tmp_path / "bare", "--into", stores[0])
    assert (done.exit_code, "nothing finished was found" in done.output) == (0, True)


def test_archives_beside_the_runs_of_a_store_are_named(stores, tmp_path):
    ours, theirs = stores
    pack(ours, theirs / "lab.zip")
    done = bench("merge", theirs, "--into", tmp_path / "all")
    assert done.exit_code == 0
    line = f"note: {theirs} is a store itself, so the archives that lie in it are not read: lab.zip"
    assert line in " ".join(done.output.split())


def test_the_store_of_the_configuration_file(stores, tmp_path, monkeypatch):
    ours, theirs = stores
    (tmp_path / "contrabench.toml").write_text('store = "ours"')
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    assert json.loads(bench("ls", "--json").stdout)["store"] == str(ours)
    assert bench("merge", theirs).exit_code == 0
    assert json.loads(bench("ls", "--json").stdout)["contents"][0]["runs"] == 2
    monkeypatch.chdir(tmp_path / "elsewhere")
    words = ("--config", tmp_path / "contrabench.toml", "--json")
    assert json.loads(bench("merge", theirs, *words).stdout)["into"] == str(ours)
    assert json.loads(bench("ls", *words).stdout)["store"] == str(ours)
    assert json.loads(bench("ls", "--store", theirs, *words).stdout)["store"] == str(theirs)
    monkeypatch.setenv("CONTRABENCH_STORE", str(theirs))
    assert json.loads(bench("ls", *words).stdout)["store"] == str(theirs)


def test_one_line_per_protocol(tmp_path):
    Lab.run(tmp_path, 0, stages=False)
    Lab.run(tmp_path, 1, stages=False, variant="mmgl", labels="5%", fraction=0.05, patients=3)
    Lab.run(tmp_path, 2, stages=False, dataset="acdc", labels="100%", fraction=1.0)
    rows, _ = read_rows(tmp_path, COLUMNS)
    first, second = contents(rows)
    assert (first["dataset"], second["dataset"]) == ("acdc", "phantom")
    assert (first["runs"], first["methods"], first["patients"]) == (1, 1, 2)
    assert (second["runs"], second["methods"], second["patients"]) == (2, 2, 3)
    assert second["labels"] == ["5%", "10%"]


def test_an_empty_store_has_no_line(tmp_path):
    assert contents(read_rows(tmp_path, COLUMNS)[0]) == []


def test_disk_use_is_the_sum_of_sizes(tmp_path):
    Lab.run(tmp_path, 0)
    found = disk_use(tmp_path)
    assert set(found) == {
        "runs", "splits", "stages/pretrain", "stages/finetune", "stages/evaluate",
    }  # fmt: skip
    for name, size in found.items():
        files = [path for path in (tmp_path / name).rglob("*") if path.is_file()]
        expected = sum(len(path.read_bytes()) for path in files)
        assert size == expected > 0
