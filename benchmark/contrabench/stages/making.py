"""Makes the stages of a run: what each kind of node leaves in its folder."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from contrabench.files import write_text
from contrabench.progress import Reporter
from contrabench.stages import audit
from contrabench.stages.blueprint import Blueprint
from contrabench.stages.nodes import Kind, Node
from contrabench.stages.outputs import RECORD, WEIGHTS, header
from contrabench.stages.recording import write_run
from contrabench.stages.scoring import score_cases
from contrabench.stages.tracking import track_scores
from contrabench.stages.training_stages import finetune, pretrain
from contrabench.store.stages import StageOutput, StageStore
from contrabench.training.checkpoint import load_weights
from contrabench.training.multi_device import train_on
from contrabench.training.runtime import Runtime

TRACKING = "tracking"


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
            before = self._weights("pretrain", node.inputs)
            self._train(self.runtime, pretrain, node, before, folder)
        elif node.kind == "finetune":
            before = self._weights("pretrain", node.inputs)
            self._train(self.runtime.alone(), finetune, node, before, folder)
        elif node.kind == "evaluate":
            self._evaluate(node, folder)
        else:
            write_run(node, self.blueprint, self.store, folder)
            tracking = self.store.root / TRACKING
            track_scores(self.runtime, self.reporter, self.blueprint, node, folder, tracking)

    def _train(
        self,
        runtime: Runtime,
        stage: Callable[[Runtime, Reporter, Blueprint, Node, Path | None, Path, Path], None],
        node: Node,
        before: Path | None,
        folder: Path,
    ) -> None:
        tracking = self.store.root / TRACKING
        train_on(runtime, self.reporter, stage, self.blueprint, node, before, folder, tracking)

    def _evaluate(self, node: Node, folder: Path) -> None:
        began = time.monotonic()
        blueprint, runtime = self.blueprint, self.runtime.alone()
        segmenter = blueprint.segmenter(blueprint.backbone())
        weights = self.store.folder("finetune", node.inputs[-1]) / WEIGHTS
        audit.check_last_step(header(weights), blueprint.finetune_steps)
        segmenter.load_state_dict(load_weights(weights))
        segmenter.to(runtime.torch_device)
        cases, dataset = blueprint.test_cases(), blueprint.plan.dataset
        score_cases(segmenter, cases, dataset, folder, runtime, self.reporter)
        record = {"seconds": time.monotonic() - began, "runtime": runtime.record()}
        write_text(folder / RECORD, json.dumps(record, indent=1))

    def _weights(self, kind: Kind, inputs: Sequence[str]) -> Path | None:
        """The weights that a stage starts from, or None."""
        return self.store.folder(kind, inputs[-1]) / WEIGHTS if inputs else None
