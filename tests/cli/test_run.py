"""`bench run` as a user meets it: one whole run, and every wrong request in one line."""

import json
import os
import re
import shlex

import pytest

from contrabench.cli.app import main
from contrabench.cli.options import load_config
from contrabench.errors import RequestError
from contrabench.store.results import read_rows

SMALL = ["--budget", "smoke", "-d", "patients=4", "--folds", "2", "--device", "cpu"]


@pytest.fixture
def bench(capsys, tmp_path, monkeypatch):
    """Runs the command line in a folder of its own; returns code, output and errors."""
    monkeypatch.chdir(tmp_path)

    def call(*words):
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        out, err = capsys.readouterr()
        return ended.value.code or 0, out, err

    return call


def test_a_whole_run_ends_with_a_table_and_is_served_the_second_time(bench, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    words = ["run", "--method", "simclr", "--labels", "50%", *SMALL, "--threads", "1"]
    code, out, _ = bench(*words)
    assert code == 0
    for text in (
        "simclr on phantom, budget smoke",
        "50% of 2 training patients = 1 labelled",
        "pulmonary artery",
        "ASD, mm",
        "Labelled patients: 1 of 2 in training; tested on 2 unseen patients, 2 volumes.",
        "Fidelity: re-implementation",
        "Deviations: none.",
        "rules checked, none broken",
        "Missing reference: training from scratch.",
        "contrabench-runs/runs/",
    ):
        assert text in out, text
    assert all(len(line) < 400 for line in out.splitlines())

    code, out, err = bench(*words, "--json")
    assert code == 0
    (record,) = json.loads(out)
    assert record["spec"]["method"] == "simclr"
    assert "served from the store" in err

    code, out, _ = bench("report", "--format", "markdown")
    assert code == 0
    assert "simclr" in out

    code, out, _ = bench("report", "--format", "csv", "--out", "table.csv")
    assert code == 0
    assert (tmp_path / "table.csv").read_text().startswith("dataset,labels,section,protocol,")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "mmgll", "--labels", "10%"], "mmgl"),
        (["--method", "mmgl", "--labels", "ten"], "such as 10%"),
        (["--method", "mmgl", "--labels", "10%", "--budget", "huge"], "smoke, quick, standard"),
        (["--method", "mmgl", "--labels", "10%", "--dataset", "mmwhs"], "--data FOLDER"),
        (["--method", "mmgl", "--labels", "10%", "--dataset", "mmwh"], "mmwhs"),
        (["--method", "mmgl", "--labels", "10%", "-o", "temperatur_local=1"], "temperature_local"),
        (["--method", "mmgl", "--labels", "10%", "-o", "variant=X"], "variant"),
        (["--method", "mmgl", "--labels", "10%", "--fold", "7"], "0 to 4"),
        (["--method", "mmgl", "--labels", "10%", "--plugin", "nowhere.py"], "nowhere.py"),
        (["--method", "mmgl", "--labels", "10%", "--config", "nowhere.toml"], "nowhere.toml"),
        (
            ["--method", "scratch", "--labels", "10%", "-d", "patients=3", "--budget", "smoke"],
            "3 of 3 patients have labels, and a comparison over 5 folds needs 5 at least",
        ),
        (["--method", "mmgl", "--labels", "1", "--split", "no.json"], "there is no file no.json"),
        (["--method", "mmgl", "--labels", "0"], "or a count, such as 3"),
    ],
)
def test_a_wrong_request_is_one_line_and_code_2(bench, words, message):
    code, _, err = bench("run", *words)
    assert code == 2
    assert message in " ".join(err.split())
    assert "Traceback" not in err


def test_a_missing_folder_names_the_layout(bench, tmp_path):
    words = ["run", "--method", "scratch", "--labels", "10%", "--dataset", "mmwhs"]
    code, _, err = bench(*words, "--data", str(tmp_path / "none"))
    assert code == 2
    assert "ct_train" in " ".join(err.split())


def test_the_configuration_names_data_and_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config().data == {}
    (tmp_path / "contrabench.toml").write_text('store = "out"\n[data]\nmmwhs = "hearts/mmwhs"\n')
    config = load_config()
    assert config.store == tmp_path / "out"
    assert config.data == {"mmwhs": tmp_path / "hearts/mmwhs"}
    other = tmp_path / "sub" / "my.toml"
    other.parent.mkdir()
    other.write_text(f'[data]\nacdc = "{tmp_path}{os.sep}acdc"\n')
    monkeypatch.setenv("CONTRABENCH_CONFIG", str(other))
    assert load_config().data == {"acdc": tmp_path / "acdc"}


@pytest.mark.parametrize("text", ["stor = 1", "[data", "[data]\nmmwhs = 3"])
def test_a_configuration_that_is_not_understood_is_refused(tmp_path, text):
    file = tmp_path / "x.toml"
    file.write_text(text)
    with pytest.raises(RequestError, match=r"x\.toml"):
        load_config(file)


def test_the_command_for_a_missing_reference_makes_it_under_the_same_protocol(tmp_path, bench):
    store = tmp_path / "store"
    asked = [
        *("run", "--method", "simclr", "--labels", "2", "--draw", "1", "--folds", "2"),
        *("-d", "patients=4", "-b", "norm=instance", "--budget", "smoke", "--threads", "1"),
    ]
    code, out, err = bench(*asked, "--store", str(store))
    assert code == 0, err
    (told,) = re.findall("training from scratch. Make it with `bench (.*?)`", out)
    assert bench(*shlex.split(told), "--threads", "1")[0] == 0
    rows, _ = read_rows(store)
    assert set(rows["method"]) == {"simclr", "scratch"}
    for name in ("protocol", "labels", "fold", "draw", "seed"):
        assert rows[name].nunique() == 1
