"""CPU seconds of commands that only read: the first time, and when they are asked again.

    python docs/scripts/seconds.py

Each command is a process of its own. First means a cache folder that is empty; files are in
memory, for every command has run once before it is measured.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1]
EXAMPLE, QUICK = (DOCS / "example" / f"{name}.zip" for name in ("study", "quick"))
ACDC = DOCS / "acdc-few-labels.zip"


def seconds(words: Sequence[str], cache: Path) -> float:
    """What `bench` takes for some words, user and system time together."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    variables = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    command = [sys.executable, "-m", "contrabench", *words]
    subprocess.run(command, check=True, capture_output=True, env=variables)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Prints the table."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        store, plugin = home / "store", home / "my_own.py"
        warm = home / "warm"
        seconds(["store", "merge", str(EXAMPLE), "--into", str(store)], warm)
        seconds(["methods", "new", "my_own", "--out", str(home)], warm)
        commands = {
            "bench --help": ["--help"],
            "bench methods": ["methods"],
            "bench methods --plugin my_own.py": ["methods", "--plugin", str(plugin)],
            "bench report, archive of 395 runs": ["report", "--store", str(EXAMPLE)],
            "bench report, folder of 395 runs": ["report", "--store", str(store)],
            "bench report --format json": ["report", "--store", str(store), "--format", "json"],
            "bench report, archive of 25 runs": ["report", "--store", str(QUICK)],
            "bench report, three label budgets": ["report", "--store", str(ACDC)],
        }
        sys.stdout.write("| CPU seconds | first | again |\n|---|---:|---:|\n")
        for number, (name, words) in enumerate(commands.items()):
            seconds(words, warm)
            cache = home / f"cache{number}"
            found = [seconds(words, cache) for _ in range(2)]
            sys.stdout.write(f"| {name} | {found[0]:.1f} | {found[1]:.1f} |\n")


if __name__ == "__main__":
    main()
