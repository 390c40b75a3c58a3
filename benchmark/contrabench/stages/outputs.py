"""What a trained stage leaves in its folder, and how it is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open

WEIGHTS = "weights.safetensors"
RECORD = "record.json"
SCORES = "scores.json"
RUN_RECORD = "run.json"


def header(path: Path) -> dict[str, str]:
    """The text header of a safetensors file."""
    with safe_open(path, framework="pt", device="cpu") as file:
        return dict(file.metadata() or {})


def read_record(folder: Path) -> dict[str, Any]:
    """The record that a stage has left: what it cost and saw."""
    content: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    return content
