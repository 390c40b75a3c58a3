"""Whether what is installed fits together, and whether this machine can train."""

from __future__ import annotations

import importlib
import math
import os
import platform
import shutil
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from contrabench.contracts import discovery, registry
from contrabench.doctor.findings import Finding, Looking
from contrabench.errors import ContrabenchError
from contrabench.files import nearest_there
from contrabench.text import counted, one_line, size_words

DISTRIBUTION = "contrabench"
DISK_NEEDED = 10e9
"""Bytes that a study may want: the weights of 80 stages at the widest budget."""
DISK_LEAST = 1e9
"""Bytes below which not even a stage's checkpoint is sure to fit."""
MEMORY_NEEDED = 4e9
"""Bytes for the slices of a usual dataset, the network and its activations."""
_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")
_DRIVER = Path("/proc/driver/nvidia/version")


def check_versions() -> Looking:
    """Compares Python and the installed packages with what contrabench asks for."""
    python = platform.python_version()
    try:
        asked = [Requirement(text) for text in metadata.requires(DISTRIBUTION) or []]
        wanted = SpecifierSet(metadata.metadata(DISTRIBUTION)["Requires-Python"] or "")
    except metadata.PackageNotFoundError:
        yield Finding(
            "warning",
            f"{DISTRIBUTION} is imported from a folder and not installed",
            "nothing says which versions it needs, and plug-ins cannot be found by name",
            "install it: pip install -e . in its folder",
        )
        return f"Python {python}"
    if not wanted.contains(python, prereleases=True):
        yield Finding(
            "error",
            f"Python {python} is installed, {wanted} is needed",
            "parts of contrabench or its packages will not import",
            "make an environment with another Python",
        )
    needed = [one for one in asked if not one.marker or one.marker.evaluate({"extra": ""})]
    for one in needed:
        what = f"{one.name}{one.specifier}"
        try:
            found = metadata.version(one.name)
        except metadata.PackageNotFoundError:
            yield Finding(
                "error",
                f"the package {one.name} is missing",
                "commands that need it will fail",
                f"pip install '{what}'",
            )
            continue
        if not one.specifier.contains(found, prereleases=True):
            yield Finding(
                "warning",
                f"{one.name} {found} is installed, {what} is asked for",
                "nobody has tried this version; it may fail, or give other numbers",
                f"pip install '{what}'",
            )
    return f"Python {python}, {counted(len(needed), 'package')}"


def check_operators() -> Looking:
    """Calls a compiled operator of torchvision, which only fits the torch it was built for."""
    try:
        import torch

        nms = importlib.import_module("torchvision.ops").nms
        kept = nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]] * 2), torch.tensor([1.0, 0.5]), 0.5)
        if kept.tolist() != [0]:
            raise RuntimeError(f"nms of two equal boxes keeps {kept.tolist()}")
    # A wrong pair shows as ImportError, RuntimeError, AttributeError or OSError.
    except Exception as error:
        yield Finding(
            "error",
            f"torchvision does not work with this torch ({one_line(error)})",
            "the two were built for other versions; lightly needs both, and methods with it",
            "install a pair that fits: pip install --force-reinstall torch torchvision",
        )
        return "broken"
    return " with ".join(f"{name} {metadata.version(name)}" for name in ("torch", "torchvision"))


def check_plugins() -> Looking:
    """Imports every plug-in of every kind."""
    usable: list[str] = []
    told: set[tuple[str, str]] = set()
    try:
        for kind in registry.REGISTRIES:
            entries = kind.entries()
            usable.append(counted(sum(entry.error is None for entry in entries), kind.kind))
            for entry in entries:
                # A file that fails is missing in every registry, and told once.
                if entry.error is not None and (entry.name, entry.error) not in told:
                    told.add((entry.name, entry.error))
                    yield Finding(
                        "error",
                        f"the plug-in '{entry.name}' ({entry.origin}) cannot be used: "
                        f"{entry.error}",
                        "what it would register is missing; nothing else is affected",
                        "mend the file, or leave it out",
                    )
    except ContrabenchError as error:
        yield Finding(
            "error",
            one_line(error),
            "no plug-in given by path can be used, and most commands stop",
            f"mend the path in --plugin or {discovery.VARIABLE}",
        )
    return ", ".join(usable)


def check_device() -> Looking:
    """Says which device torch trains on, and why it sees no GPU if it sees none."""
    import torch

    from contrabench.training.runtime import resolve_device

    name = resolve_device("auto")
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
    seen = f"{name}; torch {torch.__version__} with {build}"
    driver = _DRIVER.exists() or shutil.which("nvidia-smi") is not None
    if name == "cuda":
        gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        seen += "; " + ", ".join(f"{gpu.name}, {size_words(gpu.total_memory)}" for gpu in gpus)
    elif name == "cpu" and torch.version.cuda:
        yield Finding(
            "warning" if driver else "information",
            f"torch was built with CUDA but cannot use a GPU: {_why_no_gpu()}",
            "training runs on the CPU, many times slower than on a GPU",
            "check the driver with nvidia-smi"
            if driver
            else "if there is a GPU, install its driver",
        )
    elif name == "cpu" and driver:
        yield Finding(
            "warning",
            "this machine has an NVIDIA driver, but this torch was built without CUDA",
            "training runs on the CPU, many times slower than it could",
            "install torch and torchvision with CUDA, see https://pytorch.org/get-started/locally",
        )
    elif name == "cpu":
        yield Finding(
            "information",
            "no GPU: this torch was built without CUDA, and no NVIDIA driver was found",
            "training runs on the CPU; the budgets smoke and quick are made for that",
        )
    return seen


def _why_no_gpu() -> str:
    import torch

    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
        reason = "it sees no device"
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition(". ")[0]
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    return reason if hidden is None else f"{reason}; CUDA_VISIBLE_DEVICES is '{hidden}'"


def check_training() -> Looking:
    """Takes one step of fine-tuning of a small network on synthetic slices, on the device."""
    import torch

    from contrabench.data.synthetic import synthetic_bank
    from contrabench.model.segmentation import build_segmenter
    from contrabench.model.weights import build_backbone
    from contrabench.protocol import BackboneSpec, Phase, Seeds
    from contrabench.training.runtime import Runtime, resolve_device, resolve_precision
    from contrabench.training.step import Step
    from contrabench.training.tasks import FinetuneTask

    device = resolve_device("auto")
    runtime = Runtime(device, resolve_precision("auto", device), torch.get_num_threads())
    phase = Phase(images=4, batch=4, lr=1e-2)
    loss, fault = math.nan, ""
    try:
        model = build_segmenter(build_backbone(BackboneSpec(width=8), 0), 3, False, 0)
        bank = synthetic_bank(64, 2, runtime.torch_device)
        step = Step(FinetuneTask(model, bank, phase, Seeds()), phase, runtime, steps=1)
        loss = float(step.take(0)["loss"])
        if not all(bool(torch.isfinite(weight).all()) for weight in model.parameters()):
            loss = math.nan
    except (RuntimeError, OSError, ImportError) as error:
        fault = f"fails: {one_line(error)}"
    if not math.isfinite(loss):
        yield Finding(
            "error",
            f"a training step on {device} {fault or 'gives a loss or weights that are not finite'}",
            "no run can be trained here",
            f"reinstall torch for this machine{', or use --device cpu' * (device != 'cpu')}",
        )
    return f"on {device}, loss {loss:.2f}"


def check_disk(store: Path) -> Looking:
    """Compares the free space of the store's disk with what a study wants."""
    there = nearest_there(store)
    free = shutil.disk_usage(there).free
    if free < DISK_NEEDED:
        yield Finding(
            "error" if free < DISK_LEAST else "warning",
            f"{size_words(free)} are free on the disk of {store}",
            f"a study can want {size_words(DISK_NEEDED)}; when the disk is full it stops, and "
            "what is finished is kept",
            "make room, or name another folder with --store",
        )
    elif not os.access(there, os.W_OK):
        yield Finding(
            "warning",
            f"nothing can be written to {there}",
            "what is there can be read, but no run can be added",
            "name another folder with --store, or ask for the right to write",
        )
    return f"{size_words(free)} free at {there}"


def check_memory() -> Looking:
    """Compares the memory that is free with what training wants."""
    free = available_memory()
    if free is None:
        return "this system does not tell"
    if free < MEMORY_NEEDED:
        yield Finding(
            "warning",
            f"only {size_words(free)} of memory are available",
            "a large dataset or several workers may be ended by the system",
            "end other programs, or use a smaller --budget",
        )
    return f"{size_words(free)} available"


def available_memory() -> float | None:
    """Bytes that a new process can have, a container's limit included; None if not told."""
    limits = []
    try:
        lines = dict(line.split(":") for line in _MEMINFO.read_text(encoding="utf-8").splitlines())
        limits.append(float(lines["MemAvailable"].split()[0]) * 1024)
    except (OSError, ValueError, KeyError):
        pass
    try:
        most = float((_CGROUP / "memory.max").read_text(encoding="utf-8"))
        limits.append(most - float((_CGROUP / "memory.current").read_text(encoding="utf-8")))
    except (OSError, ValueError):  # "max" is no number: there is no limit
        pass
    return min(limits, default=None)
