"""Kills a study again and again, lets it end, and compares it with one that was left alone.

    bench study docs/scripts/smoke_size.toml --workers 2 --threads 1 --store straight
    python docs/scripts/study_kills.py docs/scripts/smoke_size.toml straight killed

Study and workers die together by SIGKILL, at moments drawn from a seeded generator. Rows,
scores and predictions are compared byte by byte.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

PATTERNS = ("runs/*/rows.parquet", "stages/evaluate/*/*.npz", "stages/evaluate/*/scores.json")


def begin(study: str, store: Path) -> subprocess.Popen[bytes]:
    """Starts the study, or goes on with it, in a process group of its own."""
    words = ["study", study, "--workers", "2", "--threads", "1", "--store", str(store)]
    return subprocess.Popen(
        [sys.executable, "-m", "contrabench", *words],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def content(store: Path) -> dict[str, bytes]:
    """The files that must not differ, by their path in the store."""
    files = [path for pattern in PATTERNS for path in store.glob(pattern)]
    return {path.relative_to(store).as_posix(): path.read_bytes() for path in files}


def compare(straight: Path, other: Path) -> bool:
    """Prints how two stores differ; whether they do not."""
    ours, theirs = content(straight), content(other)
    runs = sum(name.startswith("runs/") for name in ours)
    differing = sum(ours[name] != theirs[name] for name in ours.keys() & theirs.keys())
    apart = len(ours.keys() ^ theirs.keys())
    found = f"{apart} in one store alone, {differing} differ"
    sys.stdout.write(f"{runs} runs, {len(ours)} files: {found}\n")
    return not differing and not apart


def main() -> None:
    """Kills, waits for the end, compares."""
    parser = argparse.ArgumentParser()
    parser.add_argument("study")
    parser.add_argument("straight", type=Path)
    parser.add_argument("killed", type=Path)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seconds", type=float, nargs=2, default=(9.0, 24.0))
    asked = parser.parse_args()
    chance, kills = random.Random(4), 0
    while kills < asked.kills:
        study = begin(asked.study, asked.killed)
        try:
            study.wait(chance.uniform(*asked.seconds))
            break
        except subprocess.TimeoutExpired:
            os.killpg(study.pid, signal.SIGKILL)
            study.wait()
            kills += 1
            time.sleep(0.1)
    begin(asked.study, asked.killed).wait()
    sys.stdout.write(f"{kills} kills survived\n")
    sys.exit(not compare(asked.straight, asked.killed))


if __name__ == "__main__":
    main()
