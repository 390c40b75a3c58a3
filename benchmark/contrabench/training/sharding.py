"""The processes of several devices: which of them this is, and the backbone's work shared out.

Every process makes the same batch and computes the same loss on all of it: negatives,
queues, prototypes and the statistics of heads are those of the whole batch. Only the
backbone's passes are split. Each process takes its share of the images and gathers the maps
of all; no layer of the backbone mixes the images of a batch, so the maps are those of one
process. So no method has to know of the others.

The gradient of the loss to the maps is then the same everywhere. A process passes on the rows
of its own share, times the number of processes, and distributed data parallel takes the mean:
for the backbone, the sum over all shares; for heads, the mean of equal gradients; both are
the gradient of the loss on the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, distributed, nn


def process_count() -> int:
    """Number of processes that train together; 1 for one that trains alone."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_world_size()
    return 1


def process_number() -> int:
    """Number of this process among them, from 0."""
    return distributed.get_rank() if process_count() > 1 else 0


def is_first_process() -> bool:
    """Whether this process is the one that writes files and reports."""
    return process_number() == 0


def any_process(flag: bool) -> bool:
    """Whether the flag is set in any process; all have to ask, and all get one answer."""
    if process_count() == 1:
        return flag
    # On the CPU, so that asking in every step does not wait for the device.
    told = torch.tensor(int(flag))
    distributed.all_reduce(told, op=distributed.ReduceOp.MAX)
    return bool(told)


@contextmanager
def sharded(task: nn.Module) -> Iterator[None]:
    """Splits every pass of every backbone in the task, momentum copies too, in the block.

    The task is the same in all processes, with gradients that are averaged over them.
    """
    if process_count() == 1:
        yield
        return
    # Training alone does without it, and MONAI behind it takes seconds to import.
    from contrabench.contracts.backbone import Backbone

    with ExitStack() as stack:
        for module in task.modules():
            if isinstance(module, Backbone):
                vars(module)["forward"] = partial(_shared, module.forward)
                stack.callback(vars(module).pop, "forward")
        yield


def _shared(
    forward: Callable[..., dict[str, Tensor]], image: Tensor, *others: Any, **named: Any
) -> dict[str, Tensor]:
    """A backbone's pass on the share of this process, with the maps of all."""
    maps = forward(_Split.apply(image), *others, **named)
    return {name: _Gather.apply(value, len(image)) for name, value in maps.items()}


class _Split(torch.autograd.Function):
    """The share of this process: consecutive rows, the last row repeated to make them even."""

    @staticmethod
    def forward(ctx: Any, whole: Tensor) -> Tensor:
        ctx.rows = len(whole)
        return _own(torch.cat((whole, whole[-1:].expand(_padding(ctx.rows), *whole.shape[1:]))))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # What feeds the backbone is, like heads, the same everywhere, and so is its gradient.
        return _gathered(gradients[0] / process_count())[: ctx.rows]


class _Gather(torch.autograd.Function):
    """The rows of all processes, without those that were repeated."""

    @staticmethod
    def forward(ctx: Any, share: Tensor, rows: int) -> Tensor:
        return _gathered(share)[:rows]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        whole = gradients[0]
        nothing = whole.new_zeros(_padding(len(whole)), *whole.shape[1:])
        return _own(torch.cat((whole, nothing))) * process_count(), None


def _padding(rows: int) -> int:
    """Rows that are lacking to divide evenly."""
    return -rows % process_count()


def _own(whole: Tensor) -> Tensor:
    """This process's rows of an evenly divided tensor."""
    size = len(whole) // process_count()
    return whole[process_number() * size : (process_number() + 1) * size]


def _gathered(share: Tensor) -> Tensor:
    """The shares of all processes, one after another."""
    whole = share.new_empty(process_count() * len(share), *share.shape[1:])
    distributed.all_gather_into_tensor(whole, share.contiguous())
    return whole
