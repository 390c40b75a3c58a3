"""The one training step, which the loop, the profile, the doctor and the conformance kit take.

Every random choice of a step is a function of its number, so that a step carries no random state
to the next. On several devices every process takes the same steps, see `training.sharding`.
"""

from __future__ import annotations

import math
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from contrabench.contracts.backbone import Backbone
from contrabench.contracts.objective import StepResult
from contrabench.errors import RunError
from contrabench.protocol import Phase, seed_for
from contrabench.training.optimizer import Group, build_optimizer, set_rates
from contrabench.training.runtime import Runtime

_TIMED = 3


class TrainingTask(nn.Module, ABC):
    """What a step optimises: a network, a loss, and where its batches come from.

    `apart` is the least difference that two views of a batch were seen to have; infinite for one.
    `pixels` are those of a whole slice, which images are counted in.
    """

    apart: float = math.inf
    pixels: int = 1

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

    @property
    def network(self) -> nn.Module:
        """What the optimiser alone may move; the rest are heads, which their loss may normalise."""
        return self

    def images(self, phase: Phase) -> tuple[int, int | None]:
        """The images that are drawn for a step, and how many more the stage says that it makes."""
        return phase.batch, None


def seed_device(device: torch.device, seed: int) -> None:
    """Seeds torch's own generators of the CPU and of a device.

    `torch.manual_seed` would leave a note with a stack trace in every step where no GPU is in use.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        number = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[number].manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


class _Box:
    """Carries a batch to a device's process, where torch would else walk into every collection."""

    def __init__(self, batch: Any) -> None:
        self.batch = batch


class _Shell(nn.Module):
    """What several devices share: a task that returns plain tensors."""

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
        reached: (trained,) bool, those that have had a gradient other than zero.
        not_finite: number of the first step whose loss was not finite, or -1.
        data_seconds: spent on making batches and views.

    What is watched stays on the device, so that watching does not wait for it.
    """

    def __init__(
        self, task: TrainingTask, phase: Phase, runtime: Runtime, steps: int, seed: int = 0
    ) -> None:
        self.phase, self.runtime, self.steps, self.seed = phase, runtime, steps, seed
        task.to(runtime.torch_device)
        self.task = task.train()
        self.trained = [p for p in task.parameters() if p.requires_grad]
        if not self.trained:
            raise RunError("the stage trains no parameter; name its parts in Stage.trains")
        each = ([p for p in part.parameters() if p.requires_grad] for part in task.clipped())
        self.clipped = [weights for weights in each if weights]
        self.groups = task.groups(phase)
        self.optimizer = build_optimizer(self.groups, phase)
        device = runtime.torch_device
        self.reached = torch.zeros(len(self.trained), dtype=torch.bool, device=device)
        self.all_reached = False
        self.not_finite = torch.tensor(-1, device=device)
        self.data_seconds = 0.0
        self._module = runtime.joined(_Shell(task))

    def compile(self) -> None:
        """Compiles every network, momentum copies too, if the runtime asks for it.

        Views stay as they are: drawing their noise breaks a compiled graph in two.
        """
        if self.runtime.compile:
            for module in self.task.modules():
                if isinstance(module, Backbone):
                    module.compile()

    def take(self, number: int) -> dict[str, Tensor]:
        """One optimiser step, counted from 0: batches, loss, backward pass, clipping, update, hook.

        Gives the loss and what the task logs, means over the micro-batches, on the device.
        """
        seed_device(self.runtime.torch_device, seed_for("step", self.seed, number))
        set_rates(self.optimizer, self.groups, (number, self.steps))
        parts = self.phase.accumulate
        logs: dict[str, Tensor] = {}
        for part in range(parts):
            began = time.monotonic()
            batch = self.task.batch(number, part, parts)
            self.data_seconds += time.monotonic() - began
            loss, extra = self.forward(batch)
            (loss / parts).backward()  # type: ignore[no-untyped-call]
            for name, value in {"loss": loss, **extra}.items():
                share = value.detach().float() / parts
                logs[name] = logs[name] + share if name in logs else share
        self.update(number, logs["loss"])
        return logs

    def update(self, number: int, loss: Tensor) -> None:
        """Moves the weights by the gradients that are there, and notes what has to be watched."""
        first = (self.not_finite < 0) & ~torch.isfinite(loss)
        self.not_finite = self.not_finite.masked_fill(first, number)
        if not self.all_reached:
            self._note_gradients()
        if self.phase.clip is not None:
            for weights in self.clipped:
                nn.utils.clip_grad_norm_(weights, self.phase.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.task.after_step((number + 1) / self.steps)

    def forward(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch in the runtime's arithmetic, with its graph, and what is logged."""
        with self.runtime.autocast():
            loss, logs = self._module(_Box(batch))
        return loss.float(), logs

    def _note_gradients(self) -> None:
        """Marks the parameters whose gradient is not zero."""
        grads = [weight.grad for weight in self.trained if weight.grad is not None]
        norms = iter(torch._foreach_norm(grads, ord=math.inf) if grads else ())
        none = torch.zeros((), device=self.reached.device)
        found = [none if weight.grad is None else next(norms).float() for weight in self.trained]
        self.reached |= torch.stack(found) != 0

    def look(self, logs: Mapping[str, Sequence[Tensor]]) -> tuple[int, dict[str, float]]:
        """`not_finite`, and the mean of each logged value: the one wait for the device."""
        means = [torch.stack(list(values)).mean() for values in logs.values()]
        watched = (self.not_finite.float(), self.reached.all().float())
        bad, reached, *found = torch.stack([*watched, *means]).tolist()
        self.all_reached = bool(reached)
        return int(bad), dict(zip(logs, found, strict=True))

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
