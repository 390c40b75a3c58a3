"""How fast two cores train: one process with two threads, or two with one, alone and on busy cores.

    python docs/scripts/thread_speed.py

Each way takes steps of fine-tuning at 48 pixels and width 8 for some seconds, beside no, one and
two processes that count. The ways take turns; what is printed is the median of the steps a second,
of all processes of a way together, its range, and what it is of the first way. With --idle, which
needs the rights for it, they have the priority of real time, as if there were no other work.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

WAYS = {
    "1 x 2 threads": (1, 2, {}),
    "1 x 2, waiting briefly": (1, 2, {"GOMP_SPINCOUNT": "1000"}),
    "1 x 2, not waiting": (1, 2, {"OMP_WAIT_POLICY": "passive"}),
    "1 x 1 thread": (1, 1, {}),
    "2 x 1 thread": (2, 1, {}),
}


def train(threads: int) -> None:
    """Takes steps for as many seconds as each line of the input says; prints how many they were."""
    import torch

    from contrabench.data.synthetic import synthetic_bank
    from contrabench.model.segmentation import build_segmenter
    from contrabench.model.weights import build_backbone
    from contrabench.protocol import BackboneSpec, Phase, Seeds
    from contrabench.training.runtime import Runtime
    from contrabench.training.step import Step
    from contrabench.training.tasks import FinetuneTask

    runtime = Runtime("cpu", "float32", threads)
    runtime.prepare()
    phase, seeds = Phase(images=8 * 1000, batch=8, lr=1e-3), Seeds()
    network = build_segmenter(build_backbone(BackboneSpec(width=8), 0), 6, False, 0)
    bank = synthetic_bank(48, 5, torch.device("cpu"))
    step = Step(FinetuneTask(network, bank, phase, seeds), phase, runtime, 1000)
    step.take(0)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        done, end = 0, time.monotonic() + float(line)
        while time.monotonic() < end:
            step.take(done % 1000)
            done += 1
        sys.stdout.write(f"{done}\n")
        sys.stdout.flush()


def count(stop: multiprocessing.synchronize.Event) -> None:
    """Keeps a core busy."""
    while not stop.is_set():
        sum(range(10_000))


def begin(threads: int, environment: dict[str, str]) -> subprocess.Popen[str]:
    """A process that trains when it is told to."""
    asked = {"OMP_NUM_THREADS": str(threads), **environment}
    return subprocess.Popen(
        [sys.executable, __file__, "--threads", str(threads)],
        env=os.environ | asked,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def rate(way: list[subprocess.Popen[str]], seconds: float) -> float:
    """Steps a second of the processes of a way."""
    for one in way:
        one.stdin.write(f"{seconds}\n")
        one.stdin.flush()
    return sum(int(one.stdout.readline()) for one in way) / seconds


def prefer(way: list[subprocess.Popen[str]], before_all: bool) -> None:
    """Gives the threads of a way the priority of real time, or takes it from them."""
    policy = os.SCHED_RR if before_all else os.SCHED_OTHER
    for one in way:
        for thread in Path(f"/proc/{one.pid}/task").iterdir():
            os.sched_setscheduler(int(thread.name), policy, os.sched_param(10 * before_all))


def main() -> None:
    """Measures every way beside every load."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, help="train, and read from the input how long")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--idle", action="store_true", help="run before all others")
    asked = parser.parse_args()
    if asked.threads:
        train(asked.threads)
        return
    ways = {name: [begin(t, env) for _ in range(n)] for name, (n, t, env) in WAYS.items()}
    for way in ways.values():
        for one in way:
            one.stdout.readline()
    for others in (0,) if asked.idle else (0, 1, 2):
        stop = multiprocessing.Event()
        beside = [multiprocessing.Process(target=count, args=(stop,)) for _ in range(others)]
        for one in beside:
            one.start()
        found: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(asked.rounds):
            for name, way in ways.items():
                if asked.idle:
                    prefer(way, True)
                found[name].append(rate(way, asked.seconds))
                if asked.idle:
                    prefer(way, False)
        stop.set()
        first = statistics.median(found["1 x 2 threads"])
        sys.stdout.write(f"{others} busy processes beside, load {os.getloadavg()[0]:.1f}\n")
        for name, rates in found.items():
            middle = statistics.median(rates)
            spread = f"{min(rates):.1f} to {max(rates):.1f}"
            sys.stdout.write(f"  {name:<26}{middle:6.1f} ({spread}) {middle / first:5.2f}\n")
        sys.stdout.flush()
    for way in ways.values():
        for one in way:
            one.stdin.close()
            one.wait()


if __name__ == "__main__":
    main()
