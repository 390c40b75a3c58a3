"""MoCo v2: a query attracts its key and repels a queue of earlier keys.

He, Fan, Wu, Xie, Girshick: Momentum contrast for unsupervised visual representation
learning. CVPR 2020, arXiv 1911.05722. Chen, Fan, Girshick, He: Improved baselines with
momentum contrastive learning. arXiv 2003.04297.

    L = mean_i -log( exp(q_i.k_i / tau) / ( exp(q_i.k_i / tau) + sum_n exp(q_i.n / tau) ) )

with q_i the embedding of one view, k_i that of the other by the key encoder, and n the
last keys of other batches. The key encoder gets no gradient: after every step it moves
towards the query encoder, k <- m k + (1 - m) q. The loss is not symmetrised.

The queue must be short against the slices that are pre-trained on, or it holds the query's
own slice and its neighbours as negatives several times over.

It relies on a backbone that normalises the batch: with one that normalises every slice by itself,
pooled features are all but equal at first, and all embeddings became one within 400 steps on the
phantom. Their spread is logged: near 1 they point everywhere, at 0 they have collapsed. Batches are
not shuffled for the keys; `docs/scripts/queue_leak.py` measures what they tell by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor
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
from contrabench.objectives.heads import GlobalHead
from contrabench.objectives.momentum import MomentumCopy, Queue
from contrabench.objectives.prediction import spread

if TYPE_CHECKING:
    from contrabench import Backbone


class MoCoOptions(Options):
    """Options of MoCo v2."""

    temperature: float = Field(0.2, gt=0, description="tau (authors' code for v2; 0.07 in v1)")
    dim: int = Field(128, gt=0, description="length of the embedding (paper: 128)")
    queue: int = Field(
        256,
        gt=0,
        description="keys kept as negatives: at most a quarter of some 1000 slices; take fewer "
        "for fewer slices (paper: 65536 of 1.3 million images)",
    )
    momentum: float = Field(
        0.99,
        ge=0,
        lt=1,
        description="share that the key encoder keeps of itself in a step; the paper's 0.999 "
        "remembers 1000 steps, more than a short run here has",
    )


class MomentumContrast(Objective):
    """InfoNCE of queries on the pooled bottleneck against a queue of keys."""

    def __init__(self, backbone: Backbone, options: MoCoOptions) -> None:
        super().__init__()
        self.head = GlobalHead(backbone.channels["centre"], options.dim)
        self.key_backbone = MomentumCopy(backbone)
        self.key_head = MomentumCopy(self.head)
        self.queue = Queue(options.queue, options.dim)
        self.temperature, self.momentum = options.temperature, options.momentum

    def forward(self, backbone: Backbone, batch: Batch) -> StepResult:
        """The loss of one batch: the first view asks, the second holds the keys."""
        first, second = (view.image for view in batch.views)
        query = _embed(backbone, self.head, first)
        with torch.no_grad():
            key = _embed(self.key_backbone.copied, self.key_head.copied, second)
        self.queue.hold(key)
        loss = info_nce(query, key, self.queue.memory, self.temperature)
        return StepResult(loss, {"spread": spread(query)})

    def after_step(self, backbone: Backbone, progress: float) -> None:
        """The keys enter the queue, and the key encoder follows."""
        self.queue.push()
        self.key_backbone.follow(backbone, self.momentum)
        self.key_head.follow(self.head, self.momentum)


def _embed(backbone: Backbone, head: GlobalHead, image: Tensor) -> Tensor:
    """Normalised embeddings of one view, (B, dim), in float32 at least."""
    embedded = head(backbone.pooled(image, ("centre",))["centre"])
    return functional.normalize(exact(embedded), dim=1)


@register_method("moco")
class MoCo(Method):
    """Instance contrast of whole slices against a queue."""

    info = MethodInfo(
        title="MoCo v2",
        family="contrast before",
        kind="instance contrast",
        paper="He et al., CVPR 2020, arXiv 1911.05722; Chen et al., 2020, arXiv 2003.04297",
        fidelity="re-implementation",
        inferred=(
            "the head sits on the U-Net's pooled bottleneck, as wide as that has channels",
            "a queue of 256 and a key momentum of 0.99, in proportion to slices and steps",
            "batches are not shuffled for the batch normalisation of the key encoder",
            "AdamW and the common augmentation of the protocol instead of SGD and colour jitter",
        ),
        version=2,
    )
    Options = MoCoOptions
    options: MoCoOptions
    published = Published(
        stages={
            "global": Optimisation(
                optimizer="sgd",
                lr=0.03,
                lr_batch=256,
                batch=256,
                weight_decay=1e-4,
                source="authors' code, main_moco.py with the settings of v2 in its README",
            )
        },
        options={"momentum": 0.999},
        unknown=(
            "the queue of 65536 keys, more than most data sets here have slices: it stays short",
            "colour jitter, grey and blur for photographs: the common augmentation stays",
        ),
    )

    def stages(self) -> tuple[Stage, ...]:
        """One stage on the encoder."""
        return (Stage(name="global"),)

    def objective(self, stage: Stage, backbone: Backbone) -> Objective:
        """InfoNCE with its head, key encoder and queue."""
        return MomentumContrast(backbone, self.options)
