"""The order of a study, its failures and its ends, with an executor that trains nothing."""

import signal
import time
from types import SimpleNamespace

import pytest
from tests.makers.studies import RUNTIME, TINY

from contrabench.contracts.executor import Executor, Outcome
from contrabench.files import MARKER, seal_folder
from contrabench.store.failures import read_failure, write_failure
from contrabench.store.stages import home_of
from contrabench.study import scheduler as module
from contrabench.study.graph import draw_graph
from contrabench.study.runs import runs_of
from contrabench.study.scheduler import ATTEMPTS, Scheduler, survey
from contrabench.study.spec import make_study
from contrabench.testing import make_case

CASES = [make_case(number) for number in range(4)]


def draw(**changes):
    asked = {
        "methods": ["mmgl", "simclr"],
        "dataset": "phantom",
        "labels": ["50%", "100%"],
        "folds": 2,
        "draws": 2,
        "budget": TINY,
        **changes,
    }
    specs, _ = runs_of(make_study(asked, "the test"), RUNTIME.device, RUNTIME.precision)
    return draw_graph(specs, CASES, None)


GRAPH = draw()


class Fake(Executor):
    """Makes stages in memory: a sealed folder, or whatever an answer says.

    Args:
        graph: of the stages.
        store: where finished ones are kept.
        answers: by key, what becomes of each attempt before it is done; a callable is
            called first.
    """

    def __init__(self, graph, store, answers=None, slots=2, helpers=0):
        self.graph, self.store, self.answers = graph, store, answers or {}
        self.limit, self.begun, self.running, self.done = slots, [], [], set()
        self.beside, self.jobs = helpers, {}
        self.stopped = 0
        self.most = 0

    @property
    def slots(self):
        return self.limit

    @property
    def helpers(self):
        return self.beside

    def submit(self, job):
        alike = [key for key in self.running if self.jobs[key].device == job.device]
        assert len(alike) < (self.limit if job.device else self.beside)
        self.jobs[job.key] = job
        self.begun.append(job.key)
        self.running.append(job.key)
        self.most = max(self.most, len(self.running))

    def wait(self, seconds):
        if not self.running:
            time.sleep(0.001)
            return []
        # The latest first, so that nothing relies on the order of submission.
        key = self.running.pop()
        answers = self.answers.get(key, [])
        answer = answers.pop(0) if answers else "done"
        if callable(answer):
            answer = answer()
        if self.stopped and answer == "done":
            answer = "stopped"
        if answer == "done" and self.jobs[key].part != "first":
            make(self.store, self.graph.stages[key])
            self.done.add(key)
        if answer == "failed":
            kind = self.graph.stages[key].node.kind
            write_failure(home_of(self.store, kind), key, "no luck")
        return [Outcome(key, answer, "" if answer == "done" else "no luck")]

    def stop(self):
        self.stopped += 1

    def close(self):
        pass


class Notes:
    def __init__(self):
        self.changes, self.ticks = [], 0

    def changed(self, stage, status, reason=""):
        self.changes.append((stage.key, status, reason))

    def tick(self):
        self.ticks += 1

    def of(self, key):
        return [status for k, status, _ in self.changes if k == key]


def name(stage, part):
    """The job of a stage, as far as the executor here reads it."""
    return SimpleNamespace(key=stage.key, part=part, device=part != "rest")


def make(store, stage):
    folder = home_of(store, stage.node.kind) / stage.key
    folder.mkdir(parents=True)
    (folder / "content").write_text(stage.key)
    seal_folder(folder)


def work(store, answers=None, graph=GRAPH, slots=2, retry=False):
    """Runs a study; returns board, executor, what the listener heard, and why it stopped."""
    board = survey(graph, store, retry)
    executor, notes = Fake(graph, store, answers, slots), Notes()
    stopped = Scheduler(board, store, executor, name, notes).run()
    return board, executor, notes, stopped


class Noting(Fake):
    """One that notes the parts of each stage, in order."""

    def __init__(self, *given, **named):
        super().__init__(*given, **named)
        self.made = {}

    def submit(self, job):
        self.made.setdefault(job.key, []).append((job.part, job.device))
        super().submit(job)


@pytest.mark.parametrize("slots", [1, 3])
def test_what_needs_no_device_is_made_beside_what_does(tmp_path, slots):
    board, executor = survey(GRAPH, tmp_path), Noting(GRAPH, tmp_path, slots=slots, helpers=2)
    assert Scheduler(board, tmp_path, executor, name, Notes()).run() == ""
    assert board.complete
    device, beside = [("whole", True)], [("rest", False)]
    expected = {
        **{"pretrain": device, "finetune": device},
        **{"evaluate": [("first", True), *beside], "runs": beside},
    }
    assert executor.made == {k: expected[stage.node.kind] for k, stage in GRAPH.stages.items()}


def test_what_is_lost_of_a_part_is_that_part_alone(tmp_path):
    lost = some("evaluate")
    board = survey(GRAPH, tmp_path)
    executor = Noting(GRAPH, tmp_path, {lost.key: ["lost", "done", "lost"]}, helpers=1)
    assert Scheduler(board, tmp_path, executor, name, Notes()).run() == ""
    assert [part for part, _ in executor.made[lost.key]] == ["first", "first", "rest", "rest"]


def test_helpers_may_come_and_go(tmp_path):
    board, executor = survey(GRAPH, tmp_path), Fake(GRAPH, tmp_path, slots=2, helpers=1)
    original = executor.wait

    def wait(seconds):
        found = original(seconds)
        # Those that have a job stay.
        if all(executor.jobs[key].device for key in executor.running):
            executor.beside = len(executor.begun) // 5 % 2
        return found

    executor.wait = wait
    assert Scheduler(board, tmp_path, executor, name, Notes()).run() == ""
    assert board.complete


def some(kind, graph=GRAPH, variant=None):
    return next(
        stage
        for stage in graph.stages.values()
        if stage.node.kind == kind and variant in (None, stage.variant)
    )


def resting_on(key, graph=GRAPH):
    """Everything that needs a stage, by the definition."""
    found = {key}
    while True:
        more = {t.key for t in graph.stages.values() if found & set(t.node.inputs)} | found
        if more == found:
            return found - {key}
        found = more


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    """A stage that another process is at work on is asked for again at once."""
    monkeypatch.setattr(module, "_AGAIN", 0.0)


@pytest.mark.parametrize("slots", [1, 3, 100])
def test_what_is_planned_is_what_runs_each_once_after_its_inputs(tmp_path, slots):
    board, executor, notes, stopped = work(tmp_path, slots=slots)
    assert stopped == ""
    assert board.complete
    assert sorted(executor.begun) == sorted(GRAPH.stages)
    pretrainings = [k for k in executor.begun if GRAPH.stages[k].node.kind == "pretrain"]
    assert len(pretrainings) == GRAPH.pretrainings
    done_at = {key: i for i, (key, status, _) in enumerate(notes.changes) if status == "done"}
    begun_at = {key: i for i, (key, status, _) in enumerate(notes.changes) if status == "running"}
    for key, stage in GRAPH.stages.items():
        assert all(done_at[before] < begun_at[key] for before in stage.node.inputs)
    assert executor.most <= slots
    if slots == 3:
        assert executor.most == 3


def test_a_study_that_is_done_does_nothing_more(tmp_path):
    work(tmp_path)
    board, executor, _, _ = work(tmp_path)
    assert executor.begun == []
    assert board.complete
    assert board.count("cached") == len(GRAPH.stages)


def test_slots_may_shrink_and_grow(tmp_path):
    board = survey(GRAPH, tmp_path)
    executor, notes = Fake(GRAPH, tmp_path, slots=4), Notes()
    original = executor.wait

    def wait(seconds):
        executor.limit = 1 if len(executor.done) % 2 else 3
        return original(seconds)

    executor.wait = wait
    assert Scheduler(board, tmp_path, executor, name, notes).run() == ""
    assert board.complete


@pytest.mark.parametrize("kind", ["pretrain", "finetune", "evaluate", "runs"])
def test_a_failure_blocks_what_rests_on_it_and_nothing_else(tmp_path, kind):
    culprit = some(kind, variant="mmgl" if kind == "pretrain" else None)
    board, executor, _, stopped = work(tmp_path, {culprit.key: ["failed"]})
    blocked = resting_on(culprit.key)
    assert stopped == ""
    assert {key for key, status in board.status.items() if status == "failed"} == {culprit.key}
    assert {key for key, status in board.status.items() if status == "blocked"} == blocked
    assert executor.done == set(GRAPH.stages) - blocked - {culprit.key}
    for key in blocked:
        assert board.reasons[key] == f"{culprit.title} failed"
    assert board.failed == [culprit]
    assert board.complete == (not blocked and kind != "runs")


def test_failed_stages_wait_until_they_are_asked_for_again(tmp_path):
    culprit = some("pretrain", variant="mmgl")
    work(tmp_path, {culprit.key: ["failed"]})
    board, executor, _, _ = work(tmp_path)
    assert executor.begun == []
    assert (board.status[culprit.key], board.reasons[culprit.key]) == ("failed", "no luck")
    assert board.count("blocked") == len(resting_on(culprit.key))
    for key in resting_on(culprit.key):
        assert board.reasons[key] == f"{culprit.title} failed"
    board, executor, _, _ = work(tmp_path, retry=True)
    assert set(executor.begun) == resting_on(culprit.key) | {culprit.key}
    assert board.complete


def test_a_stage_of_another_process_is_asked_for_again_and_taken_over(tmp_path):
    rival = some("pretrain", variant="simclr")

    def made_meanwhile():
        make(tmp_path, rival)
        return "busy"

    board, executor, notes, _ = work(tmp_path, {rival.key: ["busy", "busy", made_meanwhile]})
    assert board.complete
    assert executor.begun.count(rival.key) == 3
    assert notes.of(rival.key)[-1] == "cached"
    assert board.status[rival.key] == "cached"


def test_a_failure_of_another_process_is_taken_over_too(tmp_path):
    rival = some("pretrain", variant="simclr")

    def failed_meanwhile():
        write_failure(home_of(tmp_path, "pretrain"), rival.key, "their fault")
        return "busy"

    board, executor, _, _ = work(tmp_path, {rival.key: [failed_meanwhile]})
    assert executor.begun.count(rival.key) == 1
    assert (board.status[rival.key], board.reasons[rival.key]) == ("failed", "their fault")
    assert board.count("blocked") == len(resting_on(rival.key))


def test_while_one_stage_is_busy_others_are_made(tmp_path, monkeypatch):
    """The clock stands still as long as there is anything to do."""
    clock = {"now": 0.0}
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock["now"]))
    monkeypatch.setattr(module, "_AGAIN", 1.0)
    rival = next(iter(GRAPH.stages.values()))
    board = survey(GRAPH, tmp_path)
    executor = Fake(GRAPH, tmp_path, {rival.key: ["busy"]}, slots=1)
    original = executor.wait

    def wait(seconds):
        clock["now"] += not executor.running
        return original(seconds)

    executor.wait = wait
    Scheduler(board, tmp_path, executor, name, Notes()).run()
    again = executor.begun.index(rival.key, 1)
    others = set(GRAPH.stages) - resting_on(rival.key)
    assert executor.begun[0] == rival.key
    assert set(executor.begun[:again]) == others
    assert board.complete


def test_a_stage_whose_worker_dies_is_begun_again_and_then_given_up_on_record(tmp_path):
    lost = some("finetune", variant="simclr")
    board, executor, _, _ = work(tmp_path, {lost.key: ["lost"] * (ATTEMPTS - 1)})
    assert board.complete
    assert executor.begun.count(lost.key) == ATTEMPTS

    second = tmp_path / "second"
    board, executor, notes, stopped = work(second, {lost.key: ["lost"] * 9})
    assert stopped == ""
    assert executor.begun.count(lost.key) == ATTEMPTS
    assert notes.of(lost.key) == ["running", "waiting"] * (ATTEMPTS - 1) + ["running", "failed"]
    reason = read_failure(home_of(second, "finetune"), lost.key).reason
    assert reason == board.reasons[lost.key] == "no luck; that happened 3 times"
    assert board.count("blocked") == len(resting_on(lost.key))


def test_a_full_disk_stops_the_study_calmly_and_nothing_counts_as_failed(tmp_path):
    full = some("finetune", variant="simclr")
    board, executor, _, stopped = work(tmp_path, {full.key: ["full"]})
    assert stopped == "no luck"
    assert executor.stopped == 1
    assert board.count("failed", "blocked", "running") == 0
    assert board.status[full.key] == "stopped"
    assert not board.complete
    board, _, _, stopped = work(tmp_path)
    assert stopped == ""
    assert board.complete


def press(times=1, number=signal.SIGINT):
    def now():
        for _ in range(times):
            signal.raise_signal(number)
        return "done"

    return now


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_stops_calmly_and_the_next_command_goes_on(tmp_path, number):
    victim = some("finetune", variant="simclr")
    before = signal.getsignal(number)
    board, executor, _, stopped = work(tmp_path, {victim.key: [press(number=number)]}, slots=3)
    assert signal.getsignal(number) == before
    assert stopped == "interrupted"
    assert executor.stopped == 1
    assert executor.running == []
    assert board.count("running", "failed", "blocked") == 0
    assert board.count("stopped") > 0
    done = set(executor.done)
    board, executor, _, stopped = work(tmp_path)
    assert stopped == ""
    assert board.complete
    assert not done & set(executor.begun)


def test_the_second_interrupt_ends_it_at_once(tmp_path):
    victim = some("finetune", variant="simclr")
    with pytest.raises(KeyboardInterrupt):
        work(tmp_path, {victim.key: [press(2)]})
    assert work(tmp_path)[0].complete


def test_an_interrupt_after_the_last_stage_costs_nothing(tmp_path):
    last = list(GRAPH.stages.values())[-1]
    board, _, _, stopped = work(tmp_path, {last.key: [press()]}, slots=1)
    assert (stopped, board.complete) == ("", True)


def test_an_interrupt_in_the_book_keeping_loses_no_job(tmp_path):
    board = survey(GRAPH, tmp_path)
    executor = Fake(GRAPH, tmp_path, slots=3)

    class Pressing(Notes):
        def changed(self, stage, status, reason=""):
            super().changed(stage, status, reason)
            if len(self.changes) == 4:
                signal.raise_signal(signal.SIGINT)

    stopped = Scheduler(board, tmp_path, executor, name, Pressing()).run()
    assert stopped == "interrupted"
    assert board.count("running") == 0
    assert executor.running == []


def test_a_worker_that_was_told_to_stop_stops_the_study(tmp_path):
    victim = some("pretrain", variant="simclr")
    board, executor, _, stopped = work(tmp_path, {victim.key: ["stopped"]})
    assert "asked to stop" in stopped
    assert executor.stopped == 1
    assert board.status[victim.key] == "stopped"


def remove(store, stage):
    folder = home_of(store, stage.node.kind) / stage.key
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


def test_what_nothing_needs_any_more_is_not_made_again(tmp_path):
    work(tmp_path)
    for stage in GRAPH.stages.values():
        if stage.node.kind != "runs":
            remove(tmp_path, stage)
    board, executor, _, _ = work(tmp_path)
    assert executor.begun == []
    assert board.complete
    assert board.count("not needed") == len(GRAPH.stages) - len(GRAPH.runs)


def test_a_missing_run_needs_all_that_it_rests_on_and_no_more(tmp_path):
    work(tmp_path)
    run = some("runs", variant="mmgl")
    for stage in GRAPH.stages.values():
        if stage.node.kind != "runs" or stage is run:
            remove(tmp_path, stage)
    board, executor, _, _ = work(tmp_path)
    assert board.complete
    needed, more = {run.key}, {run.key}
    while more:
        more = {key for k in more for key in GRAPH.stages[k].node.inputs} - needed
        needed |= more
    assert set(executor.begun) == needed


@pytest.mark.parametrize("spoil", ["content", "marker"])
def test_a_damaged_input_is_made_again(tmp_path, spoil):
    work(tmp_path)
    run = some("runs", variant="simclr")
    tuned = GRAPH.stages[run.node.inputs[-2]]
    remove(tmp_path, run)
    home = home_of(tmp_path, "finetune") / tuned.key
    (home / ("content" if spoil == "content" else MARKER)).write_text("{")
    board = survey(GRAPH, tmp_path)
    remade = Fake(GRAPH, tmp_path)
    original = remade.wait

    def wait(seconds):
        # As the store does: what is damaged is taken away first.
        for key in remade.running:
            if (home_of(tmp_path, GRAPH.stages[key].node.kind) / key).is_dir():
                remove(tmp_path, GRAPH.stages[key])
        return original(seconds)

    remade.wait = wait
    assert Scheduler(board, tmp_path, remade, name, Notes()).run() == ""
    assert board.complete
    assert remade.begun == [tuned.key, run.key]


def test_the_counts_of_a_board_add_up(tmp_path):
    board, *_ = work(tmp_path, {some("finetune").key: ["failed"]})
    words = ("done", "cached", "not needed", "waiting", "running", "failed", "blocked", "stopped")
    assert sum(board.count(word) for word in words) == len(GRAPH.stages)
    assert board.count(*words) == len(GRAPH.stages)
