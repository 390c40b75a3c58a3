"""Single steps for measuring are those of the loop, bit for bit."""

import pytest
import torch
from torch import nn

from contrabench.contracts.objective import StepResult
from contrabench.progress import Silent
from contrabench.protocol import Phase
from contrabench.training.loop import Task, fit
from contrabench.training.runtime import Runtime
from contrabench.training.stepper import Stepper

RUNTIME = Runtime(device="cpu", precision="float32", threads=1)
PHASE = Phase(images=6 * 4, batch=4, lr=0.1, clip=0.5, warmup=0.0, schedule="constant")


class Line(Task):
    """A line through random points, with a hook that counts."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.line = nn.Linear(3, 1)
            self.fixed = nn.Linear(1, 1)
        self.fixed.requires_grad_(False)
        self.shares, self.types, self.modes = [], [], []

    def batch(self, step, part, parts):
        generator = torch.Generator().manual_seed(step)
        return torch.randn(4, 3, generator=generator)

    def forward(self, batch):
        out = self.line(batch)
        self.types.append(out.dtype)
        self.modes.append(self.training)
        return StepResult((out.float() - 100.0).square().mean(), {})

    def after_step(self, progress):
        self.shares.append(progress)


def test_its_steps_are_those_of_the_loop(tmp_path):
    trained, stepped = Line(), Line()
    fit(trained, 6, PHASE, RUNTIME, tmp_path, Silent(), "line", seed=0)
    stepper = Stepper(stepped, PHASE, RUNTIME, 6)
    for number in range(6):
        stepper.step(number)
    assert torch.equal(trained.line.weight, stepped.line.weight)
    assert torch.equal(trained.line.bias, stepped.line.bias)
    assert stepped.shares == trained.shares == [(n + 1) / 6 for n in range(6)]
    assert not torch.equal(Line().line.weight, stepped.line.weight)


def test_gradients_are_clipped_and_nothing_is_left_of_them():
    task = Line()
    phase = PHASE.model_copy(update={"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0})
    before = torch.cat([task.line.weight.flatten(), task.line.bias]).detach().clone()
    Stepper(task, phase, RUNTIME, 6).step(0)
    after = torch.cat([task.line.weight.flatten(), task.line.bias]).detach()
    # Plain descent moves by rate x clipped norm.
    assert (after - before).norm().item() == pytest.approx(0.1 * 0.5, rel=1e-4)
    assert task.line.weight.grad is None


def test_what_does_not_train_is_left_alone():
    task = Line()
    stepper = Stepper(task, PHASE, RUNTIME, 6)
    fixed = task.fixed.weight.clone()
    stepper.step(0)
    assert torch.equal(task.fixed.weight, fixed)
    assert {id(p) for p in stepper.trained} == {id(p) for p in task.line.parameters()}
    assert task.modes == [True]


@pytest.mark.parametrize(
    ("precision", "wanted"), [("float32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_the_arithmetic_is_that_of_the_runtime(precision, wanted):
    task = Line()
    Stepper(task, PHASE, Runtime(device="cpu", precision=precision, threads=1), 6).step(0)
    assert task.types == [wanted]


def test_time_is_that_of_the_work(monkeypatch):
    clock = iter([10.0, 12.5])
    stepper = Stepper(Line(), PHASE, RUNTIME, 6)
    monkeypatch.setattr("contrabench.training.stepper.time.perf_counter", lambda: next(clock))
    done = []
    assert stepper.timed(lambda: done.append(1)) == 2.5
    assert done == [1]
