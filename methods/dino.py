"""DINO: a student tells of every crop what its slow teacher says of another view of the slice.

Caron, Touvron, Misra, Jégou, Mairal, Bojanowski, Joulin: Emerging properties in self-supervised
vision transformers. ICCV 2021, arXiv 2104.14294.

    L = mean over pairs (t, v), v != t, of -sum_k q_tk log p_vk
    q_t = softmax( (g'(t) - c) / tau' ),    p_v = softmax( g(v) / tau )

over the two full views t that the teacher sees and the V views v that the student sees: the
same two and several small crops. g is backbone, head and a last layer of K rows of unit length,
g' its moving average, which after step k of K' keeps 1 - (1 - m) (cos(pi k / K') + 1) / 2 of
itself. The centre c follows the mean of the teacher's outputs: c <- 0.9 c + 0.1 mean_t,b g'.

Nothing repels. Centring keeps one output from winning everywhere, a sharp teacher (tau' < tau)
keeps them from becoming even. Two logs tell the collapses apart, as shares of log K: the mean
entropy of q, and the entropy of its mean. Both fall to 0 if one output wins everywhere, both
rise to 1 if all are even; the first is the smaller one where slices differ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from contrabench import (
    Batch,
    Intensity,
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
from contrabench.objectives.momentum import MomentumCopy, Noted, cosine_momentum

if TYPE_CHECKING:
    from contrabench import Backbone

_FULL = 2
_SMALL_CROP = ViewSpec(scale=0.5, spatial=Spatial(crop_area=(0.1, 0.4)))
_FIRST_WEIGHTS = 0.02


class DINOOptions(Options):
    """Options of DINO."""

    outputs: int = Field(1024, ge=2, description="K; the paper has 65536 for 1.3 million images")
    dim: int = Field(256, gt=0, description="width before the last layer (paper: 256)")
    temperature: float = Field(0.1, gt=0, description="tau, of the student (paper: 0.1)")
    teacher_temperature: float = Field(
        0.04, gt=0, description="tau' (authors' code: 0.04; up to 0.07 for long runs)"
    )
    centre_momentum: float = Field(
        0.9, ge=0, lt=1, description="share that the centre keeps of itself (paper: 0.9)"
    )
    momentum: float = Field(
        0.99,
        ge=0,
        lt=1,
        description="m, share that the teacher keeps of itself in the first step, on its way to "
        "1; the paper's 0.996 remembers 250 steps, much of a short run here",
    )
    batch_norm: bool = Field(
        False,
        description="normalise the batch in the head, an option of the authors' code; for a "
        "backbone that normalises every slice by itself, with which all outputs become even else",
    )
    small_crops: int = Field(4, ge=0, le=8, description="beside the two full views (paper: 8)")
    frozen: float = Field(
        0.01,
        ge=0,
        lt=1,
        description="share of the steps before the last layer moves (paper: 1 of 100 epochs)",
    )


def distillation(
    teacher: Sequence[Tensor],
    student: Sequence[Tensor],
    centre: Tensor,
    teacher_temperature: float,
    temperature: float,
) -> Tensor:
    """Cross-entropy of the teacher's and the student's outputs of different views.

    Args:
        teacher: (B, K) of each full view; they get no gradient.
        student: (B, K) of each view, the full ones first and in the same order.
        centre: (K,), taken from the teacher's.
        teacher_temperature: tau'.
        temperature: tau.

    Returns:
        Scalar, a mean over slices and pairs of views; log K where the student is even.
    """
    with torch.autocast(centre.device.type, enabled=False):
        said, heard = (exact(torch.stack(tuple(views))) for views in (teacher, student))
        targets = torch.softmax((said.detach() - centre) / teacher_temperature, dim=2)
        told = torch.log_softmax(heard / temperature, dim=2)
        pairs = -torch.einsum("tbk,vbk->tv", targets, told) / told.shape[1]
        others = ~torch.eye(*pairs.shape, dtype=torch.bool, device=pairs.device)
        return pairs.where(others, 0.0).sum() / others.sum()


def evenness(shares: Tensor) -> Tensor:
    """Entropy of distributions (..., K), as a mean and a share of log K: 1 if they are even."""
    entropy: Tensor = -torch.xlogy(shares, shares).sum(dim=-1).mean()
    return entropy / math.log(shares.shape[-1])


class Head(nn.Module):
    """Three linear layers with GELU, unit length, then K outputs by rows of unit length.

    That is the paper's weight-normed last layer with its gains held at 1; lightly's head has it
    too, but cannot be copied. `batch_norm` normalises the batch between, in place of the biases.
    """

    def __init__(
        self, channels: int, hidden: int, dim: int, outputs: int, batch_norm: bool
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs in (channels, hidden):
            norm = nn.BatchNorm1d(hidden) if batch_norm else nn.Identity()
            layers += [nn.Linear(inputs, hidden, bias=not batch_norm), norm, nn.GELU()]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden, dim))
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=_FIRST_WEIGHTS)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        self.last = nn.Linear(dim, outputs, bias=False)

    def forward(self, features: Tensor, frozen: bool = False) -> Tensor:
        """Maps (N, channels) to (N, outputs), cosines; no gradient to the last layer if frozen."""
        points = self.layers(features)
        with torch.autocast(features.device.type, enabled=False):
            # Without a gradient, rather than with one of zero, weight decay and momentum of
            # the optimiser leave the layer alone.
            rows = self.last.weight.detach() if frozen else self.last.weight
            points, rows = (functional.normalize(exact(each), dim=1) for each in (points, rows))
            outputs: Tensor = points @ rows.T
        return outputs


class SelfDistillation(Objective):
    """DINO on the pooled bottleneck.

    Attributes:
        centre: (K,) of the teacher's outputs.
        frozen: whether the last layer is not trained yet.
    """

    centre: Tensor

    def __init__(self, backbone: Backbone, options: DINOOptions) -> None:
        super().__init__()
        self.options = options
        channels = backbone.channels[backbone.deepest]
        self.head = Head(channels, 2 * channels, options.dim, options.outputs, options.batch_norm)
        self.teacher_backbone = MomentumCopy(backbone)
        self.teacher_head = MomentumCopy(self.head)
        self.register_buffer("centre", torch.zeros(options.outputs))
        self.frozen = Noted(options.frozen > 0)
        self._seen: list[Tensor] = []

    def forward(self, backbone: Backbone, batch: Batch) -> StepResult:
        """The loss of one batch of two full views and small crops."""
        options = self.options
        images = [view.image for view in batch.views]
        full, small = images[:_FULL], images[_FULL:]
        student = self.head(pooled(backbone, full, small), self.frozen.value).chunk(len(images))
        with torch.no_grad():
            teacher = self.teacher_head.copied(pooled(self.teacher_backbone.copied, full))
            self._seen.append(teacher.mean(dim=0))
            targets = torch.softmax((teacher - self.centre) / options.teacher_temperature, dim=1)
        loss = distillation(
            teacher.chunk(_FULL),
            student,
            self.centre,
            options.teacher_temperature,
            options.temperature,
        )
        logs = {"entropy": evenness(targets), "entropy_of_mean": evenness(targets.mean(dim=0))}
        return StepResult(loss, logs)

    def after_step(self, backbone: Backbone, progress: float) -> None:
        """Moves the centre by what the step has shown, and the teacher ever more slowly."""
        if self._seen:
            mean = torch.stack(self._seen).mean(dim=0)
            self._seen = []
            self.centre.lerp_(mean.to(self.centre.dtype), 1 - self.options.centre_momentum)
        keep = cosine_momentum(self.options.momentum, progress)
        self.teacher_backbone.follow(backbone, keep)
        self.teacher_head.follow(self.head, keep)
        self.frozen.note(progress < self.options.frozen)


@register_method("dino")
class DINO(Method):
    """Self-distillation of whole slices, with small crops."""

    info = MethodInfo(
        title="DINO",
        family="contrast before",
        kind="self-distillation",
        paper="Caron et al., ICCV 2021, arXiv 2104.14294",
        fidelity="re-implementation",
        against_collapse="asymmetry",
        inferred=(
            "the head sits on the U-Net's pooled bottleneck, twice as wide as that has channels",
            "1024 outputs instead of 65536, for thousands of slices instead of a million images",
            "four small crops of half the side, but at least 32 pixels, and 0.1 to 0.4 of the "
            "area; the paper has eight of 96 pixels beside two of 224",
            "a teacher momentum that starts at 0.99 instead of 0.996, for shorter runs",
            "the centre moves once a step, after it, by the mean of its micro-batches",
            "the second view is never blurred (paper: one in ten); nothing is solarised",
            "AdamW with a constant decay, gradients clipped at 5 (paper: 3), and the common "
            "augmentation of the protocol instead of colour jitter",
        ),
        version=2,
    )
    Options = DINOOptions
    options: DINOOptions
    published = Published(
        stages={
            "global": Optimisation(
                optimizer="sgd",
                lr=0.03,
                lr_batch=256,
                batch=512,
                weight_decay=1e-4,
                warmup=0.1,
                clip=3.0,
                source="authors' README and defaults for ResNet-50: 8 times 64 images, 100 "
                "epochs, 10 of them warm-up",
            )
        },
        options={"momentum": 0.996, "small_crops": 8},
        unknown=(
            "crops of 0.14 to 1 and 0.05 to 0.14 of a photograph, jitter, solarisation: the views "
            "here stay",
            "the cosine ends at a rate of 1e-6, here at zero",
            "the code clips the gradient of each array by itself, here all together",
            "the outputs keep their proportion; 65536 goes with ImageNet",
        ),
    )

    def stages(self) -> tuple[Stage, ...]:
        """One stage on the encoder, with several crops of each slice."""
        sharp = ViewSpec(intensity=Intensity(blur_px=0.0))
        views = (ViewSpec(), sharp, *(_SMALL_CROP,) * self.options.small_crops)
        return (Stage(name="global", views=views),)

    def objective(self, stage: Stage, backbone: Backbone) -> Objective:
        """The loss with its head, its teacher and its centre."""
        return SelfDistillation(backbone, self.options)
