"""Commands for what a table lacks: every setting of the protocol in words, or said to be left."""

import shlex

import pytest
from tests.makers.studies import TINY

from contrabench.budgets import BUDGETS
from contrabench.contracts import registry
from contrabench.report.commands import command_for, nowhere


def protocol(**changes):
    phantom = registry.datasets.get("phantom").Options()
    return {
        "dataset": "phantom",
        "dataset_options": phantom.model_dump(mode="json"),
        "folds": 5,
        "backbone": {"name": "unet", "options": {}},
        "budget": BUDGETS["smoke"].model_dump(mode="json"),
        "pretraining": "common",
        **changes,
    }


def cells(frame, folds=(0,), draws=(0,), seeds=(0,), of=5):
    return frame(
        *(
            {"patient": f"p{fold}", "fold": fold, "folds": of, "draw": draw, "seed": seed}
            for fold in folds
            for draw in draws
            for seed in seeds
        )
    )


def command(frame, where=nowhere, labels="2", rows=None, **changes):
    rows = cells(frame) if rows is None else rows
    found = command_for("scratch", labels, rows, protocol(**changes), where)
    return shlex.split(found.text), found.whole


def test_usual_settings_are_not_told(frame):
    words = "bench run --method scratch --labels 2 --dataset phantom --budget smoke"
    assert command(frame) == (words.split(), True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"folds": 3}, "--folds 3"),
        ({"pretraining": "published"}, "--recipe published"),
        ({"backbone": {"name": "other", "options": {"depth": 18}}}, "--backbone other -b depth=18"),
        ({"precision": "bf16"}, "--precision bf16"),
        ({"dataset_options": {"patients": 7}}, "-d patients=7"),
    ],
)
def test_each_setting_has_its_words(frame, changes, words):
    told, whole = command(frame, **changes)
    assert words in " ".join(told)
    assert whole


def test_micro_batches_are_told_and_the_budget_is_the_named_one(frame):
    budget = BUDGETS["smoke"].model_dump(mode="json")
    for phase in ("pretrain", "finetune"):
        budget[phase]["accumulate"] = 4
    told, whole = command(frame, budget=budget)
    assert "--accumulate 4" in " ".join(told)
    assert whole


@pytest.mark.parametrize(
    "changes",
    [
        {"budget": TINY.model_dump(mode="json")},
        {"split": "0123456789abcdef"},
        {"pool": "mmwhs"},
        {"split_seed": 3},
    ],
)
def test_what_has_no_words_is_left_to_the_reader(frame, changes):
    assert not command(frame, **changes)[1]


def test_folds_draws_and_seeds_are_those_of_the_rows(frame):
    told, _ = command(frame, rows=cells(frame, folds=(1, 3), draws=(2,), seeds=(5,)))
    assert "run --method scratch --labels 2 --fold 1,3 --draw 2 --seed 5" in " ".join(told)
    told, _ = command(frame, rows=cells(frame, folds=range(5), draws=(0, 1), seeds=(0, 1)))
    assert told[:4] == ["bench", "study", "--methods", "scratch"]
    assert "--draws 2 --seeds 2" in " ".join(told)
    assert "--fold" not in told
    told, _ = command(frame, labels="100%", rows=cells(frame, draws=(1,)))
    assert "--draw" not in told


def test_store_and_data_are_added_by_who_knows_them(frame):
    told, _ = command(frame, where=lambda dataset: ["--store", "my runs", "--data", dataset])
    assert told[-4:] == ["--store", "my runs", "--data", "phantom"]
