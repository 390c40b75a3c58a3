"""One stage of a study as a job: words that travel to any process, and what is done there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from contrabench.contracts import discovery
from contrabench.contracts.executor import Outcome
from contrabench.data.prepare import PreparedCase
from contrabench.errors import ContrabenchError, DiskFullError, RunError, StageBusyError
from contrabench.progress import Reporter, Silent
from contrabench.protocol import canonical_json
from contrabench.stages.kind import Making, nodes_of
from contrabench.stages.prepare import prepare
from contrabench.stages.run import Run, RunSpec
from contrabench.store.failures import record_error
from contrabench.store.stages import StageStore, home_of
from contrabench.study.heartbeat import Heartbeat
from contrabench.training.runtime import Runtime, resolve_device


@dataclass(frozen=True)
class StageJob:
    """One stage to be made, with store and data as the machine that makes it reaches them."""

    spec: RunSpec
    root: Path | None
    kind: str
    key: str
    store: Path
    runtime: Runtime
    plugins: tuple[Path, ...] = ()

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
        return Outcome(self.key, "done")

    def _make(self, reporter: Reporter) -> None:
        """Makes the stage, its heart beating; what goes wrong is on record when it is raised."""
        heartbeat = Heartbeat(self.store, self.kind, self.key, reporter)
        try:
            for path in self.plugins:
                discovery.add(path)
            resolve_device(self.runtime.device)
            self.runtime.prepare()
            run = Run(self.spec, _cases(self), self.root)
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
            store = StageStore(self.store, heartbeat)
            Making(run, store, self.runtime, heartbeat).make(node, wait=False)


_read: dict[tuple[object, ...], Sequence[PreparedCase]] = {}
"""The cases of the last dataset that this process has worked on."""


def remember(spec: RunSpec, root: Path | None, store: Path, cases: Sequence[PreparedCase]) -> None:
    """Lets the jobs of this process take cases that are prepared already."""
    _read.clear()
    _read[_data(spec, root, store)] = cases


def _cases(job: StageJob) -> Sequence[PreparedCase]:
    """The prepared cases of a job; read once for all jobs on the same data."""
    spec, data = job.spec, _data(job.spec, job.root, job.store)
    if data not in _read:
        dataset = spec.open_dataset(job.root)
        cases = prepare(dataset, spec.dataset, spec.budget.pixels, job.store, Silent())
        remember(spec, job.root, job.store, cases)
    return _read[data]


def _data(spec: RunSpec, root: Path | None, store: Path) -> tuple[object, ...]:
    options = canonical_json(spec.dataset_options)
    return spec.dataset, options, str(root), spec.budget.pixels, store
