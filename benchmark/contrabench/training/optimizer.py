"""The optimisers: AdamW of the common recipe, and what papers used; and whose rate is whose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from contrabench.protocol import Phase


@dataclass(frozen=True)
class Group:
    """Parameters that share a rate, which is a function of the step, from 0, and of all steps."""

    parameters: Sequence[nn.Parameter]
    rate: Callable[[int, int], float]


def set_rates(
    optimizer: torch.optim.Optimizer, groups: Sequence[Group], at: tuple[int, int]
) -> None:
    """Gives every parameter the rate of its group at a step of all steps."""
    for part in optimizer.param_groups:
        part["lr"] = groups[part["group"]].rate(*at)


def build_optimizer(groups: Sequence[Group], phase: Phase) -> torch.optim.Optimizer:
    """Builds the optimiser of a phase; its rates are set anew at every step.

    LARS (You et al., arXiv 1708.03888) leaves biases and the gains of normalisation out of
    both its scaling and the decay, as the papers do that use it.
    """
    parts: list[dict[str, Any]] = [
        {"params": list(group.parameters), "group": number} for number, group in enumerate(groups)
    ]
    if phase.optimizer in ("adamw", "adam"):
        kind = torch.optim.AdamW if phase.optimizer == "adamw" else torch.optim.Adam
        return kind(parts, lr=phase.lr, weight_decay=phase.weight_decay, foreach=True)
    if phase.optimizer == "sgd":
        decay, momentum = phase.weight_decay, phase.momentum
        return torch.optim.SGD(parts, phase.lr, momentum, weight_decay=decay, foreach=True)
    # lightly pulls torchvision, seconds that only this optimiser should cost.
    from lightly.utils.lars import LARS

    # lightly's scales nothing that does not decay; a decay that rounds away lets it.
    decay = phase.weight_decay or torch.finfo(torch.float32).tiny
    split = [
        {**part, "params": [p for p in part["params"] if (p.ndim > 1) == arrays], "weight_decay": d}
        for part in parts
        for arrays, d in ((True, decay), (False, 0.0))
    ]
    known = [part for part in split if part["params"]]
    optimizer: torch.optim.Optimizer = LARS(known, lr=phase.lr, momentum=phase.momentum)
    return optimizer
