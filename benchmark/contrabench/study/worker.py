"""Makes one stage of a study in whatever process it is called, and never raises."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from contrabench.contracts import discovery
from contrabench.contracts.executor import Outcome
from contrabench.data.prepare import PreparedCase
from contrabench.errors import ContrabenchError, DiskFullError, RunError, StageBusyError
from contrabench.progress import Silent
from contrabench.protocol import canonical_json
from contrabench.stages.blueprint import Blueprint
from contrabench.stages.making import Maker
from contrabench.stages.nodes import Node, nodes_of
from contrabench.stages.prepare import prepare
from contrabench.stages.request import Plan
from contrabench.store.failures import record_error
from contrabench.store.stages import StageStore, home_of
from contrabench.study.heartbeat import Journal
from contrabench.study.resolve import Request, resolve
from contrabench.training.runtime import Runtime, resolve_device

_read: dict[tuple[object, ...], list[PreparedCase]] = {}
"""The cases of the last dataset that this process has worked on."""


@dataclass(frozen=True)
class Job:
    """One stage to be made, in words that travel to any process or machine.

    Attributes:
        request: the run that the stage belongs to.
        kind: of the stage.
        key: of the stage, as the plan has it.
        store: the store folder, as this machine reaches it.
        runtime: device and switches.
        plugins: files and folders of plug-ins.
    """

    request: Request
    kind: str
    key: str
    store: Path
    runtime: Runtime
    plugins: tuple[Path, ...] = ()

    def __call__(self) -> Outcome:
        """Makes the stage; see `carry_out`."""
        return carry_out(self)


def carry_out(job: Job) -> Outcome:
    """Makes the stage of a job; what goes wrong is on record and in the outcome."""
    try:
        return _make(job)
    except StageBusyError as error:
        return Outcome(job.key, "busy", str(error))
    except DiskFullError as error:
        return Outcome(job.key, "full", str(error))
    except KeyboardInterrupt:
        return Outcome(job.key, "stopped", "stopped on request")
    except ContrabenchError as error:
        return Outcome(job.key, "failed", str(error))


def _make(job: Job) -> Outcome:
    """Makes the stage, its journal open while this process is at work on it.

    Raises:
        ContrabenchError: whatever goes wrong, once it is on record.
    """
    journal = Journal(job.store, job.kind, job.key)
    try:
        node, maker = _draw_up(job, journal)
    # A stranger's plug-in runs here, and may raise anything.
    except Exception as error:
        raise record_error(home_of(job.store, job.kind), job.key, job.kind, error) from error

    def make(folder: Path) -> None:
        with journal.open():
            maker.make(node, folder)

    maker.store.run(node.kind, node.spec, make, wait=False)
    return Outcome(job.key, "done")


def _draw_up(job: Job, journal: Journal) -> tuple[Node, Maker]:
    """The node of a job and its maker.

    Raises:
        RunError: if this process would make something else than was planned.
    """
    for path in job.plugins:
        discovery.add(path)
    runtime = job.runtime
    resolve_device(runtime.device)
    runtime.prepare()
    plan = resolve(job.request, runtime)
    blueprint = Blueprint(plan, _cases(plan, job.store))
    node = next((node for node in nodes_of(blueprint) if node.key == job.key), None)
    if node is None:
        raise RunError(
            "this worker draws up other stages than the plan: its version of contrabench, of a "
            "plug-in or of the data differs; bring them in line and run the study again"
        )
    return node, Maker(blueprint, StageStore(job.store, journal), runtime, journal)


def _cases(plan: Plan, store: Path) -> list[PreparedCase]:
    """The prepared cases of a plan; read once for all jobs on the same data."""
    spec = plan.spec
    data = (
        spec.dataset,
        canonical_json(plan.dataset.options),
        str(plan.dataset.root),
        spec.budget.pixels,
        store,
    )
    if data not in _read:
        _read.clear()
        _read[data] = prepare(plan, store, Silent())
    return _read[data]
