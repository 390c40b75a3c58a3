"""`bench inspect`: tables, JSON and picture of a run, and every wrong request in one line."""

import json
import re

import pytest
from tests.makers.studies import make_run, make_spec, prepared_cases
from typer.testing import CliRunner

from contrabench.cli.app import app
from contrabench.errors import RequestError


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A store with a run of a method and one of a reference."""
    store = tmp_path_factory.mktemp("store")
    found, cases = {}, None
    for method in ("simclr", "scratch", "mean_teacher"):
        spec = make_spec(method)
        cases = cases or prepared_cases(spec, store)
        found[method] = make_run(spec, cases, store)
    return store, found


@pytest.fixture
def bench(monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("CONTRABENCH_STORE", raising=False)
    monkeypatch.chdir(tmp_path)

    def call(*words):
        return CliRunner().invoke(app, ["inspect", *map(str, words)])

    return call


def test_tables_and_picture(bench, runs, tmp_path):
    store, found = runs
    key = found["simclr"].key
    done = bench(key[:7], "--store", store, "--threads", "1", "--out", tmp_path / "a.png")
    assert done.exit_code == 0, done.exception
    assert "simclr on phantom, stage global" in done.stdout
    assert len(re.findall(r"^centre +random", done.stdout, re.M)) == 2
    assert len(re.findall(r"^centre +pre-trained", done.stdout, re.M)) == 2
    assert "No test patient was looked at" in done.stdout
    assert "with all their labels" in done.stdout
    assert (tmp_path / "a.png").stat().st_size > 10_000


def test_json_by_folder_with_chosen_taps(bench, runs):
    _, found = runs
    done = bench(found["simclr"].folder, "--taps", "enc1, centre", "--threads", "1", "--json")
    assert done.exit_code == 0, done.exception
    told = json.loads(done.stdout)
    assert [(r["tap"], r["encoder"]) for r in told["reports"]] == [
        (tap, name) for tap in ("enc1", "centre") for name in ("random", "pre-trained")
    ]
    assert told["patients"] == found["simclr"].record["patients"]["train"]
    assert told["chance"] == {"orientation": pytest.approx(1 / 3), "patient": 0.5}
    assert set(told["reports"][0]["probe"]) == set(found["simclr"].record["protocol"]["structures"])


@pytest.mark.parametrize(
    ("method", "words", "message"),
    [
        ("scratch", [], "no pre-training"),
        ("mean_teacher", [], "mean_teacher has no pre-training"),
        ("simclr", ["--stage", "local"], "it has global"),
        ("simclr", ["--taps", "centre,dec9"], "no tap named dec9"),
        ("simclr", ["--taps", ","], "no tap named ','"),
        ("simclr", ["--out", "a.pdf"], r"\.png"),
        ("simclr", ["--out", "nowhere/a.png"], "folder that exists"),
        (None, [], "no run in"),
    ],
)
def test_a_wrong_request_is_one_line(bench, runs, method, words, message):
    store, found = runs
    done = bench(found[method].key if method else "zz", "--store", store, *words)
    assert isinstance(done.exception, RequestError)
    assert re.search(message, str(done.exception))
    assert "\n" not in str(done.exception)
