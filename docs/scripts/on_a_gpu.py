"""At most ten minutes on a GPU: what steps cost there, compiled or not, and one run end to end.

    python docs/scripts/on_a_gpu.py --data MMWHS --out figures

In order of what it tells, each part in what is left of the time: `bench profile` of the methods
that the project is for, as it is, compiled and deterministic; one run of MMGL on MM-WHS; `bench
profile` of all the others. What was finished lies in the folder as JSON, and is printed as
Markdown.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

FIRST = ("simclr", "global_local", "hu", "mmgl", "mean_teacher", "unimatch")
WAYS: dict[str, tuple[str, ...]] = {
    "as it is": (),
    "compiled": ("--compile",),
    "deterministic": ("--deterministic",),
}
SHARE = 0.25
"""Of the time for any one part, so that none takes that of all after it."""


class Clock:
    """Starts commands that end in time."""

    def __init__(self, seconds: float) -> None:
        self.total, self.end = seconds, time.monotonic() + seconds

    def bench(self, *words: str) -> str | None:
        """What `bench` prints, or None if it failed or ran out of time, which is told."""
        left = self.end - time.monotonic()
        limit = min(left, SHARE * self.total)
        shown = " ".join(["bench", *words])
        try:
            done = subprocess.run(
                [sys.executable, "-m", "contrabench", *words],
                stdout=subprocess.PIPE, text=True, timeout=max(1.0, limit), check=True,
            )  # fmt: skip
        except (subprocess.SubprocessError, OSError) as error:
            sys.stderr.write(f"{shown}: {error}\n")
            return None
        sys.stderr.write(f"{shown}: done, {self.end - time.monotonic():.0f} s left\n")
        return done.stdout


def profile(clock: Clock, asked: argparse.Namespace, way: str, *names: str) -> dict[str, Any]:
    """The stages of some methods, measured one way, by method and stage; kept as a file."""
    size = ["--budget", asked.budget, "--device", asked.device, "--steps", str(asked.steps)]
    text = clock.bench("profile", *names, *size, *WAYS[way], "--json")
    if text is None:
        return {}
    found: dict[str, Any] = json.loads(text)
    (asked.out / f"profile {way} {names[0]}.json").write_text(text, encoding="utf-8")
    return {
        f"{row['method']}, {stage['stage']}": stage
        for row in found["methods"]
        for stage in row["stages"]
    }


def lines(measured: dict[str, dict[str, Any]]) -> list[str]:
    """A Markdown table: what each way of each stage reaches, and what it needs."""
    head = ["stage", *(f"x bare, {w} | slices/s" for w in measured), "operations", "peak MiB"]
    width = len(" | ".join(head).split("|")) - 1
    table = [f"| {' | '.join(head)} |", f"|---|{'---:|' * width}"]
    plain = measured["as it is"]
    for name, stage in plain.items():
        cells = [name]
        for found in measured.values():
            one = found.get(name)
            cells.append(
                "– | –"
                if one is None
                else f"{one['ratio']['median']:.2f} | {one['slices_per_second']:.0f}"
            )
        peak = stage["peak_mb"]
        cells += [str(stage["operations"]), "–" if peak is None else f"{peak:.0f}"]
        table.append(f"| {' | '.join(cells)} |")
    return table


def main() -> None:
    """Measures until the time is over."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of MM-WHS; without it nothing is run")
    parser.add_argument("--out", type=Path, default=Path("figures"))
    parser.add_argument("--seconds", type=float, default=570.0)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--budget", default="standard")
    parser.add_argument("--steps", type=int, default=20)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    clock = Clock(asked.seconds)
    measured = {way: profile(clock, asked, way, *FIRST) for way in WAYS}
    if asked.data is not None:
        words = ["--method", "mmgl", "--labels", "10%", "--dataset", "mmwhs"]
        words += ["--data", str(asked.data), "--budget", asked.budget, "--device", asked.device]
        began = time.monotonic()
        text = clock.bench("run", *words, "--store", str(asked.out / "store"), "--json")
        if text is not None:
            (asked.out / "run.json").write_text(text, encoding="utf-8")
            sys.stdout.write(f"one run of MMGL on MM-WHS: {time.monotonic() - began:.0f} s\n\n")
    listed = json.loads(clock.bench("methods", "--json") or '{"methods": []}')["methods"]
    for method in listed:
        if method["name"] not in FIRST and time.monotonic() < clock.end - 10:
            measured["as it is"] |= profile(clock, asked, "as it is", method["name"])
    sys.stdout.write("\n".join(lines(measured)) + "\n")


if __name__ == "__main__":
    main()
