"""Pre-training: one stage of a method, from initial weights or those of the stage before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from contrabench.progress import Silent
from contrabench.protocol import digest, seed_for
from contrabench.stages import audit
from contrabench.stages.kind import HEAD_WEIGHTS, Kind, Making, Node
from contrabench.stages.recipe import StageWork

if TYPE_CHECKING:
    from contrabench.contracts.backbone import Backbone
    from contrabench.data.bank import SliceBank
    from contrabench.progress import Reporter
    from contrabench.stages.run import Run
    from contrabench.training.runtime import Runtime
    from contrabench.training.tasks import PretrainTask


_CONTROL = {
    "nothing": "it may see the masks of all training patients",
    "images": "noise stood for the images",
    "masks": "the masks were those of other patients' slices",
}


class Pretrain(Kind):
    """The stages that a method declares."""

    name = "pretrain"
    order = 10
    plural = "pre-trainings"
    doing = "pre-train {name} of"
    title = "pre-training, {name}"

    def nodes(self, run: Run, before: tuple[Node, ...]) -> tuple[Node, ...]:
        """One for each stage of the method, each starting from the one before."""
        nodes: list[Node] = []
        for work in run.work:
            nodes.append(self._node(run, work, nodes[-1].key if nodes else None))
        return tuple(nodes)

    def _node(self, run: Run, work: StageWork, before: str | None) -> Node:
        stage = work.stage
        spec = {
            **run.training_spec(),
            "method": run.method_spec(),
            "stage": stage.model_dump(mode="json", exclude={"passes"}),
            "steps": work.steps,
            "phase": work.phase.model_dump(mode="json", exclude={"images"}),
            "orientations": list(run.spec.deviations.orientations),
            "data": run.data_of(run.pool(stage)),
            "labelled": list(run.seen_masks(stage)) if stage.labels else None,
            "input": before,
        }
        same = ("pixels", "backbone", "precision", "method", "stage", "phase")
        cost, inputs = digest({name: spec[name] for name in same}), (before,) if before else ()
        return Node(self.name, stage.name, spec, inputs, work.steps, cost)

    def make(self, making: Making, node: Node, folder: Path) -> None:
        """Trains the stage, on several devices if the runtime has them."""
        from contrabench.training.multi_device import train_on

        # A reporter is of one process.
        sent = making.telling(Silent())
        train_on(making.runtime, making.reporter, pretrain, sent, node, folder)

    def seconds_per_unit(self, run: Run, node: Node, runtime: Runtime) -> float:
        """A few steps on synthetic slices."""
        from contrabench.data.synthetic import synthetic_bank
        from contrabench.training.step import Step

        work = _work(run, node)
        structures = run.classes - 1 if work.stage.labels else 0
        channels = len(run.dataset.channels)
        bank = synthetic_bank(run.spec.budget.pixels, structures, runtime.torch_device, channels)
        task = _task(run, work, run.backbone(), bank)
        return Step(task, work.phase, runtime, node.units).seconds()

    def disk(self, run: Run, node: Node) -> int:
        """The backbone as float32."""
        from contrabench.training.tasks import count_parameters

        return 4 * count_parameters(run.backbone())


KIND = Pretrain()


def pretrain(reporter: Reporter, sent: Making, node: Node, folder: Path) -> None:
    """Trains one stage, in a process for each device, from the weights before it or the seed's."""
    from contrabench.data.bank import build_bank, spoil
    from contrabench.stages.trained import train
    from contrabench.training.checkpoint import load_weights, save_weights
    from contrabench.training.sharding import is_first_process
    from contrabench.training.step import Step
    from contrabench.training.tasks import count_parameters

    making, run, runtime = sent.telling(reporter), sent.run, sent.runtime
    work, backbone, ways = _work(run, node), run.backbone(), run.spec.deviations.orientations
    stage = work.stage
    if before := making.weights("pretrain", node):
        backbone.load_state_dict(load_weights(before))
    labelled = run.seen_masks(stage) if stage.labels else None
    bank = build_bank(run.pool(stage), labelled, ways, runtime.torch_device)
    seen = audit.check_bank(bank, run.split, labelled or ())
    if stage.controls:
        bank = spoil(bank, stage.spoilt, seed_for("spoilt", stage.spoilt, run.seeds.views))
        seen += f"; a control: {_CONTROL[stage.spoilt]}"
    task = _task(run, work, backbone, bank)
    train(
        making,
        node,
        folder,
        Step(task, work.phase, runtime, node.units, seed_for(node.name, run.seeds.views)),
        backbone,
        seen=seen,
        heads=count_parameters(task.objective),
        views=len(stage.views),
        orientations=list(ways),
    )
    if (head := task.objective.segmentation_head()) is not None and is_first_process():
        save_weights(folder / HEAD_WEIGHTS, head.state_dict(), {})


def _work(run: Run, node: Node) -> StageWork:
    return next(work for work in run.work if work.stage.name == node.name)


def _task(run: Run, work: StageWork, backbone: Backbone, bank: SliceBank) -> PretrainTask:
    """What is trained, its heads with the seed's initial weights."""
    from contrabench.training.tasks import PretrainTask, build_objective

    spec, stage = run.spec, work.stage
    names = ("objective", spec.method, stage.name, run.seeds.init)
    objective = build_objective(run.method, stage, backbone, run.classes, *names)
    return PretrainTask(backbone, objective, stage, bank, work.phase, run.seeds)
