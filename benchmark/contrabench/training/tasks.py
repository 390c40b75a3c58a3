"""What the loop trains: a method's pre-training stage, and fine-tuning, on streams of slices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import combinations
from typing import Self

import torch
from torch import nn

from contrabench.contracts.backbone import Backbone
from contrabench.contracts.loss import Loss
from contrabench.contracts.method import JointStage, Method, Stage
from contrabench.contracts.objective import (
    JointBatch,
    JointObjective,
    Network,
    Objective,
    StepResult,
)
from contrabench.contracts.views import FINETUNE_VIEW, Batch, ViewSpec
from contrabench.data.bank import SliceBank
from contrabench.errors import AuditError
from contrabench.model.segmentation import SegmentationLoss, Segmenter
from contrabench.objectives.consistency import Teacher
from contrabench.protocol import COMMON_PACE, HEAD, Pace, Phase, Seeds, seed_for
from contrabench.training.optimizer import Group
from contrabench.training.step import TrainingTask
from contrabench.training.stream import Stream

APART = 0.01
"""Two views that differ by less, in deviations of the image, are one."""
_CHECKED = 3
"""So many steps have their views checked."""
_KEEP = 0.99
"""Share that the average of a network keeps of itself, for methods that have none of their own."""


def set_trainable(backbone: Backbone, parts: Sequence[str]) -> None:
    """Lets only the named parts of the backbone train."""
    for part in backbone.parts:
        for parameter in backbone.part(part).parameters():
            parameter.requires_grad_(part in parts)


def build_objective(
    method: Method, stage: Stage, backbone: Backbone, classes: int, *names: object
) -> Objective:
    """The loss and heads of a stage, their initial weights those of a seed of some names."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(*names))
        objective = method.objective(stage, backbone)
        if stage.labels:
            objective.classify(classes)
        return objective


def build_joint(
    method: Method, stage: JointStage, network: Segmenter, *names: object
) -> JointObjective:
    """What a joint stage adds, its initial weights those of a seed of some names."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(*names))
        return method.joint_objective(stage, network)


def stage_stream(
    stage: Stage, bank: SliceBank, phase: Phase, multiple: int, seeds: Seeds
) -> Stream:
    """The slices and views that a pre-training stage declares."""
    names, views = ("pretrain", stage.name), stage.views
    return Stream(bank, views, phase.batch, multiple, seeds, *names, partitions=stage.partitions)


class PretrainTask(TrainingTask):
    """One stage of a method."""

    def __init__(
        self,
        backbone: Backbone,
        objective: Objective,
        stage: Stage,
        bank: SliceBank,
        phase: Phase,
        seeds: Seeds,
    ) -> None:
        super().__init__()
        self.backbone, self.objective, self.stage = backbone, objective, stage
        self.stream = stage_stream(stage, bank, phase, backbone.multiple, seeds)
        self.pixels = bank.images.shape[-2:].numel()
        self.still = [backbone.part(part) for part in backbone.parts if part not in stage.trains]
        set_trainable(backbone, stage.trains)

    @property
    def network(self) -> nn.Module:
        """The backbone."""
        return self.backbone

    def images(self, phase: Phase) -> tuple[int, int | None]:
        """The views of every slice."""
        passes = self.stage.passes
        return phase.batch * len(self.stage.views), passes and passes * phase.batch

    def train(self, mode: bool = True) -> Self:
        """Parts that are not trained normalise by the statistics they have, and keep them."""
        super().train(mode)
        for part in self.still:
            part.eval()
        return self

    def batch(self, step: int, part: int, parts: int) -> Batch:
        """The views of one micro-batch; on the first steps also checks rule 5."""
        batch = self.stream.batch(step, part, parts)
        if step < _CHECKED and part == 0:
            self.apart = min(self.apart, check_views(batch))
        return batch

    def forward(self, batch: Batch) -> StepResult:
        """The objective's loss."""
        result: StepResult = self.objective(self.backbone, batch)
        return result

    def after_step(self, progress: float) -> None:
        """Hands the hook on to the objective."""
        with torch.no_grad():
            self.objective.after_step(self.backbone, progress)


class FinetuneTask(TrainingTask):
    """Supervised training on the labelled slices, one augmented view of each.

    Args:
        handed: parts of the backbone that pre-training has handed over.
        pace: how fast these train, and the others.
        loss: of one head; the common one if None.
    """

    def __init__(
        self,
        model: Segmenter,
        bank: SliceBank,
        phase: Phase,
        seeds: Seeds,
        view: ViewSpec = FINETUNE_VIEW,
        handed: Sequence[str] = (),
        pace: Pace = COMMON_PACE,
        loss: Loss | None = None,
    ) -> None:
        super().__init__()
        self.model, self.criterion = model, SegmentationLoss(loss)
        self.handed, self.pace = tuple(handed), pace
        self.average: Teacher | None = None
        multiple = model.backbone.multiple
        self.stream = Stream(bank, (view,), phase.batch, multiple, seeds, "finetune")
        self.pixels = bank.images.shape[-2:].numel()

    @property
    def network(self) -> nn.Module:
        """The segmenter."""
        return self.model

    def groups(self, phase: Phase) -> list[Group]:
        """What was handed over, and all that is new."""
        return self.paced(self, phase)

    def paced(self, task: TrainingTask, phase: Phase) -> list[Group]:
        """The parameters of a task around this training, by rate."""
        if self.pace == COMMON_PACE:
            return TrainingTask.groups(task, phase)
        parts = (
            self.model.heads[0] if name == HEAD else self.model.backbone.part(name)
            for name in self.handed
        )
        held = {id(p) for part in parts for p in part.parameters()}
        trained = [p for p in task.parameters() if p.requires_grad]
        split = {old: [p for p in trained if (id(p) in held) == old] for old in (True, False)}
        return [
            Group(parameters, partial(self.pace.rate, phase, old))
            for old, parameters in split.items()
            if parameters
        ]

    def averaged(self) -> Network:
        """An average of the network over the steps, which follows it from now on."""
        self.average = Teacher(self.model, _KEEP)
        return self.average.copied

    def after_step(self, progress: float) -> None:
        """The average follows, if there is one."""
        if self.average is not None:
            self.average.update(self.model)

    def batch(self, step: int, part: int, parts: int) -> Batch:
        """One augmented view of each slice, with its mask."""
        return self.stream.batch(step, part, parts)

    def forward(self, batch: Batch) -> StepResult:
        """The loss of the one view."""
        view = batch.views[0]
        return StepResult(self.criterion(self.model(view.image), view.label.long()))


class JointTask(TrainingTask):
    """Fine-tuning with what a joint stage of a method adds to it, on labelled and other slices.

    Args:
        common: the supervised training, whose batches and loss are those of every method.
        banks: of the stage's streams, each with the slices that it draws.
        batches: slices of each stream in a step.
        steps: of the whole stage.
    """

    def __init__(
        self,
        common: FinetuneTask,
        objective: JointObjective,
        stage: JointStage,
        banks: Sequence[SliceBank],
        batches: Sequence[int],
        seeds: Seeds,
        steps: int,
    ) -> None:
        super().__init__()
        self.pixels = common.pixels
        self.common, self.objective, self.steps = common, objective, steps
        self.stage = stage
        self.seed = seed_for(stage.name, seeds.views)
        multiple = common.model.backbone.multiple
        self.streams = [
            Stream(bank, stream.views, batch, multiple, seeds, "joint", stage.name, str(number))
            for number, (stream, bank, batch) in enumerate(
                zip(stage.streams, banks, batches, strict=True)
            )
        ]

    def batch(self, step: int, part: int, parts: int) -> JointBatch:
        """Micro-batches of all streams; on the first steps also checks rule 5."""
        labelled = self.common.batch(step, part, parts)
        others = tuple(stream.batch(step, part, parts) for stream in self.streams)
        for other in others if step < _CHECKED and part == 0 else ():
            self.apart = min(self.apart, check_views(other))
        return JointBatch(labelled, others, step / self.steps, seed_for(self.seed, step, part))

    def forward(self, batch: JointBatch) -> StepResult:
        """The supervised loss, that of every method, and what this one adds to it."""
        model, criterion = self.common.model, self.common.criterion
        if self.objective.supervises:
            mixed: StepResult = self.objective(model, batch, criterion)
            return mixed
        # Before the other slices, so that what layers draw is as if there were none.
        own: StepResult = self.common(batch.labelled)
        if not (weight := self.objective.weight_at(batch.progress)):
            return StepResult(own.loss, {"supervised": own.loss.detach()})
        added: StepResult = self.objective(model, batch, criterion)
        term = weight * added.loss
        logs = {"supervised": own.loss.detach(), "added": term.detach(), **added.logs}
        return StepResult(own.loss + term, logs)

    @property
    def network(self) -> nn.Module:
        """The segmenter."""
        return self.common.model

    def images(self, phase: Phase) -> tuple[int, int | None]:
        """The labelled slices and the views of all others."""
        passes = self.stage.passes
        drawn = phase.batch + sum(stream.batch_size for stream in self.streams)
        views = sum(stream.batch_size * len(stream.specs) for stream in self.streams)
        return phase.batch + views, passes and passes * drawn

    def groups(self, phase: Phase) -> list[Group]:
        """As in the supervised training; what the method trains beside the network is new."""
        return self.common.paced(self, phase)

    def clipped(self) -> tuple[nn.Module, ...]:
        """The network, and what the method trains beside it."""
        return (self.common, self.objective)

    def after_step(self, progress: float) -> None:
        """Hands the hook on to the supervised part and to the objective."""
        self.common.after_step(progress)
        with torch.no_grad():
            self.objective.after_step(self.common.model, progress)


def check_views(batch: Batch) -> float:
    """Rule 5: two views never share memory, and differ.

    Gives the least root mean square difference of two views, in deviations of their pixels;
    infinite where no two have one size. AuditError naming the two if they do not keep the rule.
    """
    least = math.inf
    for (first, a), (second, b) in combinations(enumerate(v.image for v in batch.views), 2):
        if a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr():
            raise AuditError(5, f"views {first} and {second} share memory")
        if a.shape != b.shape:
            continue
        spread = float(a.float().std(correction=0)) or 1.0
        gap = float((a.float() - b.float()).square().mean().sqrt()) / spread
        if gap < APART:
            how = f"differ by {gap:.1g} deviations of the image" if gap else "are identical"
            raise AuditError(
                5,
                f"views {first} and {second} {how}; give one of them a spatial or intensity part "
                "in Stage.views that alters it",
            )
        least = min(least, gap)
    return least


def count_parameters(module: nn.Module) -> int:
    """Number of parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())
