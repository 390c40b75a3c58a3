"""What a step of each stage of a method costs on this device, beside the bare network's.

Synthetic slices of the budget's size stand in for data, so that nothing has to be prepared.
The steps are those of the training loop.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from contrabench.contracts.method import JointStage, Method, Stage
from contrabench.contracts.objective import JointBatch
from contrabench.contracts.views import Batch, View
from contrabench.data.synthetic import synthetic_bank
from contrabench.errors import RequestError
from contrabench.model.segmentation import build_segmenter
from contrabench.model.weights import build_backbone
from contrabench.protocol import BackboneSpec, Budget, Seeds
from contrabench.stages.finetune import synthetic_banks
from contrabench.stages.recipe import unlabelled_batches
from contrabench.training.runtime import Runtime
from contrabench.training.step import Step, saved_for_backward
from contrabench.training.tasks import (
    FinetuneTask,
    JointTask,
    PretrainTask,
    build_joint,
    build_objective,
    count_parameters,
)

WARM_UP = 3
_STRUCTURES = 2


@dataclass(frozen=True)
class Times:
    """Durations of one thing done several times, in seconds: the median and both quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Times:
        """Sums up at least one duration."""
        low, median, high = np.quantile(seconds, (0.25, 0.5, 0.75)).tolist()
        return cls(median, low, high)


@dataclass(frozen=True)
class StageProfile:
    """The cost of a step of one stage, beside a bare pass of its network.

    The bare pass is the same network on the same images, a call for each view up to `bare_tap`, and
    the backward pass of the sum of that map; there is none where a stage trains heads alone.
    """

    stage: str
    batch: int  # slices in a step
    images: int  # in a step, all views counted
    step: Times  # of a whole step
    views: Times  # of making its batch and views alone
    bare: Times | None
    bare_tap: str | None  # the deepest part of the backbone that the stage trains
    ratio: float | None  # median of step / bare pass, each pair measured one after the other
    flops: int  # of matrix products and convolutions, both ways, two for multiplying with addition
    bare_flops: int
    saved_mb: float  # kept for the backward pass, parameters apart, MiB; without `torch.compile`
    peak_mb: float | None  # most memory allocated in a step, MiB, weights and all; None but on CUDA
    backbone_parameters: int  # trained ones
    head_parameters: int  # trained ones of the objective
    state_values: int  # numbers that the objective keeps beside them, e.g. a momentum copy

    @property
    def slices_per_second(self) -> float:
        """Slices, not views, that are trained on in a second."""
        return self.batch / self.step.median

    @property
    def views_share(self) -> float:
        """Share of a step that goes into its batch and views."""
        return self.views.median / self.step.median

    def as_dict(self) -> dict[str, Any]:
        """The profile as JSON-like data, times in seconds."""
        return {
            **asdict(self),
            "slices_per_second": self.slices_per_second,
            "views_share": self.views_share,
        }


def profile_stage(
    method: Method, stage: Stage | JointStage, budget: Budget, runtime: Runtime, steps: int
) -> StageProfile:
    """Measures some steps of one stage, of pre-training or in the place of fine-tuning.

    Step, views and bare pass take turns, after a warm-up.
    """
    if steps < 1:
        raise RequestError("--steps takes a whole number from 1")
    bench = _Bench(method, stage, budget, runtime, WARM_UP + steps)
    flops, bare_flops, saved = bench.count()
    if runtime.compile:
        bench.backbone.compile()
    taken: list[tuple[float, float, float]] = []
    peak = 0.0
    for number in range(WARM_UP + steps):
        if runtime.device == "cuda":
            torch.cuda.reset_peak_memory_stats(runtime.torch_device)
        step = bench.timed(partial(bench.take, number))
        reached = runtime.peak_memory_mb()
        views = bench.timed(partial(bench.task.batch, number, 0, 1))
        bare = bench.timed(partial(bench.bare, bench.task.batch(number, 0, 1)))
        if number >= WARM_UP:
            peak = max(peak, reached)
            taken.append((step, views, bare))
    step_times, views_times, bare_times = (Times.of(values) for values in zip(*taken, strict=True))
    objective, compared = bench.task.objective, bench.last is not None
    shown = [len(view.image) for view in _views(bench.task.batch(0, 0, 1))]
    heads = sum(p.numel() for p in objective.parameters() if p.requires_grad)
    kept = count_parameters(objective) + sum(value.numel() for value in objective.buffers())
    return StageProfile(
        stage=stage.name,
        batch=bench.slices,
        images=sum(shown),
        step=step_times,
        views=views_times,
        bare=bare_times if compared else None,
        bare_tap=bench.last,
        ratio=statistics.median(step / bare for step, _, bare in taken) if compared else None,
        flops=flops,
        bare_flops=bare_flops,
        saved_mb=saved / 2**20,
        peak_mb=peak if runtime.device == "cuda" else None,
        backbone_parameters=sum(p.numel() for p in bench.trained) - heads,
        head_parameters=heads,
        state_values=kept - heads,
    )


def _views(batch: Batch | JointBatch) -> list[View]:
    """Every view of a batch, those of the labelled slices first."""
    batches = (batch.labelled, *batch.streams) if isinstance(batch, JointBatch) else (batch,)
    return [view for each in batches for view in each.views]


class _Bench(Step):
    """One stage, ready to take steps of so many slices."""

    task: PretrainTask | JointTask

    def __init__(
        self,
        method: Method,
        stage: Stage | JointStage,
        budget: Budget,
        runtime: Runtime,
        steps: int,
    ) -> None:
        self.backbone = build_backbone(BackboneSpec(width=budget.width), 0)
        names, device = ("objective", stage.name, 0), runtime.torch_device
        task: PretrainTask | JointTask
        if isinstance(stage, JointStage):
            phase, trains, batches = (
                budget.finetune,
                self.backbone.parts,
                unlabelled_batches(budget, stage.streams),
            )
            model = build_segmenter(self.backbone, 1 + _STRUCTURES, False, 0)
            bank = synthetic_bank(budget.pixels, _STRUCTURES, device)
            common = FinetuneTask(model, bank, phase, Seeds())
            banks = synthetic_banks(stage, budget.pixels, _STRUCTURES, 1, runtime)
            joint = build_joint(method, stage, model, *names)
            task = JointTask(common, joint, stage, banks, batches, Seeds(), steps)
        else:
            phase, trains, batches = budget.pretrain, stage.trains, []
            objective = build_objective(method, stage, self.backbone, 1 + _STRUCTURES, *names)
            bank = synthetic_bank(budget.pixels, _STRUCTURES * stage.labels, device)
            task = PretrainTask(self.backbone, objective, stage, bank, phase, Seeds())
        super().__init__(task, phase, runtime, steps)
        self.slices = phase.batch + sum(batches)
        self.last = self.backbone.last(trains) if trains else None

    def count(self) -> tuple[int, int, int]:
        """Operations of a step and of a bare pass, and bytes kept for the backward pass."""
        batch = self.task.batch(0, 0, 1)
        with FlopCounterMode(display=False) as counter:
            with saved_for_backward(self.task.state_dict().values()) as saved:
                loss, _ = self.forward(batch)
            self.fabric.backward(loss)
            self.task.after_step(1 / self.steps)
        with FlopCounterMode(display=False) as beside:
            self.bare(batch)
        self.optimizer.zero_grad(set_to_none=True)
        return counter.get_total_flops(), beside.get_total_flops(), sum(saved.values())

    def bare(self, batch: Batch | JointBatch) -> None:
        """The network alone on a batch's images, forward and backward."""
        if self.last is None:
            return
        with self.fabric.autocast():
            maps = [
                self.backbone.features(view.image, (self.last,))[self.last]
                for view in _views(batch)
            ]
        torch.autograd.backward([item.float().sum() for item in maps])
        self.optimizer.zero_grad(set_to_none=True)
