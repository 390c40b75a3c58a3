r"""Dice against the images of one phase of training, from which the budgets are chosen.

Each number of images is a budget of its own and so a study of its own; a study that is done is
served from the store, and one that was stopped goes on. Fine-tuning is looked at first, from
scratch with few labels and with all; then pre-training, under the fine-tuning that was chosen.

    python docs/scripts/budget_curves.py finetune --images 6000,12000,24000 \
        --labels 2,100% --dataset acdc --data ACDC
    python docs/scripts/budget_curves.py pretrain --images 9600,28800,96000,288000 \
        --methods simclr,gcl,mmgl,masked --dataset acdc --data ACDC

Prints a Markdown table, one line for each method and rates of fine-tuning, and the CSV behind it.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
from pathlib import Path

import pandas as pd

from contrabench.statistics.aggregate import patient_scores
from contrabench.store.results import read_rows

STUDY = """
dataset = "{dataset}"
{options}
methods = [{methods}]
labels = [{labels}]
rates = [{rates}]
folds = 5
test_folds = [0]
draws = 1
without = ["scratch_long", "full_supervision", "oracle", "noise"]

[budget]
name = "{name}"
pixels = {pixels}
width = {width}
pretrain = {{images = {pretrain}, batch = 16, lr = 1e-3}}
finetune = {{images = {finetune}, batch = 8, lr = 3e-3}}
"""


def quoted(text: str) -> str:
    """A comma-separated list as TOML writes the inside of an array."""
    return ", ".join(f'"{word}"' for word in text.split(","))


def main() -> None:
    """Runs what is missing and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("phase", choices=("pretrain", "finetune"))
    parser.add_argument("--images", required=True, help="numbers of images, such as 9600,28800")
    parser.add_argument("--methods", default="", help="for the curves of pre-training")
    parser.add_argument("--labels", default="2", help="label budgets")
    parser.add_argument("--rates", default="uniform,gentle", help="rates of fine-tuning")
    parser.add_argument("--dataset", default="phantom")
    parser.add_argument("--options", default="", help="of the dataset, such as 'seed = 7'")
    parser.add_argument("--data", type=Path, help="folder of the dataset's files")
    parser.add_argument("--store", type=Path, default=Path("curves"))
    parser.add_argument("--other", type=int, default=24000, help="images of the other phase")
    parser.add_argument("--pixels", type=int, default=48)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--workers", default="2")
    parser.add_argument("--show", action="store_true", help="run nothing; print what is there")
    asked = parser.parse_args()
    asked.store.mkdir(parents=True, exist_ok=True)
    for images in asked.images.split(","):
        name = f"{asked.phase}-{images}"
        phases = {"pretrain": asked.other, "finetune": asked.other, asked.phase: int(images)}
        file = asked.store / f"{asked.dataset}-{name}.toml"
        text = STUDY.format(
            dataset=asked.dataset,
            options=f"dataset_options = {{{asked.options}}}" if asked.options else "",
            methods=quoted(f"scratch,{asked.methods}" if asked.phase == "pretrain" else "scratch"),
            labels=quoted(asked.labels),
            rates=quoted(asked.rates),
            name=name,
            pixels=asked.pixels,
            width=asked.width,
            **phases,
        )
        file.write_text(text, encoding="utf-8")
        if not asked.show:
            words = ["--store", str(asked.store), "--threads", "1", "--workers", asked.workers]
            words += ["--data", str(asked.data)] if asked.data else []
            subprocess.run(["bench", "study", str(file), *words], check=True)
    rows, _ = read_rows(asked.store)
    rows = rows[(rows["dataset"] == asked.dataset) & rows["budget"].str.startswith(asked.phase)]
    lines = []
    for (budget, labels, variant, rates), part in rows.groupby(
        ["budget", "labels", "variant", "rates"], observed=True
    ):
        dice = patient_scores(part, ["dice"])["dice"].mean()
        images = int(str(budget).rpartition("-")[2])
        lines.append((labels, variant, rates or "-", images, dice))
    table = pd.DataFrame(lines, columns=["labels", "method", "rates", "images", "dice"])
    wide = table.pivot_table(index=["labels", "method", "rates"], columns="images", values="dice")
    head = [*wide.index.names, *(f"{images:,}".replace(",", " ") for images in wide.columns)]
    sys.stdout.write(f"| {' | '.join(head)} |\n|{'---|' * len(head)}\n")
    for place, values in wide.iterrows():
        cells = ("–" if math.isnan(value) else f"{value:.3f}" for value in values)
        sys.stdout.write(f"| {' | '.join(map(str, (*place, *cells)))} |\n")
    table.to_csv(asked.store / f"{asked.dataset}-{asked.phase}.csv", index=False)


if __name__ == "__main__":
    main()
