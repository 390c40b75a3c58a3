"""The device a run trains on, and how: everything that changes speed but not the protocol."""

from __future__ import annotations

import os
import platform
import re
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from contrabench.errors import RequestError, RunError
from contrabench.training.machine import kernels, processor
from contrabench.training.sharding import process_count, process_number
from contrabench.training.trackers import check_trackers

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "float32", "bf16"]
_PROCESS = Path("/proc/self")


@dataclass(frozen=True)
class Runtime:
    """A resolved device with its switches."""

    device: str  # `cpu`, `cuda` or `mps`
    precision: str  # `float32`, or `bf16` for bfloat16 autocast
    threads: int  # of the CPU; they change the last bits of a sum, so they are recorded
    compile: bool = False
    deterministic: bool = False  # the same bits each time on a GPU too, at a price
    checkpoint_seconds: float = 20.0  # pause between two checkpoints
    devices: int = 1  # that train one network together; see `training.multi_device`
    trackers: tuple[str, ...] = ()

    @property
    def torch_device(self) -> torch.device:
        """The device of this process: one of several has a device of its own."""
        if self.device == "cuda" and self.devices > 1:
            return torch.device("cuda", process_number())
        return torch.device(self.device)

    def alone(self) -> Runtime:
        """The same on one device."""
        return replace(self, devices=1)

    def prepare(self) -> None:
        """Sets the thread count and the arithmetic of this process."""
        torch.set_num_threads(self.threads)
        if self.device == "cuda":
            torch.backends.cudnn.benchmark = not self.deterministic
            torch.set_float32_matmul_precision("high")
        if self.deterministic:
            # Read by cuBLAS when it is first used.
            os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
            torch.use_deterministic_algorithms(True)

    def settings(self) -> dict[str, Any]:
        """What `prepare` sets, by its name in `contracts.intact`; None for what it may leave."""
        return {
            "torch.get_num_threads()": self.threads,
            "torch.are_deterministic_algorithms_enabled()": (True, False)
            if self.deterministic
            else None,
            "torch.get_float32_matmul_precision()": "high" if self.device == "cuda" else None,
        }

    def autocast(self) -> AbstractContextManager[Any]:
        """Where matrix products and convolutions are of this precision."""
        half = self.precision == "bf16"
        return torch.autocast(self.device, torch.bfloat16, enabled=half)

    def joined(self, module: nn.Module) -> nn.Module:
        """A module whose gradients are means over the devices of this runtime.

        RunError if this process is not one of as many as there are devices.
        """
        if self.devices != process_count():
            raise RunError(
                f"training on {self.devices} devices was begun in a group of "
                f"{process_count()} processes; begin it by "
                "contrabench.training.multi_device.train_on"
            )
        if self.devices == 1:
            return module
        # Prototypes and decoders may get no gradient for a while. Buffers are computed alike
        # everywhere, so that none has to be sent.
        own = [self.torch_device] if self.device == "cuda" else None
        return DistributedDataParallel(
            module, device_ids=own, find_unused_parameters=True, broadcast_buffers=False
        )

    def record(self) -> dict[str, object]:
        """What the run record says of it."""
        if self.device == "cuda":
            name = torch.cuda.get_device_name(self.torch_device)
            means = f"CUDA {torch.version.cuda}, torch {torch.__version__}"
        else:
            name, means = processor(), kernels()
        switches = ("precision", "threads", "compile", "deterministic", "devices")
        told = {switch: getattr(self, switch) for switch in switches}
        return {"device": self.device, "device_name": name, "kernels": means, **told}

    def reset_peak_memory(self) -> None:
        """Has `peak_memory_mb` count from now, on CUDA and on Linux; elsewhere it can't be had."""
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats(self.torch_device)
            return
        with suppress(OSError):
            (_PROCESS / "clear_refs").write_text("5")

    def peak_memory_mb(self) -> float:
        """Largest memory in MiB since the reset: of the device on CUDA, of the process elsewhere.

        Since the process began where there was none; NaN where the system does not tell (Windows).
        """
        if self.device == "cuda":
            return torch.cuda.max_memory_allocated(self.torch_device) / 2**20
        with suppress(OSError):
            # The figure of `getrusage` is never reset.
            if found := re.search(r"^VmHWM:\s*(\d+) kB", (_PROCESS / "status").read_text(), re.M):
                return int(found[1]) / 2**10
        try:
            import resource
        except ImportError:
            return float("nan")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if platform.system() == "Darwin" else 2**10)


def resolve_device(device: str) -> str:
    """CUDA, else Apple's MPS, else the CPU, or what is asked for; RequestError if it's missing."""
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    there = {"cuda": cuda, "mps": mps, "cpu": True}
    if device == "auto":
        return next(name for name, found in there.items() if found)
    if not there[device]:
        raise RequestError(
            f"no {device} device is to be seen by torch {torch.__version__}; "
            "leave out --device, or check the driver"
        )
    return device


def resolve_precision(precision: str, device: str) -> str:
    """What is asked for; `auto` is bf16 on CUDA and float32 elsewhere."""
    return precision if precision != "auto" else "bf16" if device == "cuda" else "float32"


def make_runtime(
    device: Device = "auto",
    precision: Precision = "auto",
    threads: int | None = None,
    **switches: Any,
) -> Runtime:
    """Resolves device and precision, sets the thread count, and fixes the arithmetic.

    `switches` are the other fields of a `Runtime`. RequestError if the devices, the thread count or
    a tracker cannot be had.
    """
    name = resolve_device(device)
    devices = switches.get("devices", 1)
    for option, number in (("--threads", threads), ("--devices", devices)):
        if number is not None and number < 1:
            raise RequestError(f"{option} takes a whole number from 1")
    # On the CPU a device is a process, of which there can be as many as are wanted.
    there = {"cuda": torch.cuda.device_count(), "mps": 1}.get(name, devices)
    if devices > there:
        raise RequestError(
            f"{devices} {name} devices were asked for and torch sees {there}; lower --devices"
        )
    threads = threads or default_threads(devices)
    runtime = Runtime(name, resolve_precision(precision, name), threads, **switches)
    check_trackers(runtime.trackers)
    runtime.prepare()
    return runtime


def default_threads(processes: int) -> int:
    """A process's part of the cores, at most 8: small networks gain nothing from more."""
    return max(1, min(8, usable_cores() // processes))


def usable_cores() -> int:
    """The cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return cores or 1
