import json

import pandas as pd
import pytest
import torch
from tests.makers.studies import RUNTIME, TINY, make_spec, specs_of

from contrabench.contracts import registry
from contrabench.contracts.method import Deviations
from contrabench.errors import RequestError
from contrabench.evaluation.inference import predict_case
from contrabench.protocol import Seeds
from contrabench.stages import run as run_module
from contrabench.stages.recipe import share_out
from contrabench.stages.run import Run
from contrabench.store.results import read_rows
from contrabench.store.rows import ROWS_FILE
from contrabench.training.checkpoint import load_weights


def stages(store, kind):
    return sorted(p.name for p in (store / "stages" / kind).iterdir() if "." not in p.name)


def test_a_run_leaves_rows_and_a_record(execute, tmp_path):
    result = execute(make_spec())
    rows, problems = read_rows(tmp_path)
    assert not problems
    assert len(rows) == 2 * 7
    first = rows.iloc[0]
    assert (first.method, first.labels, first.labelled_patients) == ("mmgl", "50%", 1)
    assert (first.train_patients, first.test_patients) == (2, 2)
    assert first.deviations == "three orientations; deep supervision"
    assert first.fidelity == "reconstruction"
    record = result.record
    patients = record["patients"]
    assert set(rows.patient) == set(patients["test"])
    assert not set(patients["train"]) & set(patients["test"])
    assert set(patients["labelled"]) <= set(patients["train"])
    assert record["images"] == {"pretrain": [192, 192], "finetune": 384, "beside": 0}
    assert [item["rule"] for item in record["audit"]] == list(range(1, 10))
    assert record["cost"]["parameters"] > 10_000
    assert record["environment"]["torch"]
    names = {path.name for path in (tmp_path / "splits").iterdir()}
    assert f"split-{record['manifests']['split']}.json" in names
    # Everything of stage A travelled: the whole backbone, as MMGL declares.
    transfer = record["training"][record["stages"]["finetune"]]["transfer"]
    assert transfer["missing"] == []
    assert transfer["unexpected"] == []


def test_a_second_run_is_served_from_the_store(execute):
    first = execute(make_spec())
    before = (first.folder / ROWS_FILE).read_bytes()
    second = execute(make_spec())
    assert second.cached
    assert second.key == first.key
    assert (second.folder / ROWS_FILE).read_bytes() == before


def test_one_label_free_pretraining_serves_all_fractions_and_draws(execute, tmp_path):
    for labels, draw in (("50%", 0), ("50%", 1), ("100%", 0)):
        execute(make_spec("simclr", labels=labels, draw=draw))
    assert len(stages(tmp_path, "pretrain")) == 1
    assert len(stages(tmp_path, "finetune")) == 3


def test_a_label_dependent_stage_is_keyed_by_its_manifest(execute, tmp_path):
    execute(make_spec("hu", labels="50%"))
    execute(make_spec("hu", labels="100%"))
    # One global stage for both, one local stage for each.
    assert len(stages(tmp_path, "pretrain")) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"fold": 1},
        {"draw": 1},
        {"labels": "100%"},
        {"seeds": Seeds(init=1)},
        {"budget": TINY.model_copy(update={"width": 6})},
    ],
)
def test_what_matters_changes_the_key(execute, change):
    assert execute(make_spec("scratch")).key != execute(make_spec("scratch", **change)).key


def test_scratch_is_the_same_model_under_every_name(execute):
    """Pre-training apart, all methods fine-tune from the same weights on the same batches."""
    scratch = execute(make_spec("scratch"))
    other = execute(make_spec("simclr"))
    assert scratch.record["initial_weights"] == other.record["initial_weights"]
    assert scratch.record["images"]["finetune"] == other.record["images"]["finetune"]


def test_each_fold_begins_from_weights_of_its_own_and_a_seed_from_the_same_each_time(prepared):
    """What trains alike in every fold is no luck that folds could tell from an effect."""

    def begun(**changes):
        run = Run(make_spec("scratch", labels="100%", **changes), prepared[1])
        return run.initial_digest(), run.segmenter(run.backbone()).state_dict(), run.seeds

    (here, weights, seeds), (there, others, own) = begun(fold=0), begun(fold=1)
    assert here != there
    heads = [name for name in weights if name.startswith("heads") and name.endswith("weight")]
    assert heads
    assert not any(torch.equal(weights[name], others[name]) for name in heads)
    assert (seeds.views, seeds.order) != (own.views, own.order)
    # Who is tested, and who is labelled, is drawn for all folds at once.
    assert (seeds.split, seeds.labels) == (own.split, own.labels)
    assert begun(fold=1)[0] == there != begun(fold=1, seeds=Seeds(init=1))[0]


def test_longer_scratch_spends_the_pretraining_images_on_fine_tuning(execute):
    images = execute(make_spec("scratch_long")).record["images"]
    assert images == {"pretrain": [], "finetune": 768, "beside": 0}


def test_deviations_are_open_to_every_method_and_show_in_its_name(execute):
    spec = make_spec("simclr")
    wide = make_spec("simclr", deviations=spec.deviations.model_copy(update={"views": "all"}))
    assert spec.variant() == "simclr"
    assert wide.variant() == "simclr[views=all]"
    rows = pd.read_parquet(execute(wide).folder / ROWS_FILE)
    assert set(rows.deviations) == {"three orientations"}


def test_options_show_in_the_variant():
    spec = make_spec("mmgl", {"global_taps": ("pool4",), "variant": "U"})
    assert spec.variant() == "mmgl[global_taps=pool4, variant=U]"
    assert make_spec("mmgl").variant() == "mmgl"


def test_two_stores_hold_the_same_rows(execute, tmp_path):
    first = execute(make_spec("global_local"), tmp_path / "a")
    second = execute(make_spec("global_local"), tmp_path / "b")
    assert (first.folder / ROWS_FILE).read_bytes() == (second.folder / ROWS_FILE).read_bytes()
    assert json.loads((first.folder / "run.json").read_text())["run"] == second.key


def test_the_network_is_scored_along_fine_tuning_and_nothing_depends_on_it(
    execute, prepared, tmp_path, monkeypatch
):
    result = execute(make_spec("scratch"))
    rows, _ = read_rows(tmp_path)
    tuned = tmp_path / "stages" / "finetune" / result.record["stages"]["finetune"]
    run = Run(make_spec("scratch"), prepared[1])
    # 24 steps in all: after 5, 10, 25 and 50 % of them.
    marks = {5: 1, 10: 2, 25: 6, 50: 12}
    for share, step in marks.items():
        network = run.segmenter(run.backbone())
        network.load_state_dict(load_weights(tuned / f"weights-{step}.safetensors"))
        for case in run.test_cases():
            prediction, reference = predict_case(network, case, RUNTIME), case.native_label()
            mine = rows[rows["case"].astype(str) == case.case]
            for place, (name, found) in enumerate(
                zip(mine["structure"], mine[f"dice_{share}pct"], strict=True), start=1
            ):
                one, other = prediction == place, reference == place
                expected = 2 * (one & other).sum() / (one.sum() + other.sum())
                assert found == pytest.approx(expected, abs=1e-12), name
    assert rows["dice_5pct"].mean() < rows["dice"].mean()
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "ALONG", ())
        other = execute(make_spec("scratch"))
    assert not other.cached
    both, _ = read_rows(tmp_path)
    final = both.groupby("run", observed=True)["dice"].apply(tuple)
    assert len(final) == 2
    assert final.nunique() == 1


def test_a_control_may_see_all_masks_and_says_so_and_serves_all_label_budgets(execute, tmp_path):
    records = [
        execute(make_spec("oracle", labels=labels, rates=rates)).record
        for labels, rates in (("50%", "uniform"), ("50%", "gentle"), ("100%", "uniform"))
    ]
    assert len(stages(tmp_path, "pretrain")) == 1
    assert len(stages(tmp_path, "finetune")) == 3
    (evidence,) = {line for record in records for line in record["audit"][1]["evidence"][:1]}
    assert "masks of 2; a control: it may see the masks of all training patients" in evidence
    assert len(records[0]["patients"]["labelled"]) == 1
    rows, _ = read_rows(tmp_path)
    assert set(rows["family"]) == {"control"}
    assert set(rows["rates"]) == {"uniform", "gentle"}


def test_what_only_a_control_may_see_is_refused_in_a_method(monkeypatch):
    method = registry.methods.get("oracle")
    monkeypatch.setattr(method, "info", method.info.model_copy(update={"family": "consistency"}))
    with pytest.raises(RequestError, match="family 'control'"):
        share_out(method(), TINY, "common")


def test_the_oracle_hands_over_its_head_and_its_encoder_alone_does_not(execute, tmp_path):
    """At a rate of zero fine-tuning would leave what it was given; gentle is near enough to see."""
    whole = execute(make_spec("oracle", rates="gentle")).record
    alone = execute(make_spec("oracle", {"parts": "encoder"}, rates="gentle")).record
    told = [
        record["training"][record["stages"]["finetune"]]["transfer"] for record in (whole, alone)
    ]
    assert told[0]["parts"][-1] == "head"
    assert "head" not in told[1]["parts"]
    # What is handed over changes nothing of what is pre-trained.
    (folder,) = (tmp_path / "stages" / "pretrain").glob("????????????????")
    head = load_weights(folder / "head.safetensors")
    assert told[0]["matched"] > told[1]["matched"] + len(head)
    near, far = (
        load_weights(
            tmp_path
            / "stages"
            / "finetune"
            / record["stages"]["finetune"]
            / "weights-1.safetensors"
        )
        for record in (whole, alone)
    )
    for name, value in head.items():
        given = value.half() if value.ndim > 1 else value
        assert (near[f"heads.0.{name}"] - given).abs().max() < 2e-3, name
        assert (far[f"heads.0.{name}"] - given).abs().max() > 1e-2, name


def test_a_longer_fine_tuning_is_a_deviation_with_its_own_scratch(monkeypatch):
    monkeypatch.setattr(registry.methods.get("simclr"), "finetune_extra", 5.0)
    runs = specs_of(
        methods=["simclr"], labels=["50%"], without=["scratch_long", "oracle", "noise"], budget=TINY
    )
    names = {run.variant(): run.deviations.labels(run.budget) for run in runs}
    assert names["simclr"] == ("finetune x6",)
    assert names["scratch[finetune_extra=5.0]"] == ("finetune x6",)
    assert "finetune_extra" not in Deviations().model_dump()
    long = specs_of(methods=["scratch_long"], budget=TINY)[0]
    assert long.deviations.labels(long.budget) == ()
