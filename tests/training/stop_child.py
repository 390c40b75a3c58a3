"""A small training that acts at one of its steps; as a program, it sends itself
the signals it is given in the middle of as many trainings."""

import signal
import sys
from functools import partial
from pathlib import Path

import torch
from torch import nn

from contrabench.contracts.objective import StepResult
from contrabench.progress import Silent
from contrabench.protocol import Phase
from contrabench.training.loop import fit
from contrabench.training.runtime import Runtime
from contrabench.training.step import Step, TrainingTask
from contrabench.training.stop import Interrupted

PHASE = Phase(images=240, batch=8, lr=1e-2)
STEPS = PHASE.steps


class Line(TrainingTask):
    """Fits a line, with dropout; calls `act` in the middle of step `at`."""

    def __init__(self, at=-1, act=None):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.line = nn.Linear(4, 2)
        self.drop = nn.Dropout(0.3)
        self.at, self.act = at, act

    def batch(self, step, part, parts):
        if step == self.at:
            self.act()
        return torch.randn(8, 4, generator=torch.Generator().manual_seed(step))

    def forward(self, batch):
        return StepResult((self.drop(self.line(batch)) - 3 * batch[:, :2]).square().mean())


if __name__ == "__main__":
    # Whoever started the tests may have it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    runtime = Runtime(device="cpu", precision="float32", threads=1)
    torch.set_num_threads(1)
    for name in sys.argv[2:]:
        folder = Path(sys.argv[1]) / name
        folder.mkdir()
        task = Line(at=7, act=partial(signal.raise_signal, signal.Signals[name]))
        try:
            fit(Step(task, PHASE, runtime, STEPS), folder, Silent(), "line")
        except Interrupted as stop:
            sys.stdout.write(f"{stop}\n")
