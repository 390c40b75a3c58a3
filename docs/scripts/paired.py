"""Pairs two variants of a store by patient: mean difference in Dice and ASD, interval, exact p.

    python docs/scripts/paired.py STORE FIRST LABELS SECOND LABELS [--protocol HASH]

for example `contrabench-runs scratch 100% mmgl 10%`: full supervision minus MMGL.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from contrabench.statistics.aggregate import patient_scores
from contrabench.statistics.paired import paired_difference
from contrabench.store.results import read_rows


def main() -> None:
    """Reads the rows and prints one line per metric."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    for word in ("first", "first_labels", "second", "second_labels"):
        parser.add_argument(word)
    parser.add_argument("--protocol", help="its hash, where the store holds several")
    wanted = parser.parse_args()
    rows, _ = read_rows(wanted.store)
    if wanted.protocol:
        rows = rows[rows["protocol"] == wanted.protocol]
    if rows["protocol"].nunique() != 1:
        parser.error(f"name one --protocol of {', '.join(rows['protocol'].unique())}")
    metrics = ["dice", "asd_mm"]
    sides = [
        patient_scores(rows[(rows["variant"] == variant) & (rows["labels"] == labels)], metrics)
        for variant, labels in (
            (wanted.first, wanted.first_labels),
            (wanted.second, wanted.second_labels),
        )
    ]
    for metric in metrics:
        found = paired_difference(sides[0][metric], sides[1][metric])
        sys.stdout.write(
            f"{metric}: {sides[0][metric].mean():.3f} against {sides[1][metric].mean():.3f}, "
            f"difference {found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}], "
            f"p {found.p:.2g}, {found.patients} patients\n"
        )


if __name__ == "__main__":
    main()
