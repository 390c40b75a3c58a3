"""What a plan foretells, against sums over the stages and against files that are written."""

import json
import shutil
import statistics

import pytest
from tests.makers.studies import RUNTIME, plan_tiny

from contrabench.progress import Silent
from contrabench.stages.kind import RECORD, WEIGHTS
from contrabench.store.stages import home_of
from contrabench.study import forecast as module
from contrabench.study.forecast import Timing, forecast, learned, measure
from contrabench.training.checkpoint import save_weights
from contrabench.training.runtime import Runtime


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    return plan_tiny(tmp_path_factory.mktemp("planned"))


def recorded(store, task, seconds, runtime=RUNTIME):
    """Leaves the record of a stage that has taken so long."""
    folder = home_of(store, task.node.kind) / task.key
    folder.mkdir(parents=True)
    (folder / RECORD).write_text(json.dumps({"seconds": seconds, "runtime": runtime.record()}))
    return folder


def of_kind(session, kind):
    return session.graph.of_kind(kind)


def disk_of(session, task):
    return task.node.of_kind.disk(session.run_of(task), task.node)


class Notes(Silent):
    def __init__(self):
        self.lines = []

    def line(self, text):
        self.lines.append(text)


def test_without_measuring_and_records_nothing_is_pretended_to_be_known(session):
    found = forecast(session, session.survey(), 1, False, Silent())
    assert (found.seconds, found.measured, found.recorded) == (0.0, 0, 0)
    with_units = [task for task in session.graph.stages.values() if task.node.units]
    assert found.unknown == len(with_units)


def test_measured_times_are_summed_over_the_stages_to_do_and_spread(session, monkeypatch):
    asked = []

    def fake(session, task):
        asked.append(task.node.cost)
        return {"pretrain": 2.0, "finetune": 3.0, "evaluate": 5.0}[task.node.kind]

    monkeypatch.setattr(module, "measure", fake)
    board = session.survey()
    found = forecast(session, board, 1, True, Silent())
    for kind, each in (("pretrain", 2.0), ("finetune", 3.0), ("evaluate", 5.0)):
        units = sum(task.node.units for task in of_kind(session, kind))
        assert found.by_kind[kind] == pytest.approx(each * units)
    assert found.seconds == pytest.approx(sum(found.by_kind.values()))
    assert found.unknown == 0
    # One of each kind of step, not one of each stage.
    assert len(asked) == len(set(asked)) == found.measured < len(of_kind(session, "pretrain"))
    assert forecast(session, board, 4, True, Silent()).seconds == pytest.approx(found.seconds / 4)


def test_what_is_done_or_not_needed_takes_no_time(session, monkeypatch):
    monkeypatch.setattr(module, "measure", lambda *_: 1.0)
    board = session.survey()
    for key in list(board.status)[::2]:
        board.set(key, "cached")
    found = forecast(session, board, 1, True, Silent())
    left = [task for key, task in session.graph.stages.items() if board.status[key] == "waiting"]
    assert found.seconds == pytest.approx(sum(task.node.units for task in left))
    for key in board.status:
        board.set(key, "cached")
    found = forecast(session, board, 1, True, Silent())
    assert (found.seconds, found.disk, found.measured) == (0.0, 0, 0)


def test_finished_stages_of_this_device_tell_the_time_and_are_not_measured(session, monkeypatch):
    session = module.Session(**{**vars(session), "store": session.store / "records"})
    first, second, *_ = alike = [
        task
        for task in of_kind(session, "finetune")
        if task.node.cost == of_kind(session, "finetune")[0].node.cost
    ]
    assert len(alike) >= 3
    folders = [
        recorded(session.store, first, 2.0 * first.node.units),
        recorded(session.store, second, 6.0 * second.node.units),
    ]
    timing = learned(session)
    assert timing.expect(alike[2].node) == pytest.approx(4.0 * alike[2].node.units)
    measured = []
    monkeypatch.setattr(module, "measure", lambda _, task: measured.append(task) or 1.0)
    found = forecast(session, session.survey(), 1, True, Silent())
    assert found.recorded == 1
    assert first.node.cost not in {task.node.cost for task in measured}
    for folder in folders:
        shutil.rmtree(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"seconds": 3}', '{"runtime": {}}', "3"])
def test_a_damaged_record_tells_nothing(session, tmp_path, content):
    task = of_kind(session, "finetune")[0]
    folder = recorded(tmp_path, task, 3.0)
    (folder / RECORD).write_text(content)
    timing = Timing(tmp_path, RUNTIME)
    timing.learn(task.node)
    assert timing.expect(task.node) is None


@pytest.mark.parametrize("other", [{"threads": 2}, {"compile": True}, {"precision": "bf16"}])
def test_another_machine_s_records_are_not_taken_for_ours(session, tmp_path, other):
    task = of_kind(session, "finetune")[0]
    switches = {"device": "cpu", "precision": "float32", "threads": 1, **other}
    recorded(tmp_path, task, 3.0, Runtime(**switches))
    timing = Timing(tmp_path, RUNTIME)
    timing.learn(task.node)
    assert timing.expect(task.node) is None
    mine = Timing(tmp_path, Runtime(**switches))
    mine.learn(task.node)
    assert mine.expect(task.node) == pytest.approx(3.0)


def test_a_plug_in_that_cannot_be_measured_costs_the_plan_nothing(session, monkeypatch):
    def fake(session, task):
        if task.variant == "hu":
            raise ZeroDivisionError("tap 9")
        return 1.0

    monkeypatch.setattr(module, "measure", fake)
    notes = Notes()
    found = forecast(session, session.survey(), 1, True, notes)
    # One kind of pre-training of Hu for each of its stages.
    costs = {t.node.cost for t in of_kind(session, "pretrain") if t.variant == "hu"}
    assert len([line for line in notes.lines if "tap 9" in line]) == len(costs)
    hidden = [t for t in session.graph.stages.values() if t.node.cost in costs]
    assert found.unknown == len(hidden)
    assert found.seconds > 0


def test_a_real_measurement_of_every_kind_of_stage(session):
    for kind in ("pretrain", "finetune", "evaluate"):
        assert 0 < measure(session, of_kind(session, kind)[-1]) < 60


def test_the_disk_of_weights_is_that_of_the_files(session, tmp_path):
    for kind in ("pretrain", "finetune"):
        task = of_kind(session, kind)[0]
        run = session.run_of(task)
        network = run.backbone()
        if kind == "finetune":
            network = run.segmenter(network)
        save_weights(tmp_path / WEIGHTS, network.state_dict(), {})
        size = (tmp_path / WEIGHTS).stat().st_size
        if kind == "finetune":
            # Four times half of it, for the scores on the way.
            assert len(task.node.spec["marks"]) == 4
            size *= 1 + 4 / 2
        assert disk_of(session, task) == pytest.approx(size, rel=0.25)


def test_the_disk_of_a_plan_is_the_sum_over_what_is_to_do(session):
    board = session.survey()
    total = sum(disk_of(session, task) for task in session.graph.stages.values())
    found = forecast(session, board, 3, False, Silent()).disk
    # Evaluations of one kind count alike, though no two test sets weigh the same.
    assert found == pytest.approx(total, rel=0.1)


def test_stages_of_one_cost_take_the_same_steps(session):
    by_cost = {}
    for task in of_kind(session, "pretrain"):
        by_cost.setdefault(task.node.cost, set()).add((task.variant, task.node.name))
    assert all(len(names) == 1 for names in by_cost.values())
    assert len(by_cost) == len({(t.variant, t.node.name) for t in of_kind(session, "pretrain")})


def test_an_odd_measurement_does_not_carry_the_median(session):
    node = of_kind(session, "finetune")[0].node
    timing = Timing(session.store, RUNTIME)
    timing.known[node.cost] = [1.0, 1.1, 50.0]
    assert timing.expect(node) == pytest.approx(statistics.median([1.0, 1.1, 50.0]) * node.units)
