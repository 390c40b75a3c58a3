"""A study on its data and its store, planned; its stages are jobs for any worker."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from contrabench.contracts import discovery
from contrabench.contracts.executor import Executor, Outcome
from contrabench.data.prepare import PreparedCase
from contrabench.errors import ContrabenchError, DataError, DiskFullError, RunError, StageBusyError
from contrabench.progress import Reporter, Silent
from contrabench.protocol import canonical_json
from contrabench.stages.kind import Making, nodes_of
from contrabench.stages.prepare import prepare_run, unseen_lines
from contrabench.stages.run import Run
from contrabench.stages.run_spec import RunSpec
from contrabench.statistics.signflip import fewest_patients
from contrabench.store.failures import record_error
from contrabench.store.stages import StageStore, check_store, home_of, is_store
from contrabench.study.graph import Graph, PlannedStage, draw_graph
from contrabench.study.runs import comparisons, runs_of
from contrabench.study.scheduler import Board, Listener, Part, Scheduler, survey
from contrabench.study.spec import StudySpec
from contrabench.study.status import Heartbeat, leading, study_id, write_study
from contrabench.text import counted, some
from contrabench.training.runtime import Runtime, resolve_device

_ODD = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""What no row can hold: control characters, and bytes that are no UTF-8."""


@dataclass(frozen=True)
class Session:
    """A planned study on its data, store and device, with what was left out of it in words."""

    spec: StudySpec
    root: Path | None
    pool_root: Path | None
    store: Path
    runtime: Runtime
    cases: list[PreparedCase]
    graph: Graph
    notes: tuple[str, ...]

    @property
    def study(self) -> str:
        """The id of the study."""
        return study_id(self.spec)

    def survey(self, retry_failed: bool = False) -> Board:
        """What is done and what is left to do."""
        return survey(self.graph, self.store, retry_failed)

    def run_of(self, stage: PlannedStage) -> Run:
        """The first run that needs a stage."""
        return Run(stage.spec, self.cases, self.root)

    def job(self, stage: PlannedStage, part: Part = "whole") -> StageJob:
        """The job of a stage, or of a part of it, for any worker."""
        store, plugins = self.store.resolve(), tuple(discovery.listed())
        kind, key = stage.node.kind, stage.key
        where = self.root, self.pool_root
        return StageJob(stage.spec, *where, kind, key, store, self.runtime, plugins, part)

    def run(
        self,
        board: Board,
        executor: Executor,
        listener: Listener | None = None,
        command: str = "",
    ) -> str:
        """Works off what is to do; returns why it stopped before its end, or "".

        `command` asks for the same again, and is told to who looks at the study.
        RequestError if there is something to do and the store cannot be written.
        """
        if not board.complete:
            check_store(self.store)
        # One that is done may lie where nothing can be written.
        with suppress(OSError) if board.complete else nullcontext():
            write_study(self.store, self.spec, self.graph, command)
        with leading(self.store, self.spec):
            return Scheduler(board, self.store, executor, self.job, listener).run()


def plan_study(
    spec: StudySpec,
    root: Path | None,
    store: Path,
    runtime: Runtime,
    reporter: Reporter,
    pool_root: Path | None = None,
) -> Session:
    """Plans a study: names to plug-ins, data prepared, every stage with its key.

    `root` is the folder of the dataset's files and `pool_root` of the pool's, where they have any.

    Raises:
        RequestError: for anything wrong with the study's words or data.
        AuditError: rule 6, before anything is trained.
    """
    runs, notes = runs_of(spec, runtime.device, runtime.precision)
    # Workers may have other folders to start from.
    root, pool_root = (one and one.resolve() for one in (root, pool_root))
    if not is_store(store):
        check_store(store)
    _read.clear()
    cases = _cases(runs[0], root, pool_root, store, reporter)
    if odd := [case.case for case in cases if _ODD.search(case.case)]:
        faults = [f"the name '{name}' is not in UTF-8, or has a control character" for name in odd]
        raise DataError(faults, where="the names of the cases")
    laid = Run(runs[0], cases, root).laid
    for line in unseen_lines(runs, cases, root):
        reporter.line(f"  {line}")
    graph = draw_graph(runs, cases, root)
    told = (*_labelled_alike(graph), *_too_few_tested(graph, comparisons(runs)))
    notes = (*notes, *(laid.notes if laid else ()), *told)
    return Session(spec, root, pool_root, store, runtime, cases, graph, notes)


def _labelled_alike(graph: Graph) -> Iterator[str]:
    """That folds train with the same labels, by which their networks are no independent ones."""
    if alike := graph.labelled_alike:
        folds = max(map(len, alike.values()))
        named = some([f"{' and '.join(one)} (folds {', '.join(map(str, of))})"
                      for one, of in alike.items()])  # fmt: skip
        yield (
            f"labelled alike in up to {folds} folds: {named}; networks that learn from the same "
            "patients resemble each other, and a verdict on networks trained anew takes them for "
            "independent. Other draws may share none: draws = [...] in the study's file"
        )


def _too_few_tested(graph: Graph, family: int) -> Iterator[str]:
    """That no difference can be shown, however large, with so many rows and so few patients."""
    if family and graph.tested < (needed := fewest_patients(family)):
        yield (
            f"{counted(graph.tested, 'patient')} tested, {counted(family, 'row')} compared with "
            f"scratch: no difference can be shown, however large. It takes {needed} patients who "
            "all agree (Holm): test more, or compare fewer methods"
        )


@dataclass(frozen=True)
class StageJob:
    """One stage to be made, with store and data as the machine that makes it reaches them."""

    spec: RunSpec
    root: Path | None
    pool_root: Path | None
    kind: str
    key: str
    store: Path
    runtime: Runtime
    plugins: tuple[Path, ...] = ()
    part: Part = "whole"

    @property
    def device(self) -> bool:
        """All but the part that follows the device's."""
        return self.part != "rest"

    def __call__(self, reporter: Reporter | None = None) -> Outcome:
        """Makes the stage and never raises; what goes wrong is on record and in the outcome."""
        try:
            self._make(reporter or Silent())
        except StageBusyError as error:
            return Outcome(self.key, "busy", str(error))
        except DiskFullError as error:
            return Outcome(self.key, "full", str(error))
        except KeyboardInterrupt:
            return Outcome(self.key, "stopped", "stopped on request")
        except ContrabenchError as error:
            return Outcome(self.key, "failed", str(error))
        except (Exception, SystemExit) as error:
            shown = record_error(home_of(self.store, self.kind), self.key, self.kind, error)
            full = isinstance(shown, DiskFullError)
            return Outcome(self.key, "full" if full else "failed", str(shown))
        return Outcome(self.key, "done")

    def _make(self, reporter: Reporter) -> None:
        """Makes the stage, its heart beating; what goes wrong is on record when it is raised."""
        heartbeat = Heartbeat(self.store, self.kind, self.key, reporter)
        try:
            for path in self.plugins:
                discovery.add(path)
            runtime = self.runtime
            if not self.device:
                runtime = replace(runtime, device="cpu", threads=1)
            resolve_device(runtime.device)
            runtime.prepare()
            cases = _cases(self.spec, self.root, self.pool_root, self.store, Silent())
            run = Run(self.spec, cases, self.root)
            node = next((node for node in nodes_of(run) if node.key == self.key), None)
            if node is None:
                raise RunError(
                    "this worker draws up other stages than the plan: its version of contrabench, "
                    "of a plug-in or of the data differs; bring them in line and run the study "
                    "again"
                )
        # A stranger's plug-in runs here, and may raise anything.
        except Exception as error:
            home = home_of(self.store, self.kind)
            raise record_error(home, self.key, self.kind, error) from error
        with heartbeat.beating():
            making = Making(run, StageStore(self.store, heartbeat), runtime)
            (making.begin if self.part == "first" else making.make)(node, wait=False)


_read: dict[str, list[PreparedCase]] = {}
"""The cases of the dataset that this process worked on last, for all jobs on the same data."""


def _cases(
    spec: RunSpec, root: Path | None, pool_root: Path | None, store: Path, reporter: Reporter
) -> list[PreparedCase]:
    """The prepared cases of a run."""
    asked = spec.model_dump(include={"dataset", "dataset_options", "pool", "pool_options"})
    places = [str(place) for place in (root, pool_root, store.resolve())]
    data = canonical_json([asked, spec.budget.pixels, places])
    if data not in _read:
        cases = prepare_run(spec, root, pool_root, store, reporter)
        _read.clear()
        _read[data] = cases
    return _read[data]
