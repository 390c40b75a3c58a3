"""The device a run trains on, and how: everything that changes speed but not the protocol."""

from __future__ import annotations

import logging
import os
import platform
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch

from contrabench.errors import RequestError

if TYPE_CHECKING:
    from lightning.fabric import Fabric

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "float32", "bf16"]


@dataclass(frozen=True)
class Runtime:
    """A resolved device with its switches.

    Attributes:
        device: `cpu`, `cuda` or `mps`.
        precision: `float32`, or `bf16` for bfloat16 autocast.
        threads: CPU threads; they change the last bits of a sum, so they are recorded.
        compile: compile the backbone with `torch.compile`.
        channels_last: keep activations in channels-last order.
        checkpoint_seconds: pause between two checkpoints.
    """

    device: str
    precision: str
    threads: int
    compile: bool = False
    channels_last: bool = False
    checkpoint_seconds: float = 20.0
    torch_device: torch.device = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "torch_device", torch.device(self.device))

    def fabric(self) -> Fabric:
        """A Fabric for one device of this kind, without its banners."""
        from lightning.fabric import Fabric

        logging.getLogger("lightning.fabric").setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", module="lightning")
        return Fabric(
            accelerator=self.device,
            devices=1,
            precision="bf16-mixed" if self.precision == "bf16" else "32-true",
        )

    def record(self) -> dict[str, object]:
        """What the run record says of it."""
        name = (
            torch.cuda.get_device_name(self.torch_device)
            if self.device == "cuda"
            else platform.processor() or platform.machine()
        )
        return {
            "device": self.device,
            "device_name": name,
            "precision": self.precision,
            "threads": self.threads,
            "compile": self.compile,
            "channels_last": self.channels_last,
        }

    def peak_memory_mb(self) -> float:
        """Largest memory so far in MiB: of the device on CUDA, of the process elsewhere.

        NaN where the system does not tell (Windows).
        """
        if self.device == "cuda":
            return torch.cuda.max_memory_allocated(self.torch_device) / 2**20
        try:
            import resource
        except ImportError:
            return float("nan")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if platform.system() == "Darwin" else 2**10)


def resolve_device(device: Device) -> str:
    """Picks CUDA, else Apple's MPS, else the CPU; or checks the one asked for.

    Raises:
        RequestError: if the device asked for is not there.
    """
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if device == "auto":
        return next(name for name, found in there.items() if found)
    if not there[device]:
        raise RequestError(
            f"no {device} device is to be seen by torch {torch.__version__}; "
            "leave out --device, or check the driver"
        )
    return device


def make_runtime(
    device: Device = "auto",
    precision: Precision = "auto",
    threads: int | None = None,
    compile: bool = False,  # noqa: A002 - torch's own word
    channels_last: bool = False,
    checkpoint_seconds: float = 20.0,
) -> Runtime:
    """Resolves the device, sets the thread count, and fixes the arithmetic.

    `auto` precision is bf16 on CUDA and float32 elsewhere.

    Raises:
        RequestError: if the device or the thread count cannot be had.
    """
    name = resolve_device(device)
    if threads is not None and threads < 1:
        raise RequestError("--threads takes a whole number from 1")
    torch.set_num_threads(threads or _default_threads())
    if name == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
    chosen = precision if precision != "auto" else ("bf16" if name == "cuda" else "float32")
    return Runtime(
        device=name,
        precision=chosen,
        threads=torch.get_num_threads(),
        compile=compile,
        channels_last=channels_last,
        checkpoint_seconds=checkpoint_seconds,
    )


def _default_threads() -> int:
    """The cores this process may use, at most 8: small networks gain nothing from more."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(8, cores or 1))
