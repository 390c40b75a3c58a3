"""`bench` alone: where one is, and commands that can be pasted."""

import shlex

import pytest
import typer

from contrabench.cli.app import app
from contrabench.files import seal_folder
from contrabench.store.stages import RUNS, home_of
from contrabench.study.status import leading, write_study


def told(out):
    """The commands of the last part, taken apart."""
    lines = out[out.index("Next:") :].splitlines()[1:]
    return [shlex.split(line.strip().split("  ")[0]) for line in lines if line.startswith("  ")]


def known(words):
    command = typer.main.get_command(app)
    return words[0] == "bench" and words[1] in command.commands


def test_where_nothing_is_there_the_first_steps_are_told(commands, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = commands()
    assert code == 0
    assert "nothing is here yet" in out
    assert told(out)[0] == shlex.split("bench run --method mmgl --labels 10%")
    assert all(map(known, told(out)))


def test_finished_runs_lead_to_the_report(commands, store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = home_of(store, RUNS) / ("a" * 16)
    folder.mkdir(parents=True)
    seal_folder(folder)
    _, out, _ = commands()
    assert "1 finished run" in out
    assert told(out)[0] == ["bench", "report"]


@pytest.mark.parametrize("at_work", [True, False])
def test_a_study_that_is_not_done_is_gone_on_with_or_looked_at(commands, planned, store, at_work):
    asked = "bench study --methods hu,simclr --data 'my hearts'"
    write_study(store, planned.spec, planned.graph, asked)
    if at_work:
        with leading(store, planned.spec):
            _, out, _ = commands()
    else:
        _, out, _ = commands()
    assert ("nobody is at work" in out) != at_work
    assert told(out)[0] == (["bench", "status"] if at_work else shlex.split(asked))


def test_the_store_of_the_environment_is_the_one(commands, store, tmp_path, monkeypatch):
    monkeypatch.setenv("CONTRABENCH_STORE", str(store))
    monkeypatch.chdir(tmp_path.parent)
    _, out, _ = commands()
    assert store.name in out.splitlines()[0]
