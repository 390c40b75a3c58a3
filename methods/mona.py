"""MONA: relations between slices, then contrast of pixels, neighbours and equivariance.

You et al., NeurIPS 2023 (ARCO, arXiv 2302.01735) and MONA, arXiv 2209.13476; as in their common
code, repaired. First stage: an averaged teacher sees a strong view, the student the weak one, and
the two relate it alike to the slices of a queue,

    KL( softmax(s(z', k)/tau) || softmax(s(z, k)/tau) )

once with z the pooled bottleneck, once for windows of the logits. Second stage, added are

    U + 0.01 R + N + E

U: cross-entropy with the teacher's labels, as in ReCo. R: the contrast with queues of U2PL. N: the
squared distance 2 - 2 s of a slice to those 5 of a pool that are nearest to it for the teacher. E:
KL of the prediction on a turned slice from the turned prediction, where a structure is confident.
ARCO draws anchors equally from regions of the slices, `regions=4`, and has no E, `equivariance=0`.
"""

from __future__ import annotations

import math

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
from contrabench.contracts.views import IGNORE, STRONG_VIEW, WEAK_VIEW
from contrabench.objectives.consistency import (
    Average,
    Teacher,
    boxes,
    entropy,
    pasted,
    weighted_entropy,
)
from contrabench.objectives.contrast import exact
from contrabench.objectives.drawing import sent
from contrabench.objectives.momentum import GrowingQueues, Queue
from contrabench.objectives.regions import Known, QueueContrast, QueueRule

_LATENT, _HIDDEN = 512, 256
_WINDOWS, _POOLED = 7, 8


class MONAOptions(Options):
    """Options of MONA; defaults of the authors' code."""

    first: float = Field(0.5, gt=0, lt=1, description="share of the steps of the first stage")
    relational: float = Field(1.0, ge=0, description="of both terms of the first stage")
    sharpness: float = Field(0.1, gt=0, description="temperature of the relations")
    unsupervised: float = Field(1.0, ge=0, description="weight of U, beside the supervised loss")
    contrast: float = Field(0.01, ge=0, description="weight of R")
    neighbours: float = Field(1.0, ge=0, description="weight of N")
    equivariance: float = Field(1.0, ge=0, description="weight of E (0 in ARCO)")
    strong: float = Field(0.97, ge=0, le=1, description="confidence that counts in U")
    weak: float = Field(0.7, ge=0, le=1, description="confidence that counts in E")
    regions: int = Field(
        0, ge=0, description="per axis of a slice, with as many anchors each (ARCO: 4); 0: anywhere"
    )
    pool: int = Field(36, ge=5, description="slices in the queues of the first stage, and of N")
    nearest: int = Field(5, ge=1, description="slices of the pool that N counts")
    temperature: float = Field(0.5, gt=0, description="of the contrast")
    anchors: int = Field(256, ge=1, description="of each class in a batch")
    negatives: int = Field(512, ge=1, description="of each anchor")
    queue: int = Field(2048, ge=1, description="pixels kept of each class (30 000)")
    untrusted: float = Field(0.2, ge=0, le=1, description="share of pixels, at the beginning, of R")
    dim: int = Field(64, ge=2, description="of an embedding (496 on the authors' five maps)")
    keep: float = Field(0.99, ge=0, le=1, description="share that the teachers keep of themselves")


class Relations(nn.Module):
    """What is related: the pooled bottleneck, and windows of the logits."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.latent = nn.Sequential(
            nn.Linear(channels, _HIDDEN), nn.Linear(_HIDDEN, _HIDDEN), nn.Linear(_HIDDEN, _LATENT)
        )
        self.window = nn.Sequential(
            nn.Conv2d(classes, 2 * classes, 1), nn.Conv2d(2 * classes, classes, 1)
        )

    def forward(self, deepest: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 512) of a map, and (B, 49, classes, 8, 8) of logits (B, classes, H, W)."""
        cut = windows(logits)
        return self.latent(deepest.mean((2, 3))), self.window(cut.flatten(0, 1)).view_as(cut)


class RelationalDistillation(JointObjective):
    """First stage: student and teacher relate a slice alike to earlier ones."""

    def __init__(self, network: Network, options: MONAOptions) -> None:
        super().__init__()
        self.options, classes = options, network.classes
        backbone = network.backbone
        self.taps = (backbone.deepest, backbone.finest)
        self.heads = Relations(backbone.channels[backbone.deepest], classes)
        self.predictor = nn.Sequential(nn.Linear(_LATENT, _LATENT), nn.Linear(_LATENT, _LATENT))
        self.window_predictor = nn.Sequential(
            nn.Conv2d(classes, 2 * classes, 1), nn.Conv2d(2 * classes, classes, 1)
        )
        self.average = Teacher(network, options.keep, ramped=False)
        self.average_heads = Average(self.heads, options.keep, ramped=False)
        self.latents = Queue(options.pool, _LATENT)
        self.places = Queue(options.pool, _WINDOWS**2 * classes * _POOLED**2)

    def forward(self, network: Network, batch: JointBatch, supervised: Supervised) -> StepResult:
        """Both terms of one batch."""
        weak, strong = (view.image for view in batch.streams[0].views)
        maps = network.backbone.features(weak, self.taps)
        latent, place = self.heads(maps[self.taps[0]], network.decide(maps))
        place = self.window_predictor(place.flatten(0, 1)).view_as(place).flatten(2)
        with torch.no_grad():
            maps = self.average.maps(strong, self.taps)
            logits = self.average.copied.decide(maps)
            target, goal = self.average_heads.copied(maps[self.taps[0]], logits)
            target, goal = (
                functional.normalize(exact(each), dim=-1) for each in (target, goal.flatten(2))
            )
        queued = self.places.memory.view(len(self.places.memory), *goal.shape[1:])
        terms = (
            related_alike(
                self.predictor(latent)[:, None],
                target[:, None],
                self.latents.memory[:, None],
                self.options.sharpness,
            ),
            related_alike(place, goal, queued, self.options.sharpness),
        )
        self.latents.hold(target)
        self.places.hold(goal.flatten(1))
        logs = {"latent": terms[0].detach(), "output": terms[1].detach()}
        return StepResult(terms[0] + terms[1], logs)

    def weight_at(self, progress: float) -> float:
        """The same in every step."""
        return self.options.relational

    def after_step(self, network: Network, progress: float) -> None:
        """The teacher follows, and the slices of the step can be related to."""
        self.average.update(network)
        self.average_heads.update(self.heads)
        self.latents.push()
        self.places.push()

    def teacher(self) -> Network:
        """The average."""
        return self.average.copied


def windows(logits: Tensor) -> Tensor:
    """Windows of a quarter of the side of (B, C, H, W), half of it apart: (B, 49, C, 8, 8)."""
    high, wide = (side // 4 for side in logits.shape[-2:])
    cut = logits.unfold(2, high, high // 2).unfold(3, wide, wide // 2)
    cut = cut.permute(0, 2, 3, 1, 4, 5).flatten(1, 2)
    pooled = functional.adaptive_avg_pool2d(cut.flatten(0, 1), _POOLED)
    return pooled.view(*cut.shape[:3], _POOLED, _POOLED)


def related_alike(student: Tensor, teacher: Tensor, queued: Tensor, temperature: float) -> Tensor:
    """KL of the teacher's from the student's relations to the queue, (B, P, D) each and (K, P, D).

    Each of P places meets the same place of the queued slices; the sum over K, the mean over the
    rest.
    """
    with torch.autocast(student.device.type, enabled=False):
        first, second, third = (
            functional.normalize(exact(each), dim=-1) for each in (student, teacher, queued)
        )
        third = third.to(second)
        told, wanted = (
            torch.log_softmax(torch.einsum("bpd,kpd->bpk", each, third) / temperature, dim=-1)
            for each in (first, second)
        )
        return (wanted.exp() * (wanted - told)).sum(-1).mean()


class MapHead(nn.Module):
    """Embeddings of pixels from the decoder's three finest maps, on the grid of the second."""

    def __init__(self, backbone: Backbone, dim: int) -> None:
        super().__init__()
        self.taps = backbone.deep_taps
        widths = [backbone.channels[tap] for tap in self.taps]
        self.own = nn.ModuleList(nn.Conv2d(width, width, 1) for width in widths)
        self.together = nn.Sequential(
            nn.Conv2d(sum(widths), dim, 1, bias=False), nn.Conv2d(dim, dim, 1, bias=False)
        )

    def forward(self, maps: dict[str, Tensor]) -> Tensor:
        """(B, dim, h, w) of a backbone's maps by tap."""
        size = maps[self.taps[1]].shape[-2:]
        parts = [
            functional.interpolate(maps[tap] + layer(maps[tap]), size, mode="bilinear")
            for tap, layer in zip(self.taps, self.own, strict=True)
        ]
        embedded: Tensor = self.together(torch.cat(parts, dim=1))
        return embedded


class AnatomicalContrast(JointObjective):
    """Second stage: the four terms, the head with its average, the queues and the pool."""

    def __init__(self, network: Network, options: MONAOptions) -> None:
        super().__init__()
        self.options = options
        self.head = MapHead(network.backbone, options.dim)
        self.average = Teacher(network, options.keep, ramped=False)
        self.average_head = Average(self.head, options.keep, ramped=False)
        rule = QueueRule(
            anchors=options.anchors,
            negatives=options.negatives,
            temperature=options.temperature,
            below=options.strong,
            size=options.queue,
            regions=options.regions,
        )
        self.contrast = QueueContrast(network.classes, options.dim, rule)
        self.pool = GrowingQueues(1, options.pool, options.dim)

    def forward(self, network: Network, batch: JointBatch, supervised: Supervised) -> StepResult:
        """The weighted terms of one batch."""
        options, backbone = self.options, network.backbone
        view, label = batch.labelled.views[0], batch.labelled.views[0].label.long()
        weak, strong = (each.image for each in batch.streams[0].views)
        sure, guessed = torch.softmax(self.average.logits(weak), dim=1).max(dim=1)
        size, generator = (weak.shape[2], weak.shape[3]), batch.generator("cutmix")
        box = boxes(len(weak), size, generator, 1.0, (0.5, 0.5), (0.5, 2.0))
        strong, guessed, sure = (pasted(each, box) for each in (strong, guessed, sure))
        images = torch.cat((view.image, strong))
        with torch.no_grad():
            taught = self.average.maps(images, self.head.taps)
            shares = torch.softmax(self.average.copied.decide(taught), dim=1)
            averaged = exact(self.average_head.copied(taught))
        own, others = (backbone.features(each, self.head.taps) for each in (view.image, strong))
        first, second = network.decide(own), network.decide(others)
        embedded = torch.cat([exact(self.head(maps)) for maps in (own, others)])
        uncertain = entropy(torch.softmax(second.detach(), dim=1))
        part = options.untrusted * (1 - batch.progress)
        known = Known.by_entropy(label, guessed, shares, uncertain, part)
        pooled, goal = (each[len(label) :].mean((2, 3)) for each in (embedded, averaged))
        counted = torch.cat((torch.ones_like(label, dtype=torch.bool), sure >= options.weak))
        counted &= (known.labels > 0) & (known.labels != IGNORE)
        theta = sent(turns(len(images), batch.generator("turns")), images.device).to(images.dtype)
        terms = {
            "unsupervised": weighted_entropy(second, guessed, sure, options.strong),
            "contrast": self.contrast(embedded, averaged, known, batch.generator("pixels")),
            "neighbours": to_neighbours(
                pooled, goal, self.pool.memory[0], self.pool.filled[0], options.nearest
            ),
            "equivariance": equivariance(
                network, images, torch.cat((first, second)).detach(), counted, theta
            ),
        }
        held = functional.normalize(goal, dim=1)[None]
        self.pool.hold(held, torch.ones_like(held[..., 0], dtype=torch.bool))
        loss = torch.stack([getattr(options, name) * term for name, term in terms.items()]).sum()
        return StepResult(loss, {name: term.detach() for name, term in terms.items()})

    def weight_at(self, progress: float) -> float:
        """The terms are weighed each by itself; 0 if none counts."""
        options = self.options
        counts = (
            options.unsupervised,
            options.contrast,
            options.neighbours,
            options.equivariance,
        )
        return 1.0 if any(counts) else 0.0

    def after_step(self, network: Network, progress: float) -> None:
        """The teacher follows, and what was queued can be met."""
        self.average.update(network)
        self.average_head.update(self.head)
        self.contrast.push()
        self.pool.push()

    def teacher(self) -> Network:
        """The average."""
        return self.average.copied


def to_neighbours(
    student: Tensor, teacher: Tensor, pool: Tensor, filled: Tensor, nearest: int
) -> Tensor:
    """N of vectors (B, D) and those unit vectors of a pool (K, D) that are there, (K,) bool.

    0 if there are none.
    """
    first, second = (functional.normalize(each, dim=1) for each in (student, teacher))
    pool = pool.to(first)
    alike = (second @ pool.T).masked_fill(~filled, float("-inf"))
    found, chosen = alike.topk(min(nearest, len(pool)), dim=1)
    counted = found > float("-inf")
    apart = (2 - 2 * (first @ pool.T).gather(1, chosen)).where(counted, 0.0)
    return apart.sum() / counted.sum().clamp(min=1)


def turns(batch: int, generator: torch.Generator) -> Tensor:
    """Affine maps (B, 2, 3): up to 60 degrees, 0.8 to 1.2 in size, a tenth aside, half mirrored."""
    drawn = torch.rand(batch, 5, generator=generator)
    angle = (2 * drawn[:, 0] - 1) * math.pi / 3
    scale = 0.8 + 0.4 * drawn[:, 1]
    mirror = torch.where(drawn[:, 4] < 0.5, -1.0, 1.0)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    shift = 0.2 * drawn[:, 2:4] - 0.1
    rows = (mirror * cos, -sin, shift[:, 0], mirror * sin, cos, shift[:, 1])
    return torch.stack(rows, dim=1).view(batch, 2, 3)


def equivariance(
    network: Network, images: Tensor, logits: Tensor, counted: Tensor, theta: Tensor
) -> Tensor:
    """E of images (B, C, H, W), their logits, and where they count, (B, H, W) bool.

    The mean over images of the mean over pixels that counted before they were turned.
    """
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)

    def turned(values: Tensor) -> Tensor:
        return functional.grid_sample(values, grid, align_corners=False)

    told = torch.log_softmax(network.logits(turned(images)), dim=1)
    wanted = torch.log_softmax(turned(logits), dim=1)
    weight = turned(counted[:, None].to(images))[:, 0]
    apart = (wanted.exp() * (wanted - told)).sum(1)
    return ((apart * weight).sum((1, 2)) / (weight.sum((1, 2)) + 1e-7)).mean()


@register_method("mona")
class MONA(JointMethod):
    """Relational distillation, then anatomical contrast during fine-tuning."""

    info = MethodInfo(
        title="MONA",
        family="contrast during",
        kind="pixel contrast",
        paper="You et al., arXiv 2209.13476; ARCO, You et al., NeurIPS 2023, arXiv 2302.01735",
        fidelity="re-implementation",
        inferred=(
            "repaired: queues fill as in the repaired U2PL; in the code negatives stay nearly zero",
            "repaired: the teacher has an average of the whole head, not of a part of it",
            "repaired: N has a gradient, because the teacher chooses the neighbours and the "
            "student's distance counts, and it pools the maps; the code has it the other way round",
            "repaired: the teacher of the first stage alone sees the strong view, and windows stay "
            "apart from slices; a window meets the same place of earlier slices, and all of them "
            "are without labels",
            "the two stages have equal shares of the steps; the optimiser begins anew between them",
            "the head reads the decoder's three finest maps on the grid of the second",
            "regions are of the slices, where the code cuts the list of a class's pixels; "
            "negatives are drawn anywhere in the queue",
            "E turns the slices of the other terms, without another change of grey values",
        ),
        against_collapse="negatives",
        version=2,
    )
    Options = MONAOptions
    options: MONAOptions

    def joint_stages(self) -> tuple[JointStage, ...]:
        """Both, with a weak and a strong view of each slice without a label."""
        streams, first = (Stream(views=(WEAK_VIEW, STRONG_VIEW)),), self.options.first
        return (
            JointStage(name="relational", streams=streams, share=first),
            JointStage(name="anatomical", streams=streams, share=1 - first),
        )

    def joint_objective(self, stage: JointStage, network: Network) -> JointObjective:
        """The relations, or the contrast."""
        if stage.name == "relational":
            return RelationalDistillation(network, self.options)
        return AnatomicalContrast(network, self.options)
