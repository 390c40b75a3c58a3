"""Compares the scores and predictions of two stores bit for bit, whatever their keys.

    bench study study.toml --threads 1 --store before     # with one version
    bench study study.toml --threads 1 --store after      # with another
    python docs/scripts/same_scores.py before after

Runs are matched by what was asked: dataset, method with its options, labels, fold, draw, seed.
Of each pair every column of the rows but the keys is compared, and every predicted voxel.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

ASKED = ["dataset", "variant", "deviations", "labels", "fold", "draw", "seed"]
KEYS = ["run", "protocol"]


def runs_of(store: Path) -> dict[tuple[object, ...], Path]:
    """The folders of the finished runs by what was asked."""
    found = {}
    for rows in sorted(store.glob("runs/*/rows.parquet")):
        found[tuple(pd.read_parquet(rows, columns=ASKED).iloc[0])] = rows.parent
    return found


def predictions_of(run: Path) -> list[np.ndarray]:
    """The predicted volumes of a run, in the order of its cases."""
    key = json.loads((run / "run.json").read_text(encoding="utf-8"))["stages"]["evaluate"]
    folder = run.parents[1] / "stages" / "evaluate" / key
    return [np.load(file)["prediction"] for file in sorted(folder.glob("*.npz"))]


def same(first: Path, second: Path) -> bool:
    """Whether two runs have the same rows and predictions."""
    rows = [pd.read_parquet(run / "rows.parquet").drop(columns=KEYS) for run in (first, second)]
    volumes = [predictions_of(run) for run in (first, second)]
    return rows[0].equals(rows[1]) and all(map(np.array_equal, *volumes))


def main() -> int:
    """Prints how many runs are equal; 1 if one is not, or is missing."""
    before, after = (runs_of(Path(path)) for path in sys.argv[1:3])
    differing = [
        asked for asked in before.keys() & after.keys() if not same(before[asked], after[asked])
    ]
    alone = before.keys() ^ after.keys()
    for asked in (*differing, *alone):
        sys.stdout.write(f"{'alone' if asked in alone else 'differs'}: {asked}\n")
    sys.stdout.write(
        f"{len(before)} and {len(after)} runs: {len(differing)} differ, {len(alone)} stand alone\n"
    )
    return int(bool(differing or alone or not before))


if __name__ == "__main__":
    sys.exit(main())
