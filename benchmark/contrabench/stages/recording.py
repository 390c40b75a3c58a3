"""The last stage of a run: its rows, and the record that a reader needs to trust them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from contrabench.data.splits import save_manifest
from contrabench.evaluation.metrics import StructureScore
from contrabench.files import write_text
from contrabench.protocol import digest
from contrabench.stages import audit
from contrabench.stages.blueprint import Blueprint
from contrabench.stages.environment import environment
from contrabench.stages.nodes import Node
from contrabench.stages.outputs import RUN_RECORD, SCORES, read_record
from contrabench.store.rows import ROWS_FILE, ResultRow, write_rows
from contrabench.store.stages import StageStore
from contrabench.training.tasks import count_parameters


def write_run(node: Node, blueprint: Blueprint, store: StageStore, folder: Path) -> None:
    """Leaves `rows.parquet` and `run.json` of a run whose stages are done.

    Args:
        node: the run's last one.
        blueprint: the run on its data.
        store: holds the stages.
        folder: of the run, to be filled.

    Raises:
        AuditError: rules 1, 6 and 9, if split, labels or images seen break them.
        RunError: if a stage is not there.
    """
    *pretrained, tuned, scored = node.inputs
    scores = store.folder("evaluate", scored) / SCORES
    rows = _rows(node.key, blueprint, json.loads(scores.read_text(encoding="utf-8")))
    write_rows(folder / ROWS_FILE, rows)
    record = {
        "run": node.key,
        "stages": {"pretrain": pretrained, "finetune": tuned, "evaluate": scored},
        **_record(node, blueprint, store),
    }
    write_text(folder / RUN_RECORD, json.dumps(record, indent=1) + "\n")


def _rows(key: str, blueprint: Blueprint, scores: list[dict[str, Any]]) -> list[ResultRow]:
    """The rows of a run, in the order of cases and structures."""
    plan, manifest, split = blueprint.plan, blueprint.manifest, blueprint.split
    spec, info = plan.spec, plan.method.info
    known = plan.dataset.info.spacing_known
    rows = []
    for item in scores:
        fields = {name: item[name] for name in StructureScore.__dataclass_fields__}
        rows.append(
            ResultRow(
                run=key,
                protocol=digest(blueprint.protocol),
                dataset=spec.dataset,
                budget=spec.budget.name,
                method=spec.method,
                method_version=info.version,
                variant=plan.variant(),
                recipe=spec.recipe,
                family=info.family,
                fidelity=info.fidelity,
                deviations="; ".join(spec.deviations.labels()),
                labels=manifest.labels,
                fraction=manifest.fraction,
                labelled_patients=len(manifest.patients),
                train_patients=len(split.train),
                test_patients=len(split.test),
                fold=spec.fold,
                folds=spec.folds,
                draw=spec.draw,
                seed=spec.seeds.init,
                patient=item["patient"],
                case=item["case"],
                **StructureScore(**fields).columns(known),
            )
        )
    return rows


def _record(node: Node, blueprint: Blueprint, store: StageStore) -> dict[str, Any]:
    """What a reader needs to trust, cost and repeat the run."""
    plan, split, manifest = blueprint.plan, blueprint.split, blueprint.manifest
    *pretrained, tuned, scored = node.inputs
    before = {key: read_record(store.folder("pretrain", key)) for key in pretrained}
    after = read_record(store.folder("finetune", tuned))
    trained = {**before, tuned: after}
    scoring = read_record(store.folder("evaluate", scored))["seconds"]
    splits = store.root / "splits"
    evidence = _evidence(blueprint, list(before.values()), after)
    return {
        "variant": plan.variant(),
        "spec": plan.spec.model_dump(mode="json"),
        "protocol": {
            "hash": digest(blueprint.protocol),
            **blueprint.protocol.model_dump(mode="json"),
        },
        "method": plan.method_spec() | {"info": plan.method.info.model_dump(mode="json")},
        "deviations": list(plan.spec.deviations.labels()),
        "recipe": [work.note for work in blueprint.work if work.note],
        "patients": {
            "train": list(split.train),
            "labelled": list(manifest.patients),
            "test": list(split.test),
        },
        "manifests": {
            "split": save_manifest(splits, "split", split),
            "labels": save_manifest(splits, "labels", manifest),
        },
        "outside_field_of_view": {
            case.case: case.outside
            for case in blueprint.cases
            if case.labelled and math.isfinite(case.outside) and case.outside > 0
        },
        "images": {
            "pretrain": [record["images"] for record in before.values()],
            "finetune": after["images"],
        },
        "cost": {
            "pretrain_seconds": sum(record["seconds"] for record in before.values()),
            "finetune_seconds": after["seconds"],
            "evaluate_seconds": scoring,
            "peak_memory_mb": max(record["peak_memory_mb"] for record in trained.values()),
            "parameters": count_parameters(blueprint.segmenter(blueprint.backbone())),
            "pretraining_heads": sum(record["heads"] for record in before.values()),
        },
        "resumed": {key: r["resumed_at"] for key, r in trained.items() if r["resumed_at"]},
        "training": trained,
        "audit": [
            {"rule": rule, "title": audit.RULES[rule], "evidence": evidence[rule]}
            for rule in sorted(evidence)
        ],
        "initial_weights": blueprint.initial_digest(),
        "environment": environment(),
    }


def _evidence(
    blueprint: Blueprint, before: list[dict[str, Any]], after: dict[str, Any]
) -> dict[int, list[str]]:
    """What shows that each rule was kept: checked here, or by the stages themselves."""
    plan, cases, transfer = blueprint.plan, blueprint.cases, after["transfer"]
    images = audit.check_images(
        plan.spec.budget,
        [record["images"] for record in before],
        after["images"],
        plan.method.finetune_extra,
        [work.phase.batch for work in blueprint.work],
    )
    found = {
        1: [audit.check_split(blueprint.split), *(record["seen"] for record in before)],
        2: [after["seen"]],
        3: [f"weights of step {after['steps']}, the last"],
        4: [
            f"{record['trained']} parameters trained, each with a gradient"
            for record in (*before, after)
        ],
        5: [f"{record['views']} views, apart in memory and content" for record in before],
        6: [audit.check_labels(cases, blueprint.classes)],
        7: [f"{transfer['matched']} tensors of {', '.join(transfer['parts']) or 'no part'}"],
        8: [f"recipe {digest(plan.data_recipe)} in all phases"],
        9: [images],
    }
    return {rule: lines for rule, lines in found.items() if lines}
