"""Tables what the pre-trainings of a store have learned, beside their random start.

    python docs/scripts/representations.py STORE [--data FOLDER] [--protocol HASH]

Prints Markdown: for each protocol a table with a row for each tap and method, the random
encoder first; means over folds and seeds where the store holds several. What the columns
mean is said by `bench inspect`. `--data` is that of the runs, where their dataset needs one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from contrabench.errors import RequestError
from contrabench.inspection.pretrained import (
    PRETRAINED,
    RANDOM,
    Pretrained,
    read_pretrained,
    training_bank,
)
from contrabench.inspection.representation import TapReport, Viewer
from contrabench.model.backbones.unet import UNet
from contrabench.progress import ConsoleReporter
from contrabench.text import budget_words

Rows = dict[tuple[str, str], list[TapReport]]


def pretrainings(store: Path, protocol: str | None) -> list[Pretrained]:
    """The last stage of every run, each pre-training once however many runs share it."""
    found: dict[Path, Pretrained] = {}
    for file in sorted((store / "runs").glob("*/run.json")):
        try:
            item = read_pretrained(file.parent)
        except RequestError as error:
            sys.stderr.write(f"left out: {error}\n")
            continue
        if protocol in (None, item.record["protocol"]["hash"]):
            found.setdefault(item.weights, item)
    return list(found.values())


def name_of(item: Pretrained) -> str:
    """The method as the table names it, with its labels where its pre-training sees any."""
    spec = json.loads((item.weights.parent / "spec.json").read_text(encoding="utf-8"))
    labels = (
        "" if spec["labelled"] is None else f", {budget_words([item.record['spec']['labels']])}"
    )
    return f"{item.record['variant']}{labels}"


def collect(items: list[Pretrained], data: Path | None, threads: int) -> dict[str, Rows]:
    """Reports by protocol, and there by tap and method."""
    torch.set_num_threads(threads)
    reporter = ConsoleReporter(Console(stderr=True))
    rows: dict[str, Rows] = defaultdict(lambda: defaultdict(list))
    viewers: dict[tuple[str, int], Viewer] = {}
    done: set[tuple[str, int, int, str]] = set()
    for item in items:
        spec, protocol = item.record["spec"], item.record["protocol"]
        home, fold, seed = protocol["hash"], spec["fold"], spec["seeds"]["init"]
        if (home, fold) not in viewers:
            bank = training_bank(item, data, reporter)
            viewers[home, fold] = Viewer(bank, protocol["structures"], torch.device("cpu"))
        viewer, networks = viewers[home, fold], item.networks()
        for tap in item.taps():
            reporter.line(f"{name_of(item)}, fold {fold}, {tap}")
            if (home, fold, seed, tap) not in done:
                done.add((home, fold, seed, tap))
                report = viewer.report(networks[RANDOM], RANDOM, tap)
                rows[home][tap, ""].append(report)
            report = viewer.report(networks[PRETRAINED], PRETRAINED, tap)
            rows[home][tap, name_of(item)].append(report)
    return rows


def table(rows: Rows) -> list[str]:
    """The Markdown lines of one protocol."""
    structures = list(next(iter(rows.values()))[0].probe)
    heads = ["Tap", "Method", "Alignment", "Uniformity", "Rank", "Position", "Orientation"]
    heads += ["Patient", "Probe", *structures]
    lines = ["| " + " | ".join(heads) + " |", "|---|---|" + "---:|" * (len(heads) - 2)]
    for tap, name in sorted(rows, key=lambda key: (UNet.taps.index(key[0]), key[1])):
        reports = rows[tap, name]
        values = [
            [r.alignment, r.uniformity, r.effective_rank, r.position, r.orientation, r.patient]
            for r in reports
        ]
        probes = [[r.probe_mean, *r.probe.values()] for r in reports]
        geometry, probe = np.mean(values, axis=0), np.mean(probes, axis=0)
        cells = [f"{v:.{n}f}" for v, n in zip(geometry, (2, 2, 1, 2, 2, 2), strict=True)]
        cells += [f"{v:.3f}" for v in probe]
        lines.append("| " + " | ".join([tap, name or "*random encoder*", *cells]) + " |")
    return lines


def main() -> None:
    """Reads the store and prints its tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--protocol", help="its hash, where the store holds several")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    wanted = parser.parse_args()
    items = pretrainings(wanted.store, wanted.protocol)
    if not items:
        parser.error(f"{wanted.store} holds no run with pre-training")
    for home, rows in collect(items, wanted.data, wanted.threads).items():
        protocol = next(i.record for i in items if i.record["protocol"]["hash"] == home)["protocol"]
        title = f"{protocol['dataset']}, budget {protocol['budget']['name']}, protocol `{home}`"
        sys.stdout.write("\n".join([f"### {title}", "", *table(rows), "", ""]))


if __name__ == "__main__":
    main()
