"""The two tasks of the loop: a method's pre-training stage, and fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from contrabench.contracts.backbone import Backbone
from contrabench.contracts.method import Stage
from contrabench.contracts.objective import Objective, StepResult
from contrabench.contracts.views import FINETUNE_VIEW, Batch, SliceInfo, ViewSpec
from contrabench.data.bank import SliceBank
from contrabench.data.sampler import PartitionSampler, UniformSampler, partition_of
from contrabench.errors import AuditError, RequestError
from contrabench.model.segmentation import SegmentationLoss, Segmenter
from contrabench.protocol import Phase, Seeds, seed_for
from contrabench.training.step import TrainingTask
from contrabench.views.maker import make_views


def set_trainable(backbone: Backbone, parts: Sequence[str]) -> None:
    """Lets only the named parts of the backbone train."""
    for part in backbone.parts:
        for parameter in backbone.part(part).parameters():
            parameter.requires_grad_(part in parts)


def _rows(rows: Tensor, part: int, parts: int) -> Tensor:
    """One of `parts` equal pieces of a batch's rows.

    Raises:
        RequestError: if the batch cannot be divided.
    """
    if len(rows) % parts:
        raise RequestError(f"a batch of {len(rows)} cannot be accumulated from {parts} parts")
    size = len(rows) // parts
    return rows[part * size : (part + 1) * size]


class _BankTask(TrainingTask):
    """A task whose batches are augmented views of slices out of a bank."""

    def __init__(
        self, backbone: Backbone, bank: SliceBank, specs: Sequence[ViewSpec], seed: int
    ) -> None:
        super().__init__()
        self.multiple = backbone.multiple
        self.bank, self.specs, self.seed = bank, tuple(specs), seed
        self.partitions = 0

    def views(self, rows: Tensor, step: int, part: int) -> Batch:
        """Takes rows out of the bank and makes their views on the device."""
        images, masks = self.bank.take(rows)
        seed = seed_for("views", self.seed, step, part)
        views = make_views(images, masks, self.specs, seed, self.multiple)
        device = self.bank.device
        position = self.bank.position[rows]
        info = SliceInfo(
            volume=self.bank.volume[rows].to(device),
            patient=self.bank.patient[rows].to(device),
            orientation=self.bank.orientation[rows].to(device),
            position=position.to(device),
            index=rows.to(device),
            partition=partition_of(position, max(1, self.partitions)).to(device),
        )
        return Batch(views=views, info=info)


class PretrainTask(_BankTask):
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
        super().__init__(backbone, bank, stage.views, seed_for("pretrain", stage.name, seeds.views))
        self.backbone, self.objective = backbone, objective
        self.partitions = stage.partitions
        order = seed_for("pretrain", stage.name, seeds.order)
        self.sampler = (
            PartitionSampler(bank, phase.batch, stage.partitions, order)
            if stage.partitions
            else UniformSampler(len(bank), phase.batch, order)
        )
        set_trainable(backbone, stage.trains)

    def batch(self, step: int, part: int, parts: int) -> Batch:
        """The views of one micro-batch; on the first step also checks rule 5."""
        batch = self.views(_rows(self.sampler.draw(step), part, parts), step, part)
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


class FinetuneTask(_BankTask):
    """Supervised training on the labelled slices, one augmented view of each."""

    def __init__(self, model: Segmenter, bank: SliceBank, phase: Phase, seeds: Seeds) -> None:
        super().__init__(model.backbone, bank, (FINETUNE_VIEW,), seed_for("finetune", seeds.views))
        self.model, self.criterion = model, SegmentationLoss()
        self.sampler = UniformSampler(len(bank), phase.batch, seed_for("finetune", seeds.order))

    def batch(self, step: int, part: int, parts: int) -> Batch:
        """One augmented view of each slice, with its mask."""
        return self.views(_rows(self.sampler.draw(step), part, parts), step, part)

    def forward(self, batch: Batch) -> StepResult:
        """Cross-entropy plus soft Dice."""
        view = batch.views[0]
        return StepResult(self.criterion(self.model(view.image), view.label.long()))


def check_views(batch: Batch) -> None:
    """Rule 5: two views never share memory, and differ.

    Raises:
        AuditError: naming the two views.
    """
    for second in range(len(batch.views)):
        for first in range(second):
            a, b = batch.views[first].image, batch.views[second].image
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
