"""DenseCL: MoCo for whole slices and, beside it, for every cell of the feature map.

Wang, Zhang, Shen, Kong, Li: Dense contrastive learning for self-supervised visual
pre-training. CVPR 2021, arXiv 2011.09157.

    l(q, k; M) = -log( e^{q.k/tau} / ( e^{q.k/tau} + sum_{m in M} e^{q.m/tau} ) )
    L = (1 - lambda) mean_b l(q_b, k_b; M) + lambda mean_{b,i} l(r_{b,i}, t_{b,c(i)}; M')
    c(i) = argmax_j cos(f_{b,i}, g_{b,j})

with q, r the embeddings of the slice and of its cells in one view, k, t those in the other
under the momentum encoder, and f, g the maps of the backbone that they come from: cells are
matched by what the backbone sees in them, not by where they lie. M is a queue of k, and M'
one of the mean of each slice's t.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    register_method,
)
from contrabench.objectives.contrast import exact, info_nce
from contrabench.objectives.heads import GlobalHead, PixelHead
from contrabench.objectives.momentum import MomentumCopy, Queue
from contrabench.objectives.pixels import points

if TYPE_CHECKING:
    from contrabench import Backbone

_TAP = "centre"


class DenseCLOptions(Options):
    """Options of DenseCL."""

    temperature: float = Field(0.2, gt=0, description="tau (authors' configuration: 0.2)")
    dense_weight: float = Field(
        0.5, gt=0, lt=1, description="lambda, share of the dense loss (paper: 0.5)"
    )
    dim: int = Field(128, gt=0, description="length of the embeddings (paper: 128)")
    queue: int = Field(
        256,
        gt=0,
        description="keys kept in each of the two memories: at most a quarter of some 1000 "
        "slices; take fewer for fewer slices (paper: 65536 of 1.3 million images)",
    )
    momentum: float = Field(
        0.99,
        ge=0,
        lt=1,
        description="share that the key encoder keeps of itself in a step; the paper's 0.999 "
        "remembers 1000 steps, more than a short run here has",
    )


def most_alike(query: Tensor, key: Tensor) -> Tensor:
    """The cell of the other view whose features are most alike, for each cell of one.

    Args:
        query: (B, C, h, w) features of the backbone; normalised here.
        key: (B, C, h', w') of the other view, likewise.

    Returns:
        (B, h * w) long, places in the flattened key map.
    """
    with torch.autocast(query.device.type, enabled=False):
        one, other = (functional.normalize(exact(maps.flatten(2)), dim=1) for maps in (query, key))
        return (one.transpose(1, 2) @ other).argmax(dim=2)


def dense_contrast(
    query: Tensor, key: Tensor, match: Tensor, memory: Tensor, temperature: float
) -> Tensor:
    """InfoNCE of every cell with the cell that it is matched to.

    Args:
        query: (B, D, h, w) embeddings of one view; normalised here, as the others are.
        key: (B, D, h', w') of the other view.
        match: (B, h * w) places in the flattened key map.
        memory: (K, D) negatives.
        temperature: tau.
    """
    picked = key.flatten(2).gather(2, match[:, None].expand(-1, key.shape[1], -1))
    return info_nce(points(query), picked.transpose(1, 2).flatten(0, 1), memory, temperature)


class DenseContrast(Objective):
    """The global and the dense loss, with the key encoder and the two queues."""

    def __init__(self, backbone: Backbone, options: DenseCLOptions) -> None:
        super().__init__()
        self.options = options
        channels = backbone.channels[_TAP]
        self.heads = nn.ModuleDict(
            {
                "whole": GlobalHead(channels, options.dim),
                "cells": PixelHead(channels, channels, options.dim, linear=False),
            }
        )
        self.key_backbone = MomentumCopy(backbone)
        self.key_heads = MomentumCopy(self.heads)
        self.wholes = Queue(options.queue, options.dim)
        self.cells = Queue(options.queue, options.dim)

    def forward(self, backbone: Backbone, batch: Batch) -> StepResult:
        """The loss of one batch: queries from the first view, keys from the second."""
        tau, share = self.options.temperature, self.options.dense_weight
        first, second = (view.image for view in batch.views)
        seen = backbone.features(first, (_TAP,))[_TAP]
        with torch.no_grad():
            other = self.key_backbone.copied.features(second, (_TAP,))[_TAP]
            key = exact(self.key_heads.copied["whole"](other.mean(dim=(2, 3))))
            key_cells = exact(self.key_heads.copied["cells"](other))
            match = most_alike(seen, other)
            self.wholes.hold(functional.normalize(key, dim=1))
            self.cells.hold(functional.normalize(key_cells.mean(dim=(2, 3)), dim=1))
        whole = info_nce(self.heads["whole"](seen.mean(dim=(2, 3))), key, self.wholes.memory, tau)
        dense = dense_contrast(self.heads["cells"](seen), key_cells, match, self.cells.memory, tau)
        loss = (1 - share) * whole + share * dense
        return StepResult(loss, {"global": whole.detach(), "dense": dense.detach()})

    def after_step(self, backbone: Backbone, progress: float) -> None:
        """Moves the key encoder, and lets the step's keys into the queues."""
        self.key_backbone.follow(backbone, self.options.momentum)
        self.key_heads.follow(self.heads, self.options.momentum)
        self.wholes.push()
        self.cells.push()


@register_method("densecl")
class DenseCL(Method):
    """Momentum contrast of slices and of the cells of their maps."""

    info = MethodInfo(
        title="DenseCL",
        family="contrast before",
        kind="dense contrast",
        paper="Wang et al., CVPR 2021, arXiv 2011.09157",
        fidelity="re-implementation",
        inferred=(
            "both heads sit on the U-Net's bottleneck at its own size, the place and, at 160 "
            "pixels, about the grid of the paper's last ResNet map (7 x 7); 4 x 4 at 64 pixels",
            "heads as wide as the bottleneck, which in the paper too has the head's width",
            "queues of 256 and a key momentum of 0.99, in proportion to slices and steps",
            "batches are not shuffled for the batch normalisation of the key encoder",
            "the common optimiser, schedule and augmentation of the protocol",
        ),
        version=2,
    )
    Options = DenseCLOptions
    options: DenseCLOptions
    published = Published(
        stages={
            "dense": Optimisation(
                optimizer="sgd",
                lr=0.3,
                batch=256,
                momentum=0.9,
                weight_decay=1e-4,
                source="authors' configuration for COCO, 800 epochs (ImageNet: rate 0.03)",
            )
        },
        options={"momentum": 0.999},
        unknown=(
            "the queues of 65536 keys, more than most data sets here have slices: they stay short",
            "crops from 0.2 of the area and colour jitter: the common augmentation stays",
        ),
    )

    def stages(self) -> tuple[Stage, ...]:
        """One stage on the encoder."""
        return (Stage(name="dense"),)

    def objective(self, stage: Stage, backbone: Backbone) -> Objective:
        """Both losses with their heads, key encoder and queues."""
        return DenseContrast(backbone, self.options)
