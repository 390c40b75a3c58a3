"""CPU seconds of a whole study, from the first import to the last row, under one or several codes.

    python docs/scripts/study_cost.py --code new=benchmark --code old=../before/benchmark

Twelve runs of the phantom: scratch, SimCLR and GCL at two label budgets, their controls and the
references, in two workers of one thread. Each code is a name and a folder that holds `contrabench`;
all of them do the same study one after another, in a fresh store each. Prints the CPU seconds,
those of the system included, of all processes of each, and their ratio to the last.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

STUDY = """
dataset = "phantom"
methods = ["scratch", "simclr", "gcl"]
labels = ["10%", "40%"]
folds = 5
test_folds = [0]
draws = 1
rates = ["uniform"]
without = ["scratch_long"]

[budget]
name = "cost"
pixels = 48
width = 8
pretrain = {{images = {pretrain}, batch = 16, lr = 1e-3}}
finetune = {{images = {finetune}, batch = 8, lr = 3e-3}}
"""


def main() -> None:
    """Runs the study under every code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--code", action="append", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--pretrain", type=int, default=24_000, help="slices of pre-training")
    parser.add_argument("--finetune", type=int, default=12_000, help="slices of fine-tuning")
    asked = parser.parse_args()
    taken: dict[str, float] = {}
    for code in asked.code:
        name, _, folder = code.partition("=")
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / "study.toml"
            file.write_text(STUDY.format(**vars(asked)), encoding="utf-8")
            environment = {**os.environ, "PYTHONPATH": str(Path(folder).resolve())}
            words = ["--store", f"{scratch}/store", "--threads", "1", "--workers", "2"]
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            program = [sys.executable, "-m", "contrabench", "study", str(file), *words]
            subprocess.run(program, check=True, env=environment, cwd=scratch, stdout=sys.stderr)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken[name] = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    last = taken[asked.code[-1].partition("=")[0]]
    for name, seconds in taken.items():
        sys.stdout.write(f"| {name} | {seconds:.0f} s | {seconds / last:.2f} |\n")


if __name__ == "__main__":
    main()
