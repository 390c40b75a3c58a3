"""Momentum copies of networks: the slowly moving targets and key encoders."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


def cosine_momentum(base: float, progress: float) -> float:
    """Share that a copy keeps of itself, from `base` to 1 (BYOL, Grill et al., section 3.3).

    1 - (1 - base) * (cos(pi * progress) + 1) / 2.

    Args:
        base: share kept at the beginning.
        progress: share of the steps that are done, in [0, 1].
    """
    return 1 - (1 - base) * (math.cos(math.pi * progress) + 1) / 2


class MomentumCopy(nn.Module, Generic[Module]):
    """A copy of a module that follows it as an exponential moving average.

    The weights of the copy are buffers: they are saved with every checkpoint and move with
    the device, but no optimiser sees them and no gradient reaches them. Call the copy under
    `torch.no_grad()`, so that nothing is kept for a backward pass that never comes.

    Args:
        module: what is copied; left as it is, and no reference to it is kept.

    Attributes:
        copied: the copy, to be called like the original.
    """

    copied: Module

    def __init__(self, module: Module) -> None:
        super().__init__()
        self.copied = copy.deepcopy(module)
        for part in self.copied.modules():
            for name, weight in list(part.named_parameters(recurse=False)):
                delattr(part, name)
                part.register_buffer(name, weight.detach())

    @torch.no_grad()
    def follow(self, module: Module, keep: float) -> None:
        """Moves every weight towards the module's: `keep` of itself, the rest from there.

        Buffers of the module, such as running statistics, are the copy's own business: it
        has seen other images.

        Args:
            module: as the one that was copied, after its optimiser step.
            keep: share in [0, 1] that stays.
        """
        own, other = zip(*self._pairs(module), strict=True)
        torch._foreach_lerp_(list(own), list(other), 1 - keep)

    def _pairs(self, module: Module) -> Iterator[tuple[Tensor, Tensor]]:
        """Weights of the copy beside those of the module."""
        for name, weight in module.named_parameters():
            yield self.copied.get_buffer(name), weight
