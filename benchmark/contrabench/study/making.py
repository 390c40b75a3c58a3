"""Makes the stages of a run: what each kind of node leaves in its folder."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from contrabench.data.bank import build_bank
from contrabench.files import write_text
from contrabench.model.handoff import hand_off
from contrabench.model.unet import UNet
from contrabench.progress import Reporter
from contrabench.protocol import Phase, digest, seed_for
from contrabench.store.stages import StageOutput, StageStore
from contrabench.study import audit
from contrabench.study.blueprint import Blueprint
from contrabench.study.nodes import Kind, Node
from contrabench.study.outputs import RECORD, WEIGHTS, header
from contrabench.study.recipe import StageWork
from contrabench.study.recording import write_run
from contrabench.study.scoring import score_cases
from contrabench.training.checkpoint import FILE as CHECKPOINT
from contrabench.training.checkpoint import load_weights, save_weights
from contrabench.training.loop import FitRecord, fit
from contrabench.training.runtime import Runtime
from contrabench.training.tasks import FinetuneTask, PretrainTask, count_parameters


@dataclass(frozen=True)
class Maker:
    """Makes the nodes of one run on one runtime.

    Attributes:
        blueprint: the run on its data.
        store: where stages are kept.
        runtime: device and switches.
        reporter: where progress is told.
    """

    blueprint: Blueprint
    store: StageStore
    runtime: Runtime
    reporter: Reporter

    def run(self, node: Node) -> StageOutput:
        """Makes a node whose inputs are done, or finds it in the store.

        Args:
            node: one of the blueprint's.

        Raises:
            AuditError: if a rule of the protocol is broken.
            RunError: if training fails, or an input is not there.
        """
        return self.store.run(node.kind, node.spec, lambda folder: self.make(node, folder))

    def make(self, node: Node, folder: Path) -> None:
        """Fills the folder of a node whose inputs are done."""
        if node.kind == "pretrain":
            self._pretrain(node, folder)
        elif node.kind == "finetune":
            self._finetune(node, folder)
        elif node.kind == "evaluate":
            self._evaluate(node, folder)
        else:
            write_run(node, self.blueprint, self.store, folder)

    def _pretrain(self, node: Node, folder: Path) -> None:
        blueprint, spec = self.blueprint, self.blueprint.plan.spec
        work = self._work(node)
        stage = work.stage
        backbone = blueprint.backbone()
        if node.inputs:
            backbone.load_state_dict(load_weights(self._weights("pretrain", node.inputs[-1])))
        bank = build_bank(
            blueprint.cases,
            blueprint.pool(stage),
            blueprint.manifest.patients if stage.labels else None,
            blueprint.orientations,
            self.runtime.torch_device,
        )
        seen = audit.check_bank(bank, blueprint.split, blueprint.manifest, stage.labels)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for("objective", spec.method, stage.name, spec.seeds.init))
            objective = blueprint.plan.method.objective(stage, backbone)
        task = PretrainTask(backbone, objective, stage, bank, work.phase, spec.seeds)
        record = self._fit(task, backbone, node, work.phase, folder)
        extra = {
            "seen": seen,
            "heads": count_parameters(objective),
            "views": len(stage.views),
            "orientations": list(blueprint.orientations),
        }
        self._keep(folder, backbone, record, node.units, extra)

    def _finetune(self, node: Node, folder: Path) -> None:
        blueprint, spec = self.blueprint, self.blueprint.plan.spec
        backbone = blueprint.backbone()
        transfer: dict[str, Any] = {"parts": [], "matched": 0, "parameters": 0}
        if node.inputs:
            source = self._weights("pretrain", node.inputs[-1])
            audit.check_recipe(header(source), digest(blueprint.plan.data_recipe))
            parts = blueprint.plan.method.transfers()
            transfer = hand_off(load_weights(source), backbone, parts).as_dict()
        model = blueprint.segmenter(backbone)
        patients = blueprint.manifest.patients
        bank = build_bank(
            blueprint.cases, patients, patients, ("axial",), self.runtime.torch_device
        )
        seen = audit.check_bank(bank, blueprint.split, blueprint.manifest, labels=True)
        phase = spec.budget.finetune
        task = FinetuneTask(model, bank, phase, spec.seeds)
        record = self._fit(task, backbone, node, phase, folder)
        self._keep(folder, model, record, node.units, {"seen": seen, "transfer": transfer})

    def _evaluate(self, node: Node, folder: Path) -> None:
        began = time.monotonic()
        blueprint = self.blueprint
        segmenter = blueprint.segmenter(blueprint.backbone())
        weights = self._weights("finetune", node.inputs[-1])
        audit.check_last_step(header(weights), blueprint.finetune_steps)
        segmenter.load_state_dict(load_weights(weights))
        segmenter.to(self.runtime.torch_device)
        cases, dataset = blueprint.test_cases(), blueprint.plan.dataset
        score_cases(segmenter, cases, dataset, folder, self.runtime, self.reporter)
        record = {"seconds": time.monotonic() - began, "runtime": self.runtime.record()}
        write_text(folder / RECORD, json.dumps(record, indent=1))

    def _work(self, node: Node) -> StageWork:
        return next(work for work in self.blueprint.work if work.stage.name == node.name)

    def _weights(self, kind: Kind, key: str) -> Path:
        return self.store.folder(kind, key) / WEIGHTS

    def _fit(
        self,
        task: PretrainTask | FinetuneTask,
        backbone: UNet,
        node: Node,
        phase: Phase,
        folder: Path,
    ) -> FitRecord:
        if self.runtime.compile:
            backbone.compile()
        name = node.name or "fine-tuning"
        title = f"pre-training, {node.name}" if node.name else name
        seed = seed_for(name, self.blueprint.plan.spec.seeds.views)
        return fit(task, node.units, phase, self.runtime, folder, self.reporter, title, seed)

    def _keep(
        self,
        folder: Path,
        module: torch.nn.Module,
        record: FitRecord,
        steps: int,
        extra: dict[str, Any],
    ) -> None:
        """Leaves the weights of the last step and the record; the checkpoint goes."""
        head = {"step": str(steps), "recipe": digest(self.blueprint.plan.data_recipe)}
        save_weights(folder / WEIGHTS, module.state_dict(), head)
        content = {**record.as_dict(), **extra, "runtime": self.runtime.record()}
        write_text(folder / RECORD, json.dumps(content, indent=1))
        (folder / CHECKPOINT).unlink(missing_ok=True)
