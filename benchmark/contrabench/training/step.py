"""The one training step, which the loop, the profile, the doctor and the conformance kit take.

Every random choice of a step is a function of its number, so that a step carries no random state
to the next. On several devices every process takes the same steps, see `training.sharding`.
"""

from __future__ import annotations

import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from contrabench.contracts.objective import StepResult
from contrabench.errors import RunError
from contrabench.protocol import Phase, seed_for
from contrabench.training.optimizer import Group, build_optimizer, set_rates
from contrabench.training.runtime import Runtime

_TIMED = 3


class TrainingTask(nn.Module, ABC):
    """What a step optimises: a network, a loss, and where its batches come from."""

    @abstractmethod
    def batch(self, step: int, part: int, parts: int) -> Any:
        """Makes one of the `parts` micro-batches of a step; a pure function of its arguments."""

    @abstractmethod
    def forward(self, batch: Any) -> StepResult:
        """Computes the loss of a mini-batch."""

    def groups(self, phase: Phase) -> list[Group]:
        """The parameters that are trained, by rate; all have that of the phase."""
        return [Group([p for p in self.parameters() if p.requires_grad], phase.rate)]

    def clipped(self) -> tuple[nn.Module, ...]:
        """What is clipped, each by the norm of its own gradients."""
        return (self,)

    def after_step(self, progress: float) -> None:
        """Hook after every optimiser step; `progress` is the share of steps done."""


class _Box:
    """Carries a batch through Fabric, which would otherwise walk into every collection."""

    def __init__(self, batch: Any) -> None:
        self.batch = batch


class _Shell(nn.Module):
    """What Fabric wraps: a task that returns plain tensors."""

    def __init__(self, task: TrainingTask) -> None:
        super().__init__()
        self.task = task

    def forward(self, box: _Box) -> tuple[Tensor, dict[str, Tensor]]:
        result: StepResult = self.task(box.batch)
        # The wrapper takes whatever carries a graph for a loss, and waits for its gradients.
        return result.loss, {name: value.detach() for name, value in result.logs.items()}


class Step:
    """A task with its optimiser on its device, ready to take optimiser steps.

    The task is moved to the device and trained in place; RunError if it has no parameter to
    train. `seed` reseeds torch's global generator at every step, for layers that draw.

    Attributes:
        trained: parameters that require a gradient.
        reached: numbers of the trained parameters that have had a gradient other than zero.
        not_finite: number of the first step whose loss was not finite, or -1; on the device,
            so that watching does not wait for it.
        data_seconds: spent on making batches and views.
    """

    def __init__(
        self, task: TrainingTask, phase: Phase, runtime: Runtime, steps: int, seed: int = 0
    ) -> None:
        self.phase, self.runtime, self.steps, self.seed = phase, runtime, steps, seed
        task.to(runtime.torch_device)
        if runtime.channels_last:
            task.to(memory_format=torch.channels_last)
        self.task = task.train()
        self.trained = [p for p in task.parameters() if p.requires_grad]
        if not self.trained:
            raise RunError("the stage trains no parameter; name its parts in Stage.trains")
        each = ([p for p in part.parameters() if p.requires_grad] for part in task.clipped())
        self.clipped = [weights for weights in each if weights]
        self.groups = task.groups(phase)
        self.optimizer = build_optimizer(self.groups, phase)
        self.reached: set[int] = set()
        self.not_finite = torch.tensor(-1, device=runtime.torch_device)
        self.data_seconds = 0.0
        self.fabric = runtime.fabric()
        self._module, self._optimizer = self.fabric.setup(_Shell(task), self.optimizer)

    def take(self, number: int) -> dict[str, Tensor]:
        """One optimiser step, counted from 0: batches, loss, backward pass, clipping, update, hook.

        Gives the loss and what the task logs, means over the micro-batches, on the device.
        """
        torch.manual_seed(seed_for("step", self.seed, number))
        set_rates(self.optimizer, self.groups, (number, self.steps))
        parts = self.phase.accumulate
        logs: dict[str, Tensor] = {}
        for part in range(parts):
            began = time.monotonic()
            batch = self.task.batch(number, part, parts)
            self.data_seconds += time.monotonic() - began
            loss, extra = self.forward(batch)
            self.fabric.backward(loss / parts)
            for name, value in {"loss": loss, **extra}.items():
                share = value.detach().float() / parts
                logs[name] = logs[name] + share if name in logs else share
        self.not_finite = torch.where(
            (self.not_finite < 0) & ~torch.isfinite(logs["loss"]),
            torch.full_like(self.not_finite, number),
            self.not_finite,
        )
        if len(self.reached) < len(self.trained):
            self._note_gradients()
        if self.phase.clip is not None:
            for weights in self.clipped:
                nn.utils.clip_grad_norm_(weights, self.phase.clip)
        self._optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.task.after_step((number + 1) / self.steps)
        return logs

    def forward(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch in the runtime's arithmetic, with its graph, and what is logged."""
        found: tuple[Tensor, dict[str, Tensor]] = self._module(_Box(batch))
        return found

    def _note_gradients(self) -> None:
        for number, parameter in enumerate(self.trained):
            grad = parameter.grad
            if number not in self.reached and grad is not None and bool(grad.count_nonzero()):
                self.reached.add(number)

    def seconds(self) -> float:
        """Median time of a few steps, after one that does not count."""
        self.take(0)
        return statistics.median(self.timed(partial(self.take, 1 + n)) for n in range(_TIMED))

    def timed(self, work: Callable[[], object]) -> float:
        """Seconds that a piece of work takes, until the device is done with it."""
        self._wait()
        began = time.perf_counter()
        work()
        self._wait()
        return time.perf_counter() - began

    def _wait(self) -> None:
        if self.runtime.device == "cuda":
            torch.cuda.synchronize(self.runtime.torch_device)
        elif self.runtime.device == "mps":
            torch.mps.synchronize()


@contextmanager
def saved_for_backward(apart: Iterable[Tensor] = ()) -> Iterator[dict[int, int]]:
    """Watches which bytes of each storage, by its address, autograd keeps for the backward pass.

    One forward pass for one watch: what an earlier one has freed gives its addresses away.
    Tensors that share a storage count once, those `apart`, such as the parameters, not at all.
    """
    left_out = {value.untyped_storage().data_ptr() for value in apart}
    kept: dict[int, int] = {}

    def note(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in left_out:
            kept[storage.data_ptr()] = storage.nbytes()
        return value

    with saved_tensors_hooks(note, lambda value: value):
        yield kept
