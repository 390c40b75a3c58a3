"""The stages of a run as nodes of a graph: their specifications, which are their keys.

Nothing is computed here, so that a plan can say what will run, and a worker anywhere can
tell whether it is about to make what the plan has promised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from contrabench.evaluation.metrics import METRIC_CONTRACT
from contrabench.protocol import PROTOCOL_VERSION, digest
from contrabench.stages.blueprint import Blueprint
from contrabench.stages.recipe import StageWork
from contrabench.store.stages import key_of

Kind = Literal["pretrain", "finetune", "evaluate", "runs"]


@dataclass(frozen=True)
class Node:
    """One stage of one run.

    Attributes:
        kind: what is made.
        name: of the pre-training stage; "" for other kinds.
        spec: all that the output depends on.
        inputs: keys of the stages whose output is read, in order; the last one is the one
            it starts from.
        units: optimiser steps, cases to score, or 0 for the rows.
        cost: nodes with the same one take as long for each unit.
        key: of the output in the store.
    """

    kind: Kind
    name: str
    spec: dict[str, Any]
    inputs: tuple[str, ...]
    units: int
    cost: str
    key: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", key_of(self.kind, self.spec))


def nodes_of(blueprint: Blueprint) -> tuple[Node, ...]:
    """The stages of a run in the order in which they are made: its last one is the rows."""
    nodes: list[Node] = []
    for work in blueprint.work:
        nodes.append(_pretrain(blueprint, work, nodes[-1].key if nodes else None))
    pretrained = tuple(node.key for node in nodes)
    tuned = _finetune(blueprint, pretrained[-1] if pretrained else None)
    scored = _evaluate(blueprint, tuned.key)
    return (*nodes, tuned, scored, _rows(blueprint, (*pretrained, tuned.key, scored.key)))


def _common(blueprint: Blueprint) -> dict[str, Any]:
    """What every stage that trains depends on."""
    spec = blueprint.plan.spec
    return {
        "protocol_version": PROTOCOL_VERSION,
        "recipe": blueprint.plan.data_recipe.model_dump(mode="json"),
        "pixels": spec.budget.pixels,
        "backbone": spec.backbone.model_dump(mode="json"),
        "precision": spec.precision,
        "seeds": spec.seeds.model_dump(mode="json", include={"init", "views", "order"}),
    }


def _data(blueprint: Blueprint, patients: Sequence[str]) -> dict[str, str]:
    """The prepared volumes of some patients, by case."""
    return {case.case: case.fingerprint for case in blueprint.cases if case.patient in patients}


def _pretrain(blueprint: Blueprint, work: StageWork, before: str | None) -> Node:
    plan, stage = blueprint.plan, work.stage
    spec = {
        **_common(blueprint),
        "method": plan.method_spec(),
        "stage": stage.model_dump(mode="json"),
        "steps": work.steps,
        "phase": work.phase.model_dump(mode="json", exclude={"images"}),
        "orientations": list(blueprint.orientations),
        "data": _data(blueprint, blueprint.pool(stage)),
        "labelled": list(blueprint.manifest.patients) if stage.labels else None,
        "input": before,
    }
    cost = {name: spec[name] for name in ("pixels", "backbone", "precision", "method", "stage")}
    return Node(
        kind="pretrain",
        name=stage.name,
        spec=spec,
        inputs=(before,) if before else (),
        units=work.steps,
        cost=digest({**cost, "phase": spec["phase"]}),
    )


def _finetune(blueprint: Blueprint, before: str | None) -> Node:
    plan = blueprint.plan
    manifest = blueprint.manifest
    spec = {
        **_common(blueprint),
        "phase": plan.spec.budget.finetune.model_dump(mode="json", exclude={"images"}),
        "steps": blueprint.finetune_steps,
        "deep_supervision": plan.spec.deviations.deep_supervision,
        "classes": blueprint.classes,
        "data": _data(blueprint, manifest.patients),
        "labelled": list(manifest.patients),
        "input": before,
        "transfers": list(plan.method.transfers()) if before else [],
    }
    same = ("pixels", "backbone", "precision", "phase", "deep_supervision", "classes")
    return Node(
        kind="finetune",
        name="",
        spec=spec,
        inputs=(before,) if before else (),
        units=blueprint.finetune_steps,
        cost=digest({name: spec[name] for name in same}),
    )


def _evaluate(blueprint: Blueprint, model: str) -> Node:
    plan = blueprint.plan
    spec = {
        "protocol_version": PROTOCOL_VERSION,
        "model": model,
        "data": _data(blueprint, blueprint.split.test),
        "structures": [item.model_dump(mode="json") for item in plan.dataset.structures],
        "metric_contract": METRIC_CONTRACT,
    }
    pixels, width = plan.spec.budget.pixels, plan.spec.backbone.width
    return Node(
        kind="evaluate",
        name="",
        spec=spec,
        inputs=(model,),
        units=len(blueprint.test_cases()),
        cost=digest({"evaluate": plan.spec.dataset, "pixels": pixels, "width": width}),
    )


def _rows(blueprint: Blueprint, inputs: tuple[str, ...]) -> Node:
    spec = {
        "protocol": blueprint.protocol.model_dump(mode="json"),
        "method": blueprint.plan.method_spec(),
        "run": blueprint.plan.spec.model_dump(mode="json"),
        "scores": inputs[-1],
    }
    return Node(kind="runs", name="", spec=spec, inputs=inputs, units=0, cost="rows")
