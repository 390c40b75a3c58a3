"""The one training loop, for pre-training stages and fine-tuning alike.

It carries no random state: a checkpoint holds weights, optimiser moments and the step, and a
resumed stage ends in the same bits as one that was never interrupted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor, nn

from contrabench.errors import AuditError, RunError
from contrabench.progress import Reporter
from contrabench.training.checkpoint import FILE, load_checkpoint, save_checkpoint
from contrabench.training.meter import Meter
from contrabench.training.sharding import any_process, is_first_process, sharded
from contrabench.training.step import Step
from contrabench.training.stop import Interrupted, calm_stop
from contrabench.training.trackers import Tracker

_LOOK_EVERY = 20


@dataclass
class FitRecord:
    """What a fit cost and saw."""

    steps: int
    images: int
    seconds: float  # wall time of all sessions together
    data_seconds: float  # part of it spent on making batches and views
    peak_memory_mb: float
    trained: int  # number of parameters
    resumed_at: tuple[int, ...]  # steps at which the fit was taken up again
    first: dict[str, float]  # logged values of the first step
    last: dict[str, float]  # mean of the logged values over the last steps
    counts: dict[str, float] = field(default_factory=dict)  # of `Meter`, the most of a step


def fit(
    step: Step,
    folder: Path,
    reporter: Reporter,
    title: str,
    tracker: Tracker | None = None,
    marks: Mapping[int, Callable[[], None]] = MappingProxyType({}),
) -> FitRecord:
    """Takes every step of a training; `folder` keeps its checkpoint while it is unfinished.

    `marks` are called after so many steps; once more, if the training is taken up from before.

    Raises:
        RunError: if the loss stops being finite; the step is named.
        AuditError: rule 4, if a trained parameter gets no gradient or a frozen one changes, or
            weights are moved by another hand; rule 9, if more images are seen than are declared.
        Interrupted: if a stop was asked for, after the step under way and its checkpoint.
    """
    state, steps = _Fit(step, folder), step.steps
    record = state.record
    start = record.steps
    with (
        sharded(step.task),
        state.meter.watching(),
        calm_stop() as asked,
        reporter.track(title, steps) as track,
    ):
        for number in range(start, steps):
            state.take(number)
            done = number + 1
            if done in marks:
                marks[done]()
            if number == start or done % _LOOK_EVERY == 0 or done == steps:
                state.look()
                track.advance(done, f"loss {record.last['loss']:.3f}")
                if tracker is not None:
                    tracker.log(record.last, done)
                if (
                    done < steps
                    and time.monotonic() - state.saved >= step.runtime.checkpoint_seconds
                ):
                    state.save()
            if any_process(asked()):
                state.look()
                state.save()
                raise Interrupted(
                    f"stopped after step {done} of {steps}; the checkpoint is written, run the "
                    "same command to go on"
                )
    state.check_gradients()
    return state.sum_up()


class _Fit:
    """State of one call of `fit`; taken up from the checkpoint in the folder, if there is one."""

    def __init__(self, step: Step, folder: Path) -> None:
        self.step, self.task, self.folder = step, step.task, folder
        # A worker makes stage after stage.
        step.runtime.reset_peak_memory()
        self.frozen = {name: value.detach().clone() for name, value in _still(self.task)}
        self.recent: list[dict[str, Tensor]] = []
        trained = sum(p.numel() for p in step.trained)
        self.record = FitRecord(0, 0, 0.0, 0.0, 0.0, trained, (), {}, {})
        if past := load_checkpoint(folder):
            self.task.load_state_dict(past["module"])
            step.optimizer.load_state_dict(past["optimizer"])
            step.reached.copy_(past["reached"])
            self.record = FitRecord(**past["record"])
            self.record.resumed_at += (self.record.steps,)
            step.data_seconds = self.record.data_seconds
        self.meter = Meter(step)
        self.meter.counts = self.record.counts
        self.saved = time.monotonic()
        self.began = self.saved - self.record.seconds

    def take(self, number: int) -> None:
        """Takes a step and notes its losses."""
        self.recent.append(self.meter.take(number))
        self.record.steps = number + 1

    def look(self) -> None:
        """Fetches the losses since the last look; stops the run if one was not finite."""
        # A term that sets in later is logged from then on.
        names = {name: None for log in self.recent for name in log}
        logs = {name: [log[name] for log in self.recent if name in log] for name in names}
        bad, means = self.step.look(logs)
        if bad >= 0:
            # The weights are spoilt from here on; the next attempt must not start with them.
            (self.folder / FILE).unlink(missing_ok=True)
            raise RunError(
                f"the loss is not finite at step {bad} of {self.step.steps}; the stage is not "
                "kept. Lower the learning rate, or look at the method's loss for a logarithm or a "
                "division of zero"
            )
        if self.recent:
            self.record.last = means
            # The loop looks after its first step.
            self.record.first = self.record.first or means
            self.recent = []

    def save(self) -> None:
        """Writes a checkpoint of the steps done."""
        if is_first_process():
            content = {
                "module": self.task.state_dict(),
                "optimizer": self.step.optimizer.state_dict(),
                "reached": self.step.reached,
                "record": asdict(self.sum_up()),
            }
            save_checkpoint(self.folder, content)
        self.saved = time.monotonic()

    def sum_up(self) -> FitRecord:
        """The record up to now."""
        record = self.record
        record.images = record.steps * self.step.phase.batch
        record.seconds = time.monotonic() - self.began
        record.data_seconds = self.step.data_seconds
        record.counts = self.meter.counts
        record.peak_memory_mb = self.step.runtime.peak_memory_mb()
        return record

    def check_gradients(self) -> None:
        """Rule 4: what trains was reached by the loss, and what is frozen has not moved."""
        names = [name for name, p in self.task.named_parameters() if p.requires_grad]
        reached = self.step.reached.tolist()
        if without := [name for i, name in enumerate(names) if not reached[i]]:
            raise AuditError(
                4,
                f"{len(without)} trained parameters never got a gradient, first '{without[0]}'; "
                "the loss does not reach them. Use them, or leave their part out of Stage.trains",
            )
        for name, value in _still(self.task):
            if not torch.equal(value.detach(), self.frozen[name]):
                raise AuditError(
                    4,
                    f"the frozen '{name}' changed; a hook or the loss writes to a part that the "
                    "stage does not train, or lets it normalise by its batches",
                )


def _still(task: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters that are not trained, and the running statistics of layers that have these."""
    for path, module in task.named_modules():
        own = list(module.named_parameters(path, recurse=False))
        if own and not any(value.requires_grad for _, value in own):
            yield from own
            yield from module.named_buffers(path, recurse=False)
