"""Starts runs in children that a test may kill; a program of its own.

Reads one store folder a line, forks a child that prepares and runs there, and answers with
the child's pid and, once it has ended, its status. Forking from here rather than from the
test keeps a child from inheriting threads and locks of whatever the tests did before.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

from conftest import RUNTIME, make_plan
from contrabench.progress import Silent
from contrabench.study.prepared import prepare
from contrabench.study.run import run

torch.set_num_threads(1)


def work(store: Path) -> None:
    """The run that is killed again and again."""
    plan = make_plan("mmgl")
    run(plan, prepare(plan, store, Silent()), store, RUNTIME, Silent())


def main() -> None:
    """Serves until the input ends."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            work(Path(line.strip()))
            os._exit(0)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{status}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
