"""Weights of stages as safetensors, and the loop's checkpoints; each written all or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from contrabench.errors import RunError
from contrabench.files import replacing, write_bytes

FILE = "checkpoint.pt"


def save_weights(path: Path, weights: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
    """Writes tensors atomically, from whatever device, each with memory of its own."""
    tensors = {name: value.detach().to("cpu").contiguous() for name, value in weights.items()}
    # Its own way to a file lets nobody else read it, whatever the umask says.
    write_bytes(path, save(tensors, metadata=dict(header)))


def load_weights(path: Path) -> dict[str, Tensor]:
    """Reads tensors to the CPU; RunError if the file is damaged."""
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise RunError(f"cannot read the weights in {path}: {error}") from error


def save_checkpoint(folder: Path, content: Mapping[str, Any]) -> None:
    """Saves tensors, numbers and text, nested in lists and dictionaries, under one name."""
    with replacing(folder / FILE) as temporary, temporary.open("wb") as file:
        torch.save(dict(content), file)


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """What was saved, on the CPU; None if there is no checkpoint."""
    path = folder / FILE
    if not path.is_file():
        return None
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return content
