"""What of a run goes to trackers: the losses of its stages, and its scores at the end."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from contrabench.progress import Reporter
from contrabench.stages.blueprint import Blueprint
from contrabench.stages.nodes import Node
from contrabench.statistics.aggregate import macro_mean
from contrabench.store.rows import ROWS_FILE
from contrabench.training.runtime import Runtime
from contrabench.training.sharding import is_first_process
from contrabench.training.trackers import Tracker

_STAGES = {"finetune": "fine-tuning", "runs": "scores"}
_METRICS = ("dice", "asd_mm", "asd_voxel")


def tracked(
    runtime: Runtime, reporter: Reporter, blueprint: Blueprint, node: Node, folder: Path
) -> Tracker:
    """The trackers of a stage, to be closed with it; only the first of several devices has any.

    Args:
        runtime: names the trackers.
        reporter: is told when one fails.
        blueprint: the run.
        node: the stage.
        folder: of the trackers' own files.
    """
    spec = blueprint.plan.spec
    what = {
        "method": blueprint.plan.variant(),
        "stage": node.name or _STAGES[node.kind],
        "dataset": spec.dataset,
        "labels": spec.labels,
        "fold": spec.fold,
        "draw": spec.draw,
        "seed": spec.seeds.init,
        "budget": spec.budget.name,
        "steps": node.units,
    }
    names = runtime.trackers if is_first_process() else ()
    title = f"{what['method']}, {what['stage']}, {spec.labels}, fold {spec.fold}"
    return Tracker(names, folder, title, node.key, what, reporter)


def track_scores(
    runtime: Runtime, reporter: Reporter, blueprint: Blueprint, node: Node, run: Path, folder: Path
) -> None:
    """Tells the trackers the mean scores of a run whose rows are written.

    Args:
        runtime: names the trackers.
        reporter: is told when one fails.
        blueprint: the run.
        node: its rows.
        run: folder with the rows.
        folder: of the trackers' own files.
    """
    if not runtime.trackers:
        return
    rows = pd.read_parquet(run / ROWS_FILE)
    known = [metric for metric in _METRICS if rows[metric].notna().any()]
    with tracked(runtime, reporter, blueprint, node, folder) as tracker:
        tracker.log({f"evaluate/{metric}": macro_mean(rows, metric) for metric in known}, 0)
