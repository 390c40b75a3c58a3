"""The two stages that train: what they see, where they start, and what they leave.

Both are functions that any process can call with what a pickle carries: with several
devices, a pre-training runs in a process for each.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from contrabench.data.bank import build_bank
from contrabench.files import write_text
from contrabench.model.weights import hand_off
from contrabench.progress import Reporter
from contrabench.protocol import digest, seed_for
from contrabench.stages import audit
from contrabench.stages.blueprint import Blueprint
from contrabench.stages.nodes import Node
from contrabench.stages.outputs import RECORD, WEIGHTS, header
from contrabench.stages.tracking import tracked
from contrabench.training.checkpoint import FILE as CHECKPOINT
from contrabench.training.checkpoint import load_weights, save_weights
from contrabench.training.loop import FitRecord, fit
from contrabench.training.runtime import Runtime
from contrabench.training.sharding import is_first_process
from contrabench.training.tasks import FinetuneTask, PretrainTask, count_parameters


def pretrain(
    runtime: Runtime,
    reporter: Reporter,
    blueprint: Blueprint,
    node: Node,
    before: Path | None,
    folder: Path,
    tracking: Path,
) -> None:
    """Trains one pre-training stage and leaves its weights and record.

    Args:
        runtime: device and switches.
        reporter: where progress is told.
        blueprint: the run on its data.
        node: the stage.
        before: weights of the stage before, or None for the seed's initial ones.
        folder: of the stage, to be filled.
        tracking: folder of trackers' files.

    Raises:
        AuditError: if a rule of the protocol is broken.
        RunError: if training fails.
    """
    spec = blueprint.plan.spec
    work = next(work for work in blueprint.work if work.stage.name == node.name)
    stage = work.stage
    backbone = blueprint.backbone()
    if before is not None:
        backbone.load_state_dict(load_weights(before))
    bank = build_bank(
        blueprint.cases,
        blueprint.pool(stage),
        blueprint.manifest.patients if stage.labels else None,
        blueprint.orientations,
        runtime.torch_device,
    )
    seen = audit.check_bank(bank, blueprint.split, blueprint.manifest, stage.labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for("objective", spec.method, stage.name, spec.seeds.init))
        objective = blueprint.plan.method.objective(stage, backbone)
    task = PretrainTask(backbone, objective, stage, bank, work.phase, spec.seeds)
    if runtime.compile:
        backbone.compile()
    with tracked(runtime, reporter, blueprint, node, tracking) as tracker:
        title, seed = f"pre-training, {node.name}", seed_for(node.name, spec.seeds.views)
        record = fit(task, node.units, work.phase, runtime, folder, reporter, title, seed, tracker)
    extra = {
        "seen": seen,
        "heads": count_parameters(objective),
        "views": len(stage.views),
        "orientations": list(blueprint.orientations),
    }
    _keep(folder, backbone, blueprint, node, record, {**extra, "runtime": runtime.record()})


def finetune(
    runtime: Runtime,
    reporter: Reporter,
    blueprint: Blueprint,
    node: Node,
    before: Path | None,
    folder: Path,
    tracking: Path,
) -> None:
    """Trains the segmenter on the labelled slices, from the declared parts of `before`.

    Args and errors are those of `pretrain`.
    """
    backbone = blueprint.backbone()
    transfer: dict[str, Any] = {"parts": [], "matched": 0, "parameters": 0}
    if before is not None:
        audit.check_recipe(header(before), digest(blueprint.plan.data_recipe))
        parts = blueprint.plan.method.transfers()
        transfer = hand_off(load_weights(before), backbone, parts).as_dict()
    model = blueprint.segmenter(backbone)
    patients = blueprint.manifest.patients
    bank = build_bank(blueprint.cases, patients, patients, ("axial",), runtime.torch_device)
    seen = audit.check_bank(bank, blueprint.split, blueprint.manifest, labels=True)
    spec = blueprint.plan.spec
    phase = spec.budget.finetune
    task = FinetuneTask(model, bank, phase, spec.seeds)
    if runtime.compile:
        backbone.compile()
    with tracked(runtime, reporter, blueprint, node, tracking) as tracker:
        title, seed = "fine-tuning", seed_for("fine-tuning", spec.seeds.views)
        record = fit(task, node.units, phase, runtime, folder, reporter, title, seed, tracker)
    extra = {"seen": seen, "transfer": transfer, "runtime": runtime.record()}
    _keep(folder, model, blueprint, node, record, extra)


def _keep(
    folder: Path,
    module: torch.nn.Module,
    blueprint: Blueprint,
    node: Node,
    record: FitRecord,
    extra: dict[str, Any],
) -> None:
    """Leaves the weights of the last step and the record; the checkpoint goes."""
    if not is_first_process():
        return
    head = {"step": str(node.units), "recipe": digest(blueprint.plan.data_recipe)}
    save_weights(folder / WEIGHTS, module.state_dict(), head)
    write_text(folder / RECORD, json.dumps({**record.as_dict(), **extra}, indent=1))
    (folder / CHECKPOINT).unlink(missing_ok=True)
