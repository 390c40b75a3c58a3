"""Device, disk and memory, and one real training step."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

from contrabench.doctor.findings import Check, Finding, Severity
from contrabench.text import one_line, size_words

DISK_NEEDED = 10e9
"""Bytes that a study may want: the weights of 80 stages at the widest budget."""
DISK_LEAST = 1e9
"""Bytes below which not even a stage's checkpoint is sure to fit."""
MEMORY_NEEDED = 4e9
"""Bytes for the slices of a usual dataset, the network and its activations."""
_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")
_DRIVER = Path("/proc/driver/nvidia/version")


def check_device() -> Check:
    """Says which device torch trains on, and why it sees no GPU if it sees none."""
    import torch

    from contrabench.training.runtime import resolve_device

    name = resolve_device("auto")
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
    seen = f"{name}; torch {torch.__version__} with {build}"
    if name == "cuda":
        gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        seen += "; " + ", ".join(f"{gpu.name}, {size_words(gpu.total_memory)}" for gpu in gpus)
        return Check("device", seen)
    driver = _DRIVER.exists() or shutil.which("nvidia-smi") is not None
    if name == "mps":
        findings: tuple[Finding, ...] = ()
    elif torch.version.cuda:
        findings = (_unseen(driver),)
    elif driver:
        finding = Finding(
            Severity.warning,
            "this machine has an NVIDIA driver, but this torch was built without CUDA",
            "training runs on the CPU, many times slower than it could",
            "install torch and torchvision with CUDA, see https://pytorch.org/get-started/locally",
        )
        findings = (finding,)
    else:
        finding = Finding(
            Severity.information,
            "no GPU: this torch was built without CUDA, and no NVIDIA driver was found",
            "training runs on the CPU; the budgets smoke and quick are made for that",
        )
        findings = (finding,)
    return Check("device", seen, findings)


def _unseen(driver: bool) -> Finding:
    """Why a torch with CUDA sees no GPU."""
    import torch

    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
        reason = "it sees no device"
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition(". ")[0]
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None:
        reason += f"; CUDA_VISIBLE_DEVICES is '{hidden}'"
    return Finding(
        Severity.warning if driver else Severity.information,
        f"torch was built with CUDA but cannot use a GPU: {reason}",
        "training runs on the CPU, many times slower than on a GPU",
        "check the driver with nvidia-smi" if driver else "if there is a GPU, install its driver",
    )


def check_disk(store: Path, needed: float = DISK_NEEDED, least: float = DISK_LEAST) -> Check:
    """Compares the free space of the store's disk with what a study wants.

    Args:
        store: the store folder, which need not exist yet.
        needed: bytes below which it is a warning.
        least: bytes below which it is an error.
    """
    there = next(path for path in (store.absolute(), *store.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    findings = []
    if free < needed:
        finding = Finding(
            Severity.error if free < least else Severity.warning,
            f"{size_words(free)} are free on the disk of {store}",
            f"a study can want {size_words(needed)}; when the disk is full it stops, and what is "
            "finished is kept",
            "make room, or name another folder with --store",
        )
        findings.append(finding)
    elif not os.access(there, os.W_OK):
        finding = Finding(
            Severity.warning,
            f"nothing can be written to {there}",
            "what is there can be read, but no run can be added",
            "name another folder with --store, or ask for the right to write",
        )
        findings.append(finding)
    return Check("disk", f"{size_words(free)} free at {there}", tuple(findings))


def check_memory(needed: float = MEMORY_NEEDED) -> Check:
    """Compares the memory that is free with what training wants.

    Args:
        needed: bytes below which it is a warning.
    """
    free = available_memory()
    if free is None:
        return Check("memory", "this system does not tell")
    seen = f"{size_words(free)} available"
    if free >= needed:
        return Check("memory", seen)
    finding = Finding(
        Severity.warning,
        f"only {size_words(free)} of memory are available",
        "a large dataset or several workers may be ended by the system",
        "end other programs, or use a smaller --budget",
    )
    return Check("memory", seen, (finding,))


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


def check_training() -> Check:
    """Takes one step of fine-tuning of a small network on synthetic slices, on the device."""
    import torch

    from contrabench.data.bank import STRUCTURES, synthetic_bank
    from contrabench.model.segmentation import build_segmenter
    from contrabench.model.weights import build_backbone
    from contrabench.protocol import BackboneSpec, Phase, Seeds
    from contrabench.training.runtime import Runtime, resolve_device
    from contrabench.training.step import Step
    from contrabench.training.tasks import FinetuneTask

    title = "a training step"
    device = resolve_device("auto")
    precision = "bf16" if device == "cuda" else "float32"
    runtime = Runtime(device, precision, torch.get_num_threads())
    phase = Phase(images=4, batch=4, lr=1e-2)
    try:
        model = build_segmenter(build_backbone(BackboneSpec(width=8), 0), STRUCTURES + 1, False, 0)
        bank = synthetic_bank(64, True, runtime.torch_device)
        step = Step(FinetuneTask(model, bank, phase, Seeds()), phase, runtime, steps=1)
        value = float(step.take(0)["loss"])
        sound = all(bool(torch.isfinite(weight).all()) for weight in model.parameters())
    except (RuntimeError, OSError, ImportError) as error:
        return Check(title, f"on {device}", (_no_step(f"fails: {one_line(error)}", device),))
    if not (math.isfinite(value) and sound):
        finding = _no_step("gives a loss or weights that are not finite", device)
        return Check(title, f"on {device}", (finding,))
    return Check(title, f"on {device}, loss {value:.2f}")


def _no_step(what: str, device: str) -> Finding:
    return Finding(
        Severity.error,
        f"a training step on {device} {what}",
        "no run can be trained here",
        "reinstall torch for this machine" + ("" if device == "cpu" else ", or use --device cpu"),
    )
