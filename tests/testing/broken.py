"""Methods that are broken on purpose, each in one way, around one sound method."""

from __future__ import annotations

import random

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from contrabench import (
    Method,
    MethodInfo,
    Objective,
    Optimisation,
    Options,
    Published,
    Stage,
    StepResult,
    ViewSpec,
)
from contrabench.objectives.contrast import nt_xent
from contrabench.objectives.heads import GlobalHead
from contrabench.protocol import ENCODER


def info(**changes):
    facts = {"title": "T", "family": "contrast", "paper": "P", "fidelity": "official"}
    return MethodInfo(**facts | changes)


class SoundLoss(Objective):
    """NT-Xent of two views, with places where a fault can be put."""

    def __init__(self, backbone):
        super().__init__()
        self.head = GlobalHead(backbone.channels["centre"], 32)

    def embed(self, backbone, batch):
        return [
            self.head(backbone.pooled(view.image, ("centre",))["centre"]).float()
            for view in batch.views
        ]

    def forward(self, backbone, batch):
        return StepResult(self.loss(*self.embed(backbone, batch), batch))

    def loss(self, first, second, batch):
        return nt_xent(first, second, 0.1)


class Sound(Method):
    info = info()
    Objective = SoundLoss

    def stages(self):
        return (Stage(name="global"),)

    def objective(self, stage, backbone):
        return self.Objective(backbone)


BROKEN = []


def fails(check):
    """Marks a class with the one check that must catch it."""

    def mark(cls):
        BROKEN.append((check, cls))
        return cls

    return mark


def with_loss(cls):
    """A sound method but for its objective."""
    return type(cls.__name__.removesuffix("Loss"), (Sound,), {"Objective": cls})


# -- what is declared -----------------------------------------------------------------


@fails("options")
class NoDefault(Sound):
    class Options(Options):
        temperature: float = Field(description="tau")


@fails("options")
class NoDescription(Sound):
    class Options(Options):
        temperature: float = 0.1


@fails("options")
class DefaultOutOfRange(Sound):
    class Options(Options):
        temperature: float = Field(0.0, gt=0, description="tau")


@fails("declaration")
class ReconstructionWithoutInference(Sound):
    info = info(fidelity="reconstruction")


@fails("declaration")
class NoPaper(Sound):
    info = info(paper=" ")


@fails("stages")
class UnknownPart(Sound):
    def stages(self):
        return (Stage(name="global", trains=("encoder",)),)


@fails("stages")
class SameNames(Sound):
    def stages(self):
        return Stage(name="global"), Stage(name="global")


@fails("stages")
class SameViews(Sound):
    def stages(self):
        plain = ViewSpec(spatial=None, intensity=None)
        return (Stage(name="global", views=(plain, plain)),)


@fails("stages")
class LaterGeometry(Sound):
    def stages(self):
        return (Stage(name="global", views=(ViewSpec(geometry_of=1), ViewSpec())),)


@fails("stages")
class RecipeOfAnotherStage(Sound):
    published = Published(stages={"local": Optimisation(optimizer="sgd", lr=0.1, source="s")})


@fails("stages")
class RecipeWithUnknownOption(Sound):
    published = Published(stages={}, options={"tau": 0.1})


@fails("stages")
class SecretlyLabelled(Sound):
    def stages(self):
        return (Stage(name="global", labelled_slices_only=True),)


@fails("hand_off")
class HandsOverUntrained(Sound):
    def transfers(self):
        return (*ENCODER, "dec1")


@fails("hand_off")
class HandsOverNothing(Sound):
    def transfers(self):
        return ()


# -- labels ---------------------------------------------------------------------------


@fails("labels")
@with_loss
class PeeksLoss(SoundLoss):
    def loss(self, first, second, batch):
        return nt_xent(first, second, 0.1) + 0.0 * batch.views[0].label.float().mean()


@fails("labels")
class LabelsUnused(Sound):
    def stages(self):
        return (Stage(name="global", labels=True),)


# -- what a step does beside ----------------------------------------------------------


@fails("counts")
@with_loss
class OwnOptimiserLoss(SoundLoss):
    def embed(self, backbone, batch):
        if torch.is_grad_enabled():
            own = torch.optim.SGD(backbone.parameters(), 0.1)
            super().embed(backbone, batch)[0].square().mean().backward()
            own.step()
            own.zero_grad()
        return super().embed(backbone, batch)


@fails("counts")
@with_loss
class WritesBehindAutogradLoss(SoundLoss):
    def loss(self, first, second, batch):
        for weight in self.watched:
            weight.data.mul_(0.999)
        return nt_xent(first, second, 0.1)

    def embed(self, backbone, batch):
        self.watched = list(backbone.part("enc1").parameters())
        return super().embed(backbone, batch)


@fails("counts")
@with_loss
class HiddenHeadLoss(SoundLoss):
    def __init__(self, backbone):
        super().__init__(backbone)
        self.hidden = [torch.ones(32, requires_grad=True)]

    def loss(self, first, second, batch):
        return nt_xent(first * self.hidden[0], second, 0.1)


@fails("counts")
@with_loss
class ManyMoreImagesLoss(SoundLoss):
    def embed(self, backbone, batch):
        views = super().embed(backbone, batch)
        turned = [batch.views[0].image.roll(n, 2) for n in range(8)]
        more = [backbone.pooled(image, ("centre",))["centre"] for image in turned]
        return [views[0] + 0.01 * self.head(torch.stack(more).mean(0)), views[1]]


@fails("slopes")
@with_loss
class NoiseGradientLoss(SoundLoss):
    def forward(self, backbone, batch):
        value = self.loss(*self.embed(backbone, batch), batch).detach()
        weights = [p for p in backbone.parameters() if p.requires_grad]
        noise = sum((torch.randn_like(p) * p).sum() for p in weights)
        own = sum(p.sum() for p in self.parameters())
        return StepResult(value + 0.01 * (noise + own))


# -- the loss as it stands ------------------------------------------------------------


@fails("finite")
@with_loss
class NotFiniteInHalfLoss(SoundLoss):
    def forward(self, backbone, batch):
        first, second = self.embed(backbone, batch)
        half = torch.is_autocast_enabled("cpu")
        return StepResult(nt_xent(first, second, 0.1) * (float("nan") if half else 1.0))


@fails("finite")
@with_loss
class InfiniteLoss(SoundLoss):
    def loss(self, first, second, batch):
        return nt_xent(first, second, 0.1) - torch.log(torch.zeros(()))


@fails("finite")
@with_loss
class HalfLoss(SoundLoss):
    def loss(self, first, second, batch):
        return nt_xent(first, second, 0.1).to(torch.bfloat16)


@fails("finite")
@with_loss
class OneForEachSliceLoss(SoundLoss):
    def loss(self, first, second, batch):
        return 1 - functional.cosine_similarity(first, second)


@fails("finite")
class Raises(Sound):
    def objective(self, stage, backbone):
        return GlobalHead(backbone.channels["no such tap"], 32)


@fails("inputs")
@with_loss
class ConstantLoss(SoundLoss):
    def loss(self, first, second, batch):
        return nt_xent(first * 0 + 1, second * 0 + 1, 0.1)


@fails("inputs")
@with_loss
class BlindLoss(SoundLoss):
    def embed(self, backbone, batch):
        blank = torch.linspace(0, 1, 32).expand_as(batch.views[0].image).clone()
        vectors = backbone.pooled(blank, ("centre",))["centre"]
        return [self.head(vectors).float() for _ in batch.views]

    def loss(self, first, second, batch):
        return (first.norm(dim=1) - 1).square().mean()


@fails("channels")
@with_loss
class GreyAloneLoss(SoundLoss):
    def __init__(self, backbone):
        super().__init__(backbone)
        self.tint = nn.Conv2d(1, 32, 3)

    def forward(self, backbone, batch):
        first, second = self.embed(backbone, batch)
        tint = self.tint(batch.views[0].image).mean((2, 3))
        return StepResult(self.loss(first + 0.1 * tint, second, batch))


@fails("batch_of_two")
@with_loss
class NeedsThreeLoss(SoundLoss):
    def loss(self, first, second, batch):
        loss = nt_xent(first, second, 0.1)
        others = torch.tensor(float(batch.size - 2))
        return loss * others / others


# -- repetition -----------------------------------------------------------------------


@fails("deterministic")
@with_loss
class PythonRandomLoss(SoundLoss):
    def loss(self, first, second, batch):
        return nt_xent(first, second, 0.1) * (1 + 0.01 * random.random())


@fails("deterministic")
@with_loss
class NumpyRandomLoss(SoundLoss):
    def loss(self, first, second, batch):
        return nt_xent(first, second, 0.1) * (1 + 0.01 * np.random.rand())


@fails("order")
@with_loss
class WeighsByPlaceLoss(SoundLoss):
    def loss(self, first, second, batch):
        weight = torch.linspace(0.5, 1.5, batch.size)
        distance = 2 - 2 * functional.cosine_similarity(first, second)
        return nt_xent(first, second, 0.1) + (weight * distance).mean()


@fails("resume")
@with_loss
class ListQueueLoss(SoundLoss):
    def __init__(self, backbone):
        super().__init__(backbone)
        self.last = []

    def loss(self, first, second, batch):
        own = nt_xent(first, second, 0.1)
        scale = 1.0 + 0.1 * len(self.last)
        self.fresh = own.detach()
        return own * scale

    def after_step(self, backbone, progress):
        self.last = [*self.last, self.fresh][-30:]


@fails("resume")
@with_loss
class ForgetfulBufferLoss(SoundLoss):
    def __init__(self, backbone):
        super().__init__(backbone)
        self.register_buffer("steps", torch.zeros(()), persistent=False)

    def loss(self, first, second, batch):
        return nt_xent(first, second, 0.1) * (1 + 0.01 * self.steps)

    def after_step(self, backbone, progress):
        self.steps += 1


@fails("resume")
@with_loss
class LateBufferLoss(SoundLoss):
    def loss(self, first, second, batch):
        if not hasattr(self, "mean"):
            self.register_buffer("mean", first.detach().mean(0))
        return nt_xent(first - self.mean, second - self.mean, 0.1)


# -- training -------------------------------------------------------------------------


@fails("gradients")
@with_loss
class UnusedHeadLoss(SoundLoss):
    def __init__(self, backbone):
        super().__init__(backbone)
        self.spare = nn.Linear(3, 3)


@fails("gradients")
@with_loss
class FrozenMomentumLoss(SoundLoss):
    def __init__(self, backbone):
        super().__init__(backbone)
        self.target = GlobalHead(backbone.channels["centre"], 32).requires_grad_(False)
        self.target.load_state_dict(self.head.state_dict())

    def after_step(self, backbone, progress):
        for own, other in zip(self.target.parameters(), self.head.parameters(), strict=True):
            own.lerp_(other, 0.1)


@fails("gradients")
@with_loss
class WritesToTheDecoderLoss(SoundLoss):
    def after_step(self, backbone, progress):
        for weight in backbone.part("dec1").parameters():
            weight.mul_(0.99)


@fails("counts")
@with_loss
class ThawsTheDecoderLoss(SoundLoss):
    def __init__(self, backbone):
        super().__init__(backbone)

    def embed(self, backbone, batch):
        backbone.part("centre_up").requires_grad_(True)
        maps = [backbone.features(v.image, ("centre", "centre_up")) for v in batch.views]
        return [self.head(m["centre"].mean((2, 3))) + 1e-3 * m["centre_up"].mean() for m in maps]


# -- what is learnt -------------------------------------------------------------------


@fails("positives")
@with_loss
class PositivesRepelLoss(SoundLoss):
    def loss(self, first, second, batch):
        points = functional.normalize(torch.cat((first, second)), dim=1)
        alike = (points[:, None] * points).sum(dim=2) / 0.1
        own = alike.diagonal(batch.size)
        others = alike.masked_fill(torch.eye(2 * batch.size, dtype=torch.bool), float("-inf"))
        return torch.logsumexp(others, dim=1).mean() + own.mean()


@fails("positives")
@with_loss
class PairsUnusedLoss(SoundLoss):
    def loss(self, first, second, batch):
        points = functional.normalize(torch.cat((first, second)), dim=1)
        return torch.cdist(points, points).square().mul(-2).exp().mean().log() + 4.0


@fails("negatives")
@with_loss
class NoNegativesLoss(SoundLoss):
    def loss(self, first, second, batch):
        return 2 - 2 * functional.cosine_similarity(first, second).mean()


class NoStopLoss(NoNegativesLoss.Objective):
    """BYOL's loss without its predictor, its target and its stopped gradient."""


@fails("collapse")
class NoStop(Sound):
    info = info(against_collapse="asymmetry")
    Objective = NoStopLoss


class NoStopNormalisedLoss(NoStopLoss):
    def __init__(self, backbone):
        super().__init__(backbone)
        channels = backbone.channels["centre"]
        self.head = nn.Sequential(
            nn.Linear(channels, channels, bias=False),
            nn.BatchNorm1d(channels),
            nn.ReLU(inplace=True),
            nn.Linear(channels, 32),
        )


@fails("collapse")
class NoStopNormalised(Sound):
    info = info(against_collapse="asymmetry")
    Objective = NoStopNormalisedLoss


class StopWithoutPredictorLoss(NoStopNormalisedLoss):
    def loss(self, first, second, batch):
        forth = functional.cosine_similarity(first, second.detach()).mean()
        back = functional.cosine_similarity(second, first.detach()).mean()
        return 2 - forth - back


@fails("collapse")
class StopWithoutPredictor(Sound):
    info = info(against_collapse="asymmetry")
    Objective = StopWithoutPredictorLoss
