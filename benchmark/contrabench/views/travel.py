"""How what was drawn on the CPU gets to a device: all of it in one copy that nobody waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

T = TypeVar("T")
_ALIGNED = 16
"""Bytes at a multiple of which each tensor begins, so that any type can be read there."""


class Parcel:
    """The tensors of nested dataclasses and tuples, side by side, for a device.

    Filled in whatever thread draws, and opened in the one that trains. For CUDA it is pinned
    memory, which a copy can leave while nobody waits.
    """

    def __init__(self, content: Any, device: torch.device) -> None:
        self.content, self.device = content, device
        tensors = list(_tensors(content))
        ends = torch.tensor([0, *(-(-t.nbytes // _ALIGNED) * _ALIGNED for t in tensors)]).cumsum(0)
        self.starts = ends[:-1].tolist()
        memory = torch.empty(int(ends[-1]), dtype=torch.uint8)
        for start, tensor in zip(self.starts, tensors, strict=True):
            _part(memory, start, tensor).copy_(tensor)
        self.memory = memory.pin_memory() if device.type == "cuda" else memory

    def opened(self) -> Any:
        """The content on the device, by one copy."""
        there = self.memory.to(self.device, non_blocking=True)
        starts = iter(self.starts)
        return _mapped(self.content, lambda tensor: _part(there, next(starts), tensor))


def moved(content: T, device: torch.device) -> T:
    """Nested dataclasses and tuples with all their tensors on a device; themselves on the CPU."""
    if device.type == "cpu":
        return content
    return cast("T", _mapped(content, lambda tensor: tensor.to(device)))


def _part(memory: Tensor, start: int, like: Tensor) -> Tensor:
    """The place in a buffer of bytes at which a tensor of this type and shape lies."""
    return memory[start : start + like.nbytes].view(like.dtype).view(like.shape)


def _tensors(content: Any) -> Iterator[Tensor]:
    found: list[Tensor] = []
    _mapped(content, lambda tensor: found.append(tensor) or tensor)  # type: ignore[func-returns-value]
    return iter(found)


def _mapped(content: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same with every tensor changed, in a fixed order."""
    if isinstance(content, Tensor):
        return change(content)
    if isinstance(content, tuple):
        return tuple(_mapped(item, change) for item in content)
    if is_dataclass(content) and not isinstance(content, type):
        values = {f.name: _mapped(getattr(content, f.name), change) for f in fields(content)}
        return replace(content, **values)
    return content
