"""`bench profile`: the table, JSON, and methods that cannot be measured."""

import json

import pytest
from typer.testing import CliRunner

from contrabench.cli.app import app
from contrabench.errors import RequestError

QUICK = ["--budget", "smoke", "--steps", "1", "--threads", "1", "--device", "cpu"]
BROKEN = """
from contrabench import Method, MethodInfo, Stage, register_method


@register_method("breaks")
class Breaks(Method):
    info = MethodInfo(title="b", family="b", paper="none", fidelity="reconstruction")

    def stages(self):
        return (Stage(name="only"),)

    def objective(self, stage, backbone):
        raise ValueError("no such head")
"""


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")

    def run(*words):
        return CliRunner().invoke(app, ["profile", *map(str, words)])

    return run


def test_a_table_with_references_that_do_not_pretrain(bench):
    done = bench("simclr", "scratch", *QUICK)
    assert done.exit_code == 0
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert "global" in rows["simclr"]
    assert "no stage of its own" in rows["scratch"]
    assert "x bare" in rows["method"]
    assert "peak" not in rows["method"]
    assert "32 x 32 pixels" in done.stdout


def test_stages_of_fine_tuning_are_measured_too(bench):
    done = bench("bcp", *QUICK, "--json")
    assert done.exit_code == 0
    (told,) = json.loads(done.stdout)["methods"]
    assert told["failed"] is None
    assert [(s["stage"], s["batch"]) for s in told["stages"]] == [("labelled", 8), ("both", 18)]


def test_json_names_runtime_and_versions(bench):
    done = bench("simclr", "scratch", *QUICK, "--json")
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    assert told["runtime"]["device"] == "cpu"
    assert told["environment"]["torch"]
    assert told["budget"]["name"] == "smoke"
    first, second = told["methods"]
    assert (first["method"], first["failed"]) == ("simclr", None)
    (stage,) = first["stages"]
    assert stage["step"]["low"] <= stage["step"]["median"] <= stage["step"]["high"]
    assert stage["peak_mb"] is None
    assert second["stages"] == []
    assert "simclr, global" in done.stderr


def test_a_method_that_fails_hurts_no_other(bench, tmp_path):
    file = tmp_path / "breaks.py"
    file.write_text(BROKEN)
    done = bench("breaks", "simclr", *QUICK, "--plugin", file)
    assert done.exit_code == 0
    assert "not measured: breaks: ValueError: no such head" in done.stdout
    assert any(line.startswith("simclr") for line in done.stdout.splitlines())


def test_a_wrong_name_is_refused(bench):
    done = bench("simclrr", *QUICK)
    assert isinstance(done.exception, RequestError)
    assert "simclr" in str(done.exception)
