"""PLCT: pixels attract the mean of their structure in pairs of slices, by pseudo-labels in rounds.

Chaitanya et al., Medical Image Analysis 2023, arXiv 2112.09645; as in the authors' code, repaired.
A network from scratch labels the slices without a mask, which enter a contrast alone. For slices
1 and 2, the mean m_k of the embeddings of each structure k in each, and some of its pixels z,

    l(z, m) = -log( exp(s(z, m)/tau) / sum_c [exp(s(z, m_c^1)/tau) + exp(s(z, m_c^2)/tau)] )
    R = mean over pairs, k and z of [l(z^1, m^1) + l(z^2, m^2) + l(z^1, m^2) + l(z^2, m^1)] / 2

with s the cosine; background takes no part. The own structure stands in the denominator twice, so
that each l of a perfect clustering is log 2. Pairs are two views of a slice, a labelled and another
one, or two others. The trained network labels the slices for the next round, and is trained on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from contrabench import (
    Intensity,
    JointBatch,
    JointMethod,
    JointObjective,
    JointStage,
    MethodInfo,
    Network,
    Options,
    Predicted,
    Spatial,
    StepResult,
    Stream,
    Supervised,
    ViewSpec,
    register_method,
)
from contrabench.objectives.consistency import NothingAdded
from contrabench.objectives.contrast import exact
from contrabench.objectives.drawing import sent

GREY = Intensity(contrast=(0.7, 1.3), gamma=(1.0, 1.0), noise_sd=0.0, blur_px=0.0, probability=1.0)
FIRST = ViewSpec(spatial=Spatial(crop_area=(0.6, 1.0)), intensity=GREY)
SECOND = ViewSpec(spatial=None, intensity=GREY, geometry_of=0)


class PLCTOptions(Options):
    """Options of PLCT; defaults of the authors' code."""

    rounds: int = Field(3, ge=0, description="of pseudo-labels, after a network from scratch")
    weight: float = Field(0.1, ge=0, description="of the contrast, beside the supervised loss")
    temperature: float = Field(0.1, gt=0, description="tau")
    pixels: int = Field(3, ge=1, description="of each structure in a slice")
    largest: bool = Field(True, description="only the largest part of each structure, in 3D")


class StructureContrast(JointObjective):
    """The contrast of pairs, with its head on the map at full resolution."""

    def __init__(self, network: Network, options: PLCTOptions) -> None:
        super().__init__()
        self.options = options
        self.tap = network.backbone.finest
        width = network.backbone.channels[self.tap]
        self.head = nn.Sequential(
            nn.Conv2d(width, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 1),
        )

    def forward(self, network: Network, batch: JointBatch, supervised: Supervised) -> StepResult:
        """The contrast of one batch."""
        options = self.options
        count = min(stream.size for stream in batch.streams)
        views = [view for stream in batch.streams for view in stream.views]
        images = torch.cat([view.image[:count] for view in views])
        labels = torch.cat([view.label[:count] for view in views])
        embedded = self.head(network.backbone.features(images, (self.tap,))[self.tap])
        generator = batch.generator("pixels")
        found = structures(embedded, labels, network.classes, options.pixels, generator)
        contrast = contrast_of_pairs(found, pairs_of(count), options.temperature)
        return StepResult(contrast, {"contrast": contrast.detach()})

    def weight_at(self, progress: float) -> float:
        """The same in every step."""
        return self.options.weight


@dataclass(frozen=True)
class Structures:
    """Unit embeddings of K structures in N images, and where there are any.

    Attributes:
        means: (N, K, D).
        pixels: (N, K, P, D), drawn with replacement.
        present: (N, K) bool.
    """

    means: Tensor
    pixels: Tensor
    present: Tensor


def structures(
    embedded: Tensor, labels: Tensor, classes: int, count: int, generator: torch.Generator
) -> Structures:
    """The means of all structures, and so many pixels of each, of maps (N, D, H, W) and labels."""
    images, dim = embedded.shape[:2]
    values = exact(embedded).flatten(2).mT
    marks = labels.flatten(1).clamp(max=classes)
    cell = marks + (classes + 1) * torch.arange(images, device=marks.device)[:, None]
    sums = values.new_zeros(images * (classes + 1), dim)
    sums = sums.index_add(0, cell.flatten(), values.flatten(0, 1))
    sizes = cell.new_zeros(len(sums)).index_add(0, cell.flatten(), torch.ones_like(cell).flatten())
    sizes = sizes.view(images, -1)
    chance = sent(torch.rand(images, classes - 1, count, generator=generator), sizes.device)
    kept = sizes[:, 1:classes, None]
    begin = (sizes.cumsum(1) - sizes)[:, 1:classes, None]
    place = begin + (chance * kept).long().minimum((kept - 1).clamp(min=0))
    rows = marks.argsort(dim=1, stable=True).gather(
        1, place.flatten(1).clamp(max=marks.shape[1] - 1)
    )
    pixels = values.gather(1, rows[..., None].expand(-1, -1, dim)).view(images, -1, count, dim)
    means = functional.normalize(sums.view(images, -1, dim)[:, 1:classes], dim=-1)
    return Structures(means, functional.normalize(pixels, dim=-1), kept[..., 0] > 0)


def pairs_of(count: int) -> Tensor:
    """The pairs (P, 2) of a batch of first and second views of labelled, then of other slices.

    Of so many of each kind. In ten of five, as in the authors' code: two pairs are the views of a
    labelled slice, three a labelled slice with another one, two the views of another one, and three
    two others.
    """
    labelled, other = (0, count), (2 * count, 3 * count)
    pairs = []
    for i in range(count):
        if i % 2 == 0 and i + 1 < count:
            pairs += [(labelled[0] + i, labelled[1] + i), (other[0] + i, other[1] + i)]
            pairs += [(other[0] + i, other[1] + i + 1)]
        else:
            pairs += [(labelled[0] + i, other[1] + i)]
            pairs += [(other[0] + i - 1, other[1] + i)] if i % 2 == 0 and i else []
    return torch.tensor(pairs)


def contrast_of_pairs(found: Structures, pairs: Tensor, temperature: float) -> Tensor:
    """R: a mean over pairs of means over the structures that both images of a pair show.

    Those of one image alone repel, too. Pairs that share none are left out; 0 without any.
    """
    first, second = sent(pairs, found.means.device).unbind(1)
    means = torch.cat((found.means[first], found.means[second]), dim=1)
    absent = ~torch.cat((found.present[first], found.present[second]), dim=1)[:, None, None]
    shared = found.present[first] & found.present[second]
    terms: list[Tensor] = []
    with torch.autocast(means.device.type, enabled=False):
        for images in (first, second):
            logits = torch.einsum("pkzd,pmd->pkzm", found.pixels[images], means) / temperature
            lowest = torch.finfo(logits.dtype).min
            below = torch.logsumexp(logits.masked_fill(absent, lowest), dim=-1)
            own = logits.view(*logits.shape[:3], 2, -1).diagonal(dim1=1, dim2=4).sum(2).mT
            terms.append(2 * below - own)
    each = torch.stack(terms).sum(0).mean(-1).where(shared, 0.0).sum(1) / 2
    count = shared.sum(1)
    return (each / count.clamp(min=1)).sum() / (count > 0).sum().clamp(min=1)


@register_method("chaitanya_joint")
class PLCT(JointMethod):
    """Contrast of structures with pseudo-labels, in rounds."""

    info = MethodInfo(
        title="PLCT",
        family="contrast during",
        kind="local contrast",
        paper="Chaitanya et al., Medical Image Analysis 2023, arXiv 2112.09645",
        fidelity="re-implementation",
        inferred=(
            "repaired: every pair counts alike (in the code the last of ten outweighs the others "
            "by 18 and more)",
            "slices need not show every structure: those that both of a pair show are anchors, all "
            "that one shows repel",
            "the first training and each round have the same share of the steps; the last weights "
            "are taken, and the optimiser begins anew",
            "the largest part of each structure in 3D in place of the conditional random field",
            "the common segmentation head is kept; the contrast's is new in each round",
            "views of a slice share a crop and differ in brightness and contrast",
        ),
        against_collapse="negatives",
    )
    Options = PLCTOptions
    options: PLCTOptions

    def joint_stages(self) -> tuple[JointStage, ...]:
        """The labelled slices alone, then the rounds, each from the weights before."""
        views = (FIRST, SECOND)
        masks = Predicted(largest=self.options.largest)
        streams = (
            Stream(draws="labelled", views=views, masks="labels"),
            Stream(views=views, masks=masks),
        )
        rounds = (
            JointStage(name=f"round {number}", streams=streams)
            for number in range(1, self.options.rounds + 1)
        )
        return (JointStage(name="labelled", streams=()), *rounds)

    def joint_objective(self, stage: JointStage, network: Network) -> JointObjective:
        """Nothing in the first stage, then the contrast."""
        return StructureContrast(network, self.options) if stage.streams else NothingAdded()
