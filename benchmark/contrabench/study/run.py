"""One run from prepared cases to rows, its stages one after another in this process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contrabench.data.prepare import PreparedCase
from contrabench.progress import Reporter
from contrabench.stages import audit
from contrabench.stages.blueprint import Blueprint
from contrabench.stages.making import Maker
from contrabench.stages.nodes import Node, nodes_of
from contrabench.stages.outputs import RUN_RECORD
from contrabench.stages.request import Plan
from contrabench.store.stages import StageStore
from contrabench.training.runtime import Runtime

_WORDS = {"finetune": "fine-tuning", "evaluate": "evaluation"}


@dataclass(frozen=True)
class RunResult:
    """A run that is done.

    Attributes:
        key: of the run.
        folder: holds `rows.parquet` and `run.json`.
        record: content of `run.json`.
        cached: whether the run was in the store already.
    """

    key: str
    folder: Path
    record: dict[str, Any]
    cached: bool


def run(
    plan: Plan,
    cases: Sequence[PreparedCase],
    store: Path,
    runtime: Runtime,
    reporter: Reporter,
) -> RunResult:
    """Carries out one run; whatever the store holds already is served from there.

    Args:
        plan: what to compute.
        cases: all prepared cases of the dataset.
        store: the store folder.
        runtime: device and switches.
        reporter: where progress is told.

    Raises:
        AuditError: if a rule of the protocol is broken.
        RunError: if training fails.
    """
    blueprint = Blueprint(plan, cases)
    # Before anything is trained; the record tells it again.
    audit.check_split(blueprint.split)
    maker = Maker(blueprint, StageStore(store, reporter), runtime, reporter)
    for node in nodes_of(blueprint):
        output = maker.run(node)
        if output.cached and node.kind != "runs":
            reporter.line(f"  {_title(node)}: served from the store")
    record = json.loads((output.folder / RUN_RECORD).read_text(encoding="utf-8"))
    return RunResult(output.key, output.folder, record, output.cached)


def _title(node: Node) -> str:
    return f"pre-training, {node.name}" if node.kind == "pretrain" else _WORDS[node.kind]
