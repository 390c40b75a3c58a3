"""Backbones that are broken on purpose, each in one way, around one sound network."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from contrabench import Backbone, BackboneInfo
from contrabench import Options as Base

STRAY = torch.Generator()


def block(inputs, outputs):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class Sound(Backbone):
    """Two levels down and up, with places where a fault can be put."""

    info = BackboneInfo(title="T", source="S")
    parts = ("first", "deep", "up", "full")
    taps = ("first", "half", "quarter", "deep", "up", "full")
    deepest, finest, deep_taps, multiple = "deep", "full", ("full", "up", "deep"), 4

    def __init__(self, spec, options):
        super().__init__(spec, options)
        width = spec.width
        self.first = block(spec.in_channels, width)
        self.pool = nn.MaxPool2d(2)
        self.deep = block(width, 2 * width)
        self.up = block(2 * width + width, width)
        self.full = block(2 * width, width)
        self.channels = dict.fromkeys(self.taps, width) | {"deep": 2 * width}

    def compute(self, name, x, maps):
        """The map of one tap from the one before and from all earlier ones."""
        if name in ("half", "quarter"):
            return self.pool(x)
        if name in ("first", "deep"):
            return getattr(self, name)(x)
        beside = maps["half" if name == "up" else "first"]
        return getattr(self, name)(
            torch.cat((functional.interpolate(x, scale_factor=2), beside), 1)
        )

    def forward(self, image, taps, given):
        maps, x = {}, image
        for name in self.taps[: 1 + max(self.taps.index(tap) for tap in taps)]:
            x = maps[name] = given[name] if name in given else self.compute(name, x, maps)
        return {name: maps[name] for name in taps}


BROKEN = []


def fails(check):
    """Marks a class with the one check that must catch it."""

    def mark(cls):
        BROKEN.append((check, cls))
        return cls

    return mark


# -- what is declared -----------------------------------------------------------------


@fails("options")
class NoDefault(Sound):
    class Options(Base):
        norm: str = Field(description="normalisation")


@fails("options")
class NoDescription(Sound):
    class Options(Base):
        norm: str = "batch"


@fails("options")
class FileOfNoOption(Sound):
    files = ("weights",)


@fails("builds")
class OneChannelOnly(Sound):
    def __init__(self, spec, options):
        super().__init__(spec, options)
        if spec.in_channels != 1:
            raise ValueError("grey images only")


@fails("builds")
class Double(Sound):
    def __init__(self, spec, options):
        super().__init__(spec, options)
        self.full.double()


@fails("builds")
class OddWidths(Sound):
    def __init__(self, spec, options):
        super().__init__(spec, options)
        nn.GroupNorm(4, spec.width)


@fails("builds")
class OwnChannels(Sound):
    def __init__(self, spec, options):
        super().__init__(spec, options)
        self.in_channels = 1


@fails("declaration")
class NoTitle(Sound):
    info = BackboneInfo(title=" ", source="S")


@fails("declaration")
class PartWithoutTap(Sound):
    parts = ("first", "pool", "deep", "up", "full")


@fails("declaration")
class PartsInAnotherOrder(Sound):
    parts = ("deep", "first", "up", "full")


@fails("declaration")
class DeepTapsWithoutTheFinest(Sound):
    deep_taps = ("first", "up", "deep")


@fails("declaration")
class TakenName(Sound):
    """A part that is called as one of torch's own methods."""

    parts = ("first", "half", "deep", "up", "full")


@fails("declaration")
class UnknownChannels(Sound):
    def __init__(self, spec, options):
        super().__init__(spec, options)
        del self.channels["quarter"]


# -- what parts own -------------------------------------------------------------------


@fails("parts")
class NoChild(Sound):
    parts = ("first", "quarter", "deep", "up", "full")


@fails("parts")
class WithoutPart(Sound):
    def __init__(self, spec, options):
        super().__init__(spec, options)
        self.gain = nn.Parameter(torch.ones(1))

    def compute(self, name, x, maps):
        return super().compute(name, x, maps) * (self.gain if name == "full" else 1)


@fails("parts")
class SharedByParts(Sound):
    def __init__(self, spec, options):
        super().__init__(spec, options)
        self.full[1] = self.first[1]


@fails("parts")
class HiddenInAList(Sound):
    def __init__(self, spec, options):
        super().__init__(spec, options)
        self.full.more = [nn.Conv2d(spec.width, spec.width, 1)]

    def compute(self, name, x, maps):
        found = super().compute(name, x, maps)
        return self.full.more[0](found) if name == "full" else found


# -- how it begins, is kept and trained -----------------------------------------------


@fails("seeds")
class OwnGenerator(Sound):
    def __init__(self, spec, options):
        super().__init__(spec, options)
        nn.init.normal_(self.deep[0].weight, std=0.1, generator=STRAY)


@fails("seeds")
class SameForEverySeed(Sound):
    def __init__(self, spec, options):
        torch.manual_seed(0)
        super().__init__(spec, options)


@fails("state")
class NotRegistered(Sound):
    def __init__(self, spec, options):
        super().__init__(spec, options)
        self.scale = 1 + torch.rand(())

    def compute(self, name, x, maps):
        found = super().compute(name, x, maps)
        return found * self.scale if name == "deep" else found


@fails("frozen")
class AlwaysTraining(Sound):
    """Batch normalisation that goes on counting; its maps in evaluation are those of it."""

    def compute(self, name, x, maps):
        if name == "first":
            self.first[1].num_batches_tracked.add_(1)
        return super().compute(name, x, maps)


@fails("frozen")
class NeverInEvaluation(Sound):
    """Parts that a stage freezes count on as long as the network trains."""

    def compute(self, name, x, maps):
        if name == "deep" and self.training:
            self.deep[1].running_mean.mul_(0.9)
        return super().compute(name, x, maps)


@fails("gradients")
class Detached(Sound):
    def compute(self, name, x, maps):
        found = super().compute(name, x, maps)
        return found.detach() if name == "deep" else found


@fails("gradients")
class FrozenByItself(Sound):
    def __init__(self, spec, options):
        super().__init__(spec, options)
        self.first.requires_grad_(False)


@fails("gradients")
class ForNothing(Sound):
    """Layers whose gradient is there, and zero."""

    def compute(self, name, x, maps):
        found = super().compute(name, x, maps)
        return found.detach() + 0 * found if name == "deep" else found


@fails("batch")
class MeanOfTheBatch(Sound):
    def compute(self, name, x, maps):
        found = super().compute(name, x, maps)
        return found - found.mean(0) if name == "deep" else found


@fails("batch")
class MeanOfTheBatchInTraining(Sound):
    def compute(self, name, x, maps):
        found = super().compute(name, x, maps)
        return found - found.mean(0) if name == "deep" and self.training else found


# -- maps -----------------------------------------------------------------------------


@fails("maps")
class OtherChannels(Sound):
    def __init__(self, spec, options):
        super().__init__(spec, options)
        self.channels["deep"] = spec.width


@fails("maps")
class FinestTooSmall(Sound):
    finest, deep_taps = "up", ("up", "deep", "deep")


@fails("maps")
class DeepTapOfAnotherSize(Sound):
    deep_taps = ("full", "up", "half")


@fails("maps")
class EverythingWhateverIsAsked(Sound):
    def forward(self, image, taps, given):
        return {**super().forward(image, taps, given), "more": image}


@fails("maps")
class HalfPrecision(Sound):
    def compute(self, name, x, maps):
        found = super().compute(name, x, maps)
        return found.bfloat16() if name == "full" else found


@fails("multiple")
class NeedsMore(Sound):
    def compute(self, name, x, maps):
        if x.shape[-1] % self.multiple or (name == "first" and x.shape[-1] % 8):
            raise ValueError("sides are multiples of 8")
        return super().compute(name, x, maps)


@fails("multiple")
class NeedsFour(Sound):
    def compute(self, name, x, maps):
        if name == "deep" and x.shape[-1] < 4:
            raise ValueError("too small")
        return super().compute(name, x, maps)


@fails("taps")
class WrittenInto(Sound):
    """A later layer is activated in place, on a map that was asked for."""

    def compute(self, name, x, maps):
        if name == "up":
            functional.threshold_(maps["half"], 0.5, 0.0)
        return super().compute(name, x, maps)


@fails("taps")
class OtherAlone(Sound):
    def forward(self, image, taps, given):
        found = super().forward(image, taps, given)
        return {name: value + len(taps) for name, value in found.items()}


@fails("taps")
class Drawn(Sound):
    def compute(self, name, x, maps):
        found = super().compute(name, x, maps)
        return functional.dropout(found, 0.5) if name == "deep" else found


@fails("order")
class LaterPartFirst(Sound):
    """The first map is normalised by a part that comes later."""

    def compute(self, name, x, maps):
        found = super().compute(name, x, maps)
        return found * self.full[0].weight.std() if name == "first" else found


@fails("order")
class EndsElsewhere(Sound):
    """The last layers of a part come behind its tap."""

    def compute(self, name, x, maps):
        if name == "deep":
            return torch.cat((x, x), 1)
        if name == "up":
            x = self.deep(maps["quarter"])
        return super().compute(name, x, maps)


@fails("order")
class ComputesEverything(Sound):
    def forward(self, image, taps, given):
        found = super().forward(image, self.taps, given)
        return {name: found[name] for name in taps}


@fails("given")
class GivenIgnored(Sound):
    def forward(self, image, taps, given):
        return super().forward(image, taps, {})


@fails("given")
class GivenOnlyReturned(Sound):
    def forward(self, image, taps, given):
        found = super().forward(image, taps, {})
        return {name: given.get(name, value) for name, value in found.items()}


@fails("given")
class GivenGoesTheWrongWay(Sound):
    """What is given for a map beside the way is taken for the way."""

    taps = ("first", "half", "quarter", "deep", "beside", "up", "full")

    def compute(self, name, x, maps):
        return self.pool(x) if name == "beside" else super().compute(name, x, maps)

    def forward(self, image, taps, given):
        maps, x = {}, image
        for name in self.taps[: 1 + max(self.taps.index(tap) for tap in taps)]:
            maps[name] = given[name] if name in given else self.compute(name, x, maps)
            x = x if name == "beside" and name not in given else maps[name]
        return {name: maps[name] for name in taps}

    def __init__(self, spec, options):
        super().__init__(spec, options)
        self.channels["beside"] = 2 * spec.width


# -- memory ---------------------------------------------------------------------------


@fails("memory")
class ReadsRawMemory(Sound):
    """Sees an image as it lies in memory."""

    def compute(self, name, x, maps):
        if name == "first":
            x = x.as_strided(x.shape, torch.empty(x.shape).stride())
        return super().compute(name, x, maps)


@fails("memory")
class ContiguousOnly(Sound):
    def compute(self, name, x, maps):
        if name == "first":
            x = x.view(len(x), -1).view(x.shape)
        return super().compute(name, x, maps)


@fails("memory")
class AltersTheImage(Sound):
    def compute(self, name, x, maps):
        if name == "first":
            found = super().compute(name, x, maps)
            x.zero_()
            return found
        return super().compute(name, x, maps)
