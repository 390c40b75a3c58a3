"""What the stages that train have in common: weights, record and trackers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from contrabench.protocol import digest
from contrabench.stages.kind import TRACKING, WEIGHTS, Making, Node, write_record
from contrabench.training.checkpoint import FILE as CHECKPOINT
from contrabench.training.checkpoint import save_weights
from contrabench.training.loop import fit
from contrabench.training.sharding import is_first_process
from contrabench.training.step import Step
from contrabench.training.trackers import Tracker


def train(
    making: Making,
    node: Node,
    folder: Path,
    step: Step,
    module: torch.nn.Module,
    marks: Mapping[int, str] = MappingProxyType({}),
    **seen: Any,
) -> None:
    """Takes all steps; leaves the module's weights and a record, and takes the checkpoint away.

    `marks` are steps after which its weights are kept as well, halved, by the name of their file;
    `seen` is what the record says beside the fit's own figures.
    """

    def keep(file: str, at: int, part: Callable[[Tensor], Tensor]) -> None:
        weights = {name: part(value) for name, value in module.state_dict().items()}
        header = {"step": str(at), "recipe": digest(making.run.dataset.recipe)}
        save_weights(folder / file, weights, header)

    step.compile()
    kept = {at: partial(keep, file, at, _halved) for at, file in marks.items()}
    with tracked(making, node) as tracker:
        record = fit(step, folder, making.reporter, node.title, tracker, kept)
    if not is_first_process():
        return
    keep(WEIGHTS, node.units, lambda value: value)
    write_record(folder, {**asdict(record), **seen, "runtime": step.runtime.record()})
    (folder / CHECKPOINT).unlink(missing_ok=True)


def _halved(value: Tensor) -> Tensor:
    """Matrices in half precision, as vectors such as running statistics may not fit in it."""
    return value.half() if value.is_floating_point() and value.ndim > 1 else value


def header_of(path: Path) -> dict[str, str]:
    """The text header of a safetensors file."""
    with safe_open(path, framework="pt", device="cpu") as file:
        return dict(file.metadata() or {})


def tracked(making: Making, node: Node) -> Tracker:
    """The trackers of a stage, to be closed with it; only the first of several devices has any."""
    spec, stage = making.run.spec, node.name if node.kind == "pretrain" else node.title
    what = {
        "method": spec.variant(),
        "stage": stage,
        **{name: getattr(spec, name) for name in ("dataset", "labels", "fold", "draw")},
        "seed": spec.seeds.init,
        "budget": spec.budget.name,
        "steps": node.units,
    }
    title = f"{what['method']}, {stage}, {spec.labels}, fold {spec.fold}"
    names = making.runtime.trackers if is_first_process() else ()
    return Tracker(names, making.store.root / TRACKING, title, node.key, what, making.reporter)
