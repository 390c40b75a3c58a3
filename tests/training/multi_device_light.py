"""What device processes do in these tests; as a program, processes stopped or orphaned."""

import os
import signal
import sys
from pathlib import Path

import torch
from torch import distributed

from contrabench.progress import Silent
from contrabench.training.multi_device import train_on
from contrabench.training.runtime import Runtime
from contrabench.training.sharding import any_process, process_count, process_number
from contrabench.training.stop import Interrupted, calm_stop

TWO = Runtime(device="cpu", precision="float32", threads=1, devices=2)


def echo(reporter, word, times):
    """Reports, and returns what it was given with who was there."""
    reporter.line("hello")
    with reporter.track("work", 2) as track:
        track.advance(1, "half")
        track.advance(2)
    pids = [None] * process_count()
    distributed.all_gather_object(pids, (os.getpid(), torch.get_num_threads()))
    return (
        word * times,
        process_number(),
        pids,
        any_process(process_number() == 1),
        any_process(False),
    )


def fail(reporter, how):
    """The last process fails; the others wait for it, and would for half an hour."""
    with reporter.track("work", 2):
        if process_number() == process_count() - 1:
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ValueError("planted")
        distributed.barrier()


def linger(reporter, folder, how):
    """Works until it is stopped; the first process says that it has begun."""
    with calm_stop() as asked:
        (Path(folder) / f"process{process_number()}").write_text(str(os.getpid()))
        distributed.barrier()
        if process_number() == 0 and how == "stop":
            # As a terminal does it: every process of the group gets the signal.
            os.killpg(0, signal.SIGINT)
        if process_number() == 0 and how == "orphan":
            os.kill(os.getppid(), signal.SIGKILL)
        steps = 0
        while not any_process(asked()):
            steps += 1
        (Path(folder) / f"steps{process_number()}").write_text(str(steps))
        raise Interrupted("calmly")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        train_on(TWO, Silent(), linger, *sys.argv[1:])
    except Interrupted as stop:
        sys.exit(3 if str(stop) == "calmly" else 4)
