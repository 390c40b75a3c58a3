"""What a store says of its studies, whatever somebody has put into it."""

import json
import os
import time

import pytest
from tests.makers.studies import plan_tiny

from contrabench.files import seal_folder
from contrabench.store.failures import write_failure
from contrabench.store.stages import home_of
from contrabench.study.status import (
    FILE,
    Heartbeat,
    read_studies,
    study_folder,
    study_id,
    write_study,
)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    return plan_tiny(tmp_path_factory.mktemp("planned"))


def test_a_study_is_found_with_its_stages_in_the_order_of_the_plan(session, tmp_path):
    folder = write_study(tmp_path, session.spec, session.graph)
    assert folder == study_folder(tmp_path, session.spec)
    (found,) = read_studies(tmp_path)
    assert found.spec == session.spec
    assert found.study == study_id(session.spec) == folder.name
    assert [stage.key for stage in found.stages] == list(session.graph.stages)
    assert {stage.state for stage in found.stages} == {"to do"}
    assert time.time() - found.begun < 60


def test_states_come_from_the_stages_themselves(session, tmp_path):
    write_study(tmp_path, session.spec, session.graph)
    done, failed, running, retried, *_ = session.graph.stages.values()
    (home_of(tmp_path, done.node.kind) / done.key).mkdir(parents=True)
    seal_folder(home_of(tmp_path, done.node.kind) / done.key)
    for task in (failed, retried):
        write_failure(home_of(tmp_path, task.node.kind), task.key, "no luck")
    first = Heartbeat(tmp_path, running.node.kind, running.key)
    second = Heartbeat(tmp_path, retried.node.kind, retried.key)
    with first.beating(), second.beating():
        (found,) = read_studies(tmp_path)
    states = {stage.key: stage for stage in found.stages}
    assert states[done.key].state == "done"
    assert states[failed.key].state == "failed"
    assert states[failed.key].failure.reason == "no luck"
    assert states[failed.key].beat is None
    assert states[running.key].beat.pid == os.getpid()
    assert states[retried.key].beat is not None
    (later,) = read_studies(tmp_path)
    assert all(stage.beat is None for stage in later.stages)


def test_the_study_that_was_continued_last_comes_first(session, tmp_path, monkeypatch):
    other = session.spec.model_copy(update={"draws": 7})
    now = {"time": 5.0}
    monkeypatch.setattr("contrabench.study.status.time.time", lambda: now["time"])
    for spec in (session.spec, other, session.spec):
        write_study(tmp_path, spec, session.graph)
        now["time"] += 1.0
    assert [item.spec for item in read_studies(tmp_path)] == [session.spec, other]


def spoilt(**changes):
    def change(content):
        content.update(changes)
        return json.dumps(content)

    return change


def stage(**changes):
    def change(content):
        content["stages"][0].update(changes)
        return json.dumps(content)

    return change


def spec(**changes):
    def change(content):
        content["spec"].update(changes)
        return json.dumps(content)

    return change


SPOILT = {
    "cut": lambda content: json.dumps(content)[:-20],
    "empty": lambda content: "",
    "a list": lambda content: "[]",
    "no text": lambda content: "\0",
    "a path for a key": stage(key="../../../../etc/passwd"),
    "an absolute path for a key": stage(key="/etc/passwd"),
    "a key that goes up": stage(key="../x"),
    "a key with a line": stage(key="0123456789abcdef\n"),
    "a longer key": stage(key="0123456789abcdef/../x"),
    "a kind that is none": stage(kind="../.."),
    "an id that is a path": spoilt(study="../../ab"),
    "no time": spoilt(begun="yesterday"),
    "no finite time": spoilt(begun=float("inf")),
    "not a number": spoilt(begun=float("nan")),
    "labels that are none": spec(labels=["many"]),
    "a reference that is none": spec(without=["x"]),
    "something more": spoilt(more="rm"),
    "another's command": spoilt(command="rm -r x"),
    "a command with another behind it": spoilt(command="bench status; rm -r x"),
    "a command with another inside": spoilt(command="bench status $(rm -r x)"),
    "half a quote": spoilt(command="bench 'x"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_file_that_is_damaged_or_hostile_is_ignored(session, tmp_path, name):
    folder = write_study(tmp_path, session.spec, session.graph)
    path = folder / FILE
    content = json.loads(path.read_text())
    other = write_study(tmp_path, session.spec.model_copy(update={"draws": 9}), session.graph)
    path.write_text(SPOILT[name](content))
    (left,) = read_studies(tmp_path)
    assert left.study == other.name


def test_an_untouched_file_is_not_ignored_by_the_same_path(session, tmp_path):
    path = write_study(tmp_path, session.spec, session.graph) / FILE
    path.write_text(stage()(json.loads(path.read_text())))
    assert len(read_studies(tmp_path)) == 1


def test_a_store_without_studies_has_none(tmp_path):
    assert read_studies(tmp_path / "none") == []
    (tmp_path / "studies" / "x").mkdir(parents=True)
    assert read_studies(tmp_path) == []
