"""Fine-tuning: the segmenter on the labelled slices, from the parts that were handed over.

A method may bring stages of its own: they see other slices beside the labelled ones, and add to the
supervised loss, which is the same for all.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from contrabench.contracts.views import FINETUNE_VIEWS
from contrabench.protocol import HEAD, digest, seed_for
from contrabench.stages import audit
from contrabench.stages.external import EXTERNAL
from contrabench.stages.kind import (
    HEAD_WEIGHTS,
    WEIGHTS,
    Kind,
    Making,
    Node,
    of_kind,
    weights_after,
)
from contrabench.stages.pseudo_label import fill, labelling
from contrabench.stages.recipe import unlabelled_batches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from contrabench.contracts.method import JointStage
    from contrabench.contracts.objective import JointObjective, Network
    from contrabench.contracts.views import ViewSpec
    from contrabench.data.bank import SliceBank
    from contrabench.model.segmentation import Segmenter
    from contrabench.stages.run import Run
    from contrabench.training.runtime import Runtime
    from contrabench.training.tasks import FinetuneTask, JointTask


class Finetune(Kind):
    """The supervised training that is the same for every method, or joint stages around it."""

    name = "finetune"
    order = 20
    plural = "fine-tunings"
    doing = "fine-tune{name}"
    title = "fine-tuning{name}"

    def nodes(self, run: Run, before: tuple[Node, ...]) -> tuple[Node, ...]:
        """One, or those of the method, each from the one before or from where the first begins."""
        pretrained = of_kind(before, "pretrain") or of_kind(before, EXTERNAL)
        start = pretrained[-1].key if pretrained else None
        common = {
            **run.training_spec(),
            "phase": run.spec.budget.finetune.model_dump(mode="json", exclude={"images"}),
            "deep_supervision": run.spec.deviations.deep_supervision,
            "view": _view(run).model_dump(mode="json"),
            "pace": run.pace.model_dump(mode="json"),
            "classes": run.classes,
            "data": run.data_of(run.drawn("labelled")),
            "labelled": list(run.manifest.patients),
            "input": start,
            "transfers": list(run.method.transfers()) if start else [],
            **({"loss": run.loss.identity} if run.loss else {}),
        }
        same = ["pixels", "backbone", "precision", "phase", "deep_supervision", "classes"]
        same += ["loss"] if run.loss else []
        nodes: list[Node] = []
        for number, (stage, steps) in enumerate(run.tuning, start=1):
            marks = sorted({step for _, at, step in run.along if at == number})
            spec, model = {**common, "steps": steps, "marks": marks}, nodes[-1].key if nodes else ""
            inputs = [start] if start else []
            if stage is not None:
                streams = [run.drawn(stream.draws) for stream in stage.streams]
                guessed = [
                    labelling(run, stage, place, cases, model)
                    for place, cases in enumerate(streams)
                ]
                nodes += [node for node in guessed if node is not None]
                spec |= {
                    "method": run.tuner_spec(),
                    "stage": stage.model_dump(mode="json", exclude={"passes"}),
                    "streams": [run.data_of(cases) for cases in streams],
                    "batches": unlabelled_batches(run.spec.budget, stage.streams, run.tuning),
                    "pseudo_labels": [node.key if node else None for node in guessed],
                }
                if model and not stage.restarts:
                    spec["before"], inputs = model, [model]
                inputs = [*(node.key for node in guessed if node), *inputs]
                same += [name for name in ("method", "stage", "batches") if name not in same]
            if number == len(run.tuning) and run.spec.deviations.score == "teacher":
                spec["score"] = "teacher"
            cost = digest({name: spec[name] for name in same})
            name = f" ({stage.name})" if stage else ""
            nodes.append(Node(self.name, name, spec, tuple(inputs), steps, cost))
        return tuple(nodes)

    def make(self, making: Making, node: Node, folder: Path) -> None:
        """Trains all weights on a view of each labelled slice, and with what a method adds."""
        from contrabench.data.bank import build_bank
        from contrabench.stages.trained import train
        from contrabench.training.step import Step
        from contrabench.training.tasks import FinetuneTask

        run, runtime = making.run, making.runtime.alone()
        phase, seeds = run.spec.budget.finetune, run.seeds
        model, transfer = _begun(making, node)
        patients = run.manifest.patients
        bank = build_bank(run.drawn("labelled"), patients, ("axial",), runtime.torch_device)
        seen = [audit.check_bank(bank, run.split, patients)]
        handed = node.spec["transfers"]
        common = FinetuneTask(
            *(model, bank, phase, seeds, _view(run), handed, run.pace),
            loss=run.loss.open() if run.loss else None,
        )
        task: FinetuneTask | JointTask = common
        objective: JointObjective | None = None
        others = 0
        if (stage := _stage(run, node)) is not None:
            banks, shown = _banks(making, node, stage)
            seen += shown
            task = joint = _joint(run, node, stage, common, banks)
            objective = joint.objective
            others = sum(node.spec["batches"]) * node.units
        scored: Network = model
        if "score" in node.spec:
            scored = (objective and objective.teacher()) or common.averaged()
        step = Step(task, phase, runtime, node.units, seed_for("fine-tuning", seeds.views))
        views = [len(stream.views) for stream in stage.streams] if stage else []
        told = {"seen": "; ".join(seen), "transfer": transfer, "others": others, "views": views}
        train(
            making,
            node,
            folder,
            step,
            scored,
            {step: weights_after(step) for step in node.spec["marks"]},
            **told,
        )

    def seconds_per_unit(self, run: Run, node: Node, runtime: Runtime) -> float:
        """A few steps on synthetic slices."""
        from contrabench.data.synthetic import synthetic_bank
        from contrabench.training.step import Step
        from contrabench.training.tasks import FinetuneTask

        phase, pixels = run.spec.budget.finetune, run.spec.budget.pixels
        structures, channels = run.classes - 1, len(run.dataset.channels)
        bank = synthetic_bank(pixels, structures, runtime.torch_device, channels)
        model, loss = run.segmenter(run.backbone()), run.loss.open() if run.loss else None
        common = FinetuneTask(model, bank, phase, run.seeds, loss=loss)
        task: FinetuneTask | JointTask = common
        if (stage := _stage(run, node)) is not None:
            others = synthetic_banks(stage, pixels, structures, channels, runtime)
            task = _joint(run, node, stage, common, others)
        return Step(task, phase, runtime, node.units).seconds()

    def disk(self, run: Run, node: Node) -> int:
        """Backbone and heads as float32."""
        from contrabench.training.tasks import count_parameters

        return (4 + 2 * len(node.spec["marks"])) * count_parameters(run.segmenter(run.backbone()))


KIND = Finetune()


def _view(run: Run) -> ViewSpec:
    """What is seen of a labelled slice."""
    return FINETUNE_VIEWS[run.spec.deviations.augmentation]


def _stage(run: Run, node: Node) -> JointStage | None:
    """The method's own stage that a node stands for; None for the common one."""
    if "stage" not in node.spec:
        return None
    name = node.spec["stage"]["name"]
    return next(stage for stage, _ in run.tuning if stage is not None and stage.name == name)


def _begun(making: Making, node: Node) -> tuple[Segmenter, dict[str, Any]]:
    """The network as a stage begins it, and what was handed over from pre-training."""
    from contrabench.model.weights import hand_off
    from contrabench.stages.trained import header_of
    from contrabench.training.checkpoint import load_weights

    run, backbone = making.run, making.run.backbone()
    transfer: dict[str, Any] = {"parts": [], "matched": 0, "parameters": 0}
    before, pretrained = node.spec.get("before"), node.spec["input"]
    first = "pretrain" if run.work else EXTERNAL
    kind, key = (Finetune.name, before) if before else (first, pretrained)
    if key is None:
        return run.segmenter(backbone), transfer
    path = making.store.folder(kind, key) / WEIGHTS
    audit.check_recipe(header_of(path), digest(run.dataset.recipe))
    weights, parts = load_weights(path), run.method.transfers()
    if not before:
        transfer = hand_off(weights, backbone, [one for one in parts if one != HEAD]).as_dict()
    model = run.segmenter(backbone)
    if before:
        model.load_state_dict(weights)
    elif HEAD in parts:
        head = load_weights(path.with_name(HEAD_WEIGHTS))
        model.heads[0].load_state_dict(head)
        transfer |= {"parts": parts, "matched": transfer["matched"] + len(head)}
    return model, transfer


def _banks(making: Making, node: Node, stage: JointStage) -> tuple[list[SliceBank], list[str]]:
    """The slices of each stream of a stage with the masks that travel, and what shows the rules."""
    from contrabench.data.bank import build_bank

    run, device = making.run, making.runtime.alone().torch_device
    banks, told = [], []
    for stream, labels in zip(stage.streams, node.spec["pseudo_labels"], strict=True):
        cases, masked = run.drawn(stream.draws), stream.masks != "none"
        usable = {case.patient for case in cases} & set(run.manifest.patients)
        bank = build_bank(cases, usable if masked else None, ("axial",), device)
        told.append(audit.check_bank(bank, run.split, usable if masked else ()))
        if labels:
            told.append(fill(bank, cases, making.store.folder("pseudo_label", labels)))
        banks.append(bank)
    return banks, told


def _joint(
    run: Run, node: Node, stage: JointStage, common: FinetuneTask, banks: Sequence[SliceBank]
) -> JointTask:
    """What is trained, the method's own networks and heads with the seed's initial weights."""
    from contrabench.training.tasks import JointTask, build_joint

    names = ("joint objective", node.spec["method"]["name"], stage.name, run.seeds.init)
    objective = build_joint(run.tuner, stage, common.model, *names)
    return JointTask(common, objective, stage, banks, node.spec["batches"], run.seeds, node.units)


def synthetic_banks(
    stage: JointStage, pixels: int, structures: int, channels: int, runtime: Runtime
) -> list[SliceBank]:
    """Synthetic slices for each stream of a joint stage, with masks where some travel."""
    from contrabench.data.synthetic import synthetic_bank

    masked = [stream.masks != "none" for stream in stage.streams]
    device = runtime.torch_device
    return [synthetic_bank(pixels, structures * has, device, channels) for has in masked]
