"""What a step leaves to later ones: momentum copies of networks, and queues of embeddings."""

from __future__ import annotations

import copy
import math
from typing import Any, Generic, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

Module = TypeVar("Module", bound=nn.Module)
Number = TypeVar("Number", bool, int, float)


class Noted(nn.Module, Generic[Number]):
    """A number that is saved with every checkpoint, and that the host knows without the device."""

    saved: Tensor
    value: Number

    def __init__(self, value: Number) -> None:
        super().__init__()
        self.value = value
        self.register_buffer("saved", torch.tensor(value))

    def note(self, value: Number) -> None:
        """Replaces it."""
        self.value = value
        self.saved.fill_(value)

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self.value = cast("Number", self.saved.item())


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

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("memory", functional.normalize(torch.randn(size, dim), dim=1))
        self.seen = Noted(0)
        self._held: list[Tensor] = []

    @property
    def place(self) -> int:
        """Where the oldest one lies, which the next one takes the place of."""
        return int(self.seen.value) % len(self.memory)

    @property
    def full(self) -> bool:
        """Whether all that it started with is gone."""
        return int(self.seen.value) >= len(self.memory)

    def hold(self, embeddings: Tensor) -> None:
        """Puts (B, dim) normalised embeddings aside for the next `push`."""
        self._held.append(embeddings.detach())

    @torch.no_grad()
    def push(self) -> None:
        """Writes what was put aside over the oldest embeddings, going round at the end."""
        if not self._held:
            return
        fresh, size, place = torch.cat(self._held), len(self.memory), self.place
        self._held = []
        place = (place + max(0, len(fresh) - size)) % size
        self.seen.note(self.seen.value + len(fresh))
        fresh = fresh[-size:]
        ahead = min(len(fresh), size - place)
        self.memory[place : place + ahead] = fresh[:ahead]
        self.memory[: len(fresh) - ahead] = fresh[ahead:]


class GrowingQueues(nn.Module):
    """Several queues that are empty at first, such as one for each class.

    What enters is as many as the device finds, which the host never asks. `memory` (Q, size, dim)
    holds it in the places that are `filled`, and zeros.
    """

    memory: Tensor
    seen: Tensor

    def __init__(self, queues: int, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("memory", torch.zeros(queues, size, dim))
        self.register_buffer("seen", torch.zeros(queues, dtype=torch.long))
        self._held: list[tuple[Tensor, Tensor]] = []

    @property
    def sizes(self) -> Tensor:
        """How much each one holds, from its first place on: (Q,) long."""
        return self.seen.clamp(max=self.memory.shape[1])

    @property
    def filled(self) -> Tensor:
        """Places that hold something, (Q, size) bool."""
        return torch.arange(self.memory.shape[1], device=self.seen.device) < self.sizes[:, None]

    def hold(self, embeddings: Tensor, real: Tensor) -> None:
        """Puts those of (Q, B, dim) that are real, (Q, B) bool, aside for the next `push`."""
        self._held.append((embeddings.detach(), real))

    @torch.no_grad()
    def push(self) -> None:
        """Writes what was put aside over the oldest embeddings of each, going round at the end."""
        held, self._held = [each for each in self._held if each[1].numel()], []
        if not held:
            return
        fresh, real = (torch.cat(each, dim=1) for each in zip(*held, strict=True))
        order = real.long().argsort(dim=1, descending=True, stable=True)
        count, size = real.sum(1, keepdim=True), self.memory.shape[1]
        # Of those that fall into a place the last one stays there.
        first = (torch.arange(size, device=order.device) - self.seen[:, None]) % size
        last = first + (count - 1 - first).div(size, rounding_mode="floor") * size
        rows = order.gather(1, last.clamp(min=0, max=order.shape[1] - 1))
        taken = fresh.gather(1, rows[..., None].expand(-1, -1, fresh.shape[2]))
        new = (first < count)[..., None]
        self.memory.copy_(torch.where(new, taken.to(self.memory.dtype), self.memory))
        self.seen += count[:, 0]
