"""A method on trial: its stages built anew as often as a check wants, and trained once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from contrabench.contracts.backbone import Backbone
from contrabench.contracts.method import Method, Stage
from contrabench.contracts.objective import Objective, StepResult
from contrabench.contracts.views import Batch
from contrabench.data.bank import SliceBank, build_bank
from contrabench.errors import AuditError
from contrabench.model.weights import build_backbone
from contrabench.progress import Silent
from contrabench.protocol import BackboneSpec, Options, Phase, Seeds, seed_for
from contrabench.testing.conformity import FaultError, NotApplicableError
from contrabench.testing.phantoms import practice_cases
from contrabench.training.loop import fit
from contrabench.training.runtime import Runtime
from contrabench.training.tasks import PretrainTask, check_views, stage_stream

BACKBONE = BackboneSpec(width=4)
RUNTIME = Runtime(device="cpu", precision="float32", threads=1, checkpoint_seconds=0.0)
_BATCH = 16
_STEPS = 64
_RATE = 3e-3
_LABELLED = 3


@dataclass(frozen=True)
class Trained:
    """What the short training of a stage on one batch has left.

    Attributes:
        weights: state of the task, as a checkpoint holds it.
        everything: all weights and buffers, those that no checkpoint holds among them.
        resumed: the same after a stop in between.
        fault: how the training broke rule 4 of the protocol, if it did.
    """

    weights: Mapping[str, Tensor]
    everything: Mapping[str, Tensor]
    resumed: Mapping[str, Tensor] | Exception
    fault: str


class _OneBatchTask(PretrainTask):
    """A stage that sees the same views of the same slices in every step.

    One batch can be learnt in seconds, whatever the method; new ones in every step cannot,
    and what a method has not learnt yet says nothing of its loss.
    """

    def batch(self, step: int, part: int, parts: int) -> Batch:
        """The views of step 0."""
        return self._first

    @cached_property
    def _first(self) -> Batch:
        return super().batch(0, 0, 1)


class StageTrial:
    """One stage of a method on trial; it starts from the weights of the stage `before`."""

    def __init__(self, method: Method, stage: Stage, before: StageTrial | None) -> None:
        self.method, self.stage, self.before = method, stage, before
        parts = max(1, stage.partitions)
        batch = parts * max(2, _BATCH // parts)
        self.phase = Phase(images=_STEPS * batch, batch=batch, lr=_RATE)

    def bank(self, labels: bool) -> SliceBank:
        """The slices that the stage may see, with or without masks."""
        pool = [case.patient for case in practice_cases()]
        labelled = pool[:_LABELLED]
        return build_bank(
            practice_cases(),
            labelled if self.stage.labelled_slices_only else pool,
            labelled if labels else None,
            self.method.deviations.orientations,
            torch.device("cpu"),
        )

    @cached_property
    def _bank(self) -> SliceBank:
        return self.bank(self.stage.labels)

    @cached_property
    def start(self) -> Mapping[str, Tensor]:
        """Weights of the backbone before the stage: a seed's, or those of the stage before."""
        return build_backbone(BACKBONE, 0).state_dict() if self.before is None else self.before.end

    @cached_property
    def end(self) -> Mapping[str, Tensor]:
        """Weights of the backbone after the stage; those before it if the training stopped."""
        if isinstance(self.trained, Exception):
            return self.start
        return {name: self.trained.weights[f"backbone.{name}"] for name in self.start}

    def fresh(self, bank: SliceBank | None = None) -> PretrainTask:
        """The stage as a run would begin it; always in the same bits.

        FaultError if `objective` returns something else than an Objective.
        """
        backbone = build_backbone(BACKBONE, 0)
        backbone.load_state_dict(self.start)
        torch.manual_seed(seed_for("check", self.stage.name))
        objective = self.method.objective(self.stage, backbone)
        if not isinstance(objective, Objective):
            raise FaultError(
                f"objective() returns {type(objective).__name__}",
                "return an instance of a subclass of contrabench.Objective",
            )
        task = _OneBatchTask(
            backbone, objective, self.stage, bank or self._bank, self.phase, Seeds()
        )
        task.train()
        return task

    def after_training(self) -> PretrainTask:
        """The stage as the short training has left it; each call builds it anew."""
        trained = self.training()
        task = self.fresh()
        task.load_state_dict(trained.weights)
        return task

    def batches(self, count: int) -> list[Batch]:
        """The batch that the training sees in every step, and then others."""
        multiple = build_backbone(BACKBONE, 0).multiple
        stream = stage_stream(self.stage, self._bank, self.phase, multiple, Seeds())
        batches = [stream.batch(number, 0, 1) for number in range(count)]
        check_views(batches[0])
        return batches

    def training(self) -> Trained:
        """What the short training has left; NotApplicableError if it did not come to its end."""
        if isinstance(self.trained, Exception):
            raise NotApplicableError("the short training did not come to its end")
        return self.trained

    @cached_property
    def trained(self) -> Trained | Exception:
        """The short training by the engine's loop, and its end from the last checkpoint.

        Or what stopped it.
        """
        with TemporaryDirectory(prefix="contrabench-check-") as folder:
            try:
                task = self.fresh()
                fault = self._fit(task, Path(folder))
            # A stranger's code runs here, and may raise anything.
            except Exception as error:
                return error
            resumed: Mapping[str, Tensor] | Exception
            try:
                again = self.fresh()
                self._fit(again, Path(folder))
                resumed = state_of(again)
            except Exception as error:
                resumed = error
        return Trained(_copied(task.state_dict()), state_of(task), resumed, fault)

    def _fit(self, task: PretrainTask, folder: Path) -> str:
        """Trains a task, or goes on from a checkpoint; tells at its end how it broke the rules."""
        try:
            fit(task, _STEPS, self.phase, RUNTIME, folder, Silent(), "check", 0)
        except AuditError as error:
            return str(error)
        return ""


class Trial:
    """A method on trial, with its defaults if it has no options given."""

    def __init__(self, method_class: type[Method], options: Options | None = None) -> None:
        self.method_class, self.options = method_class, options

    @cached_property
    def method(self) -> Method:
        """The method with its options."""
        return self.method_class(self.options)

    @cached_property
    def backbone(self) -> Backbone:
        """The network that methods are tried on, to be asked for its names."""
        return build_backbone(BACKBONE, 0)

    @cached_property
    def stages(self) -> tuple[StageTrial, ...]:
        """One trial for each stage, in order."""
        trials: list[StageTrial] = []
        for stage in self.method.stages():
            trials.append(StageTrial(self.method, stage, trials[-1] if trials else None))
        return tuple(trials)


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in tensors.items()}


def state_of(task: PretrainTask) -> dict[str, Tensor]:
    """Copies of all weights and buffers, those that no checkpoint holds among them."""
    return _copied({**dict(task.named_parameters()), **dict(task.named_buffers())})


def step_of(task: PretrainTask, batch: Batch, stream: int = 0) -> StepResult:
    """What a task computes for a batch, with torch's random numbers those of a stream."""
    torch.manual_seed(seed_for("check step", stream))
    result: StepResult = task(batch)
    return result


def loss_of(task: PretrainTask, batch: Batch, stream: int = 0) -> float:
    """The loss of a batch, without a graph."""
    with torch.no_grad():
        return float(step_of(task, batch, stream).loss)
