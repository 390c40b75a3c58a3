"""Times the reading of a store of many runs, and the memory that it takes.

    python docs/scripts/store_scale.py --runs 100000

Simulates a store below --folder (removed at the end), with real files and markers, and prints
time and peak memory of: listing the runs; the first reading, which makes the copy; the second
one; the means per patient of every variant at every label budget; and the whole report as a page
and as tidy Parquet, reading included. Each step is a process of its own, one after another.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STEPS = ("simulating", "listing", "first reading", "second reading", "aggregating", "report")
STRUCTURES, PATIENTS, FOLDS, LABELS = 7, 20, 5, (0.05, 0.1, 0.2, 0.4)
METHODS = 25
METRICS = ["dice", "asd_mm"]
GROUPS = ["protocol", "labels", "variant", "deviations"]
MEANS = [*GROUPS, "patient", "run", "case", "flag", *METRICS]
"""The columns that means per patient need."""


def cells() -> Iterator[tuple[int, int, int, int, int]]:
    """Seed, draw, fold, label budget and method of each run, without end."""
    for seed in itertools.count():
        yield from (
            (seed, *cell)
            for cell in itertools.product(
                range(10), range(FOLDS), range(len(LABELS)), range(METHODS)
            )
        )


def record(key: str, cell: dict[str, Any]) -> dict[str, Any]:
    """What a run of that cell would tell of itself."""
    patients = [f"p{number:02d}" for number in range(2)]
    place = f"{cell['labels']}-{cell['fold']}-{cell['draw']}"
    runtime = {"device": "cpu", "device_name": "x86_64", "threads": 1, "devices": 1}
    return {
        "run": key,
        "cost": {
            "pretrain_seconds": 3.0, "finetune_seconds": 20.0, "evaluate_seconds": 1.0,
            "peak_memory_mb": 1000.0, "parameters": 486352, "pretraining_heads": 33024,
        },
        "training": {"finetune": {"runtime": runtime}},
        "environment": {"contrabench": "0.1.0", "torch": "2.15.0"},
        "patients": {"labelled": patients},
        "manifests": {"split": f"{cell['fold']:016x}", "labels": place},
        "stages": {"evaluate": key},
    }  # fmt: skip


def simulate(store: Path, runs: int) -> None:
    """Writes the runs; scores are random, all else is as a study would write it."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from contrabench.files import checksum
    from contrabench.store.rows import ROWS_FILE, SCHEMA, SCHEMA_VERSION
    from contrabench.store.runs import RUN_RECORD
    from contrabench.store.stages import SPEC, key_of

    random = np.random.default_rng(0)
    rows = PATIENTS // FOLDS * STRUCTURES
    common = {
        "schema_version": SCHEMA_VERSION, "protocol": "ab12cd34ef56ab12", "dataset": "phantom",
        "budget": "quick", "method_version": 1, "recipe": "common", "family": "simulated",
        "fidelity": "re-implementation", "deviations": "", "train_patients": 16,
        "test_patients": 4, "folds": FOLDS, "asd_voxel": None, "flag": "", "metric_contract": 1,
    }  # fmt: skip
    for seed, draw, fold, budget, method in itertools.islice(cells(), runs):
        cell = {"seed": seed, "draw": draw, "fold": fold, "labels": f"{LABELS[budget]:.0%}"}
        name = "scratch" if method == 0 else f"method{method:02d}"
        about = {"name": name, "code": "c0de", "options": {}}
        spec = {"protocol": {"folds": FOLDS, "dataset": "phantom"}, "method": about, **cell}
        key = key_of("runs", spec)
        patients = [f"p{number:02d}" for number in range(fold, PATIENTS, FOLDS)]
        values = {
            **common, **cell, "run": key, "method": name, "variant": name,
            "fraction": LABELS[budget],
            "labelled_patients": max(1, round(LABELS[budget] * 16)),
        }  # fmt: skip
        columns: dict[str, object] = {field: [value] * rows for field, value in values.items()}
        columns["patient"] = np.repeat(patients, STRUCTURES).tolist()
        columns["case"] = np.repeat([f"{one}_ed" for one in patients], STRUCTURES).tolist()
        columns["structure"] = [f"structure {number % STRUCTURES}" for number in range(rows)]
        for field in SCHEMA:
            if field.name not in columns:
                scores = random.random(rows)
                whole = field.type == pa.int64()
                columns[field.name] = (1e5 * scores).astype(int) if whole else scores
        folder = store / "runs" / key
        folder.mkdir(parents=True)
        table = pa.table({field.name: columns[field.name] for field in SCHEMA}, schema=SCHEMA)
        pq.write_table(table, folder / ROWS_FILE, compression="zstd")
        (folder / SPEC).write_text(json.dumps(spec))
        (folder / RUN_RECORD).write_text(json.dumps(record(key, cell)))
        # As `seal_folder` writes it, without waiting for the disk three hundred thousand times.
        sums = {name: checksum(folder / name) for name in (ROWS_FILE, RUN_RECORD, SPEC)}
        (folder / "done.json").write_text(json.dumps({"files": sums}))


def step(name: str, store: Path, runs: int) -> None:
    """Carries out one step in this process, and prints time, peak memory and what came of it."""
    from contrabench.statistics.aggregate import patient_scores
    from contrabench.store.results import read_results, read_rows
    from contrabench.store.runs import finished_runs

    began = time.perf_counter()
    if name == "simulating":
        simulate(store, runs)
        found = ""
    elif name == "listing":
        found = f"{len(finished_runs(store))} runs"
    elif name == "report":
        from contrabench.contracts.registry import reports
        from contrabench.report.build import build_report

        made = build_report(read_results(store), "bench report")
        sizes = [len(reports.get(one)().render(made)) / 2**20 for one in ("html", "parquet")]
        found = f"{len(made.sections)} sections, {sizes[0]:.1f} and {sizes[1]:.1f} MiB"
    else:
        rows, problems = read_rows(store, MEANS if name == "aggregating" else None)
        size = rows.memory_usage(deep=False).sum() / 2**20
        found = f"{len(rows)} rows, {size:.0f} MiB of frame, {len(problems)} runs left out"
        if name == "aggregating":
            groups = rows.groupby(GROUPS, observed=True)
            means = [patient_scores(part, METRICS) for _, part in groups]
            found = f"{len(means)} means of {len(means[0])} patients, reading included"
    spent = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    sys.stdout.write(f"{name:15} {spent:7.1f} s {peak:6.0f} MiB  {found}\n")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="where the store is made; by default /tmp")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.step:
        step(wanted.step, wanted.folder, wanted.runs)
        return
    with tempfile.TemporaryDirectory(dir=wanted.folder) as folder:
        for name in STEPS:
            command = [sys.executable, __file__, "--folder", folder, "--step", name]
            subprocess.run([*command, "--runs", str(wanted.runs)], check=True)


if __name__ == "__main__":
    main()
