"""What a machine computes with, as far as the last bits of a result depend on it."""

from __future__ import annotations

import platform
import re
import subprocess
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch

_CPUINFO = Path("/proc/cpuinfo")
_MODEL = re.compile(r"^(?:model name|Model|cpu model)\s*:\s*(.+)$", re.MULTILINE)
_LIBRARIES = {
    "oneDNN": re.compile(r"MKL-DNN v([\d.]+)"),
    "MKL": re.compile(r"Math Kernel Library Version ([\d.]+)"),
    "BLAS": re.compile(r"BLAS_INFO=(?!mkl)(\w+)"),
}


@cache
def processor() -> str:
    """The model of the processor, or its architecture where the system does not tell."""
    with suppress(OSError):
        if found := _MODEL.search(_CPUINFO.read_text(encoding="utf-8", errors="replace")):
            return " ".join(found[1].split())
    if platform.system() == "Darwin":
        words = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        with suppress(OSError, subprocess.SubprocessError):
            return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    return platform.processor() or platform.machine()


@cache
def kernels() -> str:
    """The instruction set that torch uses, and the libraries that its sums are written in.

    Two processors that agree in this, with as many threads, give the same bits as a rule; others
    round differently, which a training enlarges.
    """
    built = torch.__config__.show()
    found = {name: pattern.search(built) for name, pattern in _LIBRARIES.items()}
    libraries = [f"{name} {match[1]}" for name, match in found.items() if match]
    return ", ".join([torch.backends.cpu.get_cpu_capability(), *libraries])
