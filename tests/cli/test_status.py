"""`bench status`: how the studies of a store stand, from outside."""

import json
import os
from pathlib import Path

import pytest

from contrabench.files import seal_folder
from contrabench.store.failures import log_path, write_failure
from contrabench.store.stages import home_of
from contrabench.study.status import LED, Beat, Heartbeat, leading, study_id, write_study


@pytest.fixture
def begun(planned, store):
    """A study with one stage done, one failed, one at work, one tried again."""
    write_study(store, planned.spec, planned.graph)
    done, failed, running, retried, *_ = [
        task for task in planned.graph.stages.values() if task.node.kind == "pretrain"
    ]
    home = home_of(store, "pretrain")
    (home / done.key).mkdir(parents=True)
    seal_folder(home / done.key)
    for task in (failed, retried):
        write_failure(home, task.key, "no luck")
        log_path(home, task.key).write_text("step 7\n")
    for task in (running, retried):
        heartbeat = Heartbeat(store, "pretrain", task.key)
        heartbeat.beat(Beat("training", 6, 24, "loss 1.5", seconds=10.0, first=2))
    return done, failed, running, retried


def test_text_counts_by_kind_and_names_what_runs_and_what_failed(commands, begun, planned, store):
    done, failed, running, retried = begun
    code, out, _ = commands("status")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith(f"study {study_id(planned.spec)}: hu, simclr on phantom")
    pretrain = next(line for line in lines if line.startswith("pre-trainings")).split()
    assert pretrain[1:] == ["1", "2", "1", str(planned.graph.pretrainings - 4)]
    rows = next(line for line in lines if line.startswith("rows of runs")).split()
    assert rows[3:] == ["0", "0", "0", str(len(planned.graph.runs))]
    host = Beat("x").host
    # Four units took ten seconds; eighteen are left.
    for task in (running, retried):
        assert f"running on {host}: {task.title}: 6/24, 45 s left loss 1.5" in out
    assert f"failed: {failed.title}: no luck" in out
    assert f"failed: {retried.title}" not in out
    assert str(log_path(home_of(store, "pretrain"), failed.key).name) in out
    assert "Nobody is at work" not in out
    assert done.title not in out


def test_json_says_the_same(commands, begun, planned):
    done, failed, running, retried = begun
    code, out, _ = commands("status", "--json")
    assert code == 0
    (study,) = json.loads(out)
    assert study["study"] == study_id(planned.spec)
    assert study["spec"] == planned.spec.model_dump(mode="json")
    stages = {stage["key"]: stage for stage in study["stages"]}
    assert list(stages) == list(planned.graph.stages)
    assert stages[done.key]["state"] == "done"
    assert stages[failed.key]["state"] == "failed"
    assert stages[failed.key]["reason"] == "no luck"
    assert stages[failed.key]["log"].endswith(f"{failed.key}.log")
    for task in (running, retried):
        assert stages[task.key]["state"] == "running"
        assert stages[task.key]["running"]["seconds_left"] == pytest.approx(45.0)
        assert stages[task.key]["running"]["pid"] == os.getpid()
    total = len(planned.graph.stages)
    assert study["counts"] == {"done": 1, "running": 2, "failed": 1, "to do": total - 4}


def test_what_is_left_with_nobody_at_work_is_said(commands, planned, store):
    write_study(store, planned.spec, planned.graph)
    _, out, _ = commands("status")
    total = len(planned.graph.stages)
    assert f"Nobody is at work on the {total} stages to do; give the command again." in out


def test_a_study_is_named_by_the_beginning_of_its_id(commands, planned, store):
    other = planned.spec.model_copy(update={"draws": 7})
    for spec in (planned.spec, other):
        write_study(store, spec, planned.graph)
    ids = [study_id(planned.spec), study_id(other)]
    _, out, _ = commands("status", "--json")
    assert [study["study"] for study in json.loads(out)] == ids[::-1]
    _, out, _ = commands("status", ids[0][:4], "--json")
    assert [study["study"] for study in json.loads(out)] == ids[:1]
    code, out, err = commands("status", "zzzz")
    assert (code, out) == (2, "")
    assert all(name in err for name in ids)


def test_a_store_without_studies_says_how_to_begin(commands, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = commands("status")
    assert code == 2
    assert "bench study" in err
    assert err.count("\n") == 1


def test_a_damaged_beat_hurts_nobody(commands, begun, store):
    _, _, running, _ = begun
    path = home_of(store, "pretrain") / f"{running.key}.running.json"
    path.write_text(json.dumps({"title": "x", "pid": "many", "done": []}))
    code, out, _ = commands("status")
    assert code == 0
    assert running.title not in out


def test_a_clock_that_is_behind_is_no_negative_time(commands, planned, store, monkeypatch):
    write_study(store, planned.spec, planned.graph)
    monkeypatch.setattr("contrabench.cli.status.time.time", lambda: 0.0)
    _, out, _ = commands("status")
    assert "continued 0 s ago" in out


def test_the_command_that_goes_on_is_told_and_from_where(commands, planned, store, monkeypatch):
    asked = "bench study --methods hu,simclr --data 'my hearts'"
    write_study(store, planned.spec, planned.graph, asked)
    _, out, _ = commands("status", "--store", str(store))
    assert f"go on with: {asked}\n" in out
    home = next(task for task in planned.graph.stages.values() if task.node.kind == "pretrain")
    write_failure(home_of(store, "pretrain"), home.key, "no luck")
    begun_in = Path.cwd()
    monkeypatch.chdir(store)
    _, out, _ = commands("status", "--store", str(store))
    assert f"go on with: cd {begun_in} && {asked}\n" in out
    assert f"Run failed stages again with: cd {begun_in} && {asked} --retry-failed\n" in out
    told = json.loads(commands("status", "--store", str(store), "--json")[1])
    assert told[0]["go_on"] == f"cd {begun_in} && {asked}"


def test_a_study_whose_workers_load_is_starting(commands, planned, store):
    write_study(store, planned.spec, planned.graph)
    with leading(store, planned.spec):
        _, out, _ = commands("status", "--store", str(store))
        assert "starting: a worker loads" in out
        assert "Nobody" not in out
        assert json.loads(commands("status", "--store", str(store), "--json")[1])[0]["at_work"]
    assert "Nobody is at work" in commands("status", "--store", str(store))[1]


def test_a_leader_that_died_leads_nothing(commands, planned, store):
    folder = write_study(store, planned.spec, planned.graph)
    with leading(store, planned.spec):
        told = json.loads((folder / LED).read_text())
    # No process has a number beyond the kernel's largest.
    (folder / LED).write_text(json.dumps(told | {"pid": 2**22 + 1}))
    assert "Nobody is at work" in commands("status", "--store", str(store))[1]
