"""Starts runs and studies in children that a test may kill; a program of its own.

Reads `run STORE` or `study STORE` a line, forks a child that works there in a process
group of its own, and answers with the child's pid and, once it has ended, its status.
Forking from here rather than from the test keeps a child from inheriting threads and
locks of whatever the tests did before, and saves it the imports.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
import torch._dynamo  # an optimiser's first one imports it for seconds, in every child anew

sys.path.insert(0, str(Path(__file__).parents[1] / "makers"))

from studies import make_run, make_spec, plan_tiny, prepared_cases

from contrabench.contracts.executor import Crew
from contrabench.study.executors.local import LocalExecutor, LocalOptions

torch.set_num_threads(1)


def work_on_run(store: Path) -> None:
    """A run that is killed again and again."""
    spec = make_spec("mmgl")
    make_run(spec, prepared_cases(spec, store), store)


def work_on_study(store: Path) -> None:
    """A study that is killed again and again, its workers with it."""
    session = plan_tiny(store, labels=["50%"], test_folds=[0], draws=1)
    executor = LocalExecutor(
        Crew(2, 1, 1, "cpu", store / "workers.log"), LocalOptions(start="fork")
    )
    board = session.survey()
    session.run(board, executor)
    executor.close()
    if not board.complete:
        raise RuntimeError(str(board.reasons))


WORK = {"run": work_on_run, "study": work_on_study}


def main() -> None:
    """Serves until the input ends."""
    for line in sys.stdin:
        what, store = line.split(maxsplit=1)
        child = os.fork()
        if child == 0:
            os.setpgrp()
            WORK[what](Path(store.strip()))
            os._exit(0)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{status}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
