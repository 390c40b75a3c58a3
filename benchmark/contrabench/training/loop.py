"""The one training loop, for pre-training stages and fine-tuning alike, on Lightning Fabric.

Every random choice of a step is a function of its number, so that the loop carries no
random state: a checkpoint holds weights, optimiser moments and the step, and a resumed
stage ends in the same bits as one that was never interrupted.

On several devices every process runs this loop with the same task; see `training.sharding`.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from contrabench.contracts.objective import StepResult
from contrabench.errors import AuditError, RunError
from contrabench.progress import Reporter
from contrabench.protocol import Phase, seed_for
from contrabench.training.checkpoint import FILE, load_checkpoint, save_checkpoint
from contrabench.training.optimizer import build_optimizer
from contrabench.training.processes import any_rank, leads
from contrabench.training.runtime import Runtime
from contrabench.training.schedule import rate
from contrabench.training.sharding import sharded
from contrabench.training.stop import Interrupted, calm_stop
from contrabench.training.trackers import Tracker

_LOOK_EVERY = 20


class Task(nn.Module, ABC):
    """What the loop optimises: a network, a loss, and where its batches come from."""

    @abstractmethod
    def batch(self, step: int, part: int, parts: int) -> Any:
        """Makes one of the `parts` micro-batches of a step; a pure function of its arguments."""

    @abstractmethod
    def forward(self, batch: Any) -> StepResult:
        """Computes the loss of a mini-batch."""

    def after_step(self, progress: float) -> None:
        """Hook after every optimiser step; `progress` is the share of steps done."""


class _Box:
    """Carries a batch through Fabric, which would otherwise walk into every collection."""

    def __init__(self, batch: Any) -> None:
        self.batch = batch


class _Shell(nn.Module):
    """What Fabric wraps: a task that returns plain tensors."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task

    def forward(self, box: _Box) -> tuple[Tensor, dict[str, Tensor]]:
        result: StepResult = self.task(box.batch)
        # The wrapper takes whatever carries a graph for a loss, and waits for its gradients.
        return result.loss, {name: value.detach() for name, value in result.logs.items()}


@dataclass(frozen=True)
class FitRecord:
    """What a fit cost and saw.

    Attributes:
        steps: optimiser steps.
        images: slices drawn.
        seconds: wall time of all sessions together.
        data_seconds: part of it spent on making batches and views.
        peak_memory_mb: see `Runtime.peak_memory_mb`.
        trained: number of parameters that were trained.
        resumed_at: steps at which the fit was taken up again.
        first: logged values of the first step.
        last: mean of the logged values over the last steps.
    """

    steps: int
    images: int
    seconds: float
    data_seconds: float
    peak_memory_mb: float
    trained: int
    resumed_at: tuple[int, ...]
    first: Mapping[str, float]
    last: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        """The record as JSON-like data."""
        return asdict(self)


def fit(
    task: Task,
    steps: int,
    phase: Phase,
    runtime: Runtime,
    folder: Path,
    reporter: Reporter,
    title: str,
    seed: int,
    tracker: Tracker | None = None,
) -> FitRecord:
    """Trains the parameters of `task` that require a gradient.

    Args:
        task: network, loss and batches; moved to the device and trained in place.
        steps: optimiser steps.
        phase: batch, rate, decay and clipping.
        runtime: device, precision and switches.
        folder: keeps the checkpoint while the fit is unfinished.
        reporter: shows the progress.
        title: of the progress line.
        seed: reseeds torch's global generator at every step, for layers that draw.
        tracker: is told the losses as often as the progress is.

    Raises:
        RunError: if the loss stops being finite; the step is named.
        AuditError: rule 4, if a trained parameter gets no gradient or a frozen one changes.
        Interrupted: if a stop was asked for, after the step under way and its checkpoint.
    """
    state = _Fit(task, steps, phase, runtime, folder, seed)
    with sharded(task), calm_stop() as asked, reporter.track(title, steps) as track:
        for step in range(state.start, steps):
            state.step(step)
            if step == state.start or (step + 1) % _LOOK_EVERY == 0 or step + 1 == steps:
                track.advance(step + 1, state.look())
                if tracker is not None:
                    tracker.log(state.last, step + 1)
                state.save_if_due(step + 1)
            if any_rank(asked()):
                state.stop(step + 1)
    return state.finish()


class _Fit:
    """State of one call of `fit`."""

    def __init__(
        self, task: Task, steps: int, phase: Phase, runtime: Runtime, folder: Path, seed: int
    ) -> None:
        self.task, self.steps, self.phase = task, steps, phase
        self.runtime, self.folder, self.seed = runtime, folder, seed
        self.began = self.saved = time.monotonic()
        task.to(runtime.torch_device)
        if runtime.channels_last:
            task.to(memory_format=torch.channels_last)
        self.trained = [p for p in task.parameters() if p.requires_grad]
        self.frozen = {
            n: p.detach().clone() for n, p in task.named_parameters() if not p.requires_grad
        }
        if not self.trained:
            raise RunError("the stage trains no parameter; name its parts in Stage.trains")
        optimizer = build_optimizer(self.trained, phase)
        found = load_checkpoint(folder, task, optimizer)
        self.start = found.step if found else 0
        past = found.extra if found else {}
        self.spent = float(past.get("seconds", 0.0))
        self.data_seconds = float(past.get("data_seconds", 0.0))
        self.resumed = [*past.get("resumed_at", []), *([self.start] if found else [])]
        self.first: dict[str, float] = dict(past.get("first", {}))
        self.graded: set[int] = set(past.get("graded", []))
        self.recent: list[dict[str, Tensor]] = []
        self.last: dict[str, float] = dict(past.get("last", {}))
        self.bad = torch.tensor(-1, device=runtime.torch_device)
        task.train()
        self.fabric = runtime.fabric()
        self.module, self.optimizer = self.fabric.setup(_Shell(task), optimizer)

    def step(self, step: int) -> None:
        """One optimiser step."""
        torch.manual_seed(seed_for("step", self.seed, step))
        for group in self.optimizer.param_groups:
            group["lr"] = rate(step, self.steps, self.phase)
        parts = self.phase.accumulate
        logs: dict[str, Tensor] = {}
        for part in range(parts):
            began = time.monotonic()
            batch = self.task.batch(step, part, parts)
            self.data_seconds += time.monotonic() - began
            loss, extra = self.module(_Box(batch))
            self.fabric.backward(loss / parts)
            for name, value in {"loss": loss, **extra}.items():
                share = value.detach().float() / parts
                logs[name] = logs[name] + share if name in logs else share
        self.bad = torch.where(
            (self.bad < 0) & ~torch.isfinite(logs["loss"]),
            torch.full_like(self.bad, step),
            self.bad,
        )
        if len(self.graded) < len(self.trained):
            self._note_gradients()
        self.fabric.clip_gradients(
            self.module, self.optimizer, max_norm=self.phase.clip, error_if_nonfinite=False
        )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.task.after_step((step + 1) / self.steps)
        self.recent.append(logs)
        if not self.first:
            self.first = {name: float(value) for name, value in self.recent[0].items()}

    def _note_gradients(self) -> None:
        """Notes which parameters have had a gradient other than zero."""
        for number, parameter in enumerate(self.trained):
            grad = parameter.grad
            if number not in self.graded and grad is not None and bool(grad.count_nonzero()):
                self.graded.add(number)

    def look(self) -> str:
        """Fetches the losses since the last look; stops the run if one was not finite."""
        if (step := int(self.bad)) >= 0:
            # The weights are spoilt from here on; the next attempt must not start with them.
            (self.folder / FILE).unlink(missing_ok=True)
            raise RunError(
                f"the loss is not finite at step {step} of {self.steps}; the stage is not kept. "
                "Lower the learning rate, or look at the method's loss for a logarithm or a "
                "division of zero"
            )
        if self.recent:
            names = self.recent[0].keys()
            self.last = {
                name: float(torch.stack([log[name].float() for log in self.recent]).mean())
                for name in names
            }
            self.recent = []
        return f"loss {self.last.get('loss', float('nan')):.3f}"

    def save_if_due(self, done: int) -> None:
        """Writes a checkpoint when the last one is old enough."""
        if done < self.steps and time.monotonic() - self.saved >= self.runtime.checkpoint_seconds:
            self._save(done)

    def stop(self, done: int) -> NoReturn:
        """Writes a checkpoint, however fresh the last one is, and ends the fit."""
        self.look()
        self._save(done)
        raise Interrupted(
            f"stopped after step {done} of {self.steps}; the checkpoint is written, run the same "
            "command to go on"
        )

    def _save(self, done: int) -> None:
        if leads():
            save_checkpoint(self.folder, done, self.task, self.optimizer.optimizer, self._extra())
        self.saved = time.monotonic()

    def _extra(self) -> dict[str, Any]:
        return {
            "seconds": self.spent + time.monotonic() - self.began,
            "data_seconds": self.data_seconds,
            "resumed_at": self.resumed,
            "first": self.first,
            "last": self.last,
            "graded": sorted(self.graded),
        }

    def finish(self) -> FitRecord:
        """Checks rule 4 and sums up."""
        self._check_gradients()
        return FitRecord(
            steps=self.steps,
            images=self.steps * self.phase.batch,
            seconds=self.spent + time.monotonic() - self.began,
            data_seconds=self.data_seconds,
            peak_memory_mb=self.runtime.peak_memory_mb(),
            trained=sum(p.numel() for p in self.trained),
            resumed_at=tuple(self.resumed),
            first=self.first,
            last=self.last,
        )

    def _check_gradients(self) -> None:
        names = [name for name, p in self.task.named_parameters() if p.requires_grad]
        if without := [name for i, name in enumerate(names) if i not in self.graded]:
            raise AuditError(
                4,
                f"{len(without)} trained parameters never got a gradient, first '{without[0]}'; "
                "the loss does not reach them. Use them, or leave their part out of Stage.trains",
            )
        for name, value in self.task.named_parameters():
            if name in self.frozen and not torch.equal(value.detach(), self.frozen[name]):
                raise AuditError(
                    4,
                    f"the frozen parameter '{name}' changed; a hook or the loss writes to a part "
                    "that the stage does not train",
                )
