"""The rows of a run, its last stage: scores under its protocol, and a record to trust them by."""

from __future__ import annotations

import json
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import contrabench
from contrabench.contracts import conformity
from contrabench.data.splits import save_manifest
from contrabench.files import write_text
from contrabench.protocol import digest
from contrabench.stages import audit
from contrabench.stages.evaluate import SCORES
from contrabench.stages.kind import Kind, Making, Node, nodes_of, of_kind, read_record
from contrabench.stages.leakage import outside_spec
from contrabench.store.rows import ROWS_FILE, ResultRow, write_rows
from contrabench.store.runs import RUN_RECORD
from contrabench.store.stages import RUNS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from contrabench.stages.run import Run

_BYTES = 60_000
"""Rows and record of one run."""
_TRACKED = ("dice", "asd_mm", "asd_voxel")
_PACKAGES = (
    *("torch", "monai", "lightly", "numpy", "scipy"),
    *("scikit-learn", "nibabel", "safetensors"),
)


class Rows(Kind):
    """One row for each case and structure, and the record of the run."""

    name = RUNS
    order = 40
    plural = "rows of runs"
    doing = "rows of"
    title = "scores"
    device = "none"

    def nodes(self, run: Run, before: tuple[Node, ...]) -> tuple[Node, ...]:
        """One, of everything that the run rests on; none where nobody is tested."""
        if not run.split.test:
            return ()
        spec = {
            "protocol": run.protocol.model_dump(mode="json"),
            "method": run.method_spec(),
            "run": run.asked,
            "scores": before[-1].key,
            **outside_spec(run),
        }
        inputs = tuple(node.key for node in before)
        return (Node(self.name, "", spec, inputs, units=0, cost=self.name),)

    def make(self, making: Making, node: Node, folder: Path) -> None:
        """Leaves `rows.parquet` and `run.json`, and tells the trackers the mean scores."""
        scores = making.store.folder("evaluate", node.inputs[-1]) / SCORES
        rows = _rows(node.key, making.run, json.loads(scores.read_text(encoding="utf-8")))
        write_rows(folder / ROWS_FILE, rows)
        write_text(folder / RUN_RECORD, json.dumps(record_of(making, node), indent=1) + "\n")
        for line in node.spec.get("outside", {}).get("told", ())[1:]:
            making.reporter.line(f"{making.run.spec.variant()}: {line}")
        if making.runtime.trackers:
            _track(making, node, folder)

    def disk(self, run: Run, node: Node) -> int:
        """About the same for all."""
        return _BYTES


KIND = Rows()


def _rows(key: str, run: Run, scores: list[dict[str, Any]]) -> list[ResultRow]:
    """The rows of a run, in the order of cases and structures."""
    spec, info = run.spec, run.info
    common: dict[str, Any] = {
        "run": key,
        "protocol": digest(run.protocol),
        "dataset": spec.dataset,
        "budget": spec.budget.name,
        "method": spec.name,
        "method_version": info.version,
        "variant": spec.variant(),
        "recipe": spec.recipe,
        "family": info.family,
        "fidelity": info.fidelity,
        "deviations": "; ".join(spec.deviations.labels(spec.budget)),
        "labels": run.manifest.labels,
        "fraction": run.manifest.fraction,
        "labelled_patients": len(run.manifest.patients),
        "train_patients": len(run.split.train),
        "test_patients": len(run.split.test),
        "fold": spec.fold,
        "folds": spec.folds,
        "draw": spec.draw,
        "seed": spec.seeds.init,
        "rates": spec.rates,
    }
    return [
        ResultRow(**common, **{name: value for name, value in score.items() if name != "file"})
        for score in scores
    ]


def record_of(making: Making, node: Node) -> dict[str, Any]:
    """What a reader needs to trust, cost and repeat the run that ends with a node."""
    from contrabench.training.tasks import count_parameters

    run, store = making.run, making.store
    nodes = nodes_of(run)
    before, tuned, guessed = (
        {one.key: read_record(store.folder(kind, one.key)) for one in of_kind(nodes, kind)}
        for kind in ("pretrain", "finetune", "pseudo_label")
    )
    trained, dataset = {**before, **tuned}, run.dataset
    scored = {
        one.key: read_record(store.folder("evaluate", one.key))
        for one in of_kind(nodes, "evaluate")
    }
    tuning = [*guessed.values(), *tuned.values()]
    outside = node.spec.get("outside", {})
    splits = store.root / "splits"
    return {
        "run": node.key,
        "finished": time.strftime("%Y-%m-%d", time.gmtime()),
        "stages": {
            "pretrain": list(before),
            "pseudo_label": list(guessed),
            "joint": list(tuned)[:-1],
            "finetune": list(tuned)[-1],
            "evaluate": next(iter(scored), ""),
        },
        "variant": run.spec.variant(),
        "spec": run.spec.model_dump(mode="json"),
        "protocol": {"hash": digest(run.protocol), **run.protocol.model_dump(mode="json")},
        "structures": [structure.model_dump(mode="json") for structure in dataset.structures],
        "channels": list(dataset.channels),
        "method": run.method_spec()
        | {
            "info": run.info.model_dump(mode="json"),
            "checked": _checked(run),
            "labels": run.method.label_dependent(),
        },
        "marks": [*run.from_outside, *outside.get("told", ()), *_marks(trained.values())],
        "outside": outside,
        "from_outside": run.from_outside,
        "deviations": list(run.spec.deviations.labels(run.spec.budget)),
        "recipe": [work.note for work in run.work if work.note],
        "patients": {
            "train": list(run.split.train),
            "labelled": list(run.manifest.patients),
            "test": list(run.split.test),
        },
        "volumes": {
            "labelled": sum(case.labelled for case in run.cases),
            "unlabelled": sum(not case.labelled for case in run.cases),
            "of_the_pool": sum(bool(case.pool) for case in run.cases),
        },
        "manifests": {
            "split": save_manifest(splits, "split", run.split),
            "labels": save_manifest(splits, "labels", run.manifest),
        },
        "outside_field_of_view": {
            case.case: case.outside for case in run.cases if case.outside > 0
        },
        "images": {
            "pretrain": [record["images"] for record in before.values()],
            "finetune": sum(record["images"] for record in tuned.values()),
            "beside": sum(record["others"] for record in tuned.values()),
        },
        "cost": {
            "pretrain_seconds": sum(record["seconds"] for record in before.values()),
            "finetune_seconds": sum(record["seconds"] for record in tuning),
            "evaluate_seconds": sum(record["seconds"] for record in scored.values()),
            "peak_memory_mb": max(record["peak_memory_mb"] for record in trained.values()),
            "parameters": count_parameters(run.segmenter(run.backbone())),
            "pretraining_heads": sum(record["heads"] for record in before.values()),
        },
        "resumed": {key: r["resumed_at"] for key, r in trained.items() if r["resumed_at"]},
        "training": trained,
        "audit": audit.evidence(run, list(before.values()), list(tuned.values())),
        "initial_weights": run.initial_digest(),
        "environment": environment(),
    }


def _checked(run: Run) -> dict[str, Any]:
    """What the conformance kit found of a plug-in; of two, of the one that did worse."""
    asked = ((run.method, run.method_spec()), (run.tuner, run.tuner_spec()))
    known = [
        conformity.found(spec["code"], one.options.model_dump(mode="json"))
        for one, spec in asked
        if not conformity.is_ours(type(one).__module__)
    ]
    worst = (conformity.PASSED, conformity.UNKNOWN, conformity.FAILED)
    return max(known, key=lambda one: worst.index(one["outcome"]), default={})


def _marks(trained: Iterable[dict[str, Any]]) -> list[str]:
    """What a reader of the numbers must know of how they were trained, in words."""
    found = []
    for record in trained:
        if read := record.get("read"):
            found.append(f"read while running: {', '.join(read)}")
        counts = record.get("counts", {})
        seen, declared = counts.get("images", 0), counts.get("declared", 0)
        if seen > declared:
            found.append(
                f"images seen: {seen:g} in a step go through the network with a gradient, where "
                f"{declared:g} slices and views are drawn"
            )
    return list(dict.fromkeys(found))


def _track(making: Making, node: Node, folder: Path) -> None:
    """Tells the trackers the mean scores of the rows that are written."""
    import pandas as pd

    from contrabench.stages.trained import tracked
    from contrabench.statistics.aggregate import macro_mean

    with (folder / ROWS_FILE).open("rb") as file:
        rows = pd.read_parquet(file)
    known = [metric for metric in _TRACKED if rows[metric].notna().any()]
    with tracked(making, node) as tracker:
        tracker.log({f"evaluate/{metric}": macro_mean(rows, metric) for metric in known}, 0)


def environment() -> dict[str, str]:
    """Python, platform and package versions; no host name, no path."""
    found = {"contrabench": contrabench.__version__, "python": platform.python_version()}
    found["platform"] = f"{platform.system()} {platform.machine()}"
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found
