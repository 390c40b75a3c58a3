"""Pre-training: one stage of a method, from initial weights or those of the stage before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from contrabench.protocol import Seeds, digest, seed_for
from contrabench.stages import audit
from contrabench.stages.kind import Kind, Making, Node
from contrabench.stages.recipe import StageWork

if TYPE_CHECKING:
    from contrabench.progress import Reporter
    from contrabench.stages.run import Run
    from contrabench.training.runtime import Runtime


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
            "stage": stage.model_dump(mode="json"),
            "steps": work.steps,
            "phase": work.phase.model_dump(mode="json", exclude={"images"}),
            "orientations": list(run.spec.deviations.orientations),
            "data": run.data_of(run.pool(stage)),
            "labelled": list(run.manifest.patients) if stage.labels else None,
            "input": before,
        }
        same = ("pixels", "backbone", "precision", "method", "stage", "phase")
        return Node(
            kind=self.name,
            name=stage.name,
            spec=spec,
            inputs=(before,) if before else (),
            units=work.steps,
            cost=digest({name: spec[name] for name in same}),
        )

    def make(self, making: Making, node: Node, folder: Path) -> None:
        """Trains the stage, on several devices if the runtime has them."""
        from contrabench.training.multi_device import train_on

        before = making.weights(self.name, node)
        train_on(
            making.runtime,
            making.reporter,
            pretrain,
            making.run,
            node,
            before,
            folder,
            making.tracking,
        )

    def seconds_per_unit(self, run: Run, node: Node, runtime: Runtime) -> float:
        """A few steps on synthetic slices."""
        from contrabench.data.synthetic import synthetic_bank
        from contrabench.stages.trained import seconds_per_step
        from contrabench.training.tasks import PretrainTask

        work, backbone = _work(run, node), run.backbone()
        structures = run.classes - 1 if work.stage.labels else 0
        bank = synthetic_bank(run.spec.budget.pixels, structures, runtime.torch_device)
        objective = run.method.objective(work.stage, backbone)
        task = PretrainTask(backbone, objective, work.stage, bank, work.phase, Seeds())
        return seconds_per_step(task, work.phase, runtime, node.units)

    def disk(self, run: Run, node: Node) -> int:
        """The backbone as float32."""
        from contrabench.training.tasks import count_parameters

        return 4 * count_parameters(run.backbone())


KIND = Pretrain()


def pretrain(
    runtime: Runtime,
    reporter: Reporter,
    run: Run,
    node: Node,
    before: Path | None,
    folder: Path,
    tracking: Path,
) -> None:
    """Trains one stage, in a process for each device, from the weights before it or the seed's."""
    import torch

    from contrabench.data.bank import build_bank
    from contrabench.stages.trained import train
    from contrabench.training.checkpoint import load_weights
    from contrabench.training.tasks import PretrainTask, count_parameters

    spec, work = run.spec, _work(run, node)
    stage, backbone = work.stage, run.backbone()
    if before is not None:
        backbone.load_state_dict(load_weights(before))
    labelled = run.manifest.patients if stage.labels else None
    bank = build_bank(
        run.cases, run.pool(stage), labelled, run.spec.deviations.orientations, runtime.torch_device
    )
    seen = audit.check_bank(bank, run.split, run.manifest, stage.labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for("objective", spec.method, stage.name, spec.seeds.init))
        objective = run.method.objective(stage, backbone)
    task = PretrainTask(backbone, objective, stage, bank, work.phase, spec.seeds)
    if runtime.compile:
        backbone.compile()
    told = {
        "seen": seen,
        "heads": count_parameters(objective),
        "views": len(stage.views),
        "orientations": list(run.spec.deviations.orientations),
    }
    seed = seed_for(node.name, spec.seeds.views)
    train(run, node, task, backbone, work.phase, seed, runtime, reporter, folder, tracking, told)


def _work(run: Run, node: Node) -> StageWork:
    return next(work for work in run.work if work.stage.name == node.name)
