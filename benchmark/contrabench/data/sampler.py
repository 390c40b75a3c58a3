"""Which slices make up the mini-batch of a step: a pure function of seed and step.

No state is carried, so a resumed stage draws exactly the batches of an uninterrupted one.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from contrabench.data.bank import SliceBank
from contrabench.errors import RequestError
from contrabench.protocol import seed_for


def _generator(*parts: object) -> torch.Generator:
    return torch.Generator().manual_seed(seed_for(*parts))


class UniformSampler:
    """Shuffled passes over all slices, one after another without a gap.

    Slices of several kinds, such as orientations, take turns, each kind in passes of its own: of a
    thick stack there are ten times as many coronal slices as axial ones, and nearly all that was
    drawn would be of what nobody segments.

    Args:
        kinds: of each row of the bank, (N,).
    """

    def __init__(self, kinds: Tensor, batch: int, seed: int) -> None:
        self.batch, self.seed = batch, seed
        self.rows: list[Tensor] = [
            (kinds == kind).nonzero()[:, 0] for kind in sorted(set(kinds.tolist()))
        ]
        self._pass = lru_cache(maxsize=4 * len(self.rows))(self._shuffle)

    def _shuffle(self, kind: int, number: int) -> Tensor:
        rows = self.rows[kind]
        generator = _generator("order", self.seed, kind, number)
        return rows[torch.randperm(len(rows), generator=generator)]

    def draw(self, step: int) -> Tensor:
        """Returns the bank's rows of a step, (batch,) long."""
        drawn = torch.arange(step * self.batch, (step + 1) * self.batch)
        place, turn = drawn // len(self.rows), drawn % len(self.rows)
        rows = torch.empty(self.batch, dtype=torch.long)
        for kind, own in enumerate(self.rows):
            number = torch.where(turn == kind, place // len(own), -1)
            for value in set(number.tolist()) - {-1}:
                here = number == value
                rows[here] = self._pass(kind, value)[place[here] % len(own)]
        return rows


class PartitionSampler:
    """One slice from each of S consecutive parts of m volumes, as Chaitanya et al. draw them.

    Ordered by volume, then by part. Volumes don't repeat as long as there are enough.
    """

    def __init__(self, bank: SliceBank, batch: int, partitions: int, seed: int) -> None:
        if batch % partitions:
            raise RequestError(
                f"a batch of {batch} cannot hold one slice of each of {partitions} partitions; "
                "choose a divisor of the batch"
            )
        self.seed, self.partitions = seed, partitions
        self.volumes = batch // partitions
        self.total = int(bank.volume.max()) + 1
        cell = bank.volume * partitions + partition_of(bank.position, partitions)
        self.order = torch.argsort(cell, stable=True)
        self.count = torch.bincount(cell, minlength=self.total * partitions)
        self.start = self.count.cumsum(0) - self.count

    def draw(self, step: int) -> Tensor:
        """Returns the bank's rows of a step, (volumes x partitions,) long."""
        generator = _generator("order", self.seed, step)
        rounds = -(-self.volumes // self.total)
        volumes = torch.cat(
            [torch.randperm(self.total, generator=generator) for _ in range(rounds)]
        )[: self.volumes]
        cells = (volumes[:, None] * self.partitions + torch.arange(self.partitions)).flatten()
        chance = torch.rand(len(cells), generator=generator)
        # A volume with fewer slices than parts has empty ones; its nearest slice stands in.
        count = self.count[cells].clamp(min=1)
        offset = (chance * count).long().clamp(max=count - 1)
        place = (self.start[cells] + offset).clamp(max=len(self.order) - 1)
        return self.order[place]


def partition_of(position: Tensor, partitions: int) -> Tensor:
    """Part of the volume, 0 to partitions - 1, of positions in (0, 1]."""
    return (position * partitions).ceil().long().sub(1).clamp(0, partitions - 1)
