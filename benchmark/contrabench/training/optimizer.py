"""The optimisers: AdamW of the common recipe, and what papers used."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from contrabench.protocol import Phase


def build_optimizer(parameters: Sequence[nn.Parameter], phase: Phase) -> torch.optim.Optimizer:
    """Builds the optimiser of a phase; its rate is set anew at every step.

    LARS (You et al., arXiv 1708.03888) leaves biases and the gains of normalisation out of
    both its scaling and the decay, as the papers do that use it.
    """
    if phase.optimizer in ("adamw", "adam"):
        kind = torch.optim.AdamW if phase.optimizer == "adamw" else torch.optim.Adam
        return kind(parameters, lr=phase.lr, weight_decay=phase.weight_decay, foreach=True)
    if phase.optimizer == "sgd":
        decay, momentum = phase.weight_decay, phase.momentum
        return torch.optim.SGD(parameters, phase.lr, momentum, weight_decay=decay, foreach=True)
    # lightly pulls torchvision, seconds that only this optimiser should cost.
    from lightly.utils.lars import LARS

    # lightly's scales nothing that does not decay; a decay that rounds away lets it.
    decay = phase.weight_decay or torch.finfo(torch.float32).tiny
    arrays = {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay}
    vectors = {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0}
    groups = [group for group in (arrays, vectors) if group["params"]]
    optimizer: torch.optim.Optimizer = LARS(groups, lr=phase.lr, momentum=phase.momentum)
    return optimizer
