"""Draws that a device need not be waited for: numbers of the host, places of what is there.

Random numbers come from a generator on the CPU. Which pixels may be drawn is known to the device
alone, so that what is drawn has a fixed size and says how much of it is real.
"""

from __future__ import annotations

import torch
from torch import Tensor

_MANY = 2**62


def sent(drawn: Tensor, device: torch.device) -> Tensor:
    """Numbers of the host on a device; they leave from pinned memory, so that nobody waits."""
    if device.type != "cuda":
        return drawn.to(device)
    return drawn.pin_memory().to(device, non_blocking=True)


def pick(mask: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Places of `count` true ones of each row of (Q, N), with replacement: (Q, count) long.

    Any place in a row without one.
    """
    place = sent(torch.randint(_MANY, (len(mask), count), generator=generator), mask.device)
    return _places(mask, place % mask.sum(1, keepdim=True).clamp(min=1))


def some(
    mask: Tensor, wanted: Tensor | int, most: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Places of `wanted` true ones of each row of (Q, N), without replacement, or all if few.

    Evenly spaced from a random one on, in order, so that each is as likely. Of (Q, 1) numbers, or
    one, up to `most`: (Q, most) long, and (Q, most) bool, of which places are real.
    """
    turn = torch.arange(most, device=mask.device)
    total = mask.sum(1, keepdim=True)
    taken = total.clamp(max=wanted)
    first = sent(torch.randint(_MANY, (len(mask), 1), generator=generator), mask.device)
    place = (turn * total + first % total.clamp(min=1)) // taken.clamp(min=1)
    return _places(mask, place), turn < taken


def stratified(
    mask: Tensor, strata: Tensor, number: int, count: int, generator: torch.Generator
) -> Tensor:
    """As `pick`, equally many of each stratum that has any (stratified sampling of ARCO).

    What is left over of `count` goes to as many strata, drawn anew each time. `strata` (N,) says in
    which of so many a place lies; with one, this is `pick` (arXiv 2302.01735).
    """
    if number == 1:
        return pick(mask, count, generator)
    order = strata.argsort(stable=True)
    mask = mask[:, order]
    sizes = torch.zeros(len(mask), number, dtype=torch.long, device=mask.device)
    sizes = sizes.index_add(1, strata[order], mask.long())
    chance = sent(torch.rand(len(mask), number, generator=generator), mask.device)
    mixed = chance.masked_fill(sizes == 0, 2).argsort(dim=1)
    found = (sizes > 0).sum(1, keepdim=True).clamp(min=1)
    chosen = mixed.gather(1, torch.arange(count, device=mask.device) % found)
    within = sent(torch.randint(_MANY, (len(mask), count), generator=generator), mask.device)
    within = within % sizes.gather(1, chosen).clamp(min=1)
    return order[_places(mask, (sizes.cumsum(1) - sizes).gather(1, chosen) + within)]


def _places(mask: Tensor, numbers: Tensor) -> Tensor:
    """Where the true ones of these numbers, from 0, lie in each row."""
    found = torch.searchsorted(mask.cumsum(1), numbers + 1)
    return found.clamp(max=mask.shape[1] - 1)
