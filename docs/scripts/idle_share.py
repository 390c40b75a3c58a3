"""How busy two devices are in a study, by a clock that simulates how long its stages take.

    python docs/scripts/idle_share.py
    python docs/scripts/idle_share.py --scoring 120 --helpers 1

Plans a study of four methods on the phantom and works it off on two pretended devices, by the real
scheduler: once with everything on their two workers, as where there are no helpers, and once with
processes beside them for what needs no device. A worker that loads, scores or writes rows keeps its
device idle. The times are those of a stage in seconds; nothing is trained.
"""

from __future__ import annotations

import argparse
import heapq
import sys
import tempfile
from pathlib import Path

from contrabench.contracts.executor import Crew, Executor, Outcome
from contrabench.progress import Silent
from contrabench.study.session import StageJob, plan_study
from contrabench.study.spec import make_study
from contrabench.training.runtime import make_runtime

ASKED = {
    "methods": ["simclr", "moco", "mean_teacher", "mmgl"],
    "labels": ["10%", "40%"],
    "draws": 3,
    "folds": 5,
    "budget": "smoke",
    "dataset": "phantom",
    "dataset_options": {"patients": 20},
}
DEVICES = 2


class Simulated(Executor):
    """Two devices and some helpers, whose time is a number."""

    def __init__(self, asked: argparse.Namespace, beside: int) -> None:
        super().__init__(Crew(DEVICES, 1, 1, "cpu", Path("none"), beside))
        self.asked, self.now, self.busy = asked, 0.0, 0.0
        self.ends: list[tuple[float, str]] = []

    @property
    def slots(self) -> int:
        """One for each device."""
        return DEVICES

    @property
    def helpers(self) -> int:
        """As they are asked for."""
        return self.crew.helpers

    def submit(self, job: StageJob) -> None:
        """Notes when it will end, and how long its device is busy."""
        asked = self.asked
        training = {"pretrain": asked.pretraining, "finetune": asked.fine_tuning}
        device = training.get(job.kind, 0.0)
        beside = asked.rows if job.kind == "runs" else asked.loading
        if job.kind == "evaluate":
            device = asked.inference if job.part != "rest" else 0.0
            beside += asked.scoring if job.part != "first" else 0.0
        self.busy += device
        heapq.heappush(self.ends, (self.now + device + beside, job.key))

    def wait(self, seconds: float) -> list[Outcome]:
        """Goes on to the next end."""
        self.now, key = heapq.heappop(self.ends)
        return [Outcome(key, "done")]

    def stop(self) -> None:
        """There is nothing to stop."""

    def close(self) -> None:
        """There is nothing to close."""


def main() -> None:
    """Simulates the study with and without helpers."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pretraining", type=float, default=300.0)
    parser.add_argument("--fine-tuning", type=float, default=60.0)
    parser.add_argument("--inference", type=float, default=3.0)
    parser.add_argument("--scoring", type=float, default=30.0)
    parser.add_argument("--rows", type=float, default=1.0)
    parser.add_argument("--loading", type=float, default=0.5)
    parser.add_argument("--helpers", type=int, default=2)
    asked = parser.parse_args()
    for helpers in (0, asked.helpers):
        with tempfile.TemporaryDirectory() as folder:
            runtime = make_runtime("cpu", threads=1)
            spec = make_study(ASKED, "the script")
            session = plan_study(spec, None, Path(folder), runtime, Silent())
            executor = Simulated(asked, helpers)
            board = session.survey()
            session.run(board, executor)
        share = executor.busy / (DEVICES * executor.now)
        sys.stdout.write(
            f"{len(board.status)} stages, {helpers} helpers: {executor.now / 3600:.2f} h, devices "
            f"busy for {share:.1%}\n"
        )


if __name__ == "__main__":
    main()
