"""What the command line says of runs and studies."""

import os
import subprocess
import sys

from contrabench.cli.asked import RunArguments


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
