"""A study on its data and its store: planned, ready to be shown or to be run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from contrabench.contracts import discovery
from contrabench.contracts.executor import Executor
from contrabench.data.prepare import PreparedCase
from contrabench.progress import Reporter
from contrabench.stages.prepare import prepare
from contrabench.stages.run import Run
from contrabench.study.graph import Graph, PlannedStage, draw_graph
from contrabench.study.job import StageJob, remember
from contrabench.study.runs import runs_of
from contrabench.study.scheduler import Board, Listener, Scheduler, survey
from contrabench.study.spec import StudySpec
from contrabench.study.status import write_study
from contrabench.training.runtime import Runtime


@dataclass(frozen=True)
class Session:
    """A planned study on its data, store and device, with what was left out of it in words."""

    spec: StudySpec
    root: Path | None
    store: Path
    runtime: Runtime
    cases: list[PreparedCase]
    graph: Graph
    notes: tuple[str, ...]

    def survey(self, retry_failed: bool = False) -> Board:
        """What is done and what is left to do."""
        return survey(self.graph, self.store, retry_failed)

    def run_of(self, stage: PlannedStage) -> Run:
        """The first run that needs a stage."""
        return Run(stage.spec, self.cases, self.root)

    def job(self, stage: PlannedStage) -> StageJob:
        """The job of a stage, for any worker."""
        return StageJob(
            spec=stage.spec,
            root=self.root,
            kind=stage.node.kind,
            key=stage.key,
            store=self.store.resolve(),
            runtime=self.runtime,
            plugins=tuple(discovery.listed()),
        )

    def run(self, board: Board, executor: Executor, listener: Listener) -> str:
        """Works off what is to do; returns why it stopped before its end, or ""."""
        write_study(self.store, self.spec, self.graph)
        first = next(iter(self.graph.stages.values())).spec
        # An executor may make its jobs in this process.
        remember(first, self.root, self.store.resolve(), self.cases)
        return Scheduler(board, self.store, executor, self.job, listener).run()


def plan_study(
    spec: StudySpec, root: Path | None, store: Path, runtime: Runtime, reporter: Reporter
) -> Session:
    """Plans a study: names to plug-ins, data prepared, every stage with its key.

    Raises:
        RequestError: for anything wrong with the study's words or data.
        AuditError: rule 6, before anything is trained.
    """
    runs, notes = runs_of(spec, runtime.device, runtime.precision)
    # Workers may have other folders to start from.
    root = None if root is None else root.resolve()
    dataset, pixels = runs[0].open_dataset(root), runs[0].budget.pixels
    cases = prepare(dataset, spec.dataset, pixels, store, reporter)
    return Session(spec, root, store, runtime, cases, draw_graph(runs, cases, root), notes)
