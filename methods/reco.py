"""ReCo: confident pseudo-labels, and contrast of uncertain pixels against the classes they confuse.

Liu et al., ICLR 2022, arXiv 2104.04465; as in the authors' code. An averaged teacher labels the
weak view; image, labels and confidence of the strong one show a box of another slice. Added are

    U = mean over pixels with a loss of CE(f(u_s), y) times the share of confident ones in the image
    R = mean over classes present of CE of [s(q, m_i), s(q, n_1), ...] / 0.5, the first the answer

Queries q of class i are pixels that the student gives a probability below 0.97 of it; m_i is the
mean of the class, s the cosine. Of the negatives the class j is drawn by softmax_j(s(m_i, m_j) /
0.5), the pixel evenly. Labelled pixels take part, others from a confidence of 0.7 on. Keys carry no
gradient.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from contrabench import (
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
from contrabench.objectives.consistency import Teacher, boxes, pasted, weighted_entropy
from contrabench.objectives.contrast import exact, pair_contrast
from contrabench.objectives.drawing import pick, sent
from contrabench.objectives.pixels import on_grid, points
from contrabench.objectives.regions import one_hot

_BELOW_ONE = 1 - 1e-6


class ReCoOptions(Options):
    """Options of ReCo; defaults of the authors' code."""

    weight: float = Field(1.0, ge=0, description="of U and of R, beside the supervised loss")
    strong: float = Field(0.97, ge=0, le=1, description="confidence that counts in U, and for R")
    weak: float = Field(0.7, ge=0, le=1, description="confidence from which pixels take part in R")
    temperature: float = Field(0.5, gt=0, description="of the contrast")
    queries: int = Field(256, ge=1, description="of each class in a batch")
    negatives: int = Field(512, ge=1, description="of each query")
    dim: int = Field(64, ge=2, description="of an embedding (256 on the authors' wider networks)")
    keep: float = Field(0.99, ge=0, le=1, description="share that the teacher keeps of itself")


class RegionalContrast(JointObjective):
    """The two terms, the head of the second on the map at half resolution, and the teacher."""

    def __init__(self, network: Network, options: ReCoOptions) -> None:
        super().__init__()
        self.options = options
        self.tap = network.backbone.deep_taps[1]
        width = network.backbone.channels[self.tap]
        self.head = nn.Sequential(
            nn.Conv2d(width, options.dim, 3, padding=1, bias=False),
            nn.BatchNorm2d(options.dim),
            nn.ReLU(inplace=True),
            nn.Conv2d(options.dim, options.dim, 1),
        )
        self.average = Teacher(network, options.keep)

    def forward(self, network: Network, batch: JointBatch, supervised: Supervised) -> StepResult:
        """The terms of one batch."""
        options, backbone = self.options, network.backbone
        weak, strong = (view.image for view in batch.streams[0].views)
        sure, guessed = torch.softmax(self.average.logits(weak), dim=1).max(dim=1)
        size = (weak.shape[2], weak.shape[3])
        box = boxes(len(weak), size, batch.generator("cutmix"), 1.0, (0.5, 0.5), (0.5, 2.0))
        strong, guessed, sure = (pasted(each, box) for each in (strong, guessed, sure))
        taps = (self.tap, backbone.finest)
        view = batch.labelled.views[0]
        own, others = (backbone.features(image, taps) for image in (view.image, strong))
        logits = network.decide(others)
        unsupervised = weighted_entropy(logits, guessed, sure, options.strong)
        embedded = torch.cat([self.head(maps[self.tap]) for maps in (own, others)])
        shares = torch.cat(
            [torch.softmax(found.detach(), dim=1) for found in (network.decide(own), logits)]
        )
        labels = torch.cat([view.label.long(), guessed.where(sure >= options.weak, IGNORE)])
        contrast = regional_contrast(embedded, labels, shares, options, batch.generator("pixels"))
        logs = {"contrast": contrast.detach(), "sure": sure.mean()}
        return StepResult(unsupervised + contrast, logs)

    def weight_at(self, progress: float) -> float:
        """The same in every step."""
        return self.options.weight

    def after_step(self, network: Network, progress: float) -> None:
        """The teacher follows."""
        self.average.update(network)

    def teacher(self) -> Network:
        """The average."""
        return self.average.copied


def regional_contrast(
    embedded: Tensor,
    labels: Tensor,
    shares: Tensor,
    options: ReCoOptions,
    generator: torch.Generator,
) -> Tensor:
    """R for maps (B, D, h, w), labels (B, H, W) with `IGNORE`, probabilities (B, C, H, W).

    Labels and probabilities are read at the map's cells. The loss is zero, with a gradient of zero,
    with fewer than two classes, or without a query.
    """
    side, classes = embedded.shape[-1], shares.shape[1]
    marks, known = on_grid(labels, side).reshape(-1), points(on_grid(shares, side)).T
    members = one_hot(marks, classes)
    sizes = members.sum(1)
    present, count = sizes > 0, (sizes > 0).sum()
    with torch.autocast(embedded.device.type, enabled=False):
        cells = points(exact(embedded))
        means = functional.normalize(members.to(cells) @ cells.detach(), dim=1)
        cells = functional.normalize(cells, dim=1)
        alike = means @ means.T / options.temperature
        others = present & ~torch.eye(classes, dtype=torch.bool, device=marks.device)
        lowest = torch.finfo(alike.dtype).min
        bounds = torch.softmax(alike.masked_fill(~others, lowest), dim=1).cumsum(1)
        hard = members & (known < options.strong)
        queries = cells[pick(hard, options.queries, generator)]
        # The cells of each class one after another.
        listed, begin = marks.argsort(stable=True), sizes.cumsum(0) - sizes
        losses = []
        for number, query in enumerate(queries):
            shape = (2, options.queries * options.negatives)
            chance = sent(torch.rand(shape, generator=generator), marks.device)
            # A little less than one, so that no rounding leads beyond the last class or cell.
            which, where = (chance * _BELOW_ONE).to(bounds)
            other = torch.searchsorted(bounds[number], which * bounds[number, -1], right=True)
            place = begin[other] + (where * sizes[other]).long()
            rows = listed[place.clamp(max=len(listed) - 1)]
            keys = cells.detach()[rows].view(options.queries, options.negatives, -1)
            negatives = torch.einsum("qd,qnd->qn", query, keys) / options.temperature
            losses.append(
                pair_contrast(query @ means[number] / options.temperature, negatives).mean()
            )
        counted = hard.any(1) & (count > 1)
        return torch.stack(losses).where(counted, 0.0).sum() / count.clamp(min=1)


@register_method("reco")
class ReCo(JointMethod):
    """Pixel contrast of uncertain pixels during fine-tuning."""

    info = MethodInfo(
        title="ReCo",
        family="contrast during",
        kind="pixel contrast",
        paper="Liu et al., ICLR 2022, arXiv 2104.04465",
        fidelity="re-implementation",
        inferred=(
            "the head reads the decoder's map at half resolution",
            "strong is the harness's own intensity family and a CutMix box of half the slice; no "
            "cutout or classmix",
            "the student is tested; the authors test the teacher (score=teacher)",
            "Dice and cross-entropy supervise, not cross-entropy alone",
            "the teacher predicts by its averaged running statistics, the authors' by its batch",
        ),
        against_collapse="negatives",
        version=3,
    )
    Options = ReCoOptions
    options: ReCoOptions

    def joint_stages(self) -> tuple[JointStage, ...]:
        """One, with a weak and a strong view of each slice without a label."""
        return (JointStage(name="regions", streams=(Stream(views=(WEAK_VIEW, STRONG_VIEW)),)),)

    def joint_objective(self, stage: JointStage, network: Network) -> JointObjective:
        """Pseudo-labels and contrast."""
        return RegionalContrast(network, self.options)
