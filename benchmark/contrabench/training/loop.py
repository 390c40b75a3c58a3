"""The one training loop, for pre-training stages and fine-tuning alike.

It carries no random state: a checkpoint holds weights, optimiser moments and the step, and a
resumed stage ends in the same bits as one that was never interrupted.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from contrabench.errors import AuditError, RunError
from contrabench.progress import Reporter
from contrabench.protocol import Phase
from contrabench.training.checkpoint import FILE, load_checkpoint, save_checkpoint
from contrabench.training.runtime import Runtime
from contrabench.training.sharding import any_process, is_first_process, sharded
from contrabench.training.step import Step, TrainingTask
from contrabench.training.stop import Interrupted, calm_stop
from contrabench.training.trackers import Tracker

_LOOK_EVERY = 20


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
    task: TrainingTask,
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
    state = _Fit(Step(task, phase, runtime, steps, seed), folder)
    with sharded(task), calm_stop() as asked, reporter.track(title, steps) as track:
        for step in range(state.start, steps):
            state.take(step)
            if step == state.start or (step + 1) % _LOOK_EVERY == 0 or step + 1 == steps:
                track.advance(step + 1, state.look())
                if tracker is not None:
                    tracker.log(state.last, step + 1)
                state.save_if_due(step + 1)
            if any_process(asked()):
                state.stop(step + 1)
    return state.finish()


class _Fit:
    """State of one call of `fit`."""

    def __init__(self, step: Step, folder: Path) -> None:
        self.step, self.folder = step, folder
        self.task, self.steps = step.task, step.steps
        self.began = self.saved = time.monotonic()
        self.frozen = {
            n: p.detach().clone() for n, p in self.task.named_parameters() if not p.requires_grad
        }
        past = load_checkpoint(folder) or {}
        self.start = int(past.get("step", 0))
        if past:
            self.task.load_state_dict(past["module"])
            step.optimizer.load_state_dict(past["optimizer"])
        self.spent = float(past.get("seconds", 0.0))
        step.data_seconds = float(past.get("data_seconds", 0.0))
        step.reached = set(past.get("graded", []))
        self.resumed = [*past.get("resumed_at", []), *([self.start] if past else [])]
        self.first: dict[str, float] = dict(past.get("first", {}))
        self.last: dict[str, float] = dict(past.get("last", {}))
        self.recent: list[dict[str, Tensor]] = []

    def take(self, number: int) -> None:
        """Takes a step and notes its losses."""
        logs = self.step.take(number)
        self.recent.append(logs)
        if not self.first:
            self.first = {name: float(value) for name, value in logs.items()}

    def look(self) -> str:
        """Fetches the losses since the last look; stops the run if one was not finite."""
        if (bad := int(self.step.not_finite)) >= 0:
            # The weights are spoilt from here on; the next attempt must not start with them.
            (self.folder / FILE).unlink(missing_ok=True)
            raise RunError(
                f"the loss is not finite at step {bad} of {self.steps}; the stage is not kept. "
                "Lower the learning rate, or look at the method's loss for a logarithm or a "
                "division of zero"
            )
        if self.recent:
            self.last = {
                name: float(torch.stack([log[name] for log in self.recent]).mean())
                for name in self.recent[0]
            }
            self.recent = []
        return f"loss {self.last.get('loss', float('nan')):.3f}"

    def save_if_due(self, done: int) -> None:
        """Writes a checkpoint when the last one is old enough."""
        pause = self.step.runtime.checkpoint_seconds
        if done < self.steps and time.monotonic() - self.saved >= pause:
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
        if is_first_process():
            content = {
                "step": done,
                "module": self.task.state_dict(),
                "optimizer": self.step.optimizer.state_dict(),
                "seconds": self.spent + time.monotonic() - self.began,
                "data_seconds": self.step.data_seconds,
                "resumed_at": self.resumed,
                "first": self.first,
                "last": self.last,
                "graded": sorted(self.step.reached),
            }
            save_checkpoint(self.folder, content)
        self.saved = time.monotonic()

    def finish(self) -> FitRecord:
        """Checks rule 4 and sums up."""
        self._check_gradients()
        return FitRecord(
            steps=self.steps,
            images=self.steps * self.step.phase.batch,
            seconds=self.spent + time.monotonic() - self.began,
            data_seconds=self.step.data_seconds,
            peak_memory_mb=self.step.runtime.peak_memory_mb(),
            trained=sum(p.numel() for p in self.step.trained),
            resumed_at=tuple(self.resumed),
            first=self.first,
            last=self.last,
        )

    def _check_gradients(self) -> None:
        names = [name for name, p in self.task.named_parameters() if p.requires_grad]
        if without := [name for i, name in enumerate(names) if i not in self.step.reached]:
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
