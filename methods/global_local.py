"""Global and local contrast with domain knowledge: partitions of volumes, regions of maps.

Chaitanya, Erdil, Karani, Konukoglu: Contrastive learning of global and local features for
medical image segmentation with limited annotations. NeurIPS 2020, arXiv 2006.10511.

Every pair loss has the form

    l(a, b; N) = -log( e^{s(a,b)/tau} / ( e^{s(a,b)/tau} + sum_{n in N} e^{s(a,n)/tau} ) ).

Global, on the encoder: slices of a volume fall into S consecutive partitions, and N holds
the embeddings of the batch that lie in another partition than a.
    G^R    SimCLR: N holds all other slices
    G^D-   pairs are versions of one slice: original, and two augmentations; / 3B
    G^D    pairs also join slices of one partition of two volumes i, j:
           (x_i, x~_i), (x_i, x_j), (x_j, x~_j), (x~_i, x~_j), both ways; / 2B
with B the slices of a batch, so that either sum is divided by the number of its embeddings. The
4B of the authors' code is that too: in G^D it draws two slices for each of its batch size.
Local L^R, on the first decoder blocks with the encoder frozen: 13 regions of 3 x 3 on a
fixed grid; a region attracts itself in the other view and repels five near ones in both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from contrabench import (
    Batch,
    Method,
    MethodInfo,
    Objective,
    Optimisation,
    Options,
    Published,
    Stage,
    StepResult,
    ViewSpec,
    register_method,
)
from contrabench.objectives.contrast import nt_xent, pair_contrast
from contrabench.objectives.drawing import sent
from contrabench.objectives.heads import GlobalHead

if TYPE_CHECKING:
    from contrabench import Backbone

_REGION = 3
_NEAR = 5
_ORIGINAL = ViewSpec(spatial=None, intensity=None)


class GlobalLocalOptions(Options):
    """Options of Chaitanya et al."""

    stages: Literal["both", "global", "local"] = Field("both", description="which are trained")
    global_loss: Literal["GR", "GD-", "GD"] = Field("GD", description="G^D in the authors' script")
    partitions: int = Field(4, ge=2, description="S, consecutive parts of a volume (paper: 4)")
    decoder_blocks: int = Field(3, ge=1, le=4, description="l, trained by L^R (authors' script: 3)")
    temperature: float = Field(0.1, gt=0, description="tau (paper: 0.1)")


class GlobalStage(Objective):
    """G^R, G^D- or G^D on the pooled bottleneck."""

    def __init__(self, backbone: Backbone, options: GlobalLocalOptions) -> None:
        super().__init__()
        self.options = options
        self.head = GlobalHead(backbone.channels["centre"], 128, hidden=1024)

    def forward(self, backbone: Backbone, batch: Batch) -> StepResult:
        """The loss of one batch."""
        # All versions are one batch, and share its statistics, as in the code.
        images = torch.cat([view.image for view in batch.views])
        vectors = backbone.pooled(images, ("centre",))["centre"]
        embedded = self.head(vectors).chunk(len(batch.views))
        tau = self.options.temperature
        if self.options.global_loss == "GR":
            return StepResult(nt_xent(embedded[0], embedded[1], tau))
        with torch.autocast(batch.device.type, enabled=False):
            versions = [functional.normalize(item.float(), dim=1) for item in embedded]
            if self.options.global_loss == "GD-":
                loss = same_slice_loss(versions, batch.info.partition, tau)
            else:
                loss = same_partition_loss(
                    versions[0], versions[1], batch.info.partition, self.options.partitions, tau
                )
        return StepResult(loss)


def _both_ways(
    a: Tensor, b: Tensor, part_b: Tensor, part_a: Tensor, pool: Tensor, parts: Tensor, tau: float
) -> Tensor:
    """Sum of l(a, b) + l(b, a); the negatives of each lie in another partition than itself."""
    agreement = (a * b).sum(dim=1) / tau
    return (
        pair_contrast(agreement, a @ pool.T / tau, part_a[:, None] != parts[None, :]).sum()
        + pair_contrast(agreement, b @ pool.T / tau, part_b[:, None] != parts[None, :]).sum()
    )


def same_slice_loss(versions: list[Tensor], partition: Tensor, tau: float) -> Tensor:
    """G^D-: versions of one slice attract.

    Args:
        versions: three (B, D) normalised embeddings of the same B slices.
        partition: (B,) part of its volume that each slice lies in.
        tau: temperature.
    """
    pool, parts = torch.cat(versions), partition.repeat(len(versions))
    pairs = [(0, 1), (0, 2), (1, 2)]
    total = torch.stack(
        [
            _both_ways(versions[i], versions[j], partition, partition, pool, parts, tau)
            for i, j in pairs
        ]
    ).sum()
    return total / (len(pairs) * len(partition))


def same_partition_loss(
    plain: Tensor, augmented: Tensor, partition: Tensor, partitions: int, tau: float
) -> Tensor:
    """G^D: versions of a slice, and slices of one partition of two volumes, attract.

    Args:
        plain: (B, D) normalised embeddings, volume by volume, partitions in order.
        augmented: (B, D) of the augmented version.
        partition: (B,) part of its volume that each slice lies in.
        partitions: S; slice i's partner j is the slice S places on, in the next volume.
        tau: temperature.
    """
    pool, parts = torch.cat((plain, augmented)), partition.repeat(2)
    other = partition.roll(-partitions)
    plain_j, augmented_j = plain.roll(-partitions, 0), augmented.roll(-partitions, 0)
    terms = (
        _both_ways(plain, augmented, partition, partition, pool, parts, tau),
        _both_ways(plain, plain_j, other, partition, pool, parts, tau),
        _both_ways(plain_j, augmented_j, other, other, pool, parts, tau),
        _both_ways(augmented, augmented_j, other, partition, pool, parts, tau),
    )
    return torch.stack(terms).sum() / (2 * len(partition))


def region_centres(side: int) -> Tensor:
    """Centres (13, 2) of the regions on a map: corners, edge mids, centre, quarter points."""
    low, high = 1, side - 2
    mid, near, far = side // 2, side // 4, side - 1 - side // 4
    coarse = [(y, x) for y in (low, mid, high) for x in (low, mid, high)]
    quarters = [(y, x) for y in (near, far) for x in (near, far)]
    return torch.tensor(coarse + quarters)


def nearest_regions(centres: Tensor) -> Tensor:
    """Indices (13, 5) of the five nearest other regions of each."""
    distance = torch.cdist(centres.double(), centres.double())
    distance.fill_diagonal_(float("inf"))
    return torch.argsort(distance, dim=1, stable=True)[:, :_NEAR]


def region_loss(first: Tensor, second: Tensor, near: Tensor, tau: float) -> Tensor:
    """L^R of normalised region embeddings.

    Args:
        first: (B, 13, D) of one view.
        second: (B, 13, D) of the other, of the same geometry.
        near: (13, 5) regions that repel each region, in both views.
        tau: temperature.
    """
    agreement = (first * second).sum(dim=2) / tau
    losses = []
    for own, other in ((first, second), (second, first)):
        repel = torch.cat((own[:, near], other[:, near]), dim=2)
        negatives = (own[:, :, None] * repel).sum(dim=3) / tau
        losses.append(pair_contrast(agreement.flatten(), negatives.flatten(0, 1)).mean())
    return torch.stack(losses).mean()


class LocalStage(Objective):
    """L^R on the last trained decoder block."""

    def __init__(self, backbone: Backbone, options: GlobalLocalOptions) -> None:
        super().__init__()
        self.temperature = options.temperature
        self.tap = f"dec{5 - options.decoder_blocks}"
        channels = backbone.channels[self.tap]
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 1, bias=False),
        )
        self.dense = nn.Linear(_REGION * _REGION * channels, 128, bias=False)

    def forward(self, backbone: Backbone, batch: Batch) -> StepResult:
        """The loss of one batch of two views of the same geometry."""
        images = torch.cat([view.image for view in batch.views])
        maps = backbone.features(images, (self.tap,))[self.tap]
        first, second = self._regions(maps).chunk(2)
        near = sent(nearest_regions(region_centres(batch.views[0].image.shape[-1])), batch.device)
        with torch.autocast(batch.device.type, enabled=False):
            loss = region_loss(
                functional.normalize(first.float(), dim=2),
                functional.normalize(second.float(), dim=2),
                near,
                self.temperature,
            )
        return StepResult(loss)

    def _regions(self, maps: Tensor) -> Tensor:
        """Cuts the 13 regions out of (B, C, h, w) and embeds them, (B, 13, 128)."""
        projected = self.convolutions(maps)
        centres = sent(region_centres(projected.shape[-1]), projected.device)
        offsets = torch.arange(-1, 2, device=projected.device)
        rows = (centres[:, :1] + offsets)[:, :, None]
        columns = (centres[:, 1:] + offsets)[:, None, :]
        cut = projected[:, :, rows, columns]
        embedded: Tensor = self.dense(cut.permute(0, 2, 1, 3, 4).flatten(2))
        return embedded


@register_method("global_local")
class GlobalLocal(Method):
    """Partition contrast of the encoder, then region contrast of the decoder."""

    info = MethodInfo(
        title="Global-local",
        family="contrast before",
        kind="global-local contrast",
        paper="Chaitanya et al., NeurIPS 2020, arXiv 2006.10511",
        fidelity="re-implementation",
        needs=("position of a slice in its volume, and volumes that show about the same",),
        inferred=(
            "the global head pools the bottleneck instead of flattening it, to fit every size, and "
            "has biases",
            "the five near regions are the nearest of the thirteen; the authors list theirs by "
            "hand, some of them between the thirteen",
            "half of the pre-training images for each stage",
            "the common backbone, optimiser, schedule and augmentation of the protocol",
        ),
        version=2,
    )
    Options = GlobalLocalOptions
    options: GlobalLocalOptions
    published = Published(
        stages={
            name: Optimisation(
                optimizer="adam", lr=1e-3, batch=12, schedule="constant", source=source
            )
            for name, source in (
                ("global", "authors' code, 10001 iterations"),
                ("local", "authors' code, 10001 iterations; batches of 10 to 12"),
            )
        },
        unknown=(
            "10001 iterations of each stage; the images seen are the budget's",
            "crops of 100 of 160 pixels, brightness and contrast alone; the protocol's views",
            "the global head flattens the bottleneck; here it pools",
            "for G^D the code makes 24 slices of a batch of 12, and leaves 8 of them blank",
        ),
    )

    def stages(self) -> tuple[Stage, ...]:
        """Global on the encoder, then local on decoder blocks alone."""
        options = self.options
        views = {
            "GR": (ViewSpec(), ViewSpec()),
            "GD-": (_ORIGINAL, ViewSpec(), ViewSpec()),
            "GD": (_ORIGINAL, ViewSpec()),
        }[options.global_loss]
        look = ViewSpec(spatial=None)
        blocks = tuple(f"dec{level}" for level in range(4, 4 - options.decoder_blocks, -1))
        planned = (
            Stage(
                name="global",
                views=views,
                partitions=0 if options.global_loss == "GR" else options.partitions,
            ),
            Stage(name="local", views=(look, look), trains=("centre_up", *blocks)),
        )
        return tuple(stage for stage in planned if options.stages in ("both", stage.name))

    def objective(self, stage: Stage, backbone: Backbone) -> Objective:
        """The loss of either stage."""
        options = self.options
        if stage.name == "global":
            return GlobalStage(backbone, options)
        return LocalStage(backbone, options)
