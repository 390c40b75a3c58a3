"""Single steps of a task for measurements, taken as the loop takes them."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from contrabench.protocol import Phase, seed_for
from contrabench.training.loop import Task
from contrabench.training.optimizer import build_optimizer
from contrabench.training.runtime import Runtime


class Stepper:
    """A task with its optimiser on its device, ready to take steps.

    Args:
        task: network, loss and batches; moved to the device.
        phase: optimiser and clipping.
        runtime: device and switches.
        steps: that a whole stage would take.
    """

    def __init__(self, task: Task, phase: Phase, runtime: Runtime, steps: int) -> None:
        self.phase, self.runtime, self.steps = phase, runtime, steps
        task.to(runtime.torch_device)
        if runtime.channels_last:
            task.to(memory_format=torch.channels_last)
        self.task = task.train()
        self.trained = [p for p in task.parameters() if p.requires_grad]
        self.optimizer = build_optimizer(self.trained, phase)

    def step(self, number: int) -> None:
        """One optimiser step: batch and views, loss, backward pass, clipping, update, hook."""
        torch.manual_seed(seed_for("step", number))
        batch = self.task.batch(number, 0, 1)
        with self.autocast():
            loss = self.task(batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, self.phase.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.task.after_step((number + 1) / self.steps)

    def timed(self, work: Callable[[], object]) -> float:
        """Seconds that a piece of work takes, until the device is done with it."""
        self._wait()
        began = time.perf_counter()
        work()
        self._wait()
        return time.perf_counter() - began

    def autocast(self) -> torch.autocast:
        """The arithmetic of the forward pass."""
        enabled = self.runtime.precision == "bf16"
        return torch.autocast(self.runtime.device, torch.bfloat16, enabled=enabled)

    def _wait(self) -> None:
        if self.runtime.device == "cuda":
            torch.cuda.synchronize(self.runtime.torch_device)
        elif self.runtime.device == "mps":
            torch.mps.synchronize()
