"""Fine-tuning: the segmenter on the labelled slices, from the parts that were handed over.

A method may bring stages of its own: they see other slices beside the labelled ones, and add to the
supervised loss, which is the same for all.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from contrabench.protocol import digest, seed_for
from contrabench.stages import audit
from contrabench.stages.kind import Kind, Making, Node, of_kind
from contrabench.stages.recipe import unlabelled_batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from contrabench.contracts.method import JointStage
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
        pretrained = of_kind(before, "pretrain")
        start = pretrained[-1].key if pretrained else None
        labelled = run.manifest.patients
        common = {
            **run.training_spec(),
            "phase": run.spec.budget.finetune.model_dump(mode="json", exclude={"images"}),
            "deep_supervision": run.spec.deviations.deep_supervision,
            "classes": run.classes,
            "data": run.data_of(labelled),
            "labelled": list(labelled),
            "input": start,
            "transfers": list(run.method.transfers()) if start else [],
        }
        same = ["pixels", "backbone", "precision", "phase", "deep_supervision", "classes"]
        nodes: list[Node] = []
        for stage, steps in run.tuning:
            spec, inputs = {**common, "steps": steps}, (start,) if start else ()
            if stage is not None:
                others = [run.drawn(stream.draws) for stream in stage.streams]
                spec |= {
                    "method": run.tuner_spec(),
                    "stage": stage.model_dump(mode="json"),
                    "score": run.spec.deviations.score,
                    "streams": [run.data_of(patients) for patients in others],
                    "batch": unlabelled_batch(run.spec.budget, len(others) or 1),
                }
                same += ["method", "stage", "batch"]
                if nodes and not stage.restarts:
                    spec["before"] = nodes[-1].key
                    inputs = (nodes[-1].key,)
            cost = digest({name: spec[name] for name in same})
            name = f", {stage.name}" if stage else ""
            nodes.append(Node(self.name, name, spec, inputs, steps, cost))
        return tuple(nodes)

    def make(self, making: Making, node: Node, folder: Path) -> None:
        """Trains all weights on one augmented view of each labelled slice, and what a method adds.

        RequestError if the teacher is to be tested of a method that has none.
        """
        from contrabench.data.bank import build_bank
        from contrabench.model.weights import hand_off
        from contrabench.stages.trained import header_of, train
        from contrabench.training.checkpoint import load_weights
        from contrabench.training.step import Step
        from contrabench.training.tasks import FinetuneTask

        run, runtime = making.run, making.runtime.alone()
        backbone, phase, seeds = run.backbone(), run.spec.budget.finetune, run.spec.seeds
        transfer: dict[str, Any] = {"parts": [], "matched": 0, "parameters": 0}
        begun = "before" in node.spec
        before = making.weights(self.name if begun else "pretrain", node)
        if before:
            audit.check_recipe(header_of(before), digest(run.dataset.recipe))
        if before and not begun:
            weights = load_weights(before)
            transfer = hand_off(weights, backbone, run.method.transfers()).as_dict()
        model, patients = run.segmenter(backbone), run.manifest.patients
        if before and begun:
            model.load_state_dict(load_weights(before))
        bank = build_bank(run.cases, patients, patients, ("axial",), runtime.torch_device)
        seen = audit.check_bank(bank, run.split, run.manifest, labels=True)
        common = FinetuneTask(model, bank, phase, seeds)
        task: FinetuneTask | JointTask = common
        scored: Segmenter = model
        told: dict[str, Any] = {"seen": seen, "transfer": transfer}
        if (stage := _stage(run, node)) is not None:
            banks = [
                build_bank(run.cases, run.drawn(s.draws), None, ("axial",), runtime.torch_device)
                for s in stage.streams
            ]
            for other in banks:
                told["seen"] += f"; {audit.check_bank(other, run.split, run.manifest, False)}"
            task = joint = _joint(run, node, stage, common, banks)
            scored = _scored(run, joint)
            told["others"] = len(banks) * node.spec["batch"] * node.units
        if runtime.compile:
            backbone.compile()
        step = Step(task, phase, runtime, node.units, seed_for("fine-tuning", seeds.views))
        train(making, node, folder, step, scored, **told)

    def seconds_per_unit(self, run: Run, node: Node, runtime: Runtime) -> float:
        """A few steps on synthetic slices."""
        from contrabench.data.synthetic import synthetic_bank
        from contrabench.training.step import Step
        from contrabench.training.tasks import FinetuneTask

        phase, pixels = run.spec.budget.finetune, run.spec.budget.pixels
        bank = synthetic_bank(pixels, run.classes - 1, runtime.torch_device)
        common = FinetuneTask(run.segmenter(run.backbone()), bank, phase, run.spec.seeds)
        task: FinetuneTask | JointTask = common
        if (stage := _stage(run, node)) is not None:
            others = [synthetic_bank(pixels, 0, runtime.torch_device) for _ in stage.streams]
            task = _joint(run, node, stage, common, others)
        return Step(task, phase, runtime, node.units).seconds()

    def disk(self, run: Run, node: Node) -> int:
        """Backbone and heads as float32."""
        from contrabench.training.tasks import count_parameters

        return 4 * count_parameters(run.segmenter(run.backbone()))


KIND = Finetune()


def _stage(run: Run, node: Node) -> JointStage | None:
    """The method's own stage that a node stands for; None for the common one."""
    if "stage" not in node.spec:
        return None
    name = node.spec["stage"]["name"]
    return next(stage for stage, _ in run.tuning if stage is not None and stage.name == name)


def _joint(
    run: Run, node: Node, stage: JointStage, common: FinetuneTask, banks: Sequence[SliceBank]
) -> JointTask:
    """What is trained, the method's own networks and heads with the seed's initial weights."""
    from contrabench.training.tasks import JointTask, build_joint

    spec = run.spec
    names = ("joint objective", node.spec["method"]["name"], stage.name, spec.seeds.init)
    objective = build_joint(run.tuner, stage, common.model, *names)
    return JointTask(common, objective, stage, banks, node.spec["batch"], spec.seeds, node.units)


def _scored(run: Run, task: JointTask) -> Segmenter:
    """The network that is tested."""
    from contrabench.errors import RequestError
    from contrabench.model.segmentation import Segmenter

    if run.spec.deviations.score == "student":
        return task.common.model
    teacher = task.objective.teacher()
    if not isinstance(teacher, Segmenter):
        raise RequestError(
            f"'{run.spec.name}' has no teacher that could be tested; leave out score=teacher"
        )
    return teacher
