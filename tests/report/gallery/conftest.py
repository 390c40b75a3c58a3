"""A store of two runs and a few cases, made as the harness makes it, and rows that go with it."""

import json

import numpy as np
import pandas as pd
import pytest

from contrabench.data.grid import resample_image, working_grid
from contrabench.files import seal_folder
from contrabench.report.entries import Entry, LabelBudget
from contrabench.statistics.aggregate import patient_scores

STRUCTURES = ("box", "rim")
SHAPE, SPACING, ORIGIN = (40, 30, 24), (1.5, 2.0, 2.5), (-70.0, 12.0, 5.0)
BOX = (slice(24, 34), slice(4, 12), slice(13, 20))


def make_entry(name, dice, deviations="", runs=("aa",), draws=(0,), seeds=(0,), cases=("ed",)):
    """An entry whose patients have these mean Dice, the same in all its runs."""
    rows = pd.DataFrame([
        {"run": run, "fold": 0, "draw": draw, "seed": seed, "patient": patient,
         "case": f"{patient}_{case}", "structure": structure, "dice": value, "flag": "",
         "family": "made up"}
        for run, draw, seed in zip(runs, draws, seeds, strict=True)
        for patient, value in dice.items()
        for case in cases
        for structure in STRUCTURES
    ])  # fmt: skip
    return Entry(name, deviations, rows, patient_scores(rows, ["dice"]))


def make_budget(entries, distance="asd_mm"):
    rows = pd.concat([entry.rows for entry in entries])
    return LabelBudget("10%", 0.1, rows, tuple(entries), distance)


def make_volume():
    """An image and its label: a bright box off the centre, half of it called the rim."""
    label = np.zeros(SHAPE, np.uint8)
    label[BOX] = 1
    label[BOX[0], BOX[1], 13:15] = 2
    image = np.where(label > 0, 100.0, 0.0).astype(np.float32)
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = ORIGIN
    return image, label, affine


def write_case(store, fingerprint):
    image, label, affine = make_volume()
    grid = working_grid(SHAPE, affine, 56.0, 20)
    folder = store / "stages" / "prepare" / fingerprint
    folder.mkdir(parents=True)
    np.save(folder / "image.npy", resample_image(image, grid))
    np.savez_compressed(folder / "native_label.npz", label=label)
    np.save(folder / "label.npy", label)
    meta = {
        "affine": grid.affine.tolist(), "native_affine": affine.tolist(), "spacing": SPACING,
        "native_shape": SHAPE, "image_hash": fingerprint, "outside": 0.0,
    }  # fmt: skip
    (folder / "meta.json").write_text(json.dumps(meta))
    seal_folder(folder)


def write_predictions(store, key, cases, classes):
    folder = store / "stages" / "evaluate" / key
    folder.mkdir(parents=True)
    scores = []
    for number, case in enumerate(cases, start=1):
        file = f"{number:03d}.npz"
        np.savez_compressed(folder / file, prediction=classes, affine=np.eye(4))
        scores += [{"case": case, "structure": name, "file": file} for name in STRUCTURES]
    structures = [{"name": name, "value": value} for value, name in enumerate(STRUCTURES, 1)]
    spec = {"data": cases, "structures": structures}
    (folder / "spec.json").write_text(json.dumps(spec))
    (folder / "scores.json").write_text(json.dumps(scores))
    seal_folder(folder)


@pytest.fixture
def store(tmp_path):
    """Runs `aa` (perfect) and `bb` (shifted by three voxels to the right) on three patients."""
    _, label, _ = make_volume()
    cases = {f"{patient}_ed": f"{number}" * 8 for number, patient in enumerate("pqr", start=1)}
    for fingerprint in cases.values():
        write_case(tmp_path, fingerprint)
    write_predictions(tmp_path, "a0", cases, label)
    write_predictions(tmp_path, "b0", cases, np.roll(label, 3, axis=0))
    return tmp_path


@pytest.fixture
def runs():
    return pd.DataFrame({"evaluate": ["a0", "b0"]}, index=["aa", "bb"])


@pytest.fixture
def budget():
    ours = make_entry("ours", {"p": 0.9, "q": 0.5, "r": 0.7})
    scratch = make_entry("scratch", {"p": 0.7, "q": 0.3, "r": 0.5}, runs=("bb",))
    return make_budget([ours, scratch])


@pytest.fixture
def entry():
    return make_entry


@pytest.fixture
def volume():
    return make_volume()


@pytest.fixture
def rings():
    """Reads path data back as rings of points, by the definition of M, l and z."""

    def read(path):
        found = []
        for piece in path.split("z")[:-1]:
            start, steps = piece.removeprefix("M").split("l")
            numbers = np.array([*start.split(), *steps.split()], float).reshape(-1, 2)
            found.append(np.cumsum(numbers, axis=0))
        return found

    return read
