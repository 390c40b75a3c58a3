"""Small stores with real keys, markers and files, made in milliseconds."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from contrabench.data.splits import LabelManifest, Split, save_manifest
from contrabench.progress import Silent
from contrabench.protocol import digest
from contrabench.store.rows import ResultRow, write_rows
from contrabench.store.stages import StageStore, key_of

PROTOCOL = {"dataset": "phantom", "version": 2}


def make_rows(key, seed=0, dice=0.5, variant="scratch", patients=2, **changes):
    common = {
        "run": key, "protocol": digest(PROTOCOL), "dataset": "phantom", "budget": "smoke",
        "method": variant, "method_version": 1, "variant": variant, "recipe": "common",
        "family": "reference", "fidelity": "re-implementation", "deviations": "",
        "labels": "10%", "fraction": 0.1, "labelled_patients": 2, "train_patients": 16,
        "test_patients": patients, "fold": 0, "folds": 5, "draw": 0, "seed": seed,
        "structure": "LV", "asd_mm": 2.0, "hd95_mm": 4.0, "surface_dice_2mm": 0.5,
        "asd_voxel": None, "asd_medpy_voxel": 1.0, "asd_slice2d_mm": 1.0,
        "reference_voxels": 100, "prediction_voxels": 100, "flag": "", "metric_contract": 1,
    }  # fmt: skip
    return [
        ResultRow(**{**common, "patient": f"p{n}", "case": f"p{n}_ed", "dice": dice, **changes})
        for n in range(patients)
    ]


class Lab:
    """Fills stores as the engine does: by `StageStore`, with specifications of its own."""

    @staticmethod
    def stage(root, kind, seed, weight=1.0):
        def make(folder):
            tensors = {"w": np.full(3, weight, np.float32)}
            if kind == "evaluate":
                np.savez_compressed(folder / "001.npz", prediction=np.zeros(4, np.uint8))
                (folder / "scores.json").write_text("[]")
            else:
                save_file(tensors, folder / "weights.safetensors")

        return StageStore(root, Silent()).run(kind, {"seed": seed}, make)

    @classmethod
    def run(cls, root, seed=0, wall=1.0, stages=True, **rows):
        """A run, with the stages that it rests on, and its manifests."""
        if stages:
            for kind in ("pretrain", "finetune", "evaluate"):
                cls.stage(root, kind, seed)
        spec = cls.spec(seed)

        def make(folder):
            key = key_of("runs", spec)
            write_rows(folder / "rows.parquet", make_rows(key, seed, **rows))
            record = {"run": key, "cost": {"wall_seconds": wall}, "manifests": manifests}
            (folder / "run.json").write_text(json.dumps(record))

        split = Split(fold=0, folds=5, seed=seed, train=("a", "b"), labelled=("a",), test=("c",))
        labels = LabelManifest(labels="10%", fraction=0.1, draw=seed, patients=("a",), of=2)
        manifests = {
            "split": save_manifest(root / "splits", "split", split),
            "labels": save_manifest(root / "splits", "labels", labels),
        }
        return StageStore(root, Silent()).run("runs", spec, make)

    @staticmethod
    def spec(seed):
        return {"protocol": PROTOCOL, "method": {"name": "scratch"}, "seed": seed}


@pytest.fixture
def lab():
    return Lab
