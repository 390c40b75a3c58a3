"""UniMatch: one weak view teaches two strong views and a decoder whose encoder was disturbed.

Yang et al., CVPR 2023, arXiv 2208.09910; ACDC as in more-scenarios/medical of their code. With D
the Dice loss over all classes on confident pixels (max p_w >= t), the authors train

    1/2 [ 1/2 (CE + Dice)(x, y) + 1/4 D(f(u_s1)) + 1/4 D(f(u_s2)) + 1/2 D(f_dropped(u_w)) ]

so that the three terms weigh 1/2, 1/2 and 1 beside the supervised loss of the harness. f_dropped
is the decoder on the encoder's maps of u_w, half of whose channels are dropped. Each strong view
shows, with some probability, a box of another slice, and so do its labels.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

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
from contrabench.contracts.views import STRONG_VIEW, WEAK_VIEW
from contrabench.objectives.consistency import boxes, confident, masked_dice, pasted
from contrabench.objectives.drawing import sent


class UniMatchOptions(Options):
    """Options of UniMatch; defaults of the authors' code for ACDC."""

    strong: float = Field(0.5, ge=0, description="weight of each of the two strong views")
    dropped: float = Field(1.0, ge=0, description="weight of the disturbed encoder")
    threshold: float = Field(0.95, ge=0, description="probability from which on a label is taken")
    cutmix: float = Field(0.5, ge=0, le=1, description="share of the slices with a box of another")
    dropout: float = Field(0.5, ge=0, lt=1, description="share of the channels that are dropped")


class UnifiedPerturbations(JointObjective):
    """Dice of two strong views and of dropped features with the labels of the weak view."""

    def __init__(self, options: UniMatchOptions) -> None:
        super().__init__()
        self.options = options

    def forward(self, network: Network, batch: JointBatch, supervised: Supervised) -> StepResult:
        """The weighted terms of one batch."""
        options, backbone = self.options, network.backbone
        weak, *strong = (view.image for view in batch.streams[0].views)
        maps = backbone.features(weak, backbone.encoder)
        finest = (backbone.finest,)
        with torch.no_grad():
            labels, sure = confident(
                network.decide(backbone.features(weak, finest, maps)), options.threshold
            )
        terms = []
        if options.dropped:
            dropped = drop_channels(maps, options.dropout, batch.generator("dropout"))
            disturbed = network.decide(backbone.features(weak, finest, dropped))
            terms.append(options.dropped * masked_dice(disturbed, labels, sure))
        size = (weak.shape[2], weak.shape[3])
        for number, image in enumerate(strong if options.strong else ()):
            box = boxes(len(weak), size, batch.generator(f"cutmix {number}"), options.cutmix)
            mixed, marks, kept = (pasted(each, box) for each in (image, labels, sure))
            terms.append(options.strong * masked_dice(network.logits(mixed), marks, kept))
        return StepResult(torch.stack(terms).sum(), {"confident": sure.float().mean()})

    def weight_at(self, progress: float) -> float:
        """The terms are weighed each by itself; 0 if none counts."""
        return 1.0 if self.options.strong or self.options.dropped else 0.0


def drop_channels(
    maps: dict[str, Tensor], share: float, generator: torch.Generator
) -> dict[str, Tensor]:
    """Drops whole channels of (B, C, h, w) maps, each image by itself, and scales up the rest."""
    found = {}
    for name, values in maps.items():
        kept = torch.rand(values.shape[:2], generator=generator) >= share
        found[name] = (
            values * sent(kept, values.device)[:, :, None, None].to(values.dtype) / (1 - share)
        )
    return found


@register_method("unimatch")
class UniMatch(JointMethod):
    """Weak-to-strong consistency in images and in features."""

    info = MethodInfo(
        title="UniMatch",
        family="consistency",
        kind="pseudo-labels",
        paper="Yang et al., CVPR 2023, arXiv 2208.09910",
        fidelity="re-implementation",
        inferred=(
            "strong is the harness's own intensity family on the weak view's geometry",
            "CutMix partners come from the same batch, not from a third loader",
            "labels are those of the undisturbed decoder; the authors' batch holds labelled slices",
        ),
        against_collapse="nothing",
    )
    Options = UniMatchOptions
    options: UniMatchOptions

    def joint_stages(self) -> tuple[JointStage, ...]:
        """One, with a weak and two strong views of each slice without a label."""
        stream = Stream(views=(WEAK_VIEW, STRONG_VIEW, STRONG_VIEW))
        return (JointStage(name="perturbations", streams=(stream,)),)

    def joint_objective(self, stage: JointStage, network: Network) -> JointObjective:
        """The terms on pseudo-labels."""
        return UnifiedPerturbations(self.options)
