"""Self-paced contrast with meta-labels: positives that disagree wait until later.

Peng, Wang, Desrosiers, Pedersoli: Self-paced contrastive learning for semi-supervised
medical image segmentation with meta-labels. NeurIPS 2021, arXiv 2107.13741.

For each meta-label k, with P_k(i) the other embeddings of i's label,

    l_ij = -log( exp(s(z_i, z_j) / tau) / sum_{a != i} exp(s(z_i, z_a) / tau) )
    L    = sum_k lambda_k (1 / 2B) sum_i (1 / |P_k(i)|) sum_{j in P_k(i)} w_ij l_ij + R(w_ij)

    hard      w = 1 if l <= gamma, else 0       R = gamma (1 - w)
    linear    w = max(1 - l / gamma, 0)         R = gamma (1 - w)^2 / 2

gamma grows during training, gamma_0 + (gamma_1 - gamma_0) progress^p, so that at first only
easy pairs count. R is the self-paced regulariser, shifted by a constant: these weights are
its minimisers, w l + R comes to min(l, gamma) or l - l^2 / (2 gamma), capped at l = gamma,
and the gradient is that of w l with w held fixed, which is what the authors' code computes.
The cap rises with gamma, and so may the recorded loss; the mean weights stand beside it.

The meta-labels are those every volume has: the part of the volume that a slice lies in, and
its patient. The paper's third, the cardiac phase, is nothing that a batch knows of here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

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
from contrabench.objectives.contrast import both_views, mean_over_positives, pair_losses, same
from contrabench.objectives.heads import GlobalHead

if TYPE_CHECKING:
    from contrabench import Backbone

Pace = Literal["hard", "linear"]


class SelfPacedOptions(Options):
    """Options of self-paced contrast."""

    pace: Pace = Field("linear", description="how pairs are weighed (authors' config: linear)")
    gamma_first: float = Field(
        1.0, gt=0, description="gamma_0 / log(2B - 1), the loss of a pair by chance; inferred: 1"
    )
    gamma_last: float = Field(
        10.0, gt=0, description="gamma_1 / log(2B - 1); inferred: 10, amid the authors' search"
    )
    growth: float = Field(0.5, gt=0, description="p, exponent of progress (authors' config: 0.5)")
    weight_partition: float = Field(
        1.0, ge=0, description="lambda of the part of the volume; 0 leaves it out"
    )
    weight_patient: float = Field(1.0, ge=0, description="lambda of the patient; 0 leaves it out")
    partitions: int = Field(
        8,
        ge=2,
        description="equal parts of a volume; authors' code: 8 for whole hearts, 3 for short-axis "
        "stacks such as ACDC's",
    )
    temperature: float = Field(0.07, gt=0, description="tau (authors' code: 0.07)")
    dim: int = Field(256, gt=0, description="length of the embedding (authors' code: 256)")

    @model_validator(mode="after")
    def _some_label(self) -> SelfPacedOptions:
        """Refuses a loss without any term."""
        if not self.weight_partition and not self.weight_patient:
            raise ValueError(
                "no meta-label is left; give weight_partition or weight_patient above 0"
            )
        return self


def paced(losses: Tensor, gamma: Tensor | float, pace: Pace) -> Tensor:
    """The term w l + R(w) of every pair, at its best weight.

    Args:
        losses: pair losses of any shape, at least 0.
        gamma: the age, above 0.
        pace: how w depends on l.

    Returns:
        Of the losses' shape; its derivative by l is w.
    """
    capped = losses.clamp(max=gamma)
    return capped if pace == "hard" else capped - capped.square() / (2 * gamma)


def share(losses: Tensor, gamma: Tensor | float, pace: Pace) -> Tensor:
    """The weight w of every pair: arguments as of `paced`, values in [0, 1]."""
    if pace == "hard":
        return (losses <= gamma).to(losses.dtype)
    return (1 - losses / gamma).clamp(min=0)


class MetaLabelContrast(Objective):
    """One self-paced contrast with a head of its own for each meta-label."""

    progress: Tensor

    def __init__(self, backbone: Backbone, options: SelfPacedOptions) -> None:
        super().__init__()
        self.options = options
        weights = {"partition": options.weight_partition, "patient": options.weight_patient}
        self.weights = {label: weight for label, weight in weights.items() if weight}
        self.heads = nn.ModuleDict(
            {
                label: GlobalHead(backbone.channels["centre"], options.dim, hidden=256)
                for label in self.weights
            }
        )
        self.register_buffer("progress", torch.zeros(()))

    def forward(self, backbone: Backbone, batch: Batch) -> StepResult:
        """The loss of one batch of two views."""
        vectors = [backbone.pooled(view.image, ("centre",))["centre"] for view in batch.views]
        info, options = batch.info, self.options
        related = {
            "partition": same(info.partition) & same(info.orientation),
            "patient": same(info.patient),
        }
        gamma = self.gamma(2 * batch.size)
        total = torch.zeros((), device=batch.device)
        logs: dict[str, Tensor] = {}
        for label, weight in self.weights.items():
            embedded = torch.cat([self.heads[label](item) for item in vectors])
            losses = pair_losses(embedded, options.temperature)
            positives = both_views(related[label])
            total = total + weight * mean_over_positives(
                paced(losses, gamma, options.pace), positives
            )
            weights = share(losses.detach(), gamma, options.pace)
            logs[f"{label}_weight"] = mean_over_positives(weights, positives)
        return StepResult(total, logs)

    def gamma(self, embeddings: int) -> Tensor:
        """The age at the present progress, for a batch of so many embeddings."""
        options = self.options
        grown = options.gamma_last - options.gamma_first
        relative = options.gamma_first + grown * self.progress**options.growth
        return relative * math.log(max(embeddings - 1, 2))

    def after_step(self, backbone: Backbone, progress: float) -> None:
        """Notes how far the training has come."""
        self.progress.fill_(progress)


@register_method("self_paced")
class SelfPaced(Method):
    """Self-paced contrast of slices by part of the volume and by patient."""

    info = MethodInfo(
        title="Self-paced meta-label contrast",
        family="contrast before",
        kind="meta-label contrast",
        paper="Peng et al., NeurIPS 2021, arXiv 2107.13741",
        fidelity="re-implementation",
        needs=(
            "position of a slice in its volume, and volumes that show about the same",
            "which volumes are one patient's",
        ),
        inferred=(
            "the pre-training alone; the paper goes on with semi-supervised training",
            "no cardiac phase, which the data do not tell",
            "equal weights of the meta-labels, each with a head of its own",
            "gamma is relative to the loss by chance, so that one default fits every batch; "
            "the authors searched 1 to 4 growing to 20 to 60, at 80 slices in a batch",
            "the gradient is not divided by the mean weight, an option of the authors' code",
            "ReLU instead of leaky ReLU in the head",
            "slices of two orientations never share a part, where several are pooled",
            "one number of parts by default, that of whole hearts; give partitions=3 for "
            "short-axis stacks, as the authors do",
            "the common backbone, optimiser, schedule and augmentation of the protocol",
        ),
    )
    Options = SelfPacedOptions
    options: SelfPacedOptions
    published = Published(
        stages={
            "global": Optimisation(
                optimizer="adam",
                lr=2e-4,
                batch=80,
                weight_decay=1e-5,
                warmup=0.125,
                source="authors' code for whole hearts in CT: 5e-7 times 400 after 10 of 80 "
                "epochs, one slice from each of 8 parts of 10 volumes",
            )
        },
        unknown=(
            "RAdam, which is Adam with a warm-up of its own",
            "gamma and the weights of the meta-labels, which were searched",
            "the authors' augmentation, with mirrors and rotations of 45 degrees",
        ),
    )

    def stages(self) -> tuple[Stage, ...]:
        """One stage on the encoder, with one slice from each part of the volumes."""
        return (Stage(name="global", partitions=self.options.partitions),)

    def objective(self, stage: Stage, backbone: Backbone) -> Objective:
        """The self-paced contrast with its heads."""
        return MetaLabelContrast(backbone, self.options)
