"""The stages of a run: their specifications, which are their keys, and how they are made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from contrabench.data.bank import build_bank
from contrabench.data.prepare import PreparedCase
from contrabench.data.splits import LabelManifest, Split
from contrabench.evaluation.metrics import METRIC_CONTRACT
from contrabench.files import write_text
from contrabench.method import Stage
from contrabench.model.handoff import hand_off
from contrabench.model.segmentation import Segmenter, build_segmenter
from contrabench.model.unet import UNet, build_unet
from contrabench.progress import Reporter
from contrabench.protocol import (
    ORIENTATIONS,
    PROTOCOL_VERSION,
    Orientation,
    Phase,
    digest,
    seed_for,
)
from contrabench.store.stages import StageOutput, StageStore
from contrabench.study import audit
from contrabench.study.recipe import StageWork, share_out
from contrabench.study.request import Plan
from contrabench.study.scoring import score_cases
from contrabench.training.checkpoint import FILE as CHECKPOINT
from contrabench.training.checkpoint import load_weights, save_weights
from contrabench.training.loop import FitRecord, fit
from contrabench.training.runtime import Runtime
from contrabench.training.tasks import FinetuneTask, PretrainTask, count_parameters

WEIGHTS = "weights.safetensors"
RECORD = "record.json"


class Workshop:
    """Makes the stages of one plan on one runtime.

    Args:
        plan: the run.
        cases: all prepared cases of the dataset.
        split: the fold.
        manifest: the labelled patients.
        store: where stages are kept.
        runtime: device and switches.
        reporter: where progress is told.
    """

    def __init__(
        self,
        plan: Plan,
        cases: Sequence[PreparedCase],
        split: Split,
        manifest: LabelManifest,
        store: StageStore,
        runtime: Runtime,
        reporter: Reporter,
    ) -> None:
        self.plan, self.cases, self.split, self.manifest = plan, list(cases), split, manifest
        self.store, self.runtime, self.reporter = store, runtime, reporter
        self.work = share_out(plan.method, plan.spec.budget, plan.spec.recipe)
        self.evidence: dict[int, list[str]] = {}

    def note(self, rule: int, evidence: str) -> None:
        """Keeps one line of evidence for the record."""
        self.evidence.setdefault(rule, []).append(evidence)

    # -- pre-training ----------------------------------------------------------------

    def pretrain(self) -> list[StageOutput]:
        """Runs the method's stages in order; each starts from the weights of the last."""
        outputs: list[StageOutput] = []
        for work in self.work:
            before = outputs[-1] if outputs else None
            spec = self._pretrain_spec(work, before)

            def make(
                folder: Path, work: StageWork = work, before: StageOutput | None = before
            ) -> None:
                self._make_pretrain(folder, work, before)

            outputs.append(self.store.run("pretrain", spec, make))
            if outputs[-1].cached:
                self.reporter.line(f"  pre-training, {work.stage.name}: served from the store")
        return outputs

    def _orientations(self) -> tuple[Orientation, ...]:
        return ORIENTATIONS if self.plan.spec.deviations.views == "all" else ("axial",)

    def _pool(self, stage: Stage) -> tuple[str, ...]:
        return self.manifest.patients if stage.labelled_slices_only else self.split.train

    def _common(self) -> dict[str, Any]:
        spec = self.plan.spec
        return {
            "protocol_version": PROTOCOL_VERSION,
            "recipe": self.plan.data_recipe.model_dump(mode="json"),
            "pixels": spec.budget.pixels,
            "backbone": spec.backbone.model_dump(mode="json"),
            "precision": spec.precision,
        }

    def _data(self, patients: Sequence[str]) -> dict[str, str]:
        """The prepared volumes of some patients, by case."""
        return {case.case: case.fingerprint for case in self.cases if case.patient in patients}

    def _pretrain_spec(self, work: StageWork, before: StageOutput | None) -> dict[str, Any]:
        spec, stage = self.plan.spec, work.stage
        return {
            **self._common(),
            "method": self.plan.method_spec(),
            "stage": stage.model_dump(mode="json"),
            "steps": work.steps,
            "phase": work.phase.model_dump(mode="json", exclude={"images"}),
            "orientations": list(self._orientations()),
            "data": self._data(self._pool(stage)),
            "labelled": list(self.manifest.patients) if stage.labels else None,
            "seeds": spec.seeds.model_dump(mode="json", include={"init", "views", "order"}),
            "input": before.key if before else None,
        }

    def _make_pretrain(self, folder: Path, work: StageWork, before: StageOutput | None) -> None:
        spec, method = self.plan.spec, self.plan.method
        stage, steps, phase = work.stage, work.steps, work.phase
        backbone = self._initial(before)
        bank = build_bank(
            self.cases,
            self._pool(stage),
            self.manifest.patients if stage.labels else None,
            self._orientations(),
            self.runtime.torch_device,
        )
        seen = audit.check_bank(bank, self.split, self.manifest, stage.labels)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for("objective", spec.method, stage.name, spec.seeds.init))
            objective = method.objective(stage, backbone)
        task = PretrainTask(backbone, objective, stage, bank, phase, spec.seeds)
        record = self._fit(task, backbone, steps, phase, folder, stage.name)
        self._keep(
            folder,
            backbone,
            record,
            steps,
            {
                "seen": seen,
                "heads": count_parameters(objective),
                "views": len(stage.views),
                "orientations": list(self._orientations()),
            },
        )

    def _initial(self, before: StageOutput | None) -> UNet:
        """The seed's initial backbone, or the one that the stage before has left."""
        backbone = build_unet(self.plan.spec.backbone, self.plan.spec.seeds.init)
        if before is not None:
            backbone.load_state_dict(load_weights(before.folder / WEIGHTS))
        return backbone

    # -- fine-tuning -----------------------------------------------------------------

    def finetune(self, before: StageOutput | None) -> StageOutput:
        """Trains the segmenter on the labelled slices, from the declared parts of `before`."""
        spec = self.plan.spec
        parts = self.plan.method.transfers() if before else ()
        stage_spec = {
            **self._common(),
            "phase": spec.budget.finetune.model_dump(mode="json", exclude={"images"}),
            "steps": self.finetune_steps(),
            "deep_supervision": spec.deviations.deep_supervision,
            "classes": len(self.plan.dataset.structures) + 1,
            "data": self._data(self.manifest.patients),
            "labelled": list(self.manifest.patients),
            "seeds": spec.seeds.model_dump(mode="json", include={"init", "views", "order"}),
            "input": before.key if before else None,
            "transfers": list(parts),
        }
        output = self.store.run(
            "finetune", stage_spec, lambda folder: self._make_finetune(folder, before, parts)
        )
        if output.cached:
            self.reporter.line("  fine-tuning: served from the store")
        return output

    def finetune_steps(self) -> int:
        """Steps of fine-tuning, with those that the method saves on pre-training."""
        budget = self.plan.spec.budget
        extra = round(self.plan.method.finetune_extra * budget.pretrain.images)
        return budget.finetune.steps + extra // budget.finetune.batch

    def _make_finetune(
        self, folder: Path, before: StageOutput | None, parts: Sequence[str]
    ) -> None:
        spec = self.plan.spec
        backbone = build_unet(spec.backbone, spec.seeds.init)
        transfer: dict[str, Any] = {"parts": [], "matched": 0, "parameters": 0}
        if before is not None:
            source = before.folder / WEIGHTS
            audit.check_recipe(header(source), digest(self.plan.data_recipe))
            transfer = hand_off(load_weights(source), backbone, parts).as_dict()
        model = self._segmenter(backbone)
        bank = build_bank(
            self.cases,
            self.manifest.patients,
            self.manifest.patients,
            ("axial",),
            self.runtime.torch_device,
        )
        seen = audit.check_bank(bank, self.split, self.manifest, labels=True)
        phase, steps = spec.budget.finetune, self.finetune_steps()
        task = FinetuneTask(model, bank, phase, spec.seeds)
        record = self._fit(task, backbone, steps, phase, folder, "fine-tuning")
        self._keep(folder, model, record, steps, {"seen": seen, "transfer": transfer})

    def _segmenter(self, backbone: UNet) -> Segmenter:
        spec = self.plan.spec
        classes = len(self.plan.dataset.structures) + 1
        return build_segmenter(backbone, classes, spec.deviations.deep_supervision, spec.seeds.init)

    def skeleton(self) -> Segmenter:
        """The segmenter with its initial weights, on the CPU."""
        return self._segmenter(build_unet(self.plan.spec.backbone, self.plan.spec.seeds.init))

    def initial_digest(self) -> str:
        """Hash of the initial weights: equal for all methods of a seed and a budget."""
        state = hashlib.sha256()
        for value in self.skeleton().backbone.state_dict().values():
            state.update(value.numpy().tobytes())
        return state.hexdigest()[:16]

    # -- evaluation ------------------------------------------------------------------

    def evaluate(self, model: StageOutput) -> StageOutput:
        """Predicts and scores every case of the test patients; the only sight of them."""
        spec = {
            "protocol_version": PROTOCOL_VERSION,
            "model": model.key,
            "data": self._data(self.split.test),
            "structures": [item.model_dump(mode="json") for item in self.plan.dataset.structures],
            "metric_contract": METRIC_CONTRACT,
        }
        output = self.store.run("evaluate", spec, lambda folder: self._make_scores(folder, model))
        if output.cached:
            self.reporter.line("  evaluation: served from the store")
        return output

    def _make_scores(self, folder: Path, output: StageOutput) -> None:
        segmenter = self.skeleton()
        audit.check_last_step(header(output.folder / WEIGHTS), self.finetune_steps())
        segmenter.load_state_dict(load_weights(output.folder / WEIGHTS))
        segmenter.to(self.runtime.torch_device)
        chosen = [case for case in self.cases if case.patient in self.split.test]
        score_cases(segmenter, chosen, self.plan.dataset, folder, self.runtime, self.reporter)

    # -- shared ----------------------------------------------------------------------

    def _fit(
        self,
        task: PretrainTask | FinetuneTask,
        backbone: UNet,
        steps: int,
        phase: Phase,
        folder: Path,
        name: str,
    ) -> FitRecord:
        if self.runtime.compile:
            backbone.compile()
        title = name if name == "fine-tuning" else f"pre-training, {name}"
        seed = seed_for(name, self.plan.spec.seeds.views)
        return fit(task, steps, phase, self.runtime, folder, self.reporter, title, seed)

    def _keep(
        self,
        folder: Path,
        module: torch.nn.Module,
        record: FitRecord,
        steps: int,
        extra: dict[str, Any],
    ) -> None:
        """Leaves the weights of the last step and the record; the checkpoint goes."""
        head = {"step": str(steps), "recipe": digest(self.plan.data_recipe)}
        save_weights(folder / WEIGHTS, module.state_dict(), head)
        content = {**record.as_dict(), **extra, "runtime": self.runtime.record()}
        write_text(folder / RECORD, json.dumps(content, indent=1))
        (folder / CHECKPOINT).unlink(missing_ok=True)


def header(path: Path) -> dict[str, str]:
    """The text header of a safetensors file."""
    with safe_open(path, framework="pt", device="cpu") as file:
        return dict(file.metadata() or {})


def read_record(output: StageOutput) -> dict[str, Any]:
    """The record that a training stage has left."""
    content: dict[str, Any] = json.loads((output.folder / RECORD).read_text(encoding="utf-8"))
    return content
