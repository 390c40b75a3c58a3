"""A method on trial: its stages built anew as often as a check wants, and trained once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from contrabench.contracts.backbone import Backbone
from contrabench.contracts.method import JointStage, Method, Stage
from contrabench.contracts.objective import JointBatch, JointObjective, Objective
from contrabench.contracts.views import Batch
from contrabench.data.bank import SliceBank, build_bank
from contrabench.data.prepare import cases_of
from contrabench.model.segmentation import build_segmenter
from contrabench.model.weights import build_backbone
from contrabench.progress import Silent
from contrabench.protocol import BackboneSpec, Options, Phase, Seeds
from contrabench.testing.phantoms import practice_cases
from contrabench.testing.report import FaultError
from contrabench.training.loop import fit
from contrabench.training.runtime import Runtime
from contrabench.training.step import Step, TrainingTask
from contrabench.training.tasks import (
    FinetuneTask,
    JointTask,
    PretrainTask,
    build_joint,
    build_objective,
    check_views,
    stage_stream,
)

RUNTIME = Runtime(device="cpu", precision="float32", threads=1, checkpoint_seconds=0.0)
_BATCH = 16
_RATE = 3e-3
_CLASSES = 3
_LABELLED = 3


TINY = BackboneSpec(width=4)
"""The network that methods are tried on if no other is named."""


def network(spec: BackboneSpec, seed: int = 0, channels: int = 1) -> Backbone:
    """A backbone for images of so many channels, with the weights of a seed."""
    return build_backbone(spec.model_copy(update={"in_channels": channels}), seed)


class _Once:
    """A task that sees the same views of the same slices in every step.

    One batch can be learnt in seconds, whatever the method; new ones in every step cannot,
    and what a method has not learnt yet says nothing of its loss.
    """

    def batch(self, step: int, part: int, parts: int) -> Any:
        """The views of step 0."""
        return self._first

    @cached_property
    def _first(self) -> Any:
        return super().batch(0, 0, 1)  # type: ignore[misc]


class _PretrainOnce(_Once, PretrainTask):
    """A pre-training stage on one batch."""


class _JointOnce(_Once, JointTask):
    """A joint stage on one batch; ramps and pauses go on."""

    def batch(self, step: int, part: int, parts: int) -> JointBatch:
        """The views of step 0, at the progress of the step."""
        first: JointBatch = super().batch(0, part, parts)
        return replace(first, progress=step / self.steps)


Task = TypeVar("Task", bound=TrainingTask)


class StageTrial(ABC, Generic[Task]):
    """One stage of a method on trial; it starts from the weights of the stage `before`."""

    steps: int = 64  # of the short training
    joint: bool = False

    def __init__(
        self,
        method: Method,
        stage: Any,
        before: StageTrial[Any] | None,
        spec: BackboneSpec,
        batch: int,
        channels: int,
    ) -> None:
        self.method, self.stage, self.before, self.channels = method, stage, before, channels
        self.spec = spec
        self.phase = Phase(images=self.steps * batch, batch=batch, lr=_RATE)

    @abstractmethod
    def of_channels(self, count: int) -> StageTrial[Any]:
        """The stage on images of so many channels, from the weights of a seed."""

    @abstractmethod
    def fresh(self, labels: bool | None = None) -> Task:
        """The stage as a run would begin it, or with labels or without; always in the same bits.

        FaultError if what the method builds for it is no objective.
        """

    @abstractmethod
    def batches(self, count: int) -> list[Any]:
        """The batch that the training sees in every step, and then others."""

    @property
    @abstractmethod
    def trained(self) -> tuple[str, ...]:
        """The parts of the backbone that the stage trains."""

    @abstractmethod
    def backbone_of(self, task: Task) -> Backbone:
        """The backbone of a task."""

    def network(self) -> Backbone:
        """The backbone with its initial weights."""
        return network(self.spec, channels=self.channels)

    def _bank(self, drawn: Sequence[str], labelled: Sequence[str] | None) -> SliceBank:
        """The slices of some of the practice patients, in the orientations of the stage."""
        ways = self.method.deviations.orientations if isinstance(self.stage, Stage) else ("axial",)
        cases = cases_of(practice_cases(self.channels), drawn)
        return build_bank(cases, labelled, ways, torch.device("cpu"))

    @cached_property
    def start(self) -> Mapping[str, Tensor]:
        """Weights of the backbone before the stage: a seed's, or those of the stage before."""
        return self.network().state_dict() if self.before is None else self.before.end

    @property
    def end(self) -> Mapping[str, Tensor]:
        """Weights of the backbone after the stage; those before it if the training stopped."""
        trained = self.trainings[0]
        if isinstance(trained, Exception):
            return self.start
        last = self.backbone_of(trained).state_dict()
        return {name: last[name] for name in self.start}

    def after_training(self) -> Task:
        """The stage as the short training has left it, built anew; raises what stopped it."""
        trained, task = self.trainings[0], self.fresh()
        if isinstance(trained, Exception):
            raise trained
        task.load_state_dict(trained.state_dict())
        return task

    @cached_property
    def trainings(self) -> list[Task | Exception]:
        """A short training by the engine's loop, and its end once more from the last checkpoint.

        Each is the task at its end, or what stopped it; AuditError if it broke rule 4.
        """
        trainings: list[Task | Exception] = []
        with TemporaryDirectory(prefix="contrabench-check-") as folder:
            for _ in range(2):
                try:
                    task = self.fresh()
                    step = Step(task, self.phase, RUNTIME, self.steps)
                    fit(step, Path(folder), Silent(), "check")
                    trainings.append(task)
                # A stranger's code runs here, and may raise anything.
                except Exception as error:
                    trainings.append(error)
        return trainings


class PretrainTrial(StageTrial[PretrainTask]):
    """A pre-training stage on trial."""

    stage: Stage

    def __init__(
        self,
        method: Method,
        stage: Stage,
        before: StageTrial[Any] | None,
        spec: BackboneSpec,
        channels: int = 1,
    ) -> None:
        parts = max(1, stage.partitions)
        super().__init__(method, stage, before, spec, parts * max(2, _BATCH // parts), channels)

    def of_channels(self, count: int) -> PretrainTrial:
        """As of any stage."""
        return PretrainTrial(self.method, self.stage, None, self.spec, count)

    def _seen(self, labels: bool) -> SliceBank:
        """The slices that the stage may see, with or without masks."""
        pool = [case.patient for case in practice_cases()]
        labelled = pool[:_LABELLED]
        drawn = labelled if self.stage.labelled_slices_only else pool
        return self._bank(drawn, labelled if labels else None)

    def fresh(self, labels: bool | None = None) -> PretrainTask:
        """As of any stage."""
        backbone = self.network()
        backbone.load_state_dict(self.start)
        objective = build_objective(
            self.method, self.stage, backbone, _CLASSES, "check", self.stage.name
        )
        _demand(objective, Objective, "objective")
        bank = self._seen(self.stage.labels if labels is None else labels)
        return _PretrainOnce(backbone, objective, self.stage, bank, self.phase, Seeds()).train()

    def batches(self, count: int) -> list[Batch]:
        """As of any stage."""
        bank = self._seen(self.stage.labels)
        stream = stage_stream(self.stage, bank, self.phase, self.network().multiple, Seeds())
        batches = [stream.batch(number, 0, 1) for number in range(count)]
        check_views(batches[0])
        return batches

    @property
    def trained(self) -> tuple[str, ...]:
        """As of any stage."""
        return self.stage.trains

    def backbone_of(self, task: PretrainTask) -> Backbone:
        """As of any stage."""
        return task.backbone


class JointTrial(StageTrial[JointTask]):
    """A joint stage on trial: three labelled patients, and the slices of the others.

    Nothing is asked of what it has learnt, so that its training is shorter.
    """

    stage: JointStage
    steps, joint = 24, True

    def __init__(
        self,
        method: Method,
        stage: JointStage,
        before: StageTrial[Any] | None,
        spec: BackboneSpec,
        channels: int = 1,
    ) -> None:
        super().__init__(method, stage, before, spec, _BATCH // 2, channels)

    def of_channels(self, count: int) -> JointTrial:
        """As of any stage."""
        return JointTrial(self.method, self.stage, None, self.spec, count)

    def fresh(self, labels: bool | None = None) -> JointTask:
        """As of any stage; masks of the labelled slices alone, whatever is asked."""
        return self._task(_JointOnce)

    def _task(self, kind: type[JointTask]) -> JointTask:
        pool = [case.patient for case in practice_cases()]
        labelled, others = pool[:_LABELLED], pool[_LABELLED:]
        backbone = self.network()
        backbone.load_state_dict(self.start)
        model = build_segmenter(backbone, _CLASSES, False, 0)
        objective = build_joint(self.method, self.stage, model, "check", self.stage.name)
        _demand(objective, JointObjective, "joint_objective")
        common = FinetuneTask(model, self._bank(labelled, labelled), self.phase, Seeds())
        drawn = {"unlabelled": others, "labelled": labelled, "any": pool}
        banks = []
        for stream in self.stage.streams:
            patients = drawn[stream.draws]
            # Labels that a stage before predicts are the true ones here.
            seen = labelled if stream.masks == "labels" else patients
            shown = [patient for patient in patients if patient in seen]
            banks.append(self._bank(patients, None if stream.masks == "none" else shown))
        batches = [self.phase.batch] * len(banks)
        return kind(common, objective, self.stage, banks, batches, Seeds(), self.steps).train()

    def batches(self, count: int) -> list[JointBatch]:
        """As of any stage."""
        task = self._task(JointTask)
        return [task.batch(number, 0, 1) for number in range(count)]

    @property
    def trained(self) -> tuple[str, ...]:
        """All of them."""
        return self.network().parts

    def backbone_of(self, task: JointTask) -> Backbone:
        """As of any stage."""
        return task.common.model.backbone


def _demand(found: object, kind: type, name: str) -> None:
    if not isinstance(found, kind):
        raise FaultError(
            f"{name}() returns {type(found).__name__}",
            f"return an instance of a subclass of contrabench.{kind.__name__}",
        )


class Trial:
    """A method on trial, with its defaults if it has no options given."""

    def __init__(
        self,
        method_class: type[Method],
        options: Options | None = None,
        spec: BackboneSpec = TINY,
    ) -> None:
        self.method_class, self.options, self.spec = method_class, options, spec

    def network(self, seed: int = 0) -> Backbone:
        """The backbone that it is tried on, with the weights of a seed."""
        return network(self.spec, seed)

    @cached_property
    def method(self) -> Method:
        """The method with its options."""
        return self.method_class(self.options)

    @cached_property
    def stages(self) -> tuple[StageTrial[Any], ...]:
        """One trial for each stage, those of pre-training first, in order."""
        trials: list[StageTrial[Any]] = []
        for stage in self.method.stages():
            before = trials[-1] if trials else None
            trials.append(PretrainTrial(self.method, stage, before, self.spec))
        for joint in self.method.joint_stages():
            before = trials[-1] if trials else None
            trials.append(JointTrial(self.method, joint, before, self.spec))
        return tuple(trials)
