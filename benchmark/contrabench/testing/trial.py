"""A method on trial: its stages built anew as often as a check wants, and trained once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from contrabench.contracts.backbone import Backbone
from contrabench.contracts.method import Method, Stage
from contrabench.contracts.objective import Objective
from contrabench.contracts.views import Batch
from contrabench.data.bank import SliceBank, build_bank
from contrabench.model.weights import build_backbone
from contrabench.progress import Silent
from contrabench.protocol import BackboneSpec, Options, Phase, Seeds
from contrabench.testing.phantoms import practice_cases
from contrabench.training.loop import fit
from contrabench.training.runtime import Runtime
from contrabench.training.step import Step
from contrabench.training.tasks import PretrainTask, build_objective, check_views, stage_stream

RUNTIME = Runtime(device="cpu", precision="float32", threads=1, checkpoint_seconds=0.0)
_BATCH = 16
_STEPS = 64
_RATE = 3e-3
_LABELLED = 3


class FaultError(Exception):
    """Raised by a check that a method does not pass: what was found, and what to do about it."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.hint = hint


def network(seed: int = 0) -> Backbone:
    """The backbone that methods are tried on, with the weights of a seed."""
    return build_backbone(BackboneSpec(width=4), seed)


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

    def _bank(self, labels: bool) -> SliceBank:
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
    def start(self) -> Mapping[str, Tensor]:
        """Weights of the backbone before the stage: a seed's, or those of the stage before."""
        return network().state_dict() if self.before is None else self.before.end

    @property
    def end(self) -> Mapping[str, Tensor]:
        """Weights of the backbone after the stage; those before it if the training stopped."""
        trained = self.trainings[0]
        last = self.start if isinstance(trained, Exception) else trained.backbone.state_dict()
        return {name: last[name] for name in self.start}

    def fresh(self, labels: bool | None = None) -> PretrainTask:
        """The stage as a run would begin it, or with labels or without; always in the same bits.

        FaultError if `objective` returns something else than an Objective.
        """
        backbone = network()
        backbone.load_state_dict(self.start)
        objective = build_objective(self.method, self.stage, backbone, "check", self.stage.name)
        if not isinstance(objective, Objective):
            raise FaultError(
                f"objective() returns {type(objective).__name__}",
                "return an instance of a subclass of contrabench.Objective",
            )
        bank = self._bank(self.stage.labels if labels is None else labels)
        return _OneBatchTask(backbone, objective, self.stage, bank, self.phase, Seeds()).train()

    def after_training(self) -> PretrainTask:
        """The stage as the short training has left it, built anew; raises what stopped it."""
        trained, task = self.trainings[0], self.fresh()
        if isinstance(trained, Exception):
            raise trained
        task.load_state_dict(trained.state_dict())
        return task

    def batches(self, count: int) -> list[Batch]:
        """The batch that the training sees in every step, and then others."""
        bank = self._bank(self.stage.labels)
        stream = stage_stream(self.stage, bank, self.phase, network().multiple, Seeds())
        batches = [stream.batch(number, 0, 1) for number in range(count)]
        check_views(batches[0])
        return batches

    @cached_property
    def trainings(self) -> list[PretrainTask | Exception]:
        """A short training by the engine's loop, and its end once more from the last checkpoint.

        Each is the task at its end, or what stopped it; AuditError if it broke rule 4.
        """
        trainings: list[PretrainTask | Exception] = []
        with TemporaryDirectory(prefix="contrabench-check-") as folder:
            for _ in range(2):
                try:
                    task = self.fresh()
                    step = Step(task, self.phase, RUNTIME, _STEPS)
                    fit(step, Path(folder), Silent(), "check")
                    trainings.append(task)
                # A stranger's code runs here, and may raise anything.
                except Exception as error:
                    trainings.append(error)
        return trainings


class Trial:
    """A method on trial, with its defaults if it has no options given."""

    def __init__(self, method_class: type[Method], options: Options | None = None) -> None:
        self.method_class, self.options = method_class, options

    @cached_property
    def method(self) -> Method:
        """The method with its options."""
        return self.method_class(self.options)

    @cached_property
    def stages(self) -> tuple[StageTrial, ...]:
        """One trial for each stage, in order."""
        trials: list[StageTrial] = []
        for stage in self.method.stages():
            trials.append(StageTrial(self.method, stage, trials[-1] if trials else None))
        return tuple(trials)
