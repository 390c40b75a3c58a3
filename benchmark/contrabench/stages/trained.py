"""What the stages that train have in common: weights, record and trackers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from contrabench.protocol import digest
from contrabench.stages.kind import TRACKING, WEIGHTS, Making, Node, write_record
from contrabench.training.checkpoint import FILE as CHECKPOINT
from contrabench.training.checkpoint import save_weights
from contrabench.training.loop import fit
from contrabench.training.sharding import is_first_process
from contrabench.training.step import Step
from contrabench.training.trackers import Tracker


def train(
    making: Making, node: Node, folder: Path, step: Step, module: torch.nn.Module, **seen: Any
) -> None:
    """Takes all steps; leaves the module's weights and a record, and takes the checkpoint away.

    `seen` is what the record says beside the fit's own figures.
    """
    with tracked(making, node) as tracker:
        record = fit(step, folder, making.reporter, node.title, tracker)
    if not is_first_process():
        return
    header = {"step": str(node.units), "recipe": digest(making.run.dataset.recipe)}
    save_weights(folder / WEIGHTS, module.state_dict(), header)
    write_record(folder, {**asdict(record), **seen, "runtime": step.runtime.record()})
    (folder / CHECKPOINT).unlink(missing_ok=True)


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
