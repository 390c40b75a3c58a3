"""CPU seconds that a study of ten thousand stages costs beside its training.

    python docs/scripts/scheduling.py

Plans, surveys and works off a study on the phantom with an executor that makes nothing; nothing is
trained and no folder of a stage is written. The view is the one that writes lines to a pipe.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from contrabench.cli.study_view import StudyView
from contrabench.contracts.executor import Crew, Executor, Job, Outcome
from contrabench.progress import Silent
from contrabench.study.forecast import learned
from contrabench.study.session import plan_study
from contrabench.study.spec import make_study
from contrabench.study.status import read_studies
from contrabench.training.runtime import make_runtime

ASKED = {
    "methods": ["all"],
    "labels": ["10%", "20%", "40%"],
    "draws": 5,
    "folds": 5,
    "seeds": 1,
    "budget": "smoke",
    "dataset": "phantom",
    "dataset_options": {"patients": 20},
}


class Idle(Executor):
    """Says of every job at once that it is done."""

    def __init__(self, crew: Crew) -> None:
        super().__init__(crew)
        self.jobs: list[Job] = []

    @property
    def slots(self) -> int:
        """As many as in a small cluster."""
        return 8

    def submit(self, job: Job) -> None:
        """Notes the job."""
        self.jobs.append(job)

    def wait(self, seconds: float) -> list[Outcome]:
        """All that were given, done."""
        jobs, self.jobs = self.jobs, []
        return [Outcome(job.key, "done") for job in jobs]

    def stop(self) -> None:
        """There is nothing to stop."""

    def close(self) -> None:
        """There is nothing to close."""


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Prints the CPU seconds of a block."""
    began = time.process_time()
    yield
    sys.stdout.write(f"{what:<12}{time.process_time() - began:7.1f} CPU s\n")


def main() -> None:
    """Goes the way of `bench study`, and tells what each part costs."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder)
        runtime = make_runtime("cpu", threads=1)
        spec = make_study(ASKED, "the script")
        first = make_study(ASKED | {"methods": ["simclr"], "draws": 1, "seeds": 1}, "the script")
        # The volumes, and what is imported on the way.
        plan_study(first, None, store, runtime, Silent())
        with timed("planning"):
            session = plan_study(spec, None, store, runtime, Silent())
        sys.stdout.write(f"{len(session.graph.stages)} stages, {len(session.graph.runs)} runs\n")
        with timed("survey"):
            board = session.survey()
        executor = Idle(Crew(None, 1, 1, "cpu", store / "workers.log"))
        view = StudyView(session, board, Console(file=io.StringIO()), executor, learned(session))
        with timed("scheduling"):
            session.run(board, executor, view)
        with timed("status"):
            read_studies(store)
        sys.exit(not board.complete)


if __name__ == "__main__":
    main()
