"""How much faster two processes that share a training are than one, on the CPU.

    python docs/scripts/ranks.py --methods simclr,mmgl,voco

Pre-trains each method on the phantom by one process of one thread, and by two that exchange their
gradients over gloo, at the size of `quick` and at 96 pixels and width 16. Prints the time of the
stages' loops and their ratio. The two need two free cores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

STUDY = """
dataset = "phantom"
methods = ["{method}"]
labels = ["10%"]
folds = 5
test_folds = [0]
draws = 1
rates = ["uniform"]
without = ["scratch", "scratch_long", "full_supervision", "oracle", "noise"]

[budget]
name = "ranks"
pixels = {pixels}
width = {width}
pretrain = {{images = {images}, batch = 16, lr = 1e-3}}
finetune = {{images = 8, batch = 8, lr = 3e-3}}
"""


def seconds(method: str, pixels: int, width: int, images: int, devices: int) -> dict[str, float]:
    """Time of each pre-training stage of a method, by its name."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "study.toml"
        text = STUDY.format(method=method, pixels=pixels, width=width, images=images)
        file.write_text(text, encoding="utf-8")
        words = ["--store", f"{folder}/store", "--threads", "1", "--workers", "1"]
        words += ["--devices", str(devices), "--device", "cpu"]
        program = [sys.executable, "-m", "contrabench", "study", str(file), *words]
        subprocess.run(program, check=True, stdout=sys.stderr)
        return dict(stages(Path(folder) / "store"))


def stages(store: Path) -> Iterator[tuple[str, float]]:
    """Names and times of the pre-training stages of a store."""
    for record in sorted(store.glob("stages/pretrain/*/record.json")):
        spec = json.loads(record.with_name("spec.json").read_text(encoding="utf-8"))
        found = json.loads(record.read_text(encoding="utf-8"))
        yield str(spec["stage"]["name"]), float(found["seconds"])


def main() -> None:
    """Measures every method at both sizes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", default="simclr,mmgl,voco")
    parser.add_argument("--images", type=int, default=3200)
    asked = parser.parse_args()
    sys.stdout.write(
        "| stage | pixels, width | one | two | one / two |\n|---|---|---:|---:|---:|\n"
    )
    for method in asked.methods.split(","):
        for pixels, width in ((48, 8), (96, 16)):
            one, two = (seconds(method, pixels, width, asked.images, devices) for devices in (1, 2))
            for name in one:
                ratio = one[name] / two[name]
                cells = f"{one[name]:.0f} s | {two[name]:.0f} s | {ratio:.2f}"
                sys.stdout.write(f"| {method}, {name} | {pixels}, {width} | {cells} |\n")


if __name__ == "__main__":
    main()
