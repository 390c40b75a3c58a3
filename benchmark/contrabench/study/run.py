"""One run from volumes to rows: prepare, split, pre-train, fine-tune, evaluate, record."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contrabench.data.prepare import PreparedCase, prepare_dataset
from contrabench.data.splits import LabelManifest, Split, draw_labels, make_split, save_manifest
from contrabench.evaluation.metrics import METRIC_CONTRACT, StructureScore
from contrabench.files import write_text
from contrabench.progress import Reporter
from contrabench.protocol import Protocol, digest
from contrabench.store.rows import ROWS_FILE, ResultRow, write_rows
from contrabench.store.stages import StageOutput, StageStore
from contrabench.study import audit
from contrabench.study.environment import environment
from contrabench.study.request import Plan
from contrabench.study.scoring import SCORES
from contrabench.study.stages import Workshop, read_record
from contrabench.training.runtime import Runtime
from contrabench.training.tasks import count_parameters

RUN_RECORD = "run.json"


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


def prepare(plan: Plan, store: Path, reporter: Reporter) -> list[PreparedCase]:
    """Prepares every case of the dataset, or takes it from the cache.

    Raises:
        DataError: with one line for each fault of the input.
    """
    dataset = plan.dataset
    total = len(dataset.cases())
    with reporter.track("preparation", total) as track:
        return prepare_dataset(
            dataset,
            plan.spec.dataset,
            plan.data_recipe,
            plan.spec.budget.pixels,
            store / "prepared",
            progress=lambda done, _total, case: track.advance(done, case),
        )


def split_patients(plan: Plan, cases: Sequence[PreparedCase]) -> tuple[Split, LabelManifest]:
    """The fold and the label manifest of a plan."""
    labelled = {case.patient for case in cases if case.labelled}
    unlabelled = {case.patient for case in cases} - labelled
    spec = plan.spec
    split = make_split(
        sorted(labelled), sorted(unlabelled), spec.folds, spec.fold, spec.seeds.split
    )
    return split, draw_labels(split, spec.labels, spec.draw, spec.seeds.labels)


def protocol_of(plan: Plan, cases: Sequence[PreparedCase]) -> Protocol:
    """Everything the rows depend on except the method."""
    spec, dataset = plan.spec, plan.dataset
    return Protocol(
        dataset=spec.dataset,
        dataset_version=dataset.info.version,
        dataset_options=dataset.options.model_dump(mode="json"),
        data=digest({case.case: case.fingerprint for case in cases}),
        structures=tuple(structure.name for structure in dataset.structures),
        recipe=plan.data_recipe,
        folds=spec.folds,
        split_seed=spec.seeds.split,
        backbone=spec.backbone,
        budget=spec.budget,
        pretraining=spec.recipe,
        precision=spec.precision,
        metric_contract=METRIC_CONTRACT,
    )


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
    began = time.time()
    split, manifest = split_patients(plan, cases)
    protocol = protocol_of(plan, cases)
    stages = StageStore(store, reporter)
    shop = Workshop(plan, cases, split, manifest, stages, runtime, reporter)
    shop.note(1, audit.check_split(split))
    shop.note(6, audit.check_labels(cases, len(protocol.structures) + 1))
    files = {
        "split": save_manifest(store / "splits", "split", split),
        "labels": save_manifest(store / "splits", "labels", manifest),
    }
    pretrained = shop.pretrain()
    model = shop.finetune(pretrained[-1] if pretrained else None)
    scored = shop.evaluate(model)
    _collect_evidence(shop, pretrained, model)
    spec = {
        "protocol": protocol.model_dump(mode="json"),
        "method": plan.method_spec(),
        "run": plan.spec.model_dump(mode="json"),
        "scores": scored.key,
    }

    def make(folder: Path) -> None:
        key = digest({"kind": "runs", **spec})
        rows = _rows(key, plan, protocol, split, manifest, scored)
        write_rows(folder / ROWS_FILE, rows)
        record = _record(key, plan, protocol, shop, files, pretrained, model, scored, began)
        write_text(folder / RUN_RECORD, json.dumps(record, indent=1) + "\n")

    output = stages.run("runs", spec, make, base=".")
    record = json.loads((output.folder / RUN_RECORD).read_text(encoding="utf-8"))
    return RunResult(output.key, output.folder, record, output.cached)


def _collect_evidence(shop: Workshop, pretrained: list[StageOutput], model: StageOutput) -> None:
    """Notes what the stages' records say on the rules that they checked themselves."""
    records = [read_record(item) for item in pretrained]
    tuned = read_record(model)
    for record in (*records, tuned):
        shop.note(1 if record is not tuned else 2, record["seen"])
        shop.note(4, f"{record['trained']} parameters trained, each with a gradient")
    shop.note(3, f"weights of step {tuned['steps']}, the last")
    for record in records:
        shop.note(5, f"{record['views']} views, apart in memory and content")
    transfer = tuned["transfer"]
    shop.note(7, f"{transfer['matched']} tensors of {', '.join(transfer['parts']) or 'no part'}")
    shop.note(8, f"recipe {digest(shop.plan.data_recipe)} in all phases")
    images = [record["images"] for record in records]
    extra = shop.plan.method.finetune_extra
    batches = [work.phase.batch for work in shop.work]
    shop.note(9, audit.check_images(shop.plan.spec.budget, images, tuned["images"], extra, batches))


def _rows(
    key: str,
    plan: Plan,
    protocol: Protocol,
    split: Split,
    manifest: LabelManifest,
    scored: StageOutput,
) -> list[ResultRow]:
    """The rows of a run, in the order of cases and structures."""
    spec, info = plan.spec, plan.method.info
    known = plan.dataset.info.spacing_known
    rows = []
    for item in json.loads((scored.folder / SCORES).read_text(encoding="utf-8")):
        fields = {name: item[name] for name in StructureScore.__dataclass_fields__}
        rows.append(
            ResultRow(
                run=key,
                protocol=digest(protocol),
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


def _record(
    key: str,
    plan: Plan,
    protocol: Protocol,
    shop: Workshop,
    files: dict[str, str],
    pretrained: list[StageOutput],
    model: StageOutput,
    scored: StageOutput,
    began: float,
) -> dict[str, Any]:
    """What a reader needs to trust, cost and repeat the run."""
    records = {item.key: read_record(item) for item in (*pretrained, model)}
    trained = list(records.values())
    info = plan.method.info
    return {
        "run": key,
        "variant": plan.variant(),
        "spec": plan.spec.model_dump(mode="json"),
        "protocol": {"hash": digest(protocol), **protocol.model_dump(mode="json")},
        "method": plan.method_spec() | {"info": info.model_dump(mode="json")},
        "deviations": list(plan.spec.deviations.labels()),
        "recipe": [work.note for work in shop.work if work.note],
        "patients": {
            "train": list(shop.split.train),
            "labelled": list(shop.manifest.patients),
            "test": list(shop.split.test),
        },
        "manifests": files,
        "outside_field_of_view": {
            case.case: case.outside
            for case in shop.cases
            if case.labelled and math.isfinite(case.outside) and case.outside > 0
        },
        "stages": {
            "pretrain": [item.key for item in pretrained],
            "finetune": model.key,
            "evaluate": scored.key,
        },
        "images": {
            "pretrain": [records[item.key]["images"] for item in pretrained],
            "finetune": records[model.key]["images"],
        },
        "cost": {
            "pretrain_seconds": sum(records[item.key]["seconds"] for item in pretrained),
            "finetune_seconds": records[model.key]["seconds"],
            "wall_seconds": time.time() - began,
            "peak_memory_mb": max(item["peak_memory_mb"] for item in trained),
            "parameters": count_parameters(shop.skeleton()),
            "pretraining_heads": sum(records[item.key]["heads"] for item in pretrained),
        },
        "resumed": {k: r["resumed_at"] for k, r in records.items() if r["resumed_at"]},
        "training": records,
        "audit": [
            {"rule": rule, "title": audit.RULES[rule], "evidence": shop.evidence[rule]}
            for rule in sorted(shop.evidence)
        ],
        "initial_weights": shop.initial_digest(),
        "environment": environment(),
    }
