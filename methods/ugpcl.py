"""UGPCL: two decoders that agree, and contrast of pixels where they are certain.

Wang et al., IJCAI 2022; as in the authors' code, reduced and repaired.
Of one encoder and two decoders f and g of different up-sampling, of which f is tested, added are

    0.4 L(g(x), y) + w(t) mean (softmax f(u) - softmax g(u))^2 + 0.2 CE(quarter turns) + 0.2 R

with w(t) = 0.02 exp(-5 (1 - t)^2); the authors weigh half the supervised loss. R, after a tenth
of the steps, is over anchors a and the means k of a class in a slice, kept in a queue,

    mean over a, and k of its class, of -log( exp(a.k/tau) / ( exp(a.k/tau) + sum_n exp(a.n/tau) ) )

with n the means of other classes. The class of a pixel without a mask is that of the mean of both
decoders, unless its entropy exceeds (0.75 + 0.25 exp(-5 (1 - t)^2)) log C.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from contrabench import (
    Backbone,
    JointBatch,
    JointMethod,
    JointObjective,
    JointStage,
    MethodInfo,
    Network,
    Options,
    StepResult,
    Stream,
    Supervised,
    register_method,
)
from contrabench.contracts.views import FINETUNE_VIEW, IGNORE
from contrabench.objectives.consistency import certain_below, entropy, ramp
from contrabench.objectives.contrast import exact
from contrabench.objectives.drawing import sent, some
from contrabench.objectives.momentum import GrowingQueues
from contrabench.objectives.pixels import on_grid, points
from contrabench.objectives.regions import one_hot


class UGPCLOptions(Options):
    """Options of UGPCL; defaults of the authors' code, scaled to the supervised loss here."""

    second: float = Field(0.4, ge=0, description="weight of the second decoder's supervision")
    consistency: float = Field(0.02, ge=0, description="w, at the end of its ramp")
    rotation: float = Field(0.2, ge=0, description="weight of the rotation that is to be told")
    contrast: float = Field(0.2, ge=0, description="weight of R")
    alone: float = Field(0.1, ge=0, lt=1, description="share of the steps without R")
    temperature: float = Field(0.07, gt=0, description="of the contrast")
    anchors: int = Field(64, ge=2, description="of each class in a batch (one of each slice)")
    queue: int = Field(500, ge=1, description="means kept of each class")
    dim: int = Field(256, ge=2, description="of an embedding")


class BilinearDecoder(nn.Module):
    """A decoder on the maps of an encoder that enlarges them by interpolation."""

    def __init__(self, backbone: Backbone, classes: int) -> None:
        super().__init__()
        self.names = backbone.encoder
        widths = [backbone.channels[name] for name in self.names]
        self.blocks = nn.ModuleList(
            nn.Sequential(*_convolution(deep + wide, wide), *_convolution(wide, wide))
            for wide, deep in pairwise(widths)
        )
        self.out = nn.Conv2d(widths[0], classes, 1)

    def forward(self, maps: dict[str, Tensor], size: tuple[int, int]) -> Tensor:
        """Logits (B, classes, H, W) in float32 from the encoder's maps by name."""
        *skips, x = (maps[name] for name in self.names)
        for block, skip in zip(reversed(self.blocks), reversed(skips), strict=True):
            x = functional.interpolate(x, skip.shape[-2:], mode="bilinear", align_corners=False)
            x = block(torch.cat((x, skip), dim=1))
        logits: Tensor = self.out(x).float()
        if logits.shape[-2:] == size:
            return logits
        return functional.interpolate(logits, size, mode="bilinear", align_corners=False)


def _convolution(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(0.01, inplace=True),
    )


class CertainContrast(JointObjective):
    """The four terms, with the second decoder, two heads and the queues of means."""

    def __init__(self, network: Network, options: UGPCLOptions) -> None:
        super().__init__()
        self.options, backbone = options, network.backbone
        self.decoder = BilinearDecoder(backbone, network.classes)
        self.turns = nn.Linear(backbone.channels[backbone.deepest], 4)
        self.tap = backbone.encoder[-2]
        width = backbone.channels[self.tap]
        self.head = nn.Sequential(
            nn.Conv2d(width, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, options.dim, 1),
        )
        self.queues = GrowingQueues(network.classes, options.queue, options.dim)

    def forward(self, network: Network, batch: JointBatch, supervised: Supervised) -> StepResult:
        """The weighted terms of one batch."""
        options, backbone = self.options, network.backbone
        view, free = batch.labelled.views[0], batch.streams[0].views[0].image
        label, size = view.label.long(), (free.shape[2], free.shape[3])
        own, others = (backbone.features(image, backbone.encoder) for image in (view.image, free))
        finest = (backbone.finest,)
        both = [
            torch.softmax(logits, dim=1)
            for logits in (
                network.decide(backbone.features(free, finest, others)),
                self.decoder(others, size),
            )
        ]
        second = supervised({backbone.finest: self.decoder(own, size)}, label)
        consistency = (both[0] - both[1]).square().mean()
        rotation = self._rotation(network, torch.cat((view.image, free)), batch)
        loss = (
            options.second * second
            + options.consistency * ramp(batch.progress) * consistency
            + options.rotation * rotation
        )
        logs = {"consistency": consistency.detach(), "rotation": rotation.detach()}
        if batch.progress < options.alone:
            return StepResult(loss, logs)
        with torch.no_grad():
            first = network.decide(backbone.features(view.image, finest, own)).argmax(1)
            limit = certain_below(batch.progress, network.classes)
            guessed = gated((both[0] + both[1]) / 2, limit)
            labels = torch.cat((label, guessed))
            predicted = torch.cat((first, both[0].argmax(1)))
        embedded = self.head(torch.cat((own[self.tap], others[self.tap])))
        generator = batch.generator("anchors")
        contrast = self._contrast(embedded, labels, predicted, generator)
        return StepResult(loss + options.contrast * contrast, logs)

    def weight_at(self, progress: float) -> float:
        """The terms are weighed each by itself; 0 if none counts."""
        options = self.options
        counts = (options.second, options.consistency, options.rotation, options.contrast)
        return 1.0 if any(counts) else 0.0

    def _rotation(self, network: Network, images: Tensor, batch: JointBatch) -> Tensor:
        """Cross-entropy of the quarter turns by which images were rotated."""
        generator, backbone = batch.generator("turns"), network.backbone
        turns = torch.randint(4, (len(images),), generator=generator)
        turned = torch.stack(
            [image.rot90(turn, (1, 2)) for image, turn in zip(images, turns.tolist(), strict=True)]
        )
        vectors = backbone.pooled(turned, (backbone.deepest,))[backbone.deepest]
        told = self.turns(vectors).float()
        return functional.cross_entropy(told, sent(turns, told.device))

    def _contrast(
        self, embedded: Tensor, labels: Tensor, predicted: Tensor, generator: torch.Generator
    ) -> Tensor:
        """R of maps (B, D, h, w), and the means for later steps."""
        side = embedded.shape[-1]
        marks, guesses = on_grid(labels, side), on_grid(predicted, side)
        values = functional.normalize(exact(embedded), dim=1)
        queues = self.queues
        memory, filled, classes = queues.memory.flatten(0, 1), queues.filled, len(queues.memory)
        queues.hold(*means_of(values.detach(), marks, classes))
        rows, real = anchors_of(
            marks.reshape(-1), guesses.reshape(-1), classes, self.options.anchors, generator
        )
        kinds = torch.arange(classes, device=rows.device)[:, None]
        own, known = kinds.expand_as(rows).flatten(), kinds.expand_as(filled).where(filled, -1)
        return contrast_with_means(
            points(values)[rows.flatten()],
            own.where(real.flatten(), IGNORE),
            memory,
            known.flatten(),
            self.options.temperature,
        )

    def after_step(self, network: Network, progress: float) -> None:
        """The means of the step can be met."""
        self.queues.push()


def gated(shares: Tensor, limit: float) -> Tensor:
    """Classes (B, H, W) of probabilities (B, C, H, W), `IGNORE` where the entropy is not below."""
    return shares.argmax(1).where(entropy(shares) < limit, IGNORE)


def means_of(values: Tensor, marks: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Unit means (C, B, D) of values (B, D, h, w) where each image is of each class, (B, h, w).

    And which of them are real, (C, B) bool.
    """
    batch = len(marks)
    member = one_hot(marks.flatten(), classes).view(classes, batch, -1)
    sums = torch.einsum("bdn,cbn->cbd", values.flatten(2), member.to(values))
    return functional.normalize(sums, dim=2), member.any(2)


def anchors_of(
    marks: Tensor, guesses: Tensor, classes: int, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Rows of pixels (N,) that are anchors: of each class at most `count`, of which half are hard.

    A hard one is predicted as another class. Where there are too few of a kind the other fills up.
    (C, count) long, and bool for those that are real.
    """
    own, right = one_hot(marks, classes), one_hot(guesses, classes)
    hard, easy = own & ~right, own & right
    spare = (count - easy.sum(1, keepdim=True)).clamp(min=count // 2)
    first = hard.sum(1, keepdim=True).minimum(spare)
    drawn = some(hard, first, count, generator), some(easy, count - first, count, generator)
    rows, real = (torch.cat(each, dim=1) for each in zip(*drawn, strict=True))
    kept = real.long().argsort(dim=1, descending=True, stable=True)[:, :count]
    return rows.gather(1, kept), real.gather(1, kept)


def contrast_with_means(
    anchors: Tensor, own: Tensor, keys: Tensor, kinds: Tensor, temperature: float
) -> Tensor:
    """R of unit anchors (A, D) of classes (A,) and keys (K, D) of classes (K,), -1 for no key.

    Anchors without a key of their class are left out; 0 without any other.
    """
    with torch.autocast(anchors.device.type, enabled=False):
        logits = anchors @ keys.to(anchors).T / temperature
        positive = own[:, None] == kinds
        count = positive.sum(1)
        usable = count > 0
        lowest = torch.finfo(logits.dtype).min
        attracting = positive | (kinds < 0)
        repelled = torch.logsumexp(logits.masked_fill(attracting, lowest), dim=1, keepdim=True)
        each = (torch.logaddexp(logits, repelled) - logits).where(positive, 0.0).sum(1)
        return (each / count.clamp(min=1)).sum() / usable.sum().clamp(min=1)


@register_method("ugpcl")
class UGPCL(JointMethod):
    """Two decoders, and pixel contrast gated by their uncertainty."""

    info = MethodInfo(
        title="UGPCL",
        family="contrast during",
        kind="pixel contrast",
        paper="Wang et al., IJCAI 2022; code of taovv/UGPCL",
        fidelity="re-implementation",
        inferred=(
            "reduced: the second decoder is convolutional with bilinear up-sampling, not a Swin "
            "transformer, and nothing was trained on ImageNet",
            "repaired: background has means of its own, where the code has vectors of zero; its "
            "mask of self-pairs, which hits keys of the queue, is gone",
            "up to 64 anchors of each class in a batch, not one of each slice; means of a step are "
            "met from the next on",
            "threshold of the entropy with the logarithm of the number of classes, not of 2",
            "rotated slices pass the encoder by themselves; the segmentation sees none",
            "embeddings are read one level above the bottleneck",
        ),
        against_collapse="negatives",
        version=2,
    )
    Options = UGPCLOptions
    options: UGPCLOptions

    def joint_stages(self) -> tuple[JointStage, ...]:
        """One, with one view of each slice without a label."""
        return (JointStage(name="certain", streams=(Stream(views=(FINETUNE_VIEW,)),)),)

    def joint_objective(self, stage: JointStage, network: Network) -> JointObjective:
        """The second decoder and the four terms."""
        return CertainContrast(network, self.options)
