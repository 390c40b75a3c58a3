"""Where the host waits for the device: each such place costs a step what the host runs ahead.

Watched on a device, or on one that tensors only pretend to be on: a machine without any keeps a
loss ready for one.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import torch
from torch import Tensor, nn
from torch._guards import detect_fake_mode
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from contrabench.training.step import TrainingTask

Value = TypeVar("Value")

_BACKWARD = "lazy:0"
"""A device for the backward pass: without a driver autograd refuses one on CUDA, even pretended. Of
copies it says less, because only those to CUDA leave from pinned memory."""

_TORCH = str(Path(torch.__file__).parent)
_INDEXING = ("aten.index.", "aten.index_put")
_MASKS = (torch.bool, torch.uint8)
_READS = (
    "aten._linalg_check_errors.",
    "aten._linalg_eigh.",
    "aten._linalg_svd.",
    "aten._local_scalar_dense.",
    "aten._unique",
    "aten.bincount.",
    "aten.equal.",
    "aten.histc.",
    "aten.is_nonzero.",
    "aten.linalg_eig.",
    "aten.linalg_lstsq.",
    "aten.masked_select.",
    "aten.multinomial.",
    "aten.nonzero",
    "aten.unique",
)
"""What the host reads a value or a length of; linear algebra is asked whether it has failed."""


@dataclass(frozen=True)
class Wait:
    """One time that the host waits: what for, and the line of code outside torch."""

    operation: str
    place: str


def waits_of(task: TrainingTask, batch: object) -> list[Wait]:
    """Where a step's loss, its backward pass and its hook would wait for a CUDA device.

    Of a batch that lies there, on a device that is only pretended; not of making the batch nor of
    the optimiser. The task is of no use any more.

    Raises:
        RuntimeError: torch's, if tensors of host and device meet, or if the length of a result,
            such as that of `unique`, is known to the device alone.
    """
    with pretended() as brought, watched() as found:
        brought(task)(brought(batch))
        with torch.no_grad():
            task.after_step(1.0)
    with pretended(_BACKWARD) as brought, watched() as later:
        loss = brought(task)(brought(batch)).loss
        forward = len(later)
        loss.backward()
    return found + later[forward:]


@contextmanager
def watched() -> Iterator[list[Wait]]:
    """Notes each time in the block that the host waits for a device.

    Either it must see a result, or a copy is not asynchronous, as all from pageable memory are.
    What stays on the CPU never counts.
    """
    found: list[Wait] = []
    with _Watch(found):
        yield found


@contextmanager
def pretended(device: str = "cuda") -> Iterator[Callable[[Value], Value]]:
    """Lets tensors pretend to be on a device in the block; nothing is computed but shapes.

    Gives what brings a module, in place and for good, or a dataclass of tensors there. To be used
    with `watched` inside, where the host's own numbers are real, and those that it reads from the
    device all 1.
    """

    def brought(value: Any) -> Any:
        if isinstance(value, nn.Module):
            for part in value.modules():
                for own in (part._parameters, part._buffers):
                    own.update({name: brought(item) for name, item in own.items()})
            return value
        if is_dataclass(value) and not isinstance(value, type):
            moved = {field.name: brought(getattr(value, field.name)) for field in fields(value)}
            return type(value)(**moved)
        if isinstance(value, tuple):
            return tuple(brought(item) for item in value)
        if not isinstance(value, Tensor):
            return value
        if value not in known:
            there = torch.empty_strided(
                value.shape, value.stride(), dtype=value.dtype, device=device
            )
            trained = isinstance(value, nn.Parameter)
            known[value] = nn.Parameter(there, value.requires_grad) if trained else there
        return known[value]

    known: dict[Tensor, Tensor] = {}
    with ExitStack() as stack:
        if device == _BACKWARD:
            # It has no autocast, and so none that could be switched off.
            stack.enter_context(mock.patch("torch.autocast", return_value=nullcontext()))
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        yield brought


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Looks at every operation; where tensors pretend, it answers for what nobody can read."""

    def __init__(self, found: list[Wait]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found, self.pretending = found, detect_fake_mode() is not None
        self.pinned: list[Tensor] = []  # that pretend; kept, so that no other takes its name

    def __torch_dispatch__(
        self,
        func: Any,
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs, name = kwargs or {}, str(func)
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if self._waits(name, args, kwargs, given):
            self.found.append(Wait(name, _place()))
        if name == "aten._pin_memory.default" and self.pretending:
            self.pinned.append(args[0].clone())
            return self.pinned[-1]
        if not any(isinstance(value, FakeTensor) for value in given):
            target = kwargs.get("device")
            # What happens on the host alone is real even where a device is pretended.
            alone = self.pretending and (target is None or target.type == "cpu")
            with no_dispatch() if alone else nullcontext():
                return func(*args, **kwargs)
        if name == "aten._local_scalar_dense.default" and args[0].constant is None:
            return _one(args[0].dtype)
        if name.startswith("aten._to_copy.") and kwargs.get("device", args[0].device).type == "cpu":
            with no_dispatch():
                return torch.ones(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        if name == "aten.nonzero.default":
            return _everywhere(args[0])
        if name.startswith(_INDEXING):
            args = (args[0], _listed(args[1]), *args[2:])
        return func(*args, **kwargs)

    def _waits(
        self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], given: list[Tensor]
    ) -> bool:
        if name.startswith("aten._to_copy."):
            into = kwargs.get("device") or args[0].device
            return self._copies(args[0], into, kwargs.get("non_blocking", False))
        if name.startswith("aten.copy_."):
            later = args[2] if len(args) > 2 else kwargs.get("non_blocking", False)
            return self._copies(args[1], args[0].device, later)
        if all(value.device.type == "cpu" for value in given):
            return False
        if name == "aten.repeat_interleave.Tensor":
            return kwargs.get("output_size") is None
        if name.startswith(_INDEXING):
            places = [index for index in args[1] if index is not None]
            return any(each.device.type == "cpu" or each.dtype in _MASKS for each in places)
        return name.startswith(_READS)

    def _copies(self, source: Tensor, into: torch.device, later: bool) -> bool:
        """Whether a copy between host and device is one that the host waits for."""
        if source.device.type == into.type:
            return False
        if source.device.type != "cpu":
            return not later
        pinned = any(source is each for each in self.pinned) or source.is_pinned()
        return not (later and pinned)


def _one(dtype: torch.dtype) -> bool | int | float:
    """What is read of a number that nobody has computed."""
    if dtype == torch.bool:
        return True
    return 1.0 if dtype.is_floating_point else 1


def _everywhere(mask: Tensor) -> Tensor:
    """The places of a mask that is true everywhere, (N, axes)."""
    return torch.zeros(mask.numel(), mask.ndim, dtype=torch.long, device=mask.device)


def _listed(indices: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Indices of which masks are written out as places."""
    written: list[Tensor | None] = []
    for index in indices:
        if index is not None and index.dtype in _MASKS:
            written += _everywhere(index).unbind(1)
        else:
            written.append(index)
    return written


def _place() -> str:
    """The innermost line outside torch that is being run, as file:line."""
    for frame in reversed(traceback.extract_stack()[:-2]):
        if not frame.filename.startswith(_TORCH) and frame.filename != __file__:
            return f"{Path(frame.filename).name}:{frame.lineno}"
    return "torch"
