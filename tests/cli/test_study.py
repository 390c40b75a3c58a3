"""`bench study` as a user meets it; what trains in it is replaced, except once."""

import io
import json
import re
import signal
from pathlib import Path

import pytest
import typer
from rich.console import Console
from rich.text import Text

from contrabench.cli import study as command
from contrabench.cli.asked_study import StudyArguments
from contrabench.cli.study_view import StudyView
from contrabench.contracts import registry
from contrabench.contracts.executor import Executor, ExecutorInfo, Outcome
from contrabench.errors import RequestError
from contrabench.files import seal_folder
from contrabench.store.failures import log_path, write_failure
from contrabench.store.stages import home_of
from contrabench.study.forecast import learned
from contrabench.study.spec import StudySpec, read_study
from contrabench.study.status import Beat, Heartbeat, study_id

HERE = ["--device", "cpu", "--threads", "1"]


class Fake(Executor):
    """Makes stages one by one: a sealed folder, or what `answers` says by title."""

    info = ExecutorInfo(title="fake")
    slots = 1

    def __init__(self, answers, titles, store):
        self.answers, self.titles, self.store = answers, titles, store
        self.jobs, self.ended, self.closed = [], [], False

    def submit(self, job):
        self.jobs.append(job)
        home = home_of(self.store, job.kind)
        if self.answers == "real":
            self.ended.append(job())
            return
        answer = self.answers.get(self.titles.get(job.key), "done")
        if answer == "done":
            (home / job.key).mkdir(parents=True)
            seal_folder(home / job.key)
        elif answer == "failed":
            write_failure(home, job.key, "no luck")
            log_path(home, job.key).write_text("step 7\n")
        elif answer == "interrupt":
            signal.raise_signal(signal.SIGINT)
            answer = "stopped"
        self.ended.append(Outcome(job.key, answer, "" if answer == "done" else "no luck"))

    def wait(self, seconds):
        ended, self.ended = self.ended, []
        return ended

    def stop(self):
        pass

    def close(self):
        self.closed = True


@pytest.fixture
def study(commands, planned, store, monkeypatch):
    """Runs the study of the file with an executor of the test's own."""
    made = []
    titles = {key: stage.title for key, stage in planned.graph.stages.items()}

    def call(*words, answers=None):
        class Crew(Fake):
            def __init__(self, crew, options):
                super().__init__(answers or {}, titles, store)
                made.append(self)

        monkeypatch.setattr(registry.executors, "get", lambda name: Crew)
        return commands("study", *words, *HERE)

    call.made = made
    return call


def test_a_study_runs_to_its_end_and_is_served_the_second_time(study, study_file, planned, store):
    total = len(planned.graph.stages)
    code, out, _ = study(str(study_file))
    assert code == 0
    assert f"[{total}/{total}] rows of" in out
    assert f"{total} stages made, 0 served from the store." in out
    assert "All rows are there: bench report\n" in out
    assert "failed" not in out
    assert study.made[-1].closed
    pretrained = [job for job in study.made[-1].jobs if job.kind == "pretrain"]
    assert len(pretrained) == planned.graph.pretrainings
    code, out, _ = study(str(study_file))
    assert code == 0
    assert f"0 stages made, {total} served from the store." in out


def test_json_goes_to_standard_output_alone(study, study_file, planned):
    code, out, err = study(str(study_file), "--json")
    assert code == 0
    data = json.loads(out)
    assert data["study"] == study_id(planned.spec)
    assert (data["complete"], data["stopped"], data["failed"]) == (True, None, [])
    assert (data["made"], data["cached"]) == (len(planned.graph.stages), 0)
    assert data["pretrainings"] == planned.graph.pretrainings
    assert data["runs"] == [stage.key for stage in planned.graph.runs]
    assert "rows of" in err


def test_a_real_study_ends_in_a_report(study, commands):
    words = ["--methods", "simclr", "--labels", "50%", "--fold", "1", "--draws", "1"]
    code, out, _ = study("study.toml", *words, "--without", "scratch_long", answers="real")
    assert code == 0, out
    assert "All rows are there" in out
    code, out, err = commands("report", "--format", "markdown")
    assert code == 0, err
    assert "simclr" in out


def test_a_failure_is_listed_with_reason_and_log_and_costs_only_what_rests_on_it(
    study, study_file, planned
):
    title = "pre-train global of simclr: fold 1"
    (culprit,) = [task for task in planned.graph.stages.values() if task.title == title]
    resting = {culprit.key}
    for task in planned.graph.stages.values():
        if resting & set(task.node.inputs):
            resting.add(task.key)
    code, out, err = study(str(study_file), answers={title: "failed"})
    total = len(planned.graph.stages)
    assert code == 1
    assert f"failed: {title}: no luck" in out
    assert f"{culprit.key}.log" in out
    assert f"{total - len(resting)} stages made" in out
    assert f"1 failed, {len(resting) - 1} not tried because of that" in out
    assert "All rows are there" not in out
    assert err == f"error: 1 of {total} stages failed; all that does not rest on them is done\n"
    assert "Traceback" not in out + err

    code, out, _ = study(str(study_file))
    assert code == 1
    assert study.made[-1].jobs == []
    assert "--retry-failed" in out
    code, out, _ = study(str(study_file), "--retry-failed", "--json")
    assert code == 0
    assert {job.key for job in study.made[-1].jobs} == resting


def test_a_failure_in_json(study, study_file):
    title = "pre-train global of simclr: fold 1"
    code, out, _ = study(str(study_file), "--json", answers={title: "failed"})
    assert code == 1
    data = json.loads(out)
    assert data["complete"] is False
    assert [(item["title"], item["reason"]) for item in data["failed"]] == [(title, "no luck")]


def test_an_interrupt_is_calm_and_the_same_command_goes_on(study, study_file, planned):
    title = "pre-train global of simclr: fold 1"
    code, out, err = study(str(study_file), answers={title: "interrupt"})
    assert code == 130
    assert err == "error: interrupted; what is finished is kept, run the same command again\n"
    assert f"{title}: stopped" in out
    assert study.made[-1].closed
    before = {job.key for job in study.made[-1].jobs}
    code, _, _ = study(str(study_file))
    assert code == 0
    after = {job.key for job in study.made[-1].jobs}
    assert len(before & after) == 1
    assert before | after == set(planned.graph.stages)


def test_a_full_disk_ends_it_with_a_word_and_no_failed_stage(study, study_file):
    title = "pre-train global of simclr: fold 1"
    code, out, err = study(str(study_file), answers={title: "full"})
    assert code == 1
    assert err == "error: no luck\n"
    assert "failed" not in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--methods"),
        (["--labels", "10%"], "--methods"),
        (["nowhere.toml"], "bench study init nowhere.toml"),
        (["--methods", ""], "'methods' is empty"),
        (["--methods", ","], "'methods' is empty"),
        (["--methods", "mmgll"], "did you mean 'mmgl'"),
        (
            ["--methods", "mmgl[stages=glob]"],
            "'stages' should be 'both', 'global' or 'local'; it is 'glob'",
        ),
        (["--methods", "mmgl[stages=global"], "no closing bracket"),
        (["--methods", "all", "--exclude", "mmgll"], "did you mean 'mmgl'"),
        (["--methods", "mmgl", "--without", "x"], "scratch, scratch_long, full_supervision"),
        (["--methods", "mmgl", "--labels", "ten"], "such as 10%"),
        (["--methods", "mmgl", "--labels", ""], "'labels' is empty"),
        (["--methods", "mmgl", "--folds", "1"], "it is a whole number from 2 to 1000"),
        (["--methods", "mmgl", "--fold", "7"], "there is no fold 7"),
        (["--methods", "mmgl", "--fold", "one"], "'one' is no fold"),
        (["--methods", "mmgl", "--fold", "²"], "'²' is no fold"),
        (["--methods", "mmgl", "--fold", ","], "'test_folds' is empty"),
        (["--methods", "mmgl", "--draws", "0"], "--draws': it is a whole number from 1 to"),
        (["--methods", "mmgl", "--seeds", "0"], "--seeds': it is a whole number from 1 to"),
        (
            ["--methods", "mmgl", "--accumulate", "0"],
            "--accumulate': it is a whole number from 1 to",
        ),
        (["--methods", "mmgl", "--budget", "huge"], "smoke, quick, standard, paper"),
        (["--methods", "mmgl", "--dataset", "acdc"], "--data FOLDER"),
        (["--methods", "mmgl", "--dataset", "phantoms"], "there is no dataset"),
        (["--methods", "mmgl", "-d", "patientz=3"], "'patientz' is unknown"),
        (["--methods", "mmgl", "-d", "patients"], "not a pair"),
        (["--methods", "hu", "-x", "adress=head:1"], "there are no options"),
        (
            ["study.toml", "--folds", "9"],
            "a comparison over 9 folds needs 9 at least",
        ),
        (["study.toml", "--folds", "1"], "it is a whole number from 2 to 1000"),
    ],
)
def test_a_wrong_request_is_one_line_and_code_2(study, words, message):
    code, out, err = study(*words)
    assert code == 2
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
    assert "Traceback" not in out + err
    assert not any(made.jobs for made in study.made)


def spec(file=None, **given):
    return StudyArguments(file=file, **given).spec()


def test_the_command_line_goes_before_the_file_and_the_rest_stays(study_file):
    plain = read_study(study_file)
    assert spec(study_file) == plain
    changed = spec(study_file, labels="25%", draws=5, methods="mmgl[stages=global,variant=U],moco")
    assert changed.labels == ("25%",)
    assert changed.draws == 5
    assert changed.methods == ("mmgl[stages=global,variant=U]", "moco")
    assert changed.budget == plain.budget
    assert changed.dataset_options == {"patients": 4}


def test_the_command_line_can_take_back_what_the_file_says(study_file):
    with study_file.open() as file:
        text = file.read().replace('without = ["oracle", "noise"]\n', "")
    head = 'test_folds = [0]\nexclude = ["hu"]\nwithout = ["scratch"]\n'
    study_file.write_text(head + text)
    assert spec(study_file).tested == (0,)
    assert spec(study_file, fold="all").tested == (0, 1)
    assert spec(study_file, fold="1").tested == (1,)
    assert spec(study_file, exclude="").exclude == ()
    assert spec(study_file, without="").without == ()


def test_options_of_the_dataset_are_taken_one_by_one(study_file):
    assert spec(study_file, dataset_option=["seed=3"]).dataset_options == {"patients": 4, "seed": 3}
    assert spec(study_file, dataset_option=["patients=6"]).dataset_options == {"patients": 6}
    # They are those of another dataset.
    other = spec(study_file, dataset="acdc")
    assert (other.dataset, other.dataset_options) == ("acdc", {})


def test_the_command_line_alone_is_a_study_too(study_file):
    text = spec(
        methods="hu,simclr",
        labels="50%,1.0",
        folds=2,
        draws=2,
        rates="uniform",
        without="oracle,noise",
        dataset_option=["patients=4"],
    )
    file = read_study(study_file)
    assert text == file.model_copy(update={"budget": None})
    with pytest.raises(RequestError, match="no study is named"):
        spec(labels="10%")


def test_init_writes_a_study_that_reads_and_never_writes_over_one(commands, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = commands("study", "init")
    assert code == 0
    assert "bench plan study.toml" in out
    first = (tmp_path / "study.toml").read_text()
    assert read_study(tmp_path / "study.toml").methods
    (tmp_path / "study.toml").write_text(f"# mine\n{first}")
    code, _, err = commands("study", "init")
    assert code == 2
    assert "exists already" in err
    assert (tmp_path / "study.toml").read_text().startswith("# mine\n")
    assert commands("study", "init", "other.toml")[0] == 0
    code, _, err = commands("study", "init", "nowhere/study.toml")
    assert code == 2
    assert "cannot be written" in err
    (tmp_path / "link.toml").symlink_to(tmp_path / "elsewhere.toml")
    assert commands("study", "init", "link.toml")[0] == 2
    assert not (tmp_path / "elsewhere.toml").exists()


def test_help_names_the_options_of_a_study(commands, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    code, out, _ = commands("study", "--help")
    assert code == 0
    for word in ("--methods", "--retry-failed", "--executor", "STUDY.toml", "mmgl[stages=global]"):
        assert word in out


def test_the_page_about_studies_has_every_field_and_its_option():
    page = (Path(__file__).parents[2] / "docs" / "studies.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `(-[-\w]+)[^`]*` \|", page, re.MULTILINE)
    assert [field for field, _ in rows] == sorted(
        StudySpec.model_fields, key=[field for field, _ in rows].index
    )
    run = typer.main.get_command(command.app).commands["run"]
    options = {flag for item in run.params for flag in item.opts}
    assert {option for _, option in rows} <= options


def view_of(planned, store, width, terminal):
    console = Console(width=width, force_terminal=terminal, file=io.StringIO())
    board = planned.survey()
    crew = Fake({}, {}, store)
    return StudyView(planned, board, console, crew, learned(planned)), board, console


def test_the_view_has_a_line_for_each_stage_at_work_on_80_columns(planned, store):
    view, board, console = view_of(planned, store, 80, True)
    tuned = [t for t in planned.graph.stages.values() if t.node.kind == "finetune"][:2]
    for task in tuned:
        board.set(task.key, "running")
    heartbeat = Heartbeat(store, "finetune", tuned[0].key)
    heartbeat.beat(Beat("training", 12000, 24000, "loss 1.234", seconds=600.0))
    console.print(view._render())
    first, second, summary = console.file.getvalue().splitlines()
    plain = [Text.from_ansi(line).plain.rstrip() for line in (first, second, summary)]
    assert plain[0].startswith(tuned[0].title)
    assert plain[0].endswith("12000/24000  10 min 00 s left")
    assert plain[1].startswith(tuned[1].title)
    assert plain[1].endswith("starting")
    waiting = len(planned.graph.stages) - 2
    assert plain[2].startswith(f"0 done, 2 running, {waiting} to do; about ")
    assert all(len(line) <= 80 for line in plain)

    view, board, console = view_of(planned, store, 120, True)
    board.set(tuned[0].key, "running")
    console.print(view._render())
    first, _ = (
        Text.from_ansi(line).plain.rstrip() for line in console.file.getvalue().splitlines()
    )
    assert first.endswith("12000/24000  10 min 00 s left  loss 1.234")
    assert "━━━" in first


def test_a_pipe_gets_plain_lines_and_now_and_then_how_far_it_is(planned, store, monkeypatch):
    clock = {"now": 0.0}
    monkeypatch.setattr("contrabench.cli.study_view.time.monotonic", lambda: clock["now"])
    view, board, console = view_of(planned, store, 200, False)
    task = next(t for t in planned.graph.stages.values() if t.node.kind == "pretrain")
    with view.open():
        board.set(task.key, "running")
        view.changed(task, "running")
        heartbeat = Heartbeat(store, "pretrain", task.key)
        heartbeat.beat(Beat("training", 6, 24, seconds=30.0))
        view.tick()
        assert console.file.getvalue() == ""
        clock["now"] = 61.0
        view.tick()
        assert f"{task.title}: training 6/24, 1 min 30 s left" in console.file.getvalue()
        board.set(task.key, "done")
        view.changed(task, "done")
    total = len(planned.graph.stages)
    assert f"[1/{total}] {task.title}: done in 1 min 01 s" in console.file.getvalue()
    assert "\x1b" not in console.file.getvalue()


def test_a_word_in_brackets_is_no_markup(planned, store):
    view, _, console = view_of(planned, store, 200, False)
    task = next(iter(planned.graph.stages.values()))
    view.changed(task, "failed", "a [bold]reason[/bold] of mmgl[stages=global]")
    assert "a [bold]reason[/bold] of mmgl[stages=global]" in console.file.getvalue()
