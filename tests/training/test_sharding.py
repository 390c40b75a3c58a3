"""Two processes against one on the same batches, in float64; the same two train all there is."""

import sys
from pathlib import Path

import pytest
import torch

from contrabench.progress import Silent
from contrabench.training.checkpoint import load_weights
from contrabench.training.multi_device import train_on
from contrabench.training.runtime import Runtime

sys.path.insert(0, str(Path(__file__).parent))
import cluster_shell
import multi_device_targets as targets

ONE = Runtime(device="cpu", precision="float32", threads=1)
TWO = Runtime(device="cpu", precision="float32", threads=1, devices=2)

SIMCLR = {"method": "simclr"}
JOBS = {
    "nt_xent": SIMCLR,
    "uneven": {"method": "simclr", "phase": {"batch": 5}},
    "accumulated": {"method": "simclr", "phase": {"accumulate": 2}},
    "queue": {"method": "moco", "options": {"queue": 24}},
    "batch_norm": {"method": "barlow_twins"},
    "prototypes": {"method": "swav", "options": {"queue": 16, "small_crops": 1, "prototypes": 8}},
    "pixels": {"method": "mmgl", "stage": 1},
    "targets": {"method": "pixpro"},
    "hidden": {"method": "spark", "phase": {"batch": 5}},
    "adversarial": {"method": "adversarial", "phase": {"batch": 5}},
}
HALF = {"method": "simclr", "half": True}
STOPPED = {"two_then_two_on": JOBS["queue"], "two_then_one": JOBS["queue"]}


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    faults = dict.fromkeys(targets.FAULTS, SIMCLR)
    with pytest.MonkeyPatch.context() as patch:
        # Whoever works on a cluster has all of this in the shell.
        for name, value in cluster_shell.ALL.items():
            patch.setenv(name, value)
        told = train_on(
            TWO,
            Silent(),
            targets.train_all,
            TWO,
            folder,
            {**JOBS, "half": HALF},
            faults,
            STOPPED,
        )
    return folder, told


def alone(job, folder):
    task, _ = targets.train(Silent(), ONE, folder, job)
    return task.state_dict()


def far(found, expected):
    """Largest difference of any weight or buffer, relative to the largest of its tensor."""
    return max(
        float((found[name] - value).abs().max() / value.abs().max().clamp(min=1e-3))
        for name, value in expected.items()
        if value.is_floating_point()
    )


@pytest.mark.parametrize("name", JOBS)
def test_two_processes_end_where_one_does(two_processes, tmp_path, name):
    folder, told = two_processes
    expected = alone(JOBS[name], tmp_path)
    start = targets.make_task(
        JOBS[name]["method"],
        JOBS[name].get("stage", 0),
        JOBS[name].get("options"),
        targets.phase_of(),
    ).state_dict()
    assert far(start, expected) > 1e-3
    assert far(load_weights(folder / name / "weights"), expected) < 1e-9
    assert told[name][0]


def test_vectors_are_exchanged_where_no_method_asks_for_a_map(two_processes):
    _, told = two_processes
    for name in ("nt_xent", "uneven", "queue", "batch_norm", "prototypes"):
        assert told[f"{name}: axes"] == [2], name
    assert told["pixels: axes"] == [4]


def test_half_precision_sees_the_whole_batch_too(two_processes, tmp_path):
    _, told = two_processes
    alike, loss = told["half"]
    _, record = targets.train(Silent(), ONE, tmp_path, HALF)
    assert alike
    assert loss == pytest.approx(record.first["loss"], rel=3e-3)


@pytest.mark.parametrize("name", ["no_factor", "other_share"])
def test_planted_faults_of_the_gradient_are_caught(two_processes, tmp_path, name):
    folder, _ = two_processes
    expected = alone(SIMCLR, tmp_path)
    assert far(load_weights(folder / name / "weights"), expected) > 1e-4


def test_a_gather_without_a_gradient_is_caught_by_the_loop(two_processes):
    _, told = two_processes
    assert "rule 4" in told["no_gradient"]


def test_a_stop_reaches_all_processes_at_one_step_and_two_go_on(two_processes, tmp_path):
    folder, told = two_processes
    assert told["two_then_two_on"] == (2,)
    expected = load_weights(folder / "queue" / "weights")
    found = load_weights(folder / "two_then_two_on" / "weights")
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


def test_one_process_goes_on_where_two_have_stopped(two_processes):
    folder, told = two_processes
    assert "stopped after step 2 of 4" in told["two_then_one"]
    task, record = targets.train(Silent(), ONE, folder / "two_then_one", JOBS["queue"])
    assert record.resumed_at == (2,)
    assert far(task.state_dict(), load_weights(folder / "queue" / "weights")) < 1e-9
