"""What the stages that train have in common: weights, record, trackers, and the time of a step."""

from __future__ import annotations

import statistics
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open

from contrabench.protocol import Phase, digest
from contrabench.stages.kind import WEIGHTS, Node, write_record
from contrabench.training.checkpoint import FILE as CHECKPOINT
from contrabench.training.checkpoint import save_weights
from contrabench.training.loop import fit
from contrabench.training.runtime import Runtime
from contrabench.training.sharding import is_first_process
from contrabench.training.step import Step, TrainingTask
from contrabench.training.trackers import Tracker

if TYPE_CHECKING:
    from contrabench.progress import Reporter
    from contrabench.stages.run import Run

_STEPS = 3


def train(
    run: Run,
    node: Node,
    task: TrainingTask,
    module: torch.nn.Module,
    phase: Phase,
    seed: int,
    runtime: Runtime,
    reporter: Reporter,
    folder: Path,
    tracking: Path,
    seen: dict[str, Any],
) -> None:
    """Trains a task to its last step; leaves weights and record, and takes the checkpoint away.

    `seen` is what the record says beside the fit's own figures.
    """
    with tracked(run, node, runtime, reporter, tracking) as tracker:
        record = fit(task, node.units, phase, runtime, folder, reporter, node.title, seed, tracker)
    if not is_first_process():
        return
    header = {"step": str(node.units), "recipe": digest(run.dataset.recipe)}
    save_weights(folder / WEIGHTS, module.state_dict(), header)
    write_record(folder, {**asdict(record), **seen, "runtime": runtime.record()})
    (folder / CHECKPOINT).unlink(missing_ok=True)


def header_of(path: Path) -> dict[str, str]:
    """The text header of a safetensors file."""
    with safe_open(path, framework="pt", device="cpu") as file:
        return dict(file.metadata() or {})


def tracked(run: Run, node: Node, runtime: Runtime, reporter: Reporter, folder: Path) -> Tracker:
    """The trackers of a stage, to be closed with it; only the first of several devices has any."""
    spec = run.spec
    stage = node.name or node.title
    what = {
        "method": spec.variant(),
        "stage": stage,
        "dataset": spec.dataset,
        "labels": spec.labels,
        "fold": spec.fold,
        "draw": spec.draw,
        "seed": spec.seeds.init,
        "budget": spec.budget.name,
        "steps": node.units,
    }
    title = f"{what['method']}, {stage}, {spec.labels}, fold {spec.fold}"
    names = runtime.trackers if is_first_process() else ()
    return Tracker(names, folder, title, node.key, what, reporter)


def seconds_per_step(task: TrainingTask, phase: Phase, runtime: Runtime, steps: int) -> float:
    """The median of a few real steps, on slices of nothing in particular."""
    step = Step(task, phase, runtime, steps)
    step.take(0)
    taken = [step.timed(partial(step.take, number)) for number in range(1, 1 + _STEPS)]
    return statistics.median(taken)
