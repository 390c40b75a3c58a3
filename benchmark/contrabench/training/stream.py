"""The batches of one bank: which slices a step sees, and in what views.

What is random is drawn on the CPU, and where a GPU trains it is drawn one step ahead in a thread:
a batch is a pure function of seed and step, so that nobody can tell. It travels in one copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor

from contrabench.contracts.views import Batch, SliceInfo, ViewSpec
from contrabench.data.bank import SliceBank
from contrabench.data.sampler import PartitionSampler, UniformSampler, partition_of
from contrabench.errors import RequestError
from contrabench.protocol import Seeds, seed_for
from contrabench.views.maker import Drawn, draw_views, render_views
from contrabench.views.travel import Parcel

_Place = tuple[int, int, int]
"""A step, and which of how many micro-batches of it."""


@dataclass(frozen=True)
class _Plan:
    """All of a batch that is settled before the device has to work on it.

    `images` and `masks` of the slices only where the bank does not lie on the device.
    """

    info: SliceInfo
    views: tuple[Drawn, ...]
    images: Tensor | None
    masks: Tensor | None


class Stream:
    """The slices that a sampler draws from a bank, in augmented views; a task may have several.

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
        self.batch_size = batch
        self.partitions, self.seed = partitions, seed_for(*names, seeds.views)
        order = seed_for(*names, seeds.order)
        self.sampler = (
            PartitionSampler(bank, batch, partitions, order)
            if partitions
            else UniformSampler(bank.orientation, batch, order)
        )
        self.artist: ThreadPoolExecutor | None = None
        self.ahead: dict[_Place, Future[Parcel]] = {}

    def batch(self, step: int, part: int, parts: int) -> Batch:
        """One of `parts` equal micro-batches of a step, on the device.

        RequestError if the batch cannot be divided so.
        """
        plan = self._due((step, part, parts))
        images, masks = plan.images, plan.masks
        if images is None:
            images, masks = self.bank.take(plan.info.index)
        views = render_views(images, masks, self.specs, plan.views)
        return Batch(views, plan.info, seed_for("batch", self.seed, step, part))

    def _due(self, place: _Place) -> _Plan:
        """What was drawn for a batch, on the device."""
        return self._plan(place) if self.bank.device.type == "cpu" else self._arrived(place)

    def _plan(self, place: _Place) -> _Plan:
        """Draws a batch, on the CPU."""
        step, part, parts = place
        bank, rows = self.bank, self.sampler.draw(step)
        if len(rows) % parts:
            raise RequestError(f"a batch of {len(rows)} cannot be accumulated from {parts} parts")
        rows = rows[part * len(rows) // parts : (part + 1) * len(rows) // parts]
        position = bank.position[rows]
        info = SliceInfo(
            volume=bank.volume[rows],
            patient=bank.patient[rows],
            orientation=bank.orientation[rows],
            position=position,
            index=rows,
            partition=partition_of(position, max(1, self.partitions)),
        )
        _, channels, height, width = bank.images.shape
        seed = seed_for("views", self.seed, step, part)
        views = draw_views((len(rows), channels, height, width), self.specs, seed, self.multiple)
        images = masks = None
        if bank.device.type != bank.images.device.type:
            images = bank.images[rows]
            masks = None if bank.masks is None else bank.masks[rows]
        return _Plan(info, views, images, masks)

    def _arrived(self, place: _Place) -> _Plan:
        """A drawn batch on the device, while the next one is being drawn."""
        if self.artist is None:
            self.artist = ThreadPoolExecutor(1, "views")
        step, part, parts = place
        after = (step, part + 1, parts) if part + 1 < parts else (step + 1, 0, parts)
        wanted = {each: self.ahead.get(each) or self._begin(each) for each in (place, after)}
        parcel = wanted.pop(place).result()
        self.ahead = wanted
        return cast("_Plan", parcel.opened())

    def _begin(self, place: _Place) -> Future[Parcel]:
        artist: Any = self.artist
        return cast(
            "Future[Parcel]", artist.submit(lambda: Parcel(self._plan(place), self.bank.device))
        )
