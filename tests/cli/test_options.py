"""Options that several commands share."""

import os
import subprocess
import sys

from contrabench.cli.options import tracker_names


def test_threads_reach_the_libraries_before_they_are_loaded():
    """In a process of its own, where nothing heavy has been imported yet."""
    program = (
        "import sys; from contrabench.cli.options import pin_threads; pin_threads(1); "
        "loaded = 'torch' in sys.modules; import torch; print(loaded, torch.get_num_threads())"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    found = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["False", "1"]


def test_trackers_are_read_once_each():
    assert tracker_names(" tensorboard,mlflow ,tensorboard,") == ("tensorboard", "mlflow")
    assert tracker_names("") == ()
