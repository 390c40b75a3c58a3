"""What a step leaves to later ones: momentum copies of networks, and queues of embeddings."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Generic, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

Module = TypeVar("Module", bound=nn.Module)


def cosine_momentum(base: float, progress: float) -> float:
    """Share that a copy keeps of itself, from `base` to 1 (BYOL, Grill et al., section 3.3).

    1 - (1 - base) * (cos(pi * progress) + 1) / 2, with the share of the steps that are done.
    """
    return 1 - (1 - base) * (math.cos(math.pi * progress) + 1) / 2


class MomentumCopy(nn.Module, Generic[Module]):
    """A copy of a module, `copied`, that follows it as an exponential moving average.

    Its weights are buffers: saved with every checkpoint, but no optimiser sees them and no
    gradient reaches them. Call it under `torch.no_grad()`, so that nothing is kept for a backward
    pass that never comes. The original is left as it is, and no reference to it is kept.
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
    def follow(self, module: Module, keep: float, buffers: bool = False) -> None:
        """Moves every weight towards the module's: `keep` of itself, the rest from there.

        Not its `buffers`, such as running statistics, unless asked to: where the copy sees other
        images it has its own. Those of whole numbers are copied.
        """
        found: dict[str, Tensor] = dict(module.named_parameters())
        for name, value in module.named_buffers() if buffers else ():
            if value.is_floating_point():
                found[name] = value
            else:
                self.copied.get_buffer(name).copy_(value)
        own = [self.copied.get_buffer(name) for name in found]
        torch._foreach_lerp_(own, list(found.values()), 1 - keep)


class Queue(nn.Module):
    """The last `size` embeddings, saved and resumed with the objective that holds it.

    It starts with random unit vectors, as MoCo's does. A step's embeddings wait in `hold` and
    enter by `push` after it, so that no micro-batch meets its own keys among the negatives.
    """

    memory: Tensor
    place: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("memory", functional.normalize(torch.randn(size, dim), dim=1))
        self.register_buffer("place", torch.zeros((), dtype=torch.long))
        self._held: list[Tensor] = []

    def hold(self, embeddings: Tensor) -> None:
        """Puts (B, dim) normalised embeddings aside for the next `push`."""
        self._held.append(embeddings.detach())

    @torch.no_grad()
    def push(self) -> None:
        """Writes what was put aside over the oldest embeddings, going round at the end."""
        if not self._held:
            return
        fresh = torch.cat(self._held).to(self.memory.dtype)[-len(self.memory) :]
        self._held = []
        rows = (self.place + torch.arange(len(fresh), device=fresh.device)) % len(self.memory)
        self.memory[rows] = fresh
        self.place.copy_((self.place + len(fresh)) % len(self.memory))


class GrowingQueue(Queue):
    """A queue that is empty at first: only what was pushed counts."""

    filled: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__(size, dim)
        self.memory.zero_()
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))

    @property
    def entries(self) -> Tensor:
        """What it holds, (filled, dim)."""
        return self.memory[: int(self.filled)]

    def push(self) -> None:
        """As of any queue."""
        fresh = sum(len(embeddings) for embeddings in self._held)
        super().push()
        self.filled.copy_((self.filled + fresh).clamp(max=len(self.memory)))


class ClassQueues(nn.ModuleList):
    """A growing queue for each class, by its number."""

    def __init__(self, classes: int, size: int, dim: int) -> None:
        super().__init__(GrowingQueue(size, dim) for _ in range(classes))

    def __iter__(self) -> Iterator[GrowingQueue]:
        return cast("Iterator[GrowingQueue]", super().__iter__())

    def push(self) -> None:
        """As of each queue."""
        for queue in self:
            queue.push()
