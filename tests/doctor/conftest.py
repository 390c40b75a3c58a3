"""A small store that is sound in every way, made without training."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from contrabench.evaluation.metrics import StructureScore
from contrabench.files import seal_folder
from contrabench.protocol import digest
from contrabench.store.rows import ResultRow, write_rows
from contrabench.store.stages import home_of, key_of

SCORE = StructureScore("LV", 0.5, 1.5, 3.0, 0.5, 1.25, 1.75, 120, 90)
CONTEXT = {
    "dataset": "phantom", "budget": "smoke", "method_version": 1, "recipe": "common",
    "family": "some", "fidelity": "re-implementation", "deviations": "", "labelled_patients": 1,
    "train_patients": 4, "test_patients": 2, "folds": 2, "draw": 0, "seed": 0,
}  # fmt: skip
PROTOCOL = digest({"protocol": "healthy"})


def put_stage(store, kind, spec, files=None):
    """A sealed stage under its own key."""
    folder = home_of(store, kind) / key_of(kind, spec)
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text(json.dumps(spec))
    for name, content in (files or {}).items():
        (folder / name).write_text(content)
    if kind in ("pretrain", "finetune"):
        # More than a megabyte, so that only a deep look reads all of it.
        weights = np.random.default_rng(0).standard_normal(2**18 + 99, np.float32)
        save_file({"weight": weights}, folder / "weights.safetensors")
    seal_folder(folder)
    return folder


def rows_of(run, fold=0, labels="10%", fraction=0.1, variant="simclr", score=SCORE, **changes):
    """Two structures in two cases of the fold's two patients."""
    own = {"labels": labels, "fraction": fraction, "variant": variant, "method": variant}
    own |= {"fold": fold, "protocol": PROTOCOL, "run": run}
    return [
        ResultRow(**{
            **CONTEXT, **score.columns(True), **own, "structure": structure,
            "patient": f"p{2 * fold + number}", "case": f"p{2 * fold + number}_ed", **changes,
        })
        for number in range(2)
        for structure in ("LV", "RV")
    ]  # fmt: skip


def put_run(store, rows=None, **cell):
    """A finished run with its stages; `rows` makes them from key and cell."""
    pretrained = []
    if not cell.get("variant", "simclr").startswith("scratch"):
        pretrained = [put_stage(store, "pretrain", {"stage": cell}).name]
    tuned = put_stage(store, "finetune", {"model": cell, "input": pretrained}).name
    scored = put_stage(store, "evaluate", {"model": tuned}, {"scores.json": "[]"}).name
    spec = {"run": cell, "scores": scored}
    key = key_of("runs", spec)
    folder = store / "runs" / key
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text(json.dumps(spec))
    stages = {"pretrain": pretrained, "finetune": tuned, "evaluate": scored}
    (folder / "run.json").write_text(json.dumps({"run": key, "stages": stages}))
    write_rows(folder / "rows.parquet", (rows or rows_of)(key, **cell))
    seal_folder(folder)
    return folder


@pytest.fixture(scope="session")
def sound(tmp_path_factory):
    """Three variants at 10 % and full supervision, on two folds."""
    home = tmp_path_factory.mktemp("sound")
    for fold in range(2):
        for variant in ("scratch", "scratch_long", "simclr"):
            put_run(home, variant=variant, fold=fold)
        put_run(home, variant="scratch", fold=fold, labels="100%", fraction=1.0)
    # As large as weights, and read in full all the same.
    put_stage(home, "prepare", {"case": "p0"}, {"image.npy": "image" * 2**18, "meta.json": "{}"})
    return home


@pytest.fixture
def store(sound, tmp_path):
    """A copy of it, to plant a fault in."""
    return Path(shutil.copytree(sound, tmp_path / "store"))


@pytest.fixture
def build():
    """The makers above, for tests that plant something."""

    class Build:
        stage, run, rows = map(staticmethod, (put_stage, put_run, rows_of))

    return Build
