"""What the command line says of runs and studies."""

import os
import subprocess
import sys

import pytest

from contrabench.cli.asked import RunArguments
from contrabench.cli.asked_study import StudyArguments
from contrabench.study.runs import read_methods


def test_threads_reach_the_libraries_before_they_are_loaded():
    """In a process of its own, where nothing heavy has been imported yet."""
    program = (
        "import sys; from contrabench.cli.asked import RunArguments; "
        "asked = RunArguments(method='x', labels='10%', threads=1, device='cpu'); "
        "loaded = 'torch' in sys.modules; runtime = asked.runtime(); "
        "import os, torch; "
        "print(loaded, torch.get_num_threads(), runtime.threads, os.environ['OMP_NUM_THREADS'])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    found = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["False", "1", "1", "1"]


def test_trackers_are_read_once_each(monkeypatch):
    monkeypatch.setattr("contrabench.training.runtime.check_trackers", lambda names: None)
    asked = RunArguments(
        method="x", labels="10%", device="cpu", track=" tensorboard,mlflow ,tensorboard,"
    )
    assert asked.runtime().trackers == ("tensorboard", "mlflow")
    assert RunArguments(method="x", labels="10%", device="cpu").runtime().trackers == ()


@pytest.mark.parametrize(
    ("words", "device", "workers", "parts", "helpers"),
    [
        # On a CPU all that is there trains; beside two GPUs half of the cores is for the rest.
        ({}, "cpu", 4, 4, 0),
        ({"workers": 3}, "cpu", 3, 3, 0),
        ({"threads": 8}, "cpu", 2, 2, 0),
        ({}, "cuda", 2, 4, 8),
        ({"devices": 2}, "cuda", 1, 4, 8),
        ({"workers": 8}, "cuda", 8, 16, 8),
        ({"threads": 8}, "cuda", 2, 4, 1),
    ],
)
def test_the_cores_are_shared_out(monkeypatch, words, device, workers, parts, helpers):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("contrabench.training.runtime.usable_cores", lambda: 16)
    from contrabench.training.runtime import default_threads

    asked = StudyArguments(methods="simclr", **words)
    assert (asked.at_once(device), asked.parts(device)) == (workers, parts)
    crew = asked.crew(device, asked.threads or default_threads(parts))
    assert crew.helpers == helpers


def test_a_run_has_the_cores_for_itself():
    asked = RunArguments(method="x", labels="10%")
    assert (asked.at_once("cuda"), asked.parts("cuda")) == (1, 1)


def test_an_option_with_a_comma_is_one_option():
    given = ["source=us, on [some] ACDC", "seen=no", "parts=[enc1, enc2]"]
    asked = RunArguments(method="external", labels="2", option=given)
    (one,) = read_methods(asked.spec().methods, ())
    assert dict(one.options)["source"] == "us, on [some] ACDC"
    assert dict(one.options)["parts"] == ("enc1", "enc2")
