"""SwAV: from one view of a slice, predict the cluster that another view was assigned to.

Caron, Misra, Mairal, Goyal, Bojanowski, Joulin: Unsupervised learning of visual features by
contrasting cluster assignments. NeurIPS 2020, arXiv 2006.09882.

    L = (1 / 2) sum_{i in full} (1 / (V - 1)) sum_{v != i} H( q_i, softmax(z_v . c / tau) )
    q = argmax_Q <Q, Z C^T> + epsilon * H(Q),  slices and prototypes of equal weight

over V views, two full ones and several small crops, with normalised embeddings z and
prototypes c. The codes q come from a few iterations of Sinkhorn and Knopp on the scores of
the batch together with those of past embeddings; the equal weight of the prototypes is what
keeps all slices from falling into one cluster. No gradient passes through the codes.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    Spatial,
    Stage,
    StepResult,
    ViewSpec,
    register_method,
)
from contrabench.objectives.contrast import exact
from contrabench.objectives.heads import pooled
from contrabench.objectives.momentum import Noted, Queue

if TYPE_CHECKING:
    from contrabench import Backbone

_FULL = 2
_SMALL_CROP = ViewSpec(scale=0.6, spatial=Spatial(crop_area=(0.14, 0.4)))


class SwAVOptions(Options):
    """Options of SwAV."""

    prototypes: int = Field(
        64, ge=2, description="clusters; the paper has 3000 for 1.3 million images"
    )
    dim: int = Field(128, gt=0, description="length of the embedding (paper: 128)")
    temperature: float = Field(0.1, gt=0, description="tau (paper: 0.1)")
    epsilon: float = Field(
        0.05,
        ge=0.03,
        description="smoothness of the codes (paper: 0.05); less than 0.03 overflows float32",
    )
    iterations: int = Field(3, ge=1, description="of Sinkhorn and Knopp (paper: 3)")
    small_crops: int = Field(4, ge=0, le=8, description="beside the two full views (paper: 6)")
    frozen: float = Field(
        0.01,
        ge=0,
        lt=1,
        description="share of the steps before the prototypes move (paper: the first epoch)",
    )
    queue: int = Field(
        256,
        ge=0,
        description="past embeddings of each full view that take part in the codes; 0: none "
        "(paper: 3840 beside a batch of 256)",
    )
    queue_from: float = Field(
        0.05,
        ge=0,
        lt=1,
        description="share of the steps before the queue is used (paper: 15 of 200 or 400 epochs)",
    )


def swapped_prediction(
    full: Sequence[Tensor],
    small: Sequence[Tensor],
    past: Sequence[Tensor] | None,
    temperature: float,
    epsilon: float,
    iterations: int,
) -> Tensor:
    """The swapped prediction of cluster assignments (Caron et al., NeurIPS 2020, section 3).

    Computed by lightly's `SwaVLoss`.

    Args:
        full: (B, K) scores z . c of each full view, in [-1, 1]; their codes are predicted.
        small: (B, K) scores of each small crop, which only predict.
        past: (Q, K) scores of earlier embeddings, for each full view; they take part in its
            codes and nowhere else.
        temperature: tau of the prediction.
        epsilon: smoothness of the codes.
        iterations: of Sinkhorn and Knopp.

    Returns:
        Scalar; log K where every prediction is even.
    """
    # lightly pulls torchvision, seconds that only this loss should cost.
    from lightly.loss import SwaVLoss

    criterion = SwaVLoss(temperature, sinkhorn_iterations=iterations, sinkhorn_epsilon=epsilon)
    loss: Tensor = criterion(list(full), list(small), None if past is None else list(past))
    return loss.reshape(())


def share_in_use(scores: Tensor, temperature: float) -> Tensor:
    """How many prototypes the predictions are spread over, as a share of all.

    exp(entropy of the mean prediction) / K: 1 if all are used alike, 1 / K if only one is.

    Args:
        scores: (N, K).
        temperature: tau of the prediction.
    """
    mean = torch.softmax(scores / temperature, dim=1).mean(dim=0)
    entropy: Tensor = -(mean * mean.clamp(min=1e-12).log()).sum()
    return entropy.exp() / scores.shape[1]


class SwappedAssignments(Objective):
    """SwAV on the pooled bottleneck.

    Attributes:
        prototypes: (K, D), of unit length after every step.
        queue: past embeddings of both full views side by side, (Q, 2 D); zeros before it
            has been filled once.
        moving: whether the prototypes are trained yet.
        recalling: whether the queue takes part yet: it is late enough, and it is full.
    """

    def __init__(self, backbone: Backbone, options: SwAVOptions) -> None:
        super().__init__()
        # lightly's head is that of the authors' code; it is imported here for its cost.
        from lightly.models.modules.heads import SwaVProjectionHead

        channels = backbone.channels["centre"]
        self.options = options
        self.head: nn.Module = SwaVProjectionHead(channels, channels, options.dim)
        start = torch.randn(options.prototypes, options.dim)
        self.prototypes = nn.Parameter(functional.normalize(start, dim=1))
        self.queue: Queue | None = None
        if options.queue:
            self.queue = Queue(options.queue, _FULL * options.dim)
            self.queue.memory.zero_()
        self.moving, self.recalling = Noted(options.frozen == 0), Noted(False)

    def forward(self, backbone: Backbone, batch: Batch) -> StepResult:
        """The loss of one batch of two full views and small crops."""
        options = self.options
        images = [view.image for view in batch.views]
        # One pass of the head, so that its batch normalisation sees all crops together.
        embedded = self.head(pooled(backbone, images[:_FULL], images[_FULL:]))
        with torch.autocast(batch.device.type, enabled=False):
            views = functional.normalize(exact(embedded), dim=1).chunk(len(images))
            # Without a gradient, rather than with one of zero, weight decay and momentum of
            # the optimiser leave the prototypes alone.
            fixed = self.prototypes.detach()
            prototypes = self.prototypes if self.moving.value else fixed
            scores = [view @ prototypes.T for view in views]
            past = None
            if self.queue is not None:
                if self.recalling.value:
                    past = [half @ fixed.T for half in self.queue.memory.chunk(_FULL, dim=1)]
                self.queue.hold(torch.cat(views[:_FULL], dim=1))
            loss = swapped_prediction(
                scores[:_FULL],
                scores[_FULL:],
                past,
                options.temperature,
                options.epsilon,
                options.iterations,
            )
            used = share_in_use(torch.cat(scores[:_FULL]).detach(), options.temperature)
        return StepResult(loss, {"prototypes_used": used})

    def after_step(self, backbone: Backbone, progress: float) -> None:
        """Brings the prototypes back to unit length and the queue up to date."""
        if progress > self.options.frozen:
            self.prototypes.copy_(functional.normalize(self.prototypes, dim=1))
        self.moving.note(progress >= self.options.frozen)
        if self.queue is not None:
            self.queue.push()
            self.recalling.note(self.queue.full and progress >= self.options.queue_from)


@register_method("swav")
class SwAV(Method):
    """Clustering of whole slices, with swapped assignments."""

    info = MethodInfo(
        title="SwAV",
        family="contrast before",
        kind="clustering",
        paper="Caron et al., NeurIPS 2020, arXiv 2006.09882",
        fidelity="re-implementation",
        against_collapse="clusters",
        inferred=(
            "the head sits on the U-Net's pooled bottleneck and is as wide as it; the paper "
            "has no U-Net",
            "64 prototypes and a queue of 256 instead of 3000 and 3840, for thousands of slices "
            "instead of a million images",
            "four small crops of 0.6 of the side and 0.14 to 0.4 of the area, in proportion to "
            "the protocol's full views; the paper has six of 96 pixels beside two of 224",
            "AdamW and the common augmentation of the protocol instead of LARC and colour jitter",
        ),
    )
    Options = SwAVOptions
    options: SwAVOptions
    published = Published(
        stages={
            "global": Optimisation(
                optimizer="lars",
                lr=0.6,
                lr_batch=256,
                batch=256,
                weight_decay=1e-6,
                source="authors' script for batches of 256 and 400 epochs",
            )
        },
        options={"small_crops": 6, "frozen": 0.0025, "queue_from": 0.0375},
        unknown=(
            "LARC scales the rate of biases and gains too, and they decay",
            "the cosine ends at a thousandth of the peak rate, here at zero",
            "prototypes and queue keep their proportion; 3000 and 3840 are for ImageNet",
        ),
    )

    def stages(self) -> tuple[Stage, ...]:
        """One stage on the encoder, with several crops of each slice."""
        views = (ViewSpec(), ViewSpec(), *(_SMALL_CROP,) * self.options.small_crops)
        return (Stage(name="global", views=views),)

    def objective(self, stage: Stage, backbone: Backbone) -> Objective:
        """Swapped prediction with its head, prototypes and queue."""
        return SwappedAssignments(backbone, self.options)
