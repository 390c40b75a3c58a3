"""What a step of each stage of a method costs on this device, beside the bare step.

The bare step is what the method's passes through the network would cost alone: the same passes on
the same images, with and without gradient as the method makes them, and an optimiser step.

Synthetic slices of the budget's size stand in for data, so that nothing has to be prepared.
The steps are those of the training loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from contrabench.contracts.backbone import Backbone
from contrabench.contracts.method import JointStage, Method, Stage
from contrabench.contracts.objective import JointBatch
from contrabench.contracts.views import Batch, View
from contrabench.data.synthetic import synthetic_bank
from contrabench.errors import RequestError
from contrabench.inspection.synchronisations import waits_of
from contrabench.model.segmentation import build_segmenter
from contrabench.model.weights import build_backbone
from contrabench.protocol import BackboneSpec, Budget, Seeds
from contrabench.stages.finetune import synthetic_banks
from contrabench.stages.recipe import tuning_stages, unlabelled_batches
from contrabench.training.optimizer import build_optimizer
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
    """Durations of one thing done several times, or their ratios: the median and both quartiles."""

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

    Of a bare step the gradient is that of the sum of the maps that were asked for.
    """

    stage: str
    batch: int  # slices in a step
    images: int  # in a step, all views counted
    step: Times  # of a whole step
    views: Times  # of making its batch and views alone
    bare: Times
    passes: int  # images through the network in a step, each time counted
    gradients: int  # those of them that lead back
    ratio: Times  # step / bare step, each pair measured one after the other
    flops: int  # of matrix products and convolutions, both ways, two for multiplying with addition
    bare_flops: int
    operations: int  # of torch that compute, both ways, each of them a kernel or more on a GPU
    waits: int | None  # of the loss for a CUDA device; None but on a CPU, where one is pretended
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

    @property
    def rest_share(self) -> float:
        """Share that goes into heads, loss and what follows a step, neither views nor bare step."""
        rest = self.step.median - self.views.median - self.bare.median
        return max(0.0, rest / self.step.median)

    def as_dict(self) -> dict[str, Any]:
        """The profile as JSON-like data, times in seconds."""
        return {
            **asdict(self),
            "slices_per_second": self.slices_per_second,
            "views_share": self.views_share,
            "rest_share": self.rest_share,
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
    flops, bare_flops, saved, operations = bench.count()
    spare = _Bench(method, stage, budget, runtime.alone(), WARM_UP + steps).task
    waits = waits_of(spare, spare.batch(0, 0, 1)) if runtime.device == "cpu" else None
    bench.compile()
    taken: list[tuple[float, float, float]] = []
    peak = 0.0
    for number in range(WARM_UP + steps):
        if number == WARM_UP:
            # As the loop does from time to time: what has been reached is watched no longer.
            bench.look({})
        if runtime.device == "cuda":
            torch.cuda.reset_peak_memory_stats(runtime.torch_device)
        step = bench.timed(partial(bench.take, number))
        reached = runtime.peak_memory_mb()
        views = bench.timed(partial(bench.task.batch, number, 0, 1))
        bare = bench.timed(bench.bare)
        if number >= WARM_UP:
            peak = max(peak, reached)
            taken.append((step, views, bare))
    step_times, views_times, bare_times = (Times.of(values) for values in zip(*taken, strict=True))
    objective = bench.task.objective
    shown = [len(view.image) for view in _views(bench.task.batch(0, 0, 1))]
    heads = sum(p.numel() for p in objective.parameters() if p.requires_grad)
    kept = count_parameters(objective) + sum(value.numel() for value in objective.buffers())
    return StageProfile(
        stage=stage.name,
        batch=bench.slices,
        images=sum(shown),
        step=step_times,
        views=views_times,
        bare=bare_times,
        passes=sum(len(each.image) for each in bench.passes),
        gradients=sum(len(each.image) for each in bench.passes if each.leads_back),
        ratio=Times.of([step / bare for step, _, bare in taken]),
        flops=flops,
        bare_flops=bare_flops,
        operations=operations,
        waits=None if waits is None else len(waits),
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


class _Pass(NamedTuple):
    """One call of the network."""

    network: Backbone
    image: Tensor
    taps: tuple[str, ...]
    given: Mapping[str, Tensor]
    leads_back: bool


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what computes something; to look at a tensor in another way does not."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.number = 0

    def __torch_dispatch__(
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.number += not func.is_view
        return func(*args, **(kwargs or {}))


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
            phase, tuning = budget.finetune, tuning_stages(method, budget.finetune.steps)
            batches = unlabelled_batches(budget, stage.streams, tuning)
            model = build_segmenter(self.backbone, 1 + _STRUCTURES, False, 0)
            bank = synthetic_bank(budget.pixels, _STRUCTURES, device)
            common = FinetuneTask(model, bank, phase, Seeds())
            banks = synthetic_banks(stage, budget.pixels, _STRUCTURES, 1, runtime)
            joint = build_joint(method, stage, model, *names)
            task = JointTask(common, joint, stage, banks, batches, Seeds(), steps)
        else:
            phase, batches = budget.pretrain, []
            objective = build_objective(method, stage, self.backbone, 1 + _STRUCTURES, *names)
            bank = synthetic_bank(budget.pixels, _STRUCTURES * stage.labels, device)
            task = PretrainTask(self.backbone, objective, stage, bank, phase, Seeds())
        super().__init__(task, phase, runtime, steps)
        self.slices = phase.batch + sum(batches)
        self.passes: list[_Pass] = []
        for module in task.modules():
            if isinstance(module, Backbone):
                module.register_forward_pre_hook(self._note)
        # Takes steps as dear as the other's, of length zero.
        self.idle = build_optimizer(self.groups, phase)
        for part in self.idle.param_groups:
            part["lr"] = 0.0

    def take(self, number: int) -> dict[str, Tensor]:
        """A step whose passes are noted."""
        self.passes = []
        return super().take(number)

    def _note(self, network: nn.Module, arguments: tuple[Any, ...]) -> None:
        image, taps, given = arguments
        held = {name: value.detach() for name, value in given.items()}
        backward = torch.is_grad_enabled() and any(p.requires_grad for p in network.parameters())
        self.passes.append(_Pass(cast("Backbone", network), image.detach(), taps, held, backward))

    def count(self) -> tuple[int, int, int, int]:
        """FLOP of a step and of a bare pass, bytes kept for the backward pass, and operations."""
        batch = self.task.batch(0, 0, 1)
        with FlopCounterMode(display=False) as counter, _Operations() as operations:
            with saved_for_backward(self.task.state_dict().values()) as saved:
                loss, _ = self.forward(batch)
            loss.backward()  # type: ignore[no-untyped-call]
            self.task.after_step(1 / self.steps)
        with FlopCounterMode(display=False) as beside:
            self.bare()
        self.optimizer.zero_grad(set_to_none=True)
        kept = sum(saved.values())
        return counter.get_total_flops(), beside.get_total_flops(), kept, operations.number

    def bare(self) -> None:
        """The passes of the last step again, alone."""
        noted, self.passes, total = self.passes, [], []
        for each in noted:  # which are noted once more
            with torch.set_grad_enabled(each.leads_back), self.runtime.autocast():
                maps = each.network(each.image, each.taps, each.given)
            total += [value.float().sum() for value in maps.values() if value.requires_grad]
        if total:
            torch.autograd.backward(total)
        self.idle.step()
        self.optimizer.zero_grad(set_to_none=True)
