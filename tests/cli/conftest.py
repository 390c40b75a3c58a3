"""Studies small enough to be planned in a test: four phantom patients, a dozen steps."""

from __future__ import annotations

import shutil

import pytest

from contrabench.cli.app import main
from contrabench.progress import Silent
from contrabench.study.session import plan_study
from contrabench.study.spec import read_study
from contrabench.training.runtime import Runtime

STUDY = """
methods = ["hu", "simclr"]
dataset = "phantom"
labels = ["50%", "100%"]
folds = 2
draws = 2
rates = ["uniform"]
without = ["oracle", "noise"]
dataset_options = { patients = 4 }
[budget]
name = "tiny"
pixels = 32
width = 4
[budget.pretrain]
images = 384
batch = 16
lr = 1e-3
[budget.finetune]
images = 384
batch = 16
lr = 3e-3
"""
RUNTIME = Runtime(device="cpu", precision="float32", threads=1)


@pytest.fixture(scope="session")
def prepared_phantom(tmp_path_factory):
    """A store that holds nothing but the four patients."""
    home = tmp_path_factory.mktemp("phantom")
    (home / "study.toml").write_text(STUDY)
    plan_study(read_study(home / "study.toml"), None, home / "store", RUNTIME, Silent())
    return home / "store"


@pytest.fixture
def store(prepared_phantom, tmp_path):
    """A store of the test's own, its data prepared."""
    shutil.copytree(prepared_phantom, tmp_path / "contrabench-runs")
    return tmp_path / "contrabench-runs"


@pytest.fixture
def study_file(store, tmp_path, monkeypatch):
    """`study.toml` beside the store, which the commands find by its usual name."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "study.toml"
    file.write_text(STUDY)
    return file


@pytest.fixture
def planned(study_file, store):
    """The session that the commands should arrive at."""
    return plan_study(read_study(study_file), None, store, RUNTIME, Silent())


@pytest.fixture
def commands(capsys):
    """Runs the command line; returns code, output and errors."""

    def call(*words):
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        out, err = capsys.readouterr()
        return ended.value.code or 0, out, err

    return call
