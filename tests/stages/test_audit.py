"""The ten rules, each with its fault planted."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import ndimage
from tests.makers.studies import TINY, make_spec

from contrabench.contracts.method import Stage
from contrabench.data.bank import build_bank
from contrabench.data.likeness import Likeness, pattern_of
from contrabench.data.prepare import cases_of
from contrabench.data.splits import LabelManifest, Split
from contrabench.errors import AuditError
from contrabench.evaluation import inference
from contrabench.report.completeness import missing_references
from contrabench.stages import audit, recipe, trained
from contrabench.stages.run import Run
from contrabench.store.results import read_rows
from contrabench.testing import make_case
from contrabench.training import checkpoint
from contrabench.training.checkpoint import load_weights, save_weights

CPU = torch.device("cpu")
SPLIT = Split(
    fold=0,
    folds=2,
    seed=0,
    train=("patient_00", "patient_01", "patient_02"),
    labelled=("patient_00", "patient_01", "patient_02"),
    test=("patient_03", "patient_04"),
)
MANIFEST = LabelManifest(labels="33%", fraction=0.33, draw=0, patients=("patient_01",), of=3)


def bank(cases, patients, labelled=None):
    return build_bank(cases_of(cases, patients), labelled, ("axial",), CPU)


def test_rule_1_a_patient_in_both_sets():
    audit.check_split(SPLIT)
    leaky = SPLIT.model_copy(update={"train": (*SPLIT.train, "patient_03")})
    with pytest.raises(AuditError, match="rule 1.*patient_03"):
        audit.check_split(leaky)


def test_rule_1_test_images_in_the_bank(cases):
    audit.check_bank(bank(cases, SPLIT.train), SPLIT, ())
    with pytest.raises(AuditError, match="rule 1.*patient_04"):
        audit.check_bank(bank(cases, [*SPLIT.train, "patient_04"]), SPLIT, ())


LEAKS = {
    "exact copy": lambda image: image,
    "noisy": lambda image: image + np.random.default_rng(1).normal(0, 0.3, image.shape),
    "mirrored": lambda image: image[:, ::-1, ::-1],
    "resampled": lambda image: ndimage.zoom(image, (0.75, 0.75, 2), order=1),
}


@pytest.mark.parametrize("leak", LEAKS.values(), ids=LEAKS)
def test_rule_1_a_test_heart_in_the_pool_under_another_name(leak):
    hearts = [make_case(number, pixels=48, depth=12, variety=1.0) for number in range(5)]
    for heart in hearts:
        object.__setattr__(heart, "likeness", Likeness(heart.case, pattern_of(heart.image)))
    evidence = audit.check_hearts(hearts, SPLIT)
    assert evidence.startswith("3 training volumes, 0 of them without labels: none of a test")
    stranger = make_case(5, pixels=48, depth=12, variety=1.0, labelled=False)
    split = SPLIT.model_copy(update={"train": (*SPLIT.train, stranger.patient)})
    assert "4 training volumes, 1 of them" in audit.check_hearts([*hearts, stranger], split)
    disguised = pattern_of(np.asarray(leak(hearts[4].image), np.float32))
    object.__setattr__(stranger, "likeness", Likeness("another file", disguised))
    with pytest.raises(AuditError, match=r"rule 1.*case_05 .* heart of the test case case_04"):
        audit.check_hearts([*hearts, stranger], split)


def test_rule_1_a_test_patient_in_the_pool_by_name(cases):
    frame = make_case(11, patient="patient_03", labelled=False)
    with pytest.raises(AuditError, match=r"rule 1.*patient_03"):
        audit.check_bank(bank([*cases, frame], ["patient_00", "patient_03"]), SPLIT, ())


def test_rule_1_stops_a_run_whose_stage_pools_the_test_patients(execute, monkeypatch):
    monkeypatch.setattr(Run, "pool", lambda self, stage: self.cases)
    with pytest.raises(AuditError, match="rule 1"):
        execute(make_spec("simclr"))


def test_rule_2_masks_beyond_the_manifest(cases):
    allowed = bank(cases, SPLIT.train, ["patient_01"])
    audit.check_bank(allowed, SPLIT, MANIFEST.patients)
    with pytest.raises(AuditError, match="rule 2.*patient_01"):
        audit.check_bank(allowed, SPLIT, ())
    with pytest.raises(AuditError, match="rule 2.*patient_00"):
        more = bank(cases, SPLIT.train, ["patient_00", "patient_01"])
        audit.check_bank(more, SPLIT, MANIFEST.patients)


def test_rule_2_a_method_that_peeks_is_stopped(execute, monkeypatch):
    spec = make_spec("hu")
    method = spec.open_method()
    honest = method.stages()
    hidden = (honest[0], honest[1].model_copy(update={"labels": False}))
    monkeypatch.setattr(type(method), "stages", lambda self: hidden)
    with pytest.raises(Exception, match="labels=False"):
        execute(spec)


def test_rule_3_weights_of_another_step(execute, monkeypatch):
    audit.check_last_step({"step": "24"}, 24)
    with pytest.raises(AuditError, match="rule 3"):
        audit.check_last_step({"step": "20"}, 24)

    def pick_an_earlier_one(path, weights, header):
        save_weights(path, weights, {**header, "step": "12"})

    monkeypatch.setattr(trained, "save_weights", pick_an_earlier_one)
    with pytest.raises(AuditError, match="rule 3"):
        execute(make_spec("scratch"))


def test_rule_4_heads_that_get_no_gradient(execute, monkeypatch):
    spec = make_spec("simclr")
    method = spec.open_method()
    build = type(method).objective

    def with_an_idle_head(self, stage, backbone):
        objective = build(self, stage, backbone)
        objective.idle = torch.nn.Linear(2, 2)
        return objective

    monkeypatch.setattr(type(method), "objective", with_an_idle_head)
    with pytest.raises(AuditError, match="rule 4.*idle"):
        execute(spec)


def test_rule_4_a_frozen_encoder_that_is_written_to(execute, monkeypatch):
    spec = make_spec("global_local", {"stages": "local"})
    method = spec.open_method()
    build = type(method).objective

    def writing(self, stage, backbone):
        objective = build(self, stage, backbone)
        objective.after_step = lambda net, progress: net.enc1.norm1.bias.add_(1.0)
        return objective

    monkeypatch.setattr(type(method), "objective", writing)
    with pytest.raises(AuditError, match="rule 4.*frozen"):
        execute(spec)


def test_rule_5_views_that_are_equal(execute, monkeypatch):
    spec = make_spec("simclr")
    method = spec.open_method()
    view = Stage(name="x").views[0].model_copy(update={"spatial": None, "intensity": None})
    monkeypatch.setattr(
        type(method), "stages", lambda self: (Stage(name="global", views=(view, view)),)
    )
    with pytest.raises(AuditError, match="rule 5"):
        execute(spec)


def test_rule_6_new_label_values(cases):
    audit.check_labels(cases, 3)
    spoilt = dataclasses.replace(cases[0], label=np.where(cases[0].label == 2, 3, 0))
    object.__setattr__(spoilt, "native_label", cases[0].native_label)
    with pytest.raises(AuditError, match="rule 6.*case_00"):
        audit.check_labels([spoilt], 4)


def test_rule_6_slices_left_out(execute, monkeypatch):
    real = inference.predict_case
    monkeypatch.setattr(inference, "predict_case", lambda *arguments: real(*arguments)[:, :, :-1])
    with pytest.raises(AuditError, match="rule 6.*unscored"):
        execute(make_spec("scratch"))


def test_rule_7_weights_that_do_not_match(execute, monkeypatch):
    renamed = {"calls": 0}

    def rename(path):
        weights = load_weights(path)
        renamed["calls"] += 1
        return {f"module.{name}": value for name, value in weights.items()}

    monkeypatch.setattr(checkpoint, "load_weights", rename)
    with pytest.raises(AuditError, match="rule 7"):
        execute(make_spec("simclr"))
    assert renamed["calls"] == 1


def test_rule_8_another_recipe_in_pretraining(execute, monkeypatch):
    audit.check_recipe({"recipe": "a"}, "a")
    spec = make_spec("simclr")

    def other_recipe(path, weights, header):
        save_weights(path, weights, {**header, "recipe": "0123"})

    monkeypatch.setattr(trained, "save_weights", other_recipe)
    with pytest.raises(AuditError, match="rule 8"):
        execute(spec)


def test_rule_9_a_method_that_trains_longer(execute, monkeypatch):
    assert audit.check_images(TINY, [192, 192], 384, 0.0, [16, 16])
    assert audit.check_images(TINY, [], 768, 1.0, [])
    for pretrain, finetune in (([384, 384], 384), ([192, 176], 384), ([384], 400)):
        with pytest.raises(AuditError, match="rule 9"):
            audit.check_images(TINY, pretrain, finetune, 0.0, [16] * len(pretrain))
    monkeypatch.setattr(recipe, "_shares", lambda stages, total: [30 for _ in stages])
    with pytest.raises(AuditError, match="rule 9"):
        execute(make_spec("simclr"))


def test_rule_9_allows_what_a_papers_batch_leaves_over_and_no_more():
    assert audit.check_images(TINY, [380], 384, 0.0, [20])
    for images, batch in ((360, 20), (400, 20), (368, 16)):
        with pytest.raises(AuditError, match="rule 9"):
            audit.check_images(TINY, [images], 384, 0.0, [batch])


def test_rule_10_missing_references_are_named(execute, tmp_path):
    execute(make_spec("simclr"))
    rows, _ = read_rows(tmp_path)
    lacking = " ".join(one.note for one in missing_references(rows, "50%"))
    for method, labels in (("scratch", "50%"), ("scratch_long", "50%"), ("scratch", "100%")):
        assert f"--method {method} --labels {labels}" in lacking
        execute(make_spec(method, labels=labels))
    rows, _ = read_rows(tmp_path)
    assert missing_references(rows, "50%") == []
