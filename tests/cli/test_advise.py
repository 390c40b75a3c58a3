"""`bench advise` as a user meets it: what is refused, asked for, run, and gone on with."""

import json
from pathlib import Path

import pytest

from contrabench.contracts import registry
from contrabench.contracts.executor import Executor, ExecutorInfo
from contrabench.study import advice, forecast
from contrabench.study.forecast import Forecast

HERE = ["--device", "cpu", "--threads", "1"]
HEARTS = ["volumes", *HERE]
TINY = {
    "methods": ["simclr"],
    "folds": 2,
    "draws": 1,
    "rates": ["uniform"],
    "without": ["scratch_long", "oracle", "noise"],
    "dataset": "nifti",
    "budget": {
        "name": "tiny",
        "pixels": 32,
        "width": 4,
        "pretrain": {"images": 64, "batch": 16, "lr": 1e-3},
        "finetune": {"images": 64, "batch": 16, "lr": 3e-3},
    },
}


class Here(Executor):
    """Makes stages one by one in this process, at most so many."""

    info = ExecutorInfo(title="here")
    slots = 1
    most, made = 999, 0

    def __init__(self, crew, options):
        self.ended = []

    def submit(self, job):
        if Here.made >= Here.most:
            raise KeyboardInterrupt
        Here.made += 1
        self.ended.append(job())

    def wait(self, seconds):
        ended, self.ended = self.ended, []
        return ended

    def stop(self):
        pass

    def close(self):
        pass


@pytest.fixture
def advise(commands, tmp_path, monkeypatch):
    """The command with a design of a dozen stages, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(advice, "design", lambda: dict(TINY))
    monkeypatch.setattr(registry.executors, "get", lambda name: Here)
    monkeypatch.setattr(Here, "made", 0)
    monkeypatch.setattr(Here, "most", 999)

    def call(*words, hours=0.1):
        known = Forecast(3600 * hours, {}, 0, 0, 0, 0, 1)
        monkeypatch.setattr(forecast, "forecast", lambda *_: known)
        return commands("advise", *words)

    return call


@pytest.fixture
def six(volumes):
    """Six labelled hearts in `volumes`."""
    for number in range(6):
        volumes.add(f"heart_{number}", seed=number)


def stages(tmp_path):
    """The kinds of stages that a store has."""
    home = tmp_path / "contrabench-runs" / "stages"
    return {path.name for path in home.iterdir()} if home.is_dir() else set()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "'nifti' needs its files"),
        (["nowhere"], "nowhere does not exist"),
        (["--dataset", "fantom"], "did you mean 'phantom'"),
        (["x", "--from", "y"], "DATA and --from contradict each other"),
        (["--from", "nothing"], "'nothing' is no path"),
        ([*HEARTS, "--out", "advice.doc"], "no report format has files that end in .doc"),
        (["--dataset", "phantom", "--budget", "huge"], "there is no budget 'huge'"),
    ],
)
def test_a_wrong_request_is_one_line(advise, tmp_path, words, line):
    code, out, err = advise(*words)
    assert (code, out) == (2, "")
    assert line in err
    assert "Traceback" not in err
    assert stages(tmp_path) == set()


@pytest.mark.parametrize("labelled", [2, 5])
def test_too_few_labelled_patients_are_answered_in_words_and_nothing_is_trained(
    advise, volumes, tmp_path, labelled
):
    for number in range(7):
        volumes.add(f"heart_{number}", seed=number)
        if number >= labelled:
            (volumes.root / "labels" / f"heart_{number}.nii.gz").unlink()
    code, out, _ = advise("volumes", *HERE)
    assert code == 0
    assert f"{labelled} labelled patients, {7 - labelled} without labels" in out
    assert "2 x 2 x 5 mm" in out
    assert "this comparison needs 6" in " ".join(out.split())
    assert f"Label {6 - labelled} more patient" in out
    assert max(map(len, out.splitlines())) <= 80
    assert stages(tmp_path) == {"prepare"}
    code, out, _ = advise("volumes", *HERE, "--json")
    data = json.loads(out)
    assert data["data"] == {"labelled": labelled, "unlabelled": 7 - labelled,
                            "volumes": 7 - labelled}  # fmt: skip
    assert data["methods"] == []


def test_hours_are_not_begun_by_a_pipe(advise, six, tmp_path):
    code, out, err = advise(*HEARTS, hours=2)
    assert (code, out) == (0, "")
    assert "about 2 h" in err
    assert "Nothing was trained. To begin: bench advise volumes" in err
    assert err.rstrip().endswith(" --yes")
    assert stages(tmp_path) == {"prepare"}
    code, out, _ = advise(*HEARTS, "--json", hours=2)
    assert json.loads(out)["expected"]["seconds"] == 7200
    assert Here.made == 0


def test_a_study_that_was_stopped_goes_on_and_ends_in_an_advice(advise, six, commands, monkeypatch):
    monkeypatch.setattr(Here, "most", 2)
    code, _, err = advise(*HEARTS, "--yes", hours=2)
    assert code == 130
    monkeypatch.setattr(Here, "most", 999)
    code, out, err = advise(*HEARTS)
    assert code == 0, err
    whole = Here.made
    for words in ("Is it worth it?", "Where you stand", "More labels", "How sure?"):
        assert words in out
    assert "6 labelled patients, 0 without labels" in out
    assert max(map(len, out.splitlines())) <= 80
    # What is there already is told without a stage made and without a question.
    code, again, _ = advise(*HEARTS, hours=9)
    assert (code, again, Here.made) == (0, out, whole)
    code, page, err = advise(*HEARTS, "--out", "advice.md", "--json")
    assert code == 0, err
    data = json.loads(page)
    text = Path("advice.md").read_text()
    assert data["advice"]["Is it worth it?"] in text
    assert [row["Method"] for row in data["methods"]] == ["simclr"]
    # The same rows under the id of the study, and it is one of the store.
    code, taken, err = advise("--from", data["study"], "--json")
    assert code == 0, err
    assert json.loads(taken)["advice"] == data["advice"]
    assert "simclr" in commands("report")[1]
