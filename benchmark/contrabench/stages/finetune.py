"""Fine-tuning: the segmenter on the labelled slices, from the parts that were handed over."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from contrabench.protocol import digest, seed_for
from contrabench.stages import audit
from contrabench.stages.kind import Kind, Making, Node, of_kind

if TYPE_CHECKING:
    from contrabench.stages.run import Run
    from contrabench.training.runtime import Runtime


class Finetune(Kind):
    """The supervised training that is the same for every method."""

    name = "finetune"
    order = 20
    plural = "fine-tunings"
    doing = "fine-tune"
    title = "fine-tuning"

    def nodes(self, run: Run, before: tuple[Node, ...]) -> tuple[Node, ...]:
        """One, from the last pre-training or from the seed's initial weights."""
        pretrained = of_kind(before, "pretrain")
        start = pretrained[-1].key if pretrained else None
        labelled = run.manifest.patients
        spec = {
            **run.training_spec(),
            "phase": run.spec.budget.finetune.model_dump(mode="json", exclude={"images"}),
            "steps": run.finetune_steps,
            "deep_supervision": run.spec.deviations.deep_supervision,
            "classes": run.classes,
            "data": run.data_of(labelled),
            "labelled": list(labelled),
            "input": start,
            "transfers": list(run.method.transfers()) if start else [],
        }
        same = ("pixels", "backbone", "precision", "phase", "deep_supervision", "classes")
        cost, inputs = digest({name: spec[name] for name in same}), (start,) if start else ()
        return (Node(self.name, "", spec, inputs, run.finetune_steps, cost),)

    def make(self, making: Making, node: Node, folder: Path) -> None:
        """Trains all weights on one augmented view of each labelled slice."""
        from contrabench.data.bank import build_bank
        from contrabench.model.weights import hand_off
        from contrabench.stages.trained import header_of, train
        from contrabench.training.checkpoint import load_weights
        from contrabench.training.step import Step
        from contrabench.training.tasks import FinetuneTask

        run, runtime = making.run, making.runtime.alone()
        backbone, phase, seeds = run.backbone(), run.spec.budget.finetune, run.spec.seeds
        transfer: dict[str, Any] = {"parts": [], "matched": 0, "parameters": 0}
        if before := making.weights("pretrain", node):
            audit.check_recipe(header_of(before), digest(run.dataset.recipe))
            weights = load_weights(before)
            transfer = hand_off(weights, backbone, run.method.transfers()).as_dict()
        model, patients = run.segmenter(backbone), run.manifest.patients
        bank = build_bank(run.cases, patients, patients, ("axial",), runtime.torch_device)
        seen = audit.check_bank(bank, run.split, run.manifest, labels=True)
        task = FinetuneTask(model, bank, phase, seeds)
        if runtime.compile:
            backbone.compile()
        step = Step(task, phase, runtime, node.units, seed_for("fine-tuning", seeds.views))
        train(making, node, folder, step, model, seen=seen, transfer=transfer)

    def seconds_per_unit(self, run: Run, node: Node, runtime: Runtime) -> float:
        """A few steps on synthetic slices."""
        from contrabench.data.synthetic import synthetic_bank
        from contrabench.training.step import Step
        from contrabench.training.tasks import FinetuneTask

        phase = run.spec.budget.finetune
        bank = synthetic_bank(run.spec.budget.pixels, run.classes - 1, runtime.torch_device)
        task = FinetuneTask(run.segmenter(run.backbone()), bank, phase, run.spec.seeds)
        return Step(task, phase, runtime, node.units).seconds()

    def disk(self, run: Run, node: Node) -> int:
        """Backbone and heads as float32."""
        from contrabench.training.tasks import count_parameters

        return 4 * count_parameters(run.segmenter(run.backbone()))


KIND = Finetune()
