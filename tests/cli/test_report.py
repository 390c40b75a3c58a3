"""`bench report`: output, filters, empty stores, and what it must not import."""

import json
import pathlib
import subprocess
import sys

import pandas as pd
import pytest
import typer
from tests.store.conftest import Lab
from typer.testing import CliRunner

from contrabench.cli.report import EPILOG, report
from contrabench.errors import RequestError
from contrabench.protocol import digest
from contrabench.store.archive import pack
from contrabench.store.rows import ResultRow, write_rows


def write(store, variant, labels, fraction, shift, protocol="ab12cd34ef56ab12"):
    key = digest({"variant": variant, "labels": labels, "protocol": protocol})
    rows = [
        ResultRow(
            run=key, protocol=protocol, dataset="phantom", budget="smoke",
            method=variant, variant=variant, method_version=1, recipe="common",
            family="reference", fidelity="re-implementation",
            deviations="", labels=labels, fraction=fraction, labelled_patients=2,
            train_patients=8, test_patients=4, fold=0, folds=1, draw=0, seed=0,
            patient=f"p{p}", case=f"p{p}_ed", structure="LV", dice=0.5 + 0.01 * p + shift,
            asd_mm=2.0, hd95_mm=4.0, surface_dice_2mm=0.5, asd_voxel=None, asd_medpy_voxel=1.0,
            asd_slice2d_mm=1.0, reference_voxels=10, prediction_voxels=10, flag="",
            metric_contract=1,
        )
        for p in range(4)
    ]  # fmt: skip
    folder = store / "runs" / key
    folder.mkdir(parents=True)
    write_rows(folder / "rows.parquet", rows)
    (folder / "done.json").write_text("{}")


@pytest.fixture
def store(tmp_path):
    write(tmp_path, "scratch", "10%", 0.1, 0.0)
    write(tmp_path, "mmgl", "10%", 0.1, 0.1)
    write(tmp_path, "scratch", "100%", 1.0, 0.2)
    return tmp_path


@pytest.fixture
def bench():
    app = typer.Typer(add_completion=False)
    app.command("report", epilog=EPILOG)(report)
    app.command("other")(lambda: None)

    def run(*words):
        return CliRunner().invoke(app, ["report", *map(str, words)])

    return run


def test_the_default_is_a_table_on_the_screen(bench, store):
    done = bench("--store", store)
    assert done.exit_code == 0
    assert "phantom, smoke budget, 10% of the labels" in done.stdout
    assert "phantom, smoke budget, across label budgets" in done.stdout
    # Full supervision alone is a row of the others, and a section only if asked for.
    assert "100% of the labels" not in done.stdout
    alone = bench("--store", store, "--labels", "100%")
    assert "phantom, smoke budget, 100% of the labels" in alone.stdout
    assert f"Made by: bench report --store {store} --format terminal" in done.stdout.replace(
        "\n", " "
    )


def test_store_from_the_environment(bench, store, monkeypatch):
    monkeypatch.setenv("CONTRABENCH_STORE", str(store))
    assert bench().stdout == bench("--store", store).stdout


def test_a_label_filter_keeps_full_supervision_as_a_reference(bench, store):
    text = bench("--store", store, "--labels", "10%", "--format", "markdown").stdout
    assert text.count("### ") == 1
    assert "across label budgets" not in text
    assert "| full supervision | none | 0.715 |" in text


def test_json_holds_the_numbers_of_the_table(bench, store):
    data = json.loads(bench("--store", store, "--labels", "10%", "--json").stdout)
    (section,) = data["sections"]
    tables = {table["name"]: table["rows"] for table in section["tables"]}
    by_name = {row["Method"]: row for row in tables["leaderboard"]}
    assert by_name["mmgl"]["Dice"] == pytest.approx(0.615)
    assert by_name["mmgl"]["p"] == 2 / 2**4
    assert by_name["scratch"]["p"] is None
    assert [row["Patients"] for row in tables["runs"]] == [4, 4, 4]
    assert data["command"].endswith("--format json --labels 10%")


def test_json_is_the_format_of_that_name(bench, store):
    assert bench("--store", store, "--json").stdout == (
        bench("--store", store, "--format", "json").stdout
    )


def test_a_binary_format_needs_a_file(bench, store, tmp_path):
    error = bench("--store", store, "--format", "parquet").exception
    assert isinstance(error, RequestError)
    assert "--out report.parquet" in str(error)
    path = tmp_path / "report.parquet"
    assert bench("--store", store, "--format", "parquet", "--out", path).exit_code == 0
    first = path.read_bytes()
    bench("--store", store, "--format", "parquet", "--out", path)
    assert path.read_bytes() == first
    table = pd.read_parquet(path)
    found = table[(table["Method"] == "mmgl") & (table["column"] == "Dice vs scratch")]
    assert found["value"].tolist() == pytest.approx([0.1])
    assert found["text"].tolist() == ["+0.100"]


def test_out_writes_the_file_and_nothing_on_the_screen(bench, store, tmp_path):
    path = tmp_path / "report.csv"
    done = bench("--store", store, "--format", "csv", "--out", path)
    assert done.stdout == ""
    assert path.read_text() == bench("--store", store, "--format", "csv").stdout


def test_runs_left_out_are_named_beside_the_table(bench, store):
    bad = store / "runs" / "bad"
    bad.mkdir()
    (bad / "rows.parquet").write_text("not parquet")
    (bad / "done.json").write_text("{}")
    done = bench("--store", store)
    assert done.exit_code == 0
    assert "run bad is left out" in done.stderr
    assert "bad" not in done.stdout.replace(str(store), "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--labels", "15%"], "there are: 10%, 100%"),
        (["--dataset", "acdc"], "there are: phantom"),
        (["--format", "papyrus"], "papyrus"),
    ],
)
def test_a_wrong_word_is_answered_with_the_right_ones(bench, store, words, message):
    error = bench("--store", store, *words).exception
    assert isinstance(error, RequestError)
    assert message in str(error)


def test_an_empty_store_is_one_line_and_exit_2(bench, tmp_path):
    error = bench("--store", tmp_path / "none").exception
    assert isinstance(error, RequestError)
    assert error.exit_code == 2
    assert "\n" not in str(error)
    assert "no finished run" in str(error)


def test_help_gives_an_example(bench):
    assert "bench report --labels 10% --format markdown" in bench("--help").stdout


def test_neither_help_nor_report_loads_torch(store):
    code = (
        "import sys\n"
        "from contrabench.cli.report import report\n"
        "heavy = ('numpy', 'pandas', 'pyarrow', 'scipy', 'torch')\n"
        "print([name for name in heavy if name in sys.modules])\n"
        "from pathlib import Path\n"
        f"report(store=Path({str(store)!r}), out=Path({str(store / 'r.txt')!r}))\n"
        "print([name for name in ('torch', 'monai', 'lightly') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "[]"]


def compared(bench, store, a, b, *words):
    return bench("--store", store, "--compare", a, b, "--json", *words)


def test_two_stores_side_by_side(bench, store, tmp_path):
    other = tmp_path / "other"
    write(other, "scratch", "10%", 0.1, 0.0)
    write(other, "mmgl", "10%", 0.1, 0.15)
    done = compared(bench, store, store, other)
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    assert data["command"].split()[4:7] == ["--compare", str(store), str(other)]
    tables = {t["name"]: t for section in data["sections"] for t in section["tables"]}
    moved = {row["Method"]: row for row in tables["side by side"]["rows"]}
    assert moved["mmgl"]["B minus A"] == pytest.approx(0.05)
    assert moved["scratch"]["B minus A"] == 0


def test_the_protocols_of_one_store_side_by_side(bench, store):
    write(store, "mmgl", "10%", 0.1, 0.3, protocol="abffffffffffffff")
    data = json.loads(compared(bench, store, "ab12", "abff").stdout)
    assert data["sections"][0]["title"].endswith("what changed")
    error = compared(bench, store, "ab", "abff").exception
    assert isinstance(error, RequestError)
    assert "not the only study or protocol" in str(error)
    assert "ab12cd34ef56ab12, abffffffffffffff" in str(error)


@pytest.mark.parametrize("name", ["nowhere", "0123"])
def test_a_side_that_is_nothing_is_one_line(bench, store, name):
    error = compared(bench, store, store, name).exception
    assert isinstance(error, RequestError)
    assert f"'{name}' is no path, and no study or protocol" in str(error)


def test_a_folder_of_archives_is_reported_like_a_store(bench, tmp_path):
    made = tmp_path / "made"
    Lab.run(made, seed=1, variant="scratch")
    board = tmp_path / "board"
    board.mkdir()
    pack(made, board / "a.zip")
    (board / "b.zip").write_bytes(b"no archive")
    done = bench("--store", board, "--json")
    assert done.exit_code == 0, done.output
    assert "b.zip is left out" in done.stderr
    data = json.loads(done.stdout)
    assert data["command"].startswith(f"bench report --store {board} ")
    assert [row["Method"] for row in data["sections"][0]["tables"][0]["rows"]] == ["scratch"]


def test_pictures_that_cannot_be_drawn_are_one_note(bench, store, tmp_path):
    words = ("--store", store, "--labels", "10%", "--pictures", tmp_path / "pictures")
    done = bench(*words, "--format", "markdown", "--out", tmp_path / "r.md")
    assert done.exit_code == 0, done.output
    assert done.stderr.count("needs the predictions") == 1
    assert list((tmp_path / "pictures").iterdir()) == []
    assert "--pictures" in (tmp_path / "r.md").read_text()


def test_a_comparison_has_no_pictures(bench, store):
    error = compared(bench, store, store, store, "--pictures", "x").exception
    assert isinstance(error, RequestError)
    assert "no gallery" in str(error)


@pytest.mark.parametrize("option", ["--out", "--pictures"])
def test_a_place_that_cannot_be_written_is_one_line(bench, store, tmp_path, option):
    (tmp_path / "file").write_text("")
    error = bench("--store", store, option, tmp_path / "file" / "below").exception
    assert isinstance(error, RequestError)
    assert "cannot be written (" in str(error)
    assert "; choose another" in str(error)
    assert option in str(error)


def test_a_failed_write_leaves_the_file_as_it_was(bench, store, tmp_path, monkeypatch):
    out = tmp_path / "made" / "r.md"
    assert bench("--store", store, "--out", out).exit_code == 0
    before = out.read_text()

    def fail(self, data):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pathlib.Path, "write_bytes", fail)
    error = bench("--store", store, "--labels", "10%", "--out", out).exception
    assert "cannot be written (Permission denied)" in str(error)
    assert out.read_text() == before
    assert [path.name for path in out.parent.iterdir()] == ["r.md"]
