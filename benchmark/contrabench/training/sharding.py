"""The processes of several devices: which of them this is, and the backbone's work shared out.

Every process makes the same batch and computes the same loss on all of it: negatives,
queues, prototypes and the statistics of heads are those of the whole batch. Only the
backbone's passes are split. Each process takes its share of the images and gathers the maps
of all, or the vectors where a method asks for pooled maps. Batch normalisation takes its
statistics over the shares of all, and no other layer of the backbone mixes the images of a batch,
so the maps are those of one process. So no method has to know of the others.

The gradient of the loss to the maps is then the same everywhere. A process passes on the rows
of its own share, times the number of processes, and distributed data parallel takes the mean:
for the backbone, the sum over all shares; for heads, the mean of equal gradients; both are
the gradient of the loss on the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from contrabench.contracts.backbone import Backbone, standing_in


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
    with ExitStack() as stack:
        for module in task.modules():
            if isinstance(module, Backbone):
                share = _Share()
                stack.enter_context(standing_in(module, partial(share.maps, module.forward)))
                vectors = partial(share.vectors, module.pooled)
                stack.enter_context(standing_in(module, vectors, "pooled"))
                for layer in module.modules():
                    if isinstance(layer, _BatchNorm):
                        shared = partial(share.normalised, layer, layer.forward)
                        stack.enter_context(standing_in(layer, shared))
        yield


class _Share:
    """One backbone's passes on the share of this process."""

    def __init__(self) -> None:
        self.rows: int | None = None  # of the pass under way, without those repeated

    def maps(
        self, forward: Callable[..., dict[str, Tensor]], image: Tensor, *others: Any, **named: Any
    ) -> dict[str, Tensor]:
        """A backbone's pass on this share, with the maps of all."""
        if self.rows is not None:
            return forward(image, *others, **named)
        return self._pass(image, lambda own: forward(own, *others, **named))

    def vectors(
        self, pooled: Callable[..., dict[str, Tensor]], image: Tensor, taps: Collection[str]
    ) -> dict[str, Tensor]:
        """Pooled maps of this share, with those of all: nothing but vectors is exchanged."""
        return self._pass(image, lambda own: pooled(own, taps))

    def _pass(
        self, image: Tensor, call: Callable[[Tensor], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        count = len(image)
        split = _Split.apply(image)
        self.rows = min(max(count - process_number() * len(split), 0), len(split))
        try:
            found = call(split)
        finally:
            self.rows = None
        return {name: _Gather.apply(value, count) for name, value in found.items()}

    def normalised(
        self, layer: _BatchNorm, forward: Callable[[Tensor], Tensor], maps: Tensor
    ) -> Tensor:
        """Batch normalisation of (B, C, ...) by the mean and variance over the shares of all.

        Outside of a pass of the whole backbone every process has the whole batch.
        """
        if self.rows is None or not layer.training:
            return forward(maps)
        own = maps[: self.rows].transpose(0, 1).flatten(1)
        mean, variance, size = _moments(own)
        total = _Sum.apply(torch.cat((size * mean, size * (variance + mean.square()), size[None])))
        mean, square = (total[:-1] / total[-1]).chunk(2)
        variance = square - mean.square()
        _remember(layer, mean, variance * total[-1] / (total[-1] - 1))
        scale = torch.rsqrt(variance + layer.eps)
        shift = -mean * scale
        if layer.affine:
            scale, shift = scale * layer.weight, shift * layer.weight + layer.bias
        around = (1, -1) + (1,) * (maps.ndim - 2)
        scale, shift = (
            value.to(torch.promote_types(maps.dtype, torch.float32)).view(around)
            for value in (scale, shift)
        )
        return (maps * scale + shift).to(maps.dtype)


def _moments(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, variance and number, in float64, of (C, N) values; zeros of none."""
    size = torch.tensor(values.shape[1], dtype=torch.float64, device=values.device)
    if not values.numel():
        nothing = size.new_zeros(len(values))
        return nothing, nothing, size
    known = values.to(torch.promote_types(values.dtype, torch.float32))
    variance, mean = torch.var_mean(known, 1, correction=0)
    return mean.double(), variance.double(), size


@torch.no_grad()
def _remember(layer: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Moves the running statistics of a layer, as it would by itself."""
    if layer.running_mean is None or layer.running_var is None:
        return
    tracked = layer.num_batches_tracked
    if tracked is not None:
        tracked += 1
    share = layer.momentum
    if share is None:
        # A plain mean over all batches.
        share = 1 / int(tracked) if tracked is not None else 0.0
    layer.running_mean.lerp_(mean.to(layer.running_mean), share)
    layer.running_var.lerp_(variance.to(layer.running_var), share)


class _Sum(torch.autograd.Function):
    """The sum over all processes; what each makes of it leads back to every share."""

    @staticmethod
    def forward(ctx: Any, share: Tensor) -> Tensor:
        whole = share.clone()
        distributed.all_reduce(whole)
        return whole

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        whole = gradients[0].clone()
        distributed.all_reduce(whole)
        return whole


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
