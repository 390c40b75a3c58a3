"""The winner is the method of the highest mean Dice, and a fit of it has its run's settings."""

import json

import pandas as pd
import pytest
from tests.makers.rows import results
from tests.makers.studies import make_run, make_spec
from tests.report.test_build import references, study

from contrabench.cli.app import main
from contrabench.errors import RequestError
from contrabench.progress import Silent
from contrabench.use import winner
from contrabench.use.winner import winner_of


@pytest.fixture(scope="module")
def store(prepared, tmp_path_factory):
    """Two methods, one of them with options, and the reference."""
    folder = tmp_path_factory.mktemp("store")
    for name in ("simclr", "hu", "scratch"):
        make_run(make_spec(name), prepared[1], folder)
    return folder


def dice_of(store):
    """Mean over patients of the mean over their cases and structures, by a loop."""
    found = {}
    for file in store.glob("runs/[!.]*/rows.parquet"):
        rows = pd.read_parquet(file)
        patients = [part["dice"].mean() for _, part in rows.groupby("patient", observed=True)]
        found[rows["method"].iloc[0]] = sum(patients) / len(patients)
    return found


def test_the_best_method_is_fitted_and_no_reference(store, capsys):
    means = dice_of(store)
    best = max(("simclr", "hu"), key=lambda name: means[name])
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--winner", "--store", str(store), "--threads", "1", "--device", "cpu"])
    assert ended.value.code in (0, None)
    err = capsys.readouterr()
    said = " ".join((err.out + err.err).split())
    assert f"best of 2 methods on phantom with labels of 50%: {best}" in said
    assert f"mean Dice {means[best]:.3f}" in said
    assert ("no method is above scratch" in said) == (means["scratch"] >= means[best])
    (file,) = store.glob("stages/fits/[!.]*/fit.json")
    record = json.loads(file.read_text())
    (run,) = (
        one
        for path in store.glob("runs/[!.]*/run.json")
        if (one := json.loads(path.read_text()))["spec"]["method"] == best
    )
    ours = {"labels", "folds", "fold", "draw", "split", "test"}
    same = {name: it for name, it in record["spec"].items() if name not in ours}
    assert same == {name: it for name, it in run["spec"].items() if name not in ours}
    assert record["patients"]["test"] == []
    assert len(record["patients"]["labelled"]) == 4


def test_of_several_budgets_the_fewest_labels_decide_unless_asked(frame, monkeypatch, tmp_path):
    rows = frame(
        *references(),
        *study("few", family="contrast", labels="10%", dice=0.9),
        *study("many", family="contrast", labels="10%", dice=0.5),
        *study("few", family="contrast", labels="50%", fraction=0.5, dice=0.6),
        *study("many", family="contrast", labels="50%", fraction=0.5, dice=0.8),
        *study("control", family="control", labels="10%", dice=1.0),
    )
    monkeypatch.setattr(winner, "read_rows", lambda *_, **__: (results(rows).rows, None))
    assert winner_of(tmp_path, None, None, Silent()).variant == "few"
    assert winner_of(tmp_path, None, "50%", Silent()).variant == "many"
    with pytest.raises(RequestError, match="no run with labels of 3 patients"):
        winner_of(tmp_path, None, "3 patients", Silent())
    with pytest.raises(RequestError, match="no finished run of a method on 'other'"):
        winner_of(tmp_path, "other", None, Silent())


def test_a_method_with_fewer_runs_than_others_does_not_win(frame, monkeypatch, tmp_path):
    rows = frame(
        *references(),
        *study("whole", family="contrast", labels="10%", dice=0.6),
        *study("begun", family="contrast", labels="10%", dice=0.9),
    )
    begun = rows[rows["variant"] == "begun"]
    assert begun["run"].nunique() > 1
    partial = rows.drop(begun[begun["run"] == begun["run"].iloc[0]].index)
    for content, best in ((rows, "begun"), (partial, "whole")):
        found = results(content).rows
        monkeypatch.setattr(winner, "read_rows", lambda *_, found=found, **__: (found, None))
        assert winner_of(tmp_path, None, None, Silent()).variant == best


def test_a_study_at_the_gentle_rate_alone_has_a_winner(frame, monkeypatch, tmp_path):
    rows = frame(*references(), *study("one", family="contrast", labels="10%", rates="gentle"))
    monkeypatch.setattr(winner, "read_rows", lambda *_, **__: (results(rows).rows, None))
    assert winner_of(tmp_path, None, None, Silent()).variant == "one"
