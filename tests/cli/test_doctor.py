"""`bench doctor`: exit codes, what is on the screen, JSON, and what it must not import."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import contrabench.doctor.examine as examination
from contrabench.cli.app import app
from contrabench.cli.doctor import SHOWN
from contrabench.doctor.findings import Examined, Finding
from contrabench.errors import RequestError

WARNING = Finding("warning", "the disk is small", "it may be full soon", "make room")
NOTE = Finding("information", "no GPU", "")
ERROR = Finding("error", "run 12: [gone]", "its rows are lost", "delete runs/12")


@pytest.fixture
def bench(monkeypatch):
    """Runs the command with made-up checks; keeps what was asked for."""

    def run(*words, checks=()):
        def examine(*asked):
            run.asked = asked
            return iter(checks)

        if checks:
            monkeypatch.setattr(examination, "examine", examine)
        return CliRunner().invoke(app, ["doctor", *map(str, words)])

    return run


CALM = [
    Examined("environment", "versions", "Python 3.11, 16 packages"),
    Examined("environment", "device", "cpu", (NOTE,)),
    Examined("store", "disk", "5 GB", (WARNING,)),
]
SICK = [*CALM, Examined("store", "files of the runs", "3 runs", (ERROR,))]


def test_without_errors_it_ends_with_0(bench, tmp_path):
    done = bench("--store", tmp_path, checks=CALM)
    assert done.exit_code == 0
    assert "0 errors, 1 warning, 1 note." in done.stdout


def test_with_an_error_it_ends_with_1_and_tells_it_first(bench, tmp_path):
    done = bench("--store", tmp_path, checks=SICK)
    assert done.exit_code == 1
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert "  ok       versions: Python 3.11, 16 packages" in lines
    assert "  note     device: cpu" in lines
    assert "  error    files of the runs: 3 runs" in lines
    place = lines.index("  error    run 12: [gone]")
    assert lines[place + 1 : place + 3] == [
        "           its rows are lost",
        "           -> delete runs/12",
    ]
    assert place < lines.index("  warning  the disk is small") < lines.index("  note     no GPU")
    assert f"store {tmp_path}" in lines


def test_json_tells_everything(bench, tmp_path):
    many = tuple(Finding("error", f"fault {number}", "") for number in range(3 * SHOWN))
    done = bench("--store", tmp_path, "--json", checks=[*SICK, Examined("data", "x", "y", many)])
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert (told["errors"], told["warnings"], told["information"]) == (1 + 3 * SHOWN, 1, 1)
    assert told["checks"][3] == {
        "area": "store",
        "title": "files of the runs",
        "seen": "3 runs",
        "findings": [
            {
                "severity": "error",
                "what": "run 12: [gone]",
                "means": "its rows are lost",
                "do": "delete runs/12",
            }
        ],
        "table": [],
    }
    assert len(told["checks"][4]["findings"]) == 3 * SHOWN


def test_the_screen_is_not_flooded(bench, tmp_path):
    many = tuple(Finding("error", f"fault {number}", "") for number in range(SHOWN + 7))
    done = bench("--store", tmp_path, checks=[Examined("data", "volumes", "9", many)])
    assert sum("fault " in line for line in done.stdout.splitlines()) == SHOWN
    assert "and 7 more under 'volumes'; --json tells all" in done.stdout


def test_store_and_depth_are_handed_on(bench, tmp_path):
    bench("--store", tmp_path, "--deep", checks=CALM)
    assert bench.asked[:3] == (tmp_path, None, True)


def test_a_dataset_is_opened_with_its_options(bench, tmp_path):
    bench("--dataset", "phantom", "-d", "patients=3", checks=CALM)
    dataset = bench.asked[1]
    assert dataset.options.patients == 3


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--data", "."], "need --dataset"),
        (["-d", "patients=3"], "need --dataset"),
        (["--dataset", "no-such-dataset"], "no-such-dataset"),
        (["--dataset", "acdc"], "--data FOLDER"),
    ],
)
def test_a_wrong_request_is_one(bench, words, reason):
    error = bench(*words).exception
    assert isinstance(error, RequestError)
    assert reason in str(error)


def test_a_truncated_run_is_found_for_real(bench, tmp_path):
    run = tmp_path / "runs" / ("1" * 16)
    run.mkdir(parents=True)
    (run / "rows.parquet").write_text("short")
    done = bench("--store", tmp_path, "--json")
    assert done.exit_code == 1
    errors = [
        finding["what"]
        for check in json.loads(done.stdout)["checks"]
        for finding in check["findings"]
        if finding["severity"] == "error"
    ]
    assert any("1" * 16 in what and "marker" in what for what in errors)


def test_help_has_an_example_and_loads_nothing_heavy(bench):
    assert "bench doctor --dataset mmwhs" in bench("--help").stdout
    code = "import sys, contrabench.cli.doctor as d; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not {"torch", "numpy", "pandas", "pyarrow", "monai", "filelock"} & loaded
