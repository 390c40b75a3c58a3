"""What the loop trains: a method's pre-training stage, and fine-tuning, on streams of slices."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import combinations
from typing import Self

import torch
from torch import nn

from contrabench.contracts.backbone import Backbone
from contrabench.contracts.method import JointStage, Method, Stage
from contrabench.contracts.objective import (
    JointBatch,
    JointObjective,
    Network,
    Objective,
    StepResult,
)
from contrabench.contracts.views import FINETUNE_VIEW, Batch, SliceInfo, ViewSpec
from contrabench.data.bank import SliceBank
from contrabench.data.sampler import PartitionSampler, UniformSampler, partition_of
from contrabench.errors import AuditError, RequestError
from contrabench.model.segmentation import SegmentationLoss, Segmenter
from contrabench.objectives.consistency import Teacher
from contrabench.protocol import COMMON_PACE, HEAD, Pace, Phase, Seeds, seed_for
from contrabench.training.optimizer import Group
from contrabench.training.step import TrainingTask
from contrabench.views.maker import make_views

_KEEP = 0.99
"""Share that the average of a network keeps of itself, for methods that have none of their own."""


def set_trainable(backbone: Backbone, parts: Sequence[str]) -> None:
    """Lets only the named parts of the backbone train."""
    for part in backbone.parts:
        for parameter in backbone.part(part).parameters():
            parameter.requires_grad_(part in parts)


class Stream:
    """The batches of one bank: the slices that a sampler draws, in augmented views.

    A batch is a pure function of the step, and a task may draw from several streams.

    Args:
        specs: what views are made of each.
        batch: slices in a step.
        multiple: height and width of a view are multiples of this.
        seeds: of views and order.
        names: tell this stream's random numbers from those of others.
        partitions: draw one slice from each of this many parts of a volume; 0: uniform.
    """

    def __init__(
        self,
        bank: SliceBank,
        specs: Sequence[ViewSpec],
        batch: int,
        multiple: int,
        seeds: Seeds,
        *names: str,
        partitions: int = 0,
    ) -> None:
        self.bank, self.specs, self.multiple = bank, tuple(specs), multiple
        self.partitions, self.seed = partitions, seed_for(*names, seeds.views)
        order = seed_for(*names, seeds.order)
        self.sampler = (
            PartitionSampler(bank, batch, partitions, order)
            if partitions
            else UniformSampler(len(bank), batch, order)
        )

    def batch(self, step: int, part: int, parts: int) -> Batch:
        """One of `parts` equal micro-batches of a step, on the device."""
        rows = self.sampler.draw(step)
        if len(rows) % parts:
            raise RequestError(f"a batch of {len(rows)} cannot be accumulated from {parts} parts")
        rows = rows[part * len(rows) // parts : (part + 1) * len(rows) // parts]
        images, masks = self.bank.take(rows)
        seed = seed_for("views", self.seed, step, part)
        device, position = self.bank.device, self.bank.position[rows]
        info = SliceInfo(
            volume=self.bank.volume[rows].to(device),
            patient=self.bank.patient[rows].to(device),
            orientation=self.bank.orientation[rows].to(device),
            position=position.to(device),
            index=rows.to(device),
            partition=partition_of(position, max(1, self.partitions)).to(device),
        )
        views = make_views(images, masks, self.specs, seed, self.multiple)
        return Batch(views, info, seed_for("batch", self.seed, step, part))


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
        self.backbone, self.objective = backbone, objective
        self.stream = stage_stream(stage, bank, phase, backbone.multiple, seeds)
        self.still = [backbone.part(part) for part in backbone.parts if part not in stage.trains]
        set_trainable(backbone, stage.trains)

    def train(self, mode: bool = True) -> Self:
        """Parts that are not trained normalise by the statistics they have, and keep them."""
        super().train(mode)
        for part in self.still:
            part.eval()
        return self

    def batch(self, step: int, part: int, parts: int) -> Batch:
        """The views of one micro-batch; on the first step also checks rule 5."""
        batch = self.stream.batch(step, part, parts)
        if step == 0 and part == 0:
            check_views(batch)
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
    ) -> None:
        super().__init__()
        self.model, self.criterion = model, SegmentationLoss()
        self.handed, self.pace = tuple(handed), pace
        self.average: Teacher | None = None
        multiple = model.backbone.multiple
        self.stream = Stream(bank, (view,), phase.batch, multiple, seeds, "finetune")

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
        """Cross-entropy plus soft Dice."""
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
        self.common, self.objective, self.steps = common, objective, steps
        self.seed = seed_for(stage.name, seeds.views)
        multiple = common.model.backbone.multiple
        self.streams = [
            Stream(bank, stream.views, batch, multiple, seeds, "joint", stage.name, str(number))
            for number, (stream, bank, batch) in enumerate(
                zip(stage.streams, banks, batches, strict=True)
            )
        ]

    def batch(self, step: int, part: int, parts: int) -> JointBatch:
        """Micro-batches of all streams; on the first step also checks rule 5."""
        labelled = self.common.batch(step, part, parts)
        others = tuple(stream.batch(step, part, parts) for stream in self.streams)
        for other in others if step == 0 and part == 0 else ():
            check_views(other)
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


def check_views(batch: Batch) -> None:
    """Rule 5: two views never share memory, and differ; AuditError naming the two if they don't."""
    for (first, a), (second, b) in combinations(enumerate(v.image for v in batch.views), 2):
        if a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr():
            raise AuditError(5, f"views {first} and {second} share memory")
        if a.shape == b.shape and torch.equal(a, b):
            raise AuditError(
                5,
                f"views {first} and {second} are identical; give one of them a spatial or "
                "intensity part in Stage.views",
            )


def count_parameters(module: nn.Module) -> int:
    """Number of parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())
