"""`bench plan`: its numbers are those of the graph, and its tree says how things stand."""

import json
from collections import Counter

import pytest

from contrabench.files import seal_folder
from contrabench.store.failures import write_failure
from contrabench.store.stages import home_of
from contrabench.training.runtime import usable_cores

HERE = ["--device", "cpu", "--threads", "1"]


@pytest.fixture
def plan(commands, study_file):
    def call(*words):
        return commands("plan", str(study_file), "--no-measure", *HERE, *words)

    return call


def finish(store, task):
    folder = home_of(store, task.node.kind) / task.key
    folder.mkdir(parents=True)
    seal_folder(folder)


def test_a_split_and_counts_take_the_place_of_folds_and_shares_of_the_file(plan, tmp_path):
    split = tmp_path / "own.json"
    names = [f"phantom_{number:03d}" for number in range(1, 5)]
    split.write_text(json.dumps([{"train": names[:3], "val": names[3:]}]))
    code, out, _ = plan("--split", str(split), "--labels", "1,2,50%")
    assert code == 0
    assert "labels of 1, 2 patients and 50% of the labels; 1 of 1 fold" in out
    assert "own split; 1 fold, 3 patients to train on and 1 patient to test on" in out
    code, _, err = plan("--split", str(split), "--labels", "4")
    assert code == 2
    assert "fold 0 trains on 3 that have any" in err
    code, _, err = plan("--split", str(split), "--folds", "2")
    assert (code, "a split has folds of its own, here 1" in err) == (2, True)
    code, out, _ = plan("--folds", "4", "--labels", "3")
    assert (code, "labels of 3 patients; 4 of 4 folds" in out) == (0, True)


def test_the_numbers_are_those_of_the_graph(plan, planned, store):
    code, out, err = plan("--json")
    assert code == 0
    data = json.loads(out)
    graph = planned.graph
    assert (data["runs"], data["pretrainings"]) == (len(graph.runs), graph.pretrainings)
    assert data["pretrainings_without_sharing"] == graph.pretrainings_asked
    assert data["spec"] == planned.spec.model_dump(mode="json")
    assert [stage["key"] for stage in data["stages"]] == list(graph.stages)
    for stage in data["stages"]:
        task = graph.stages[stage["key"]]
        assert stage["inputs"] == list(task.node.inputs)
        assert (stage["title"], stage["runs"]) == (task.title, task.runs)
        assert (stage["units"], stage["state"]) == (task.node.units, "to do")
    assert "study " in err
    assert [path.name for path in (store / "stages").iterdir()] == ["prepare"]
    assert not (store / "studies").exists()


def test_the_words_say_what_sharing_saves(plan, planned):
    code, out, _ = plan()
    graph = planned.graph
    saved = graph.pretrainings_asked - graph.pretrainings
    assert code == 0
    assert (
        f"{len(graph.stages)} stages, {graph.pretrainings} of them pre-trainings; without sharing "
        f"there would be {graph.pretrainings_asked}: {saved} saved" in out
    )
    assert f"{len(graph.runs)} runs on phantom, budget tiny, 50%, 100% of the labels" in out
    with_time = [task for task in graph.stages.values() if task.node.units]
    assert f"Not counted: {len(with_time)} stages whose time was not measured." in out


def test_states_are_shown_in_the_tree_and_counted_in_the_table(plan, planned, store):
    tasks = list(planned.graph.stages.values())
    runs = planned.graph.runs
    simclr = [run for run in runs if run.variant == "simclr" and run.spec.fold == 0]
    hu = [task for task in tasks if task.node.kind == "pretrain" and task.variant == "hu"]
    for key in simclr[0].node.inputs:
        finish(store, planned.graph.stages[key])
    finish(store, simclr[0])
    finish(store, planned.graph.stages[simclr[1].node.inputs[-2]])
    write_failure(home_of(store, "pretrain"), hu[0].key, "no luck with hu")

    code, out, _ = plan()
    assert code == 0
    lines = out.splitlines()
    below = lines[lines.index("simclr") :]
    assert "pre-train global: fold 0  cached" in below[1]
    assert "50%, draw 0 (1 run)  done" in below[2]
    assert "100%, draw 0 (1 run)  begun" in below[3]
    assert "50%, draw 1 (1 run)  to do" in below[4]
    assert "pre-train global: fold 1  to do" in below[5]
    place = hu[0].place
    failed = next(
        i for i, line in enumerate(lines) if f"{hu[0].node.name}: {place}  failed" in line
    )
    assert "blocked" in lines[failed + 1]
    assert f"Failed: {hu[0].title}: no luck with hu" in out
    assert "--retry-failed" in out

    code, out, _ = plan("--json")
    states = Counter(stage["state"] for stage in json.loads(out)["stages"])
    blocked = {hu[0].key}
    for task in tasks:
        if blocked & set(task.node.inputs):
            blocked.add(task.key)
    assert states["failed"] == 1
    assert states["blocked"] == len(blocked) - 1
    # The inputs of the run that is there, and one fine-tuning more; its rows alone are done.
    assert states["cached"] == len(simclr[0].node.inputs) + 1
    assert states["done"] == 1
    reasons = {stage["key"]: stage["reason"] for stage in json.loads(out)["stages"]}
    assert reasons[hu[0].key] == "no luck with hu"


def test_a_study_that_is_done_has_nothing_left(plan, planned, store):
    for task in planned.graph.stages.values():
        finish(store, task)
    _, out, _ = plan()
    assert "to do" not in out
    for word in ("Expected", "Not counted", "Disk", "Failed"):
        assert word not in out
    for kind in ("pretrain", "finetune", "evaluate"):
        for folder in home_of(store, kind).iterdir():
            (folder / "done.json").unlink()
    _, out, _ = plan()
    assert "not needed" in out
    assert "to do" not in out


def test_a_variant_that_shares_a_pre_training_stands_under_it_by_name(plan):
    _, out, _ = plan("--methods", "simclr,simclr[deep_supervision=true]")
    lines = out.splitlines()
    assert "simclr[deep_supervision=true]" not in lines
    below = lines[lines.index("simclr") + 1 :]
    assert "pre-train" in below[0]
    assert "simclr[deep_supervision=true]: fine-tune" in below[2]


JOINT = ("--methods", "bcp,simclr+bcp,simclr+cps", "--without", "scratch,scratch_long,"
         "full_supervision,oracle,noise", "--labels", "50%", "--fold", "0",
         "--draws", "1")  # fmt: skip


def test_stages_of_fine_tuning_are_no_pre_trainings(plan, planned):
    _, out, _ = plan(*JOINT)
    lines = out.splitlines()
    tree = lines[lines.index("bcp") : lines.index("")]
    assert [line.strip("│├└─ ") for line in tree] == [
        "bcp",
        "fine-tune, evaluate, rows: fold 0, 50%, draw 0 (1 run)  to do",
        "simclr+bcp",
        "pre-train global: fold 0  to do",
        "fine-tune, evaluate, rows: 50%, draw 0 (1 run)  to do",
        "simclr+cps: fine-tune, evaluate, rows: 50%, draw 0 (1 run)  to do",
    ]
    assert "12 stages, 1 of them pre-trainings; without sharing there would be 2: 1 saved" in out
    told = json.loads(plan(*JOINT, "--json")[1])["stages"]
    assert [stage["title"] for stage in told[:2]] == [
        "fine-tune (labelled) bcp: 50%, fold 0, draw 0", "fine-tune (both) bcp: 50%, fold 0, draw 0"
    ]  # fmt: skip


def test_a_run_of_which_one_joint_stage_is_there_has_begun(plan, store):
    first = json.loads(plan(*JOINT, "--json")[1])["stages"][0]
    folder = home_of(store, first["kind"]) / first["key"]
    folder.mkdir(parents=True)
    seal_folder(folder)
    lines = plan(*JOINT)[1].splitlines()
    assert lines[lines.index("bcp") + 1].endswith("(1 run)  begun")


def test_the_tree_tells_every_run_once(plan, planned):
    _, out, _ = plan()
    told = [line.rpartition("(")[2].split()[0] for line in out.splitlines() if "run)" in line]
    told += [line.rpartition("(")[2].split()[0] for line in out.splitlines() if "runs)" in line]
    assert sum(map(int, told)) == len(planned.graph.runs)


def test_it_fits_a_terminal_of_80_columns(plan, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = plan()
    lines = out.splitlines()
    tree = lines[lines.index("scratch") : lines.index("")]
    assert all(len(line) <= 80 for line in tree)
    heads = {"scratch", "scratch_long", "hu", "simclr"}
    assert {line for line in tree if not line.endswith("to do")} == heads


def test_measuring_gives_a_time_and_a_disk(commands, study_file):
    words = ("--methods", "simclr", "--without", "scratch_long,oracle,noise", "--fold", "0",
             "--labels", "50%")  # fmt: skip
    code, out, _ = commands("plan", str(study_file), *HERE, *words, "--workers", "2")
    assert code == 0
    assert "with 2 workers (cpu, 1 thread each), from 3 kinds of stages measured now." in out
    assert "Disk: about" in out
    assert "Not counted" not in out
    code, out, _ = commands("plan", str(study_file), *HERE, *words, "--json")
    expected = json.loads(out)["expected"]
    assert expected["workers"] == min(4, usable_cores())
    total = sum(expected["by_kind"].values())
    assert expected["seconds"] == pytest.approx(total / expected["workers"])
    assert expected["unknown"] == 0


def test_without_methods_it_is_a_wrong_request(commands, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = commands("plan")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "--methods" in err
    assert "bench study init" in err


def test_a_folder_that_nobody_would_look_into_is_refused(commands, tmp_path):
    """Without --dataset the phantom is meant, which makes its hearts."""
    asked = [
        "plan",
        "--methods",
        "simclr",
        "--labels",
        "3",
        "--data",
        str(tmp_path),
        "--no-measure",
    ]
    code, _, err = commands(*asked, *HERE)
    assert code == 2
    assert f"'phantom' makes its volumes and would not look into {tmp_path}" in err
    assert "--dataset nifti" in err
