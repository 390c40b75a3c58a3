"""The processes that train one network together: which of them this is, and what they agree on.

A process that trains alone is a group of one.
"""

from __future__ import annotations

import torch
from torch import distributed


def ranks() -> int:
    """Number of processes that train together."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_world_size()
    return 1


def rank() -> int:
    """Number of this process among them, from 0."""
    return distributed.get_rank() if ranks() > 1 else 0


def leads() -> bool:
    """Whether this process is the one that writes files and reports."""
    return rank() == 0


def any_rank(flag: bool) -> bool:
    """Whether the flag is set in any process; all have to ask, and all get one answer."""
    if ranks() == 1:
        return flag
    # On the CPU, so that asking in every step does not wait for the device.
    told = torch.tensor(int(flag))
    distributed.all_reduce(told, op=distributed.ReduceOp.MAX)
    return bool(told)
