"""What every built-in method must do, whatever it computes; none is left out."""

from pathlib import Path

import pytest
import torch

from contrabench.contracts import registry
from contrabench.testing import assert_conforms

from .conftest import joint_task, pretrain_task

CONTENT = Path(__file__).parents[2] / "methods"
VARIANTS = {
    "barlow_twins": [{"width": 64}],
    "bcp": [{"side": 0.5, "unlabelled": 1.0, "first": 0.5}],
    "byol": [{"dim": 32, "momentum": 0.9}],
    "chaitanya_joint": [{"rounds": 1, "pixels": 5}],
    "cps": [{"weight": 1.0, "ramp": 0}],
    "cutmix": [{"probability": 1, "area": 0.3}],
    "densecl": [{"dense_weight": 0.9, "queue": 24}],
    "dino": [
        {"frozen": 0.0, "batch_norm": True},
        {"frozen": 0.0, "small_crops": 0, "outputs": 64, "dim": 16},
    ],
    "external": [],
    "fixmatch": [{"threshold": 0, "keep": 0.9}],
    "gcl": [{"partitions": 2}],
    "global_local": [
        {"global_loss": "GR"},
        {"global_loss": "GD-"},
        {"stages": "global"},
        {"stages": "local", "decoder_blocks": 1},
    ],
    "heads_only": [],
    "hu": [{"sampling": "block", "block": 8}],
    "lejepa": [{"small_crops": 0}, {"weight": 0.5, "directions": 16, "dim": 8}],
    "macl": [{"weight_pixel": 0}, {"weight_equivariance": 0}],
    "noise": [],
    "oracle": [{"parts": "encoder"}],
    "masked": [{"normalise": False, "cells": 4, "share": 0.25}],
    "mean_teacher": [{"weight": 1.0, "ramp": 0}],
    "mixup": [{"alpha": 1}],
    "mmgl": [
        {"variant": "U"},
        {"variant": "SU"},
        {"stages": "global"},
        {"stages": "local"},
        {"global_taps": ["pool3"], "local_taps": ["dec3"]},
        {"negatives": "same orientation"},
        {"freeze_encoder": True, "linear_heads": True},
        {"variant": "SU", "sampling": "block", "block": 4},
    ],
    "models_genesis": [{"flip": 0, "shuffle": 1, "curve": 0.5, "paint": 1, "inner": 1}],
    "moco": [{"queue": 8, "momentum": 0.999, "temperature": 0.07}],
    "mona": [{"regions": 4, "equivariance": 0}],
    "pcl": [{"threshold": 0.35}],
    "pixpro": [{"tap": "dec4"}, {"tap": "dec3", "sharpness": 1.0, "distance": 1.5}],
    "reco": [{"dim": 16, "queries": 32, "negatives": 64, "weak": 0}],
    "scratch": [],
    "scratch_long": [],
    "self_paced": [
        {"pace": "hard"},
        {"weight_patient": 0},
        {"weight_partition": 0, "partitions": 4},
    ],
    "shuffled": [],
    "self_training": [{"rounds": 1, "threshold": 0.5}],
    "simclr": [{"temperature": 0.5}],
    "simsiam": [],
    "spark": [{"share": 0.5, "decoder": 32}],
    "supcon_pixel": [
        {"sampling": "block", "block": 8},
        {"regions": 2, "hardest": 0.25},
        {"sampling": "block", "block": 8, "regions": 2, "hardest": 0.25},
    ],
    "swav": [
        {"frozen": 0.0},
        {"small_crops": 0, "queue": 0},
        {"frozen": 0.0, "queue": 16, "queue_from": 0.0},
    ],
    "u2pl": [{"low": 2, "cutmix": 0}],
    "ua_mt": [{"literal": True, "passes": 2, "ramp": 0}],
    "ugpcl": [{"anchors": 8, "dim": 16, "alone": 0}],
    "unimatch": [{"threshold": 0, "dropout": 0.2}, {"threshold": 0, "dropped": 0}],
    "vicreg": [{"width": 64}],
    "vicregl": [{"alpha": 0.1, "matches": 49, "width": 32, "local_width": 8}],
    "voco": [{"targets": 1, "width": 32, "momentum": 0.5}],
    "volume_fusion": [{"classes": 2}],
}
"""Options beside the defaults; the defaults of every method pass the whole kit."""
ALL = [(name, options) for name, sets in VARIANTS.items() for options in sets]


def build(name, options):
    cls = registry.methods.get(name)
    return cls(cls.Options.model_validate(options))


def tasks(method, cases):
    """One task for each stage, as the engine makes them."""
    before = [pretrain_task(method, cases, 16, stage) for stage in method.stages()]
    return before + [joint_task(method, cases, stage=stage) for stage in method.joint_stages()]


def test_none_is_left_out():
    assert set(VARIANTS) == {path.stem for path in CONTENT.glob("*.py")}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_defaults_pass_the_kit(name):
    assert_conforms(name)


def test_labelled_and_unlabelled_slices_in_one_batch_pass_the_kit():
    assert_conforms("mmgl", options={"variant": "SU", "stages": "local"})


def test_the_field_is_wide():
    infos = [registry.methods.get(name).info for name in VARIANTS]
    assert len(infos) >= 40
    assert {info.family for info in infos} == {
        "contrast before",
        "contrast during",
        "consistency",
        "reconstruction",
        "outside weights",
        "reference",
        "control",
    }
    apart = ("outside weights", "reference", "control")
    assert all(info.kind for info in infos if info.family not in apart)


@pytest.mark.parametrize(("name", "options"), ALL)
def test_gradients_reach_what_is_trained_and_nothing_else(name, options, cases):
    for task in tasks(build(name, options), cases):
        grown: set[str] = set()
        for step in range(3):
            result = task(task.batch(step, 0, 1))
            assert result.loss.shape == ()
            assert torch.isfinite(result.loss)
            result.loss.backward()
            task.after_step((step + 1) / 3)
            grown |= {n for n, p in task.named_parameters() if p.grad is not None and p.grad.any()}
        wanted = {n for n, p in task.named_parameters() if p.requires_grad}
        assert grown == wanted


@pytest.mark.parametrize("name", VARIANTS)
def test_bf16_gives_nearly_the_same_loss(name, cases):
    for task in tasks(build(name, {}), cases):
        batch = task.batch(0, 0, 1)
        exact = task(batch).loss.item()
        with torch.autocast("cpu", torch.bfloat16):
            rough = task(batch).loss
        assert rough.dtype == torch.float32
        assert rough.item() == pytest.approx(exact, rel=0.1, abs=0.05)


def test_mmgl_s_asks_for_labels_and_mmgl_u_does_not():
    assert build("mmgl", {}).label_dependent()
    assert build("mmgl", {"variant": "SU"}).label_dependent()
    assert not build("mmgl", {"variant": "U"}).label_dependent()
    assert build("hu", {}).label_dependent()


def test_mmgl_pools_three_orientations_and_supervises_deeply():
    deviations = registry.methods.get("mmgl").deviations
    assert (deviations.views, deviations.deep_supervision) == ("all", True)
    for name in set(VARIANTS) - {"mmgl"}:
        assert registry.methods.get(name).deviations.labels() == ()
