"""`bench report`: output, filters, empty stores, and what it must not import."""

import json
import pathlib
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
from tests.makers.stores import Lab
from tests.makers.studies import plan_tiny
from typer.testing import CliRunner

from contrabench.cli.app import app
from contrabench.cli.report import named_first
from contrabench.contracts.registry import reports
from contrabench.errors import RequestError, RunError
from contrabench.exchange.archive import pack
from contrabench.files import seal_folder
from contrabench.protocol import digest
from contrabench.store.rows import ResultRow, write_rows
from contrabench.study.status import write_study


def write(store, variant, labels, fraction, shift, protocol="ab12cd34ef56ab12", dataset="phantom"):
    key = digest({"variant": variant, "labels": labels, "protocol": protocol})
    rows = [
        ResultRow(
            run=key, protocol=protocol, dataset=dataset, budget="smoke",
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
    seal_folder(folder)


@pytest.fixture
def store(tmp_path):
    write(tmp_path, "scratch", "10%", 0.1, 0.0)
    write(tmp_path, "mmgl", "10%", 0.1, 0.1)
    write(tmp_path, "scratch", "100%", 1.0, 0.2)
    return tmp_path


@pytest.fixture
def bench():
    def run(*words):
        return CliRunner().invoke(app, ["report", *map(str, words)])

    return run


def test_the_default_is_one_screen_and_all_of_it_is_asked_for(bench, store):
    done = bench("--store", store)
    assert done.exit_code == 0
    assert len(done.stdout.splitlines()) <= 40
    assert f"bench report --store {store} --all" in done.stdout
    whole = bench("--store", store, "--all")
    assert "phantom, smoke budget, 10% of the labels" in whole.stdout
    assert "phantom, smoke budget, across label budgets" in whole.stdout
    # Full supervision alone is a row of the others, and a section only if asked for.
    assert "100% of the labels" not in whole.stdout
    alone = bench("--store", store, "--labels", "100%", "--all")
    assert "phantom, smoke budget, 100% of the labels" in alone.stdout
    assert f"Made by: bench report --store {store}" in whole.stdout.replace("\n", " ")


def test_one_table_is_shown_alone_in_any_format(bench, store):
    shown = bench("--store", store, "--labels", "10%", "--section", "runs").stdout
    assert "Family" in shown
    assert "Holm" not in shown
    told = bench("--store", store, "--labels", "10%", "--section", "runs", "--json").stdout
    names = {table["name"] for one in json.loads(told)["sections"] for table in one["tables"]}
    assert names == {"runs"}
    wrong = bench("--store", store, "--section", "run")
    assert isinstance(wrong.exception, RequestError)
    assert "did you mean 'runs'?" in str(wrong.exception)


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
    found = table[(table["method"] == "mmgl") & (table["column"] == "Dice vs scratch")]
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
    seal_folder(bad)
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


@pytest.mark.parametrize(
    ("name", "message"),
    [("empty", "holds no finished run"), ("none", "there is no folder or file ")],
)
def test_an_empty_store_is_one_line_and_exit_2(bench, tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    error = bench("--store", tmp_path / name).exception
    assert isinstance(error, RequestError)
    assert error.exit_code == 2
    assert "\n" not in str(error)
    assert message in str(error)
    assert "`bench run`" in str(error)


def test_help_gives_an_example(bench):
    assert "bench report --labels 10% --format markdown" in bench("--help").stdout


def test_neither_help_nor_report_loads_torch(store):
    code = (
        "import sys\n"
        "from contrabench.cli.app import main\n"
        "heavy = ('numpy', 'pandas', 'pyarrow', 'scipy', 'torch')\n"
        "print([name for name in heavy if name in sys.modules])\n"
        "try:\n"
        f"    main(['report', '--store', {str(store)!r}, '--out', {str(store / 'r.txt')!r}])\n"
        "except SystemExit as ended:\n"
        "    assert not ended.code\n"
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
    assert data["command"].startswith(f"bench report --compare {store} {other} ")
    assert data["command"].split()[5:] == ["--format", "json"]
    tables = {t["name"]: t for section in data["sections"] for t in section["tables"]}
    moved = {row["Method"]: row for row in tables["side by side"]["rows"]}
    assert moved["mmgl"]["Dice vs A"] == pytest.approx(0.05)
    assert moved["scratch"]["Dice vs A"] == 0


def test_the_protocols_of_one_store_side_by_side(bench, store):
    write(store, "mmgl", "10%", 0.1, 0.3, protocol="abffffffffffffff")
    data = json.loads(compared(bench, store, "ab12", "abff").stdout)
    assert data["sections"][0]["title"].endswith("what changed")
    error = compared(bench, store, "ab", "abff").exception
    assert isinstance(error, RequestError)
    assert "more than one study or protocol" in str(error)
    assert "ab12cd34ef56ab12, abffffffffffffff" in str(error)


@pytest.mark.parametrize("name", ["nowhere", "0123"])
def test_a_side_that_is_nothing_is_one_line(bench, store, name):
    error = compared(bench, store, store, name).exception
    assert isinstance(error, RequestError)
    assert str(error).startswith("no study or protocol in ")


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
    assert done.stderr.count("could be drawn") == 1
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


# -- datasets and label budgets together ---------------------------------------------


@pytest.fixture
def two_datasets(store):
    """Budgets that one of the datasets has alone."""
    write(store, "scratch", "50%", 0.5, 0.1)
    write(store, "scratch", "20%", 0.2, 0.0, protocol="0" * 16, dataset="mmwhs")
    write(store, "mmgl", "20%", 0.2, 0.1, protocol="0" * 16, dataset="mmwhs")
    return store


@pytest.mark.parametrize("name", ["terminal", "markdown", "csv", "json"])
def test_a_budget_that_only_another_dataset_has_is_one_line(bench, two_datasets, name):
    words = ("--store", two_datasets, "--format", name)
    error = bench(*words, "--dataset", "mmwhs", "--labels", "10%").exception
    assert isinstance(error, RequestError)
    assert "no finished run on mmwhs has --labels 10%; there are: 20%" in str(error)
    assert bench(*words, "--dataset", "mmwhs", "--labels", "20%").exit_code == 0


def test_either_dataset_may_have_the_budget(bench, two_datasets):
    words = ("--store", two_datasets, "--dataset", "mmwhs", "--dataset", "phantom")
    assert bench(*words, "--labels", "10%", "--labels", "20%").exit_code == 0


@pytest.mark.parametrize(("number", "meant"), [("10", "10%"), ("0.2", "20%"), ("0.15", None)])
def test_budgets_are_listed_from_few_labels_to_many(bench, two_datasets, number, meant):
    error = bench("--store", two_datasets, "--labels", number).exception
    hint = f"did you mean {meant}? There are" if meant else "there are"
    assert str(error).endswith(f"--labels {number}; {hint}: 10%, 20%, 50%, 100%")


def test_the_side_that_lacks_a_budget_is_named(bench, store, tmp_path):
    other = tmp_path / "other"
    write(other, "scratch", "50%", 0.5, 0.0)
    error = compared(bench, store, store, other, "--labels", "10%").exception
    assert isinstance(error, RequestError)
    assert f"no finished run of B ({other}) has --labels 10%; there are: 50%" in str(error)


# -- the format ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("r.md", "markdown"), ("r.TEX", "latex"), ("r.csv", "csv"), ("r.json", "json"),
        ("r.txt", "terminal"), ("r", "terminal"),
        ("r.readme.md", "readme"), ("README.md", "markdown"), ("r.svg", "svg"),
    ],
)  # fmt: skip
def test_the_suffix_of_the_file_chooses_the_format(bench, store, tmp_path, file, name):
    out = tmp_path / "out" / file
    assert bench("--store", store, "--out", out).exit_code == 0
    # A screen has the answer alone.
    words = ["--all"] if name == "terminal" else []
    assert out.read_text() == bench("--store", store, "--format", name, *words).stdout


@pytest.mark.parametrize("name", ["latex", "readme", "json"])
def test_all_tables_on_the_screen_change_no_other_format(bench, store, name):
    whole = bench("--store", store, "--format", name, "--all")
    assert whole.stdout == bench("--store", store, "--format", name).stdout != ""


@pytest.mark.parametrize(("suffix", "begin"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_a_figure_is_a_file(bench, store, tmp_path, suffix, begin):
    out = tmp_path / f"figure.{suffix}"
    assert bench("--store", store, "--out", out).exit_code == 0
    assert out.read_bytes().startswith(begin)
    refused = bench("--store", store, "--format", suffix).exception
    assert f"{suffix} is no text for a screen; name a file with --out report.{suffix}" in str(
        refused
    )


def test_the_word_goes_before_the_suffix(bench, store, tmp_path):
    out = tmp_path / "report.html"
    assert bench("--store", store, "--format", "csv", "--out", out).exit_code == 0
    assert out.read_text() == bench("--store", store, "--format", "csv").stdout
    assert bench("--store", store, "--json", "--out", out).exit_code == 0
    json.loads(out.read_text())


def test_a_page_is_a_page(bench, store, tmp_path):
    out = tmp_path / "report.html"
    assert bench("--store", store, "--out", out).exit_code == 0
    assert out.read_text().lower().startswith("<!doctype html>")


def test_a_suffix_of_no_format_is_not_guessed_at(bench, store, tmp_path):
    out = tmp_path / "report.docx"
    error = bench("--store", store, "--out", out).exception
    assert isinstance(error, RequestError)
    assert "end in .docx; name one with --format" in str(error)
    assert ".md, .parquet, .pdf, .png, .readme.md, .svg, .tex, .txt" in str(error)
    assert not out.exists()


def test_json_and_another_format_contradict_each_other(bench, store):
    error = bench("--store", store, "--json", "--format", "csv").exception
    assert isinstance(error, RequestError)
    assert "--json and --format csv contradict each other" in str(error)
    assert bench("--store", store, "--json", "--format", "json").exit_code == 0


FAULTY = """
from contrabench import ReportFormat, register_report
from contrabench.contracts.report import ReportInfo

@register_report("{name}")
class Faulty(ReportFormat):
    info = ReportInfo(title="faulty", suffix=".faulty")

    {body}
"""
RENDER = "def render(self, report):\n        "
MADE = RENDER + "return report.command"


@pytest.fixture
def faulty(tmp_path, monkeypatch):
    """Makes a plug-in of a format, which is forgotten afterwards."""
    monkeypatch.setenv("CONTRABENCH_PLUGINS", "")
    reports.entries()
    for part in ("_registered", "_collisions", "_failed"):
        monkeypatch.setattr(reports, part, dict(getattr(reports, part)))

    def make(name, body):
        path = tmp_path / f"format_{name}.py"
        path.write_text(FAULTY.format(name=name, body=body))
        return path

    return make


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("raising", RENDER + "raise ValueError('no\\nink')", "ValueError: no ink"),
        ("counting", RENDER + "return 7", "it returned int, and neither text nor bytes"),
        ("unmade", MADE + "\n    def __init__(self): 1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_format_that_fails_is_named_with_its_error(
    bench, store, faulty, tmp_path, name, body, message
):
    plugin, out = faulty(name, body), tmp_path / "out.txt"
    done = bench("--store", store, "--plugin", plugin, "--format", name, "--out", out)
    assert isinstance(done.exception, RunError)
    assert done.exception.exit_code == 1
    assert str(done.exception).startswith(f"the report format '{name}' failed: ")
    assert message in str(done.exception)
    assert "\n" not in str(done.exception)
    assert not out.exists()


def test_a_format_may_show_another_text_than_it_writes(bench, store, faulty, tmp_path):
    body = RENDER + "return 'written'\n    def show(self, report): return 'shown'"
    words = ("--store", store, "--plugin", faulty("twofold", body), "--format", "twofold")
    assert bench(*words).stdout == "shown"
    assert bench(*words, "--out", tmp_path / "r").exit_code == 0
    assert (tmp_path / "r").read_text() == "written"


def test_the_command_names_its_plugins(commands, store, faulty):
    plugin = str(faulty("echoing", MADE))
    said = f"bench report --plugin {plugin} --store {store} --format echoing"
    words = ("--store", str(store), "--format", "echoing")
    assert commands("report", "--plugin", plugin, *words)[1] == said
    assert commands("--plugin", plugin, "report", *words)[1] == said


# -- where the results are -----------------------------------------------------------


def test_the_store_of_the_configuration_file(bench, store, tmp_path, monkeypatch):
    there = tmp_path / "here"
    (there / "results").mkdir(parents=True)
    (store / "runs").rename(there / "results" / "runs")
    (there / "contrabench.toml").write_text('store = "results"')
    monkeypatch.chdir(there)
    done = bench("--format", "json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["command"] == "bench report --store results --format json"
    monkeypatch.chdir(tmp_path)
    named = bench("--config", there / "contrabench.toml", "--format", "json")
    assert json.loads(named.stdout)["command"] == "bench report --store here/results --format json"
    other = bench("--store", "nothing", "--config", there / "contrabench.toml").exception
    assert f"there is no folder or file {tmp_path / 'nothing'}" in str(other)


def test_a_side_that_is_mistyped_is_told_before_archives_are_unpacked(
    bench, store, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "made.zip").write_bytes(b"no archive")
    for known in (("--store", store), ()):
        error = bench("--compare", tmp_path / "made.zip", "nothere", *known).exception
        assert isinstance(error, RequestError)
        assert "nothere" in str(error)


def test_of_archives_that_are_all_refused_nothing_can_be_reported(bench, tmp_path):
    board = tmp_path / "board"
    board.mkdir()
    (board / "a.zip").write_bytes(b"no archive")
    done = bench("--store", board)
    assert "a.zip is left out" in done.stderr
    assert "merging" not in done.stderr
    assert "the notes above tell what was left out and why" in str(done.exception)
    assert "bench run" not in str(done.exception)


def test_pictures_that_nothing_leads_to_are_told_of(bench, store, tmp_path, monkeypatch):
    exhibit = SimpleNamespace(file="pictures/phantom-worst.svg")
    gallery = SimpleNamespace(exhibits=(exhibit,), notes=())

    def drawn(made, folder, beside):
        return replace(made, sections=tuple(replace(one, gallery=gallery) for one in made.sections))

    monkeypatch.setattr("contrabench.report.gallery.svg.write_pictures", drawn)
    words = ("--store", store, "--labels", "10%", "--pictures", tmp_path / "pictures")
    told = bench(*words, "--format", "csv").stderr
    assert f"1 picture written to {tmp_path / 'pictures'}; csv does not refer to them" in told


def test_the_rates_that_rank_are_those_that_the_studies_of_a_storenamed_first(tmp_path):
    def planned(*rates):
        session = plan_tiny(tmp_path, methods=["simclr"], rates=list(rates), draws=1)
        write_study(tmp_path, session.spec, session.graph)

    assert named_first(tmp_path) == "uniform"
    planned("gentle", "uniform")
    assert named_first(tmp_path) == "gentle"
    # Where studies disagree nothing was named for all of them.
    planned("uniform")
    assert named_first(tmp_path) == "uniform"
    assert named_first(tmp_path / "runs.zip") == "uniform"
