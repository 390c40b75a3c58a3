"""How long the stages of a study take and how much they keep, from what was measured here."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from contrabench.data.bank import synthetic_bank
from contrabench.data.grid import spacing_of
from contrabench.data.prepare import PreparedCase
from contrabench.evaluation.inference import predict_case
from contrabench.evaluation.metrics import score_case
from contrabench.protocol import Seeds
from contrabench.stages.blueprint import Blueprint
from contrabench.stages.nodes import Node
from contrabench.stages.outputs import read_record
from contrabench.store.stages import home_of
from contrabench.study.graph import Task
from contrabench.study.resolve import resolve
from contrabench.training.runtime import Runtime
from contrabench.training.step import Step, TrainingTask
from contrabench.training.tasks import FinetuneTask, PretrainTask, count_parameters

_STEPS = 3
_ROWS_BYTES = 60_000
"""Rows and record of one run."""


class Timing:
    """Seconds a unit, by the cost of a node, on one device with its threads.

    Args:
        store: finished stages that this device has made are learned from.
        runtime: the device.
    """

    def __init__(self, store: Path, runtime: Runtime) -> None:
        self.store, self.device = store, _device(runtime.record())
        self.known: dict[str, list[float]] = {}

    def learn(self, node: Node) -> None:
        """Takes up what a finished stage took, if it was made on this device."""
        if not node.units:
            return
        try:
            record = read_record(home_of(self.store, node.kind) / node.key)
            same = _device(record["runtime"]) == self.device
            seconds = float(record["seconds"])
        except (OSError, ValueError, KeyError, TypeError):
            return
        if same:
            self.known.setdefault(node.cost, []).append(seconds / node.units)

    def set(self, node: Node, per_unit: float) -> None:
        """Takes up a measurement."""
        self.known.setdefault(node.cost, []).append(per_unit)

    def knows(self, node: Node) -> bool:
        """Whether it can tell how long a node takes."""
        return not node.units or node.cost in self.known

    def expect(self, node: Node) -> float:
        """Seconds that a node is expected to take; 0 for one that it does not know."""
        if not node.units or node.cost not in self.known:
            return 0.0
        return statistics.median(self.known[node.cost]) * node.units


def _device(record: dict[str, Any]) -> tuple[object, ...]:
    """What decides how long a step takes."""
    names = ("device", "device_name", "threads", "precision", "compile", "channels_last")
    return tuple(record.get(name) for name in names)


def measure(task: Task, cases: Sequence[PreparedCase], runtime: Runtime) -> float:
    """Seconds a unit of a stage, from a few real steps on synthetic slices, or one real case.

    Args:
        task: a stage that pre-trains, fine-tunes or evaluates.
        cases: of the dataset.
        runtime: the device.
    """
    blueprint = Blueprint(resolve(task.request, runtime), cases)
    if task.node.kind == "evaluate":
        return _one_case(blueprint, runtime)
    spec = blueprint.plan.spec
    if task.node.kind == "finetune":
        phase = spec.budget.finetune
        bank = synthetic_bank(spec.budget.pixels, True, runtime.torch_device)
        model = blueprint.segmenter(blueprint.backbone())
        made: TrainingTask = FinetuneTask(model, bank, phase, Seeds())
    else:
        work = next(item for item in blueprint.work if item.stage.name == task.node.name)
        phase, backbone = work.phase, blueprint.backbone()
        bank = synthetic_bank(spec.budget.pixels, work.stage.labels, runtime.torch_device)
        objective = blueprint.plan.method.objective(work.stage, backbone)
        made = PretrainTask(backbone, objective, work.stage, bank, phase, Seeds())
    step = Step(made, phase, runtime, task.node.units)
    step.take(0)
    taken = [step.timed(partial(step.take, number)) for number in range(1, 1 + _STEPS)]
    return statistics.median(taken)


def _one_case(blueprint: Blueprint, runtime: Runtime) -> float:
    """Predicts and scores one case, a shifted reference in the place of the prediction."""
    case = blueprint.test_cases()[0]
    segmenter = blueprint.segmenter(blueprint.backbone()).to(runtime.torch_device)
    began = time.perf_counter()
    predict_case(segmenter, case, runtime)
    reference = case.native_label()
    names = [structure.name for structure in blueprint.plan.dataset.structures]
    score_case(np.roll(reference, 2, axis=0), reference, names, spacing_of(case.native_affine))
    return time.perf_counter() - began


def disk_of(task: Task, cases: Sequence[PreparedCase], runtime: Runtime) -> int:
    """Bytes that a stage will keep: weights as float32, predictions as large as references."""
    blueprint = Blueprint(resolve(task.request, runtime), cases)
    kind = task.node.kind
    if kind == "runs":
        return _ROWS_BYTES
    if kind == "evaluate":
        return sum(
            (case.folder / "native_label.npz").stat().st_size for case in blueprint.test_cases()
        )
    network = blueprint.backbone()
    return 4 * count_parameters(network if kind == "pretrain" else blueprint.segmenter(network))
