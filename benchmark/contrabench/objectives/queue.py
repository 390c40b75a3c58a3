"""A first-in, first-out memory of embeddings, as MoCo keeps of its negatives."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Queue(nn.Module):
    """The last `size` embeddings, saved and resumed with the objective that holds it.

    It starts with random unit vectors, as MoCo's does. A step's embeddings are put aside by
    `hold` and enter by `push` after the optimiser's step, so that the loss of a micro-batch
    never meets its own keys among the negatives.

    Args:
        size: embeddings kept.
        dim: of each.
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
