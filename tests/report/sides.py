"""Two small studies to hold against each other, with the records of their runs."""

import copy
import hashlib
import json

import numpy as np
import pandas as pd
from tests.makers.rows import results

from contrabench.report.changes import Side

NOISE = np.random.default_rng(5).normal(0, 0.02, (8, 40))
PROTOCOL = {
    "hash": "fedcba9876543210",
    "dataset": "phantom",
    "data": "d1",
    "dataset_options": {},
    "structures": ["LV", "RV"],
    "recipe": {"clip_percentiles": [0.5, 99.5], "version": 1},
    "budget": {"name": "smoke", "finetune": {"images": 1600, "lr": 0.01}},
    "metric_contract": 1,
}
SOFTWARE = {"contrabench": "1.0", "torch": "2.14"}
METHOD = {"code": "c0de", "version": 1, "options": {"temperature": 0.1, "heads": {"size": 64}}}


def study(variant, shift=0.0, noise=0, patients=12, **changes):
    """One row per patient, half of them in each of two folds."""
    rows = [
        {
            "method": variant, "patient": f"p{p:02d}", "fold": p % 2, "folds": 2,
            "dice": 0.4 + 0.01 * p + shift + NOISE[noise, p], "asd_mm": 5 - 4 * NOISE[noise, p],
            **changes,
        }
        for p in range(patients)
    ]  # fmt: skip
    return [{"run": _key(row), **row} for row in rows]


def _key(row):
    """As in a store, other versions and protocols are other runs."""
    asked = {
        name: value for name, value in row.items() if name not in ("patient", "dice", "asd_mm")
    }
    return hashlib.sha256(repr(sorted(asked.items())).encode()).hexdigest()[:16]


def changed(specification, path, value):
    """A copy with another value at `a.b.c`."""
    copied = copy.deepcopy(specification)
    *above, last = path.split(".")
    place = copied
    for name in above:
        place = place[name]
    place[last] = value
    return copied


def recorded(rows, protocol=PROTOCOL, software=SOFTWARE, method=METHOD, lost=(), **facts):
    """Results with a record for each run, but those of the methods that are named lost."""
    lines = {}
    for run, part in rows.groupby("run"):
        first = part.iloc[0]
        if first["method"] not in lost:
            lines[run] = {
                "protocol": json.dumps(protocol),
                "environment": json.dumps(software),
                "method_info": json.dumps({"name": first["method"], **method}),
                "device": "x86_64 (cpu, 1 thread)",
                "split": f"split {first['fold']}",
                "labels_manifest": f"{first['labels']} {first['fold']} {first['draw']}",
                **facts,
            }
    known = results(rows).runs.reindex(sorted(lines))
    for name, column in pd.DataFrame.from_dict(lines, orient="index").items():
        known[name] = column
    return results(rows, known)


def side(found):
    """The one protocol of results."""
    return Side(found.rows, found.runs)
