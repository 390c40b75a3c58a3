"""Result rows to compute with: a maker that fills in all that a test does not say."""

import dataclasses
import hashlib

import pandas as pd
import pytest

from contrabench.store.results import Results
from contrabench.store.rows import ResultRow
from contrabench.store.runs import NUMBERS, WORDS

DEFAULTS = {
    "protocol": "fedcba9876543210", "dataset": "phantom", "budget": "smoke", "method": "scratch",
    "method_version": 1, "recipe": "common",
    "family": "reference", "fidelity": "re-implementation", "deviations": "", "labels": "10%",
    "fraction": 0.1, "labelled_patients": 2, "train_patients": 16, "test_patients": 4, "fold": 0,
    "folds": 1, "draw": 0, "seed": 0, "patient": "p0", "structure": "LV", "dice": 0.5,
    "asd_mm": 2.0, "hd95_mm": 4.0, "surface_dice_2mm": 0.5, "asd_voxel": None,
    "asd_medpy_voxel": 1.0, "asd_slice2d_mm": 1.0, "reference_voxels": 100,
    "prediction_voxels": 100, "flag": "", "metric_contract": 1,
}  # fmt: skip
KEY = ("protocol", "variant", "deviations", "labels", "fold", "draw", "seed")


def make_row(**changes):
    values = {**DEFAULTS, **changes}
    values.setdefault("variant", values["method"])
    values.setdefault("case", f"{values['patient']}_ed")
    if values["flag"] == "not applicable":
        values |= {"dice": None, "asd_mm": None, "hd95_mm": None, "surface_dice_2mm": None}
    parts = "|".join(str(values[name]) for name in KEY)
    values.setdefault("run", hashlib.sha256(parts.encode()).hexdigest()[:16])
    return ResultRow(**values)


def results(rows, runs=None, problems=()):
    """Rows as a store would give them; without records unless they are given."""
    if runs is None:
        runs = pd.DataFrame(columns=[*NUMBERS, *WORDS], index=pd.Index([], name="run", dtype="str"))
        runs = runs.astype(dict.fromkeys(NUMBERS, float))
    return Results(rows, runs, tuple(problems))


@pytest.fixture
def frame():
    """Turns dictionaries of what matters into a frame of result rows."""

    def make(*rows):
        data = [dataclasses.asdict(make_row(**row)) for row in rows]
        frame = pd.DataFrame(data, columns=[f.name for f in dataclasses.fields(ResultRow)])
        numbers = ["dice", "asd_mm", "asd_voxel"]
        return frame.astype(dict.fromkeys(numbers, float))

    return make
