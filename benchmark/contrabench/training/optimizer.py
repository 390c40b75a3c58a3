"""The optimisers: AdamW of the common recipe, and what papers used; and whose rate is whose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from contrabench.protocol import Phase

_TRUST, _NO_ZERO = 1e-3, 1e-8


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
        return kind(parts, lr=phase.lr, weight_decay=phase.weight_decay, fused=True)
    if phase.optimizer == "sgd":
        decay, momentum = phase.weight_decay, phase.momentum
        return torch.optim.SGD(parts, phase.lr, momentum, weight_decay=decay, foreach=True)
    split = [
        {**part, "params": [p for p in part["params"] if (p.ndim > 1) == arrays], "scaled": arrays}
        for part in parts
        for arrays in (True, False)
    ]
    known = [part for part in split if part["params"]]
    return Lars(known, phase.lr, phase.momentum, phase.weight_decay)


class Lars(torch.optim.Optimizer):
    """Layer-wise rates (You et al., arXiv 1708.03888, eq. 6), as SimCLR and BYOL use them.

    Groups that are `scaled` decay, and move by trust |w| / (|g| + decay |w|) times their gradient.
    Norms stay on the device: lightly's asks for two of every tensor in every step.
    """

    def __init__(
        self, groups: list[dict[str, Any]], lr: float, momentum: float, weight_decay: float
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "scaled": True}
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update from the gradients that are there; a closure is not taken."""
        for group in self.param_groups:
            weights = [p for p in group["params"] if p.grad is not None]
            if not weights:
                continue
            moves = [p.grad for p in weights]
            if group["scaled"]:
                moves = _scaled(weights, moves, group["weight_decay"])
            fresh = [p for p in weights if "velocity" not in self.state[p]]
            for p in fresh:
                self.state[p]["velocity"] = torch.zeros_like(p)
            velocities = [self.state[p]["velocity"] for p in weights]
            torch._foreach_mul_(velocities, group["momentum"])
            torch._foreach_add_(velocities, moves)
            torch._foreach_add_(weights, velocities, alpha=-group["lr"])


def _scaled(weights: list[Tensor], gradients: list[Tensor], decay: float) -> list[Tensor]:
    """Gradients with decay, each times the trust in its layer; times 1 where a norm is zero."""
    size, slope = (torch.stack(torch._foreach_norm(each)) for each in (weights, gradients))
    trust = _TRUST * size / (slope + decay * size + _NO_ZERO)
    trust = torch.where((size > 0) & (slope > 0), trust, 1.0)
    decayed = torch._foreach_add(gradients, weights, alpha=decay)
    return list(torch._foreach_mul(decayed, trust.unbind()))
