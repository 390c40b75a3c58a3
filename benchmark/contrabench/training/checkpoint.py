"""Checkpoints of the loop: safetensors with a small header, written all or nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from contrabench.errors import RunError
from contrabench.files import replacing

FILE = "checkpoint.safetensors"


def save_weights(path: Path, weights: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
    """Writes tensors atomically, from whatever device, each with memory of its own."""
    tensors = {name: value.detach().to("cpu").contiguous() for name, value in weights.items()}
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata=dict(header))


def load_weights(path: Path) -> dict[str, Tensor]:
    """Reads tensors to the CPU.

    Raises:
        RunError: if the file is damaged.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise RunError(f"cannot read the weights in {path}: {error}") from error


def save_checkpoint(
    folder: Path,
    step: int,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    extra: Mapping[str, Any],
) -> None:
    """Saves module state, optimiser moments and step under one name."""
    tensors: dict[str, Tensor] = {
        f"module/{name}": value for name, value in module.state_dict().items()
    }
    for number, slots in optimizer.state_dict()["state"].items():
        for slot, value in slots.items():
            tensors[f"optimizer/{number}/{slot}"] = torch.as_tensor(value)
    header = {"step": str(step), "extra": json.dumps(dict(extra))}
    save_weights(folder / FILE, tensors, header)


def load_checkpoint(
    folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[int, dict[str, Any]] | None:
    """Restores module and optimiser in place, if the folder holds a checkpoint.

    Returns:
        Optimiser steps done and what the loop kept beside; None if there is no checkpoint.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    tensors = load_weights(path)
    with safe_open(path, framework="pt", device="cpu") as file:
        header = file.metadata()
    module.load_state_dict(
        {
            name.removeprefix("module/"): value
            for name, value in tensors.items()
            if name.startswith("module/")
        }
    )
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer/"):
            _, number, slot = name.split("/")
            state.setdefault(int(number), {})[slot] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    return int(header["step"]), json.loads(header["extra"])
