"""A pre-training that hands nothing over gives the rows of fine-tuning alone, bit for bit."""

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tests.makers.studies import make_run, make_spec, prepared_cases

from contrabench.model.weights import build_backbone
from contrabench.protocol import ENCODER, BackboneSpec, Budget, Phase, Seeds
from contrabench.store.rows import ROWS_FILE

PHASE = Phase(images=16 * 6, batch=16, lr=3e-3)
SHORT = Budget(name="tiny", pixels=32, width=4, pretrain=PHASE, finetune=PHASE)
OWN = {"run", "method", "variant", "family"}
"""Columns of a row that say which method it is of."""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The same run from scratch and after a pre-training in vain."""
    store = tmp_path_factory.mktemp("store")
    specs = [make_spec(name, budget=SHORT) for name in ("scratch", "heads_only")]
    cases = prepared_cases(specs[0], store)
    return store, [make_run(spec, cases, store) for spec in specs]


def weights(store, kind, key):
    return load_file(store / "stages" / kind / key / "weights.safetensors")


def test_it_trains_and_hands_over_nothing(results):
    store, (scratch, ours) = results
    record = ours.record
    assert record["images"] == {"pretrain": [96], "finetune": 96, "beside": 0}
    transfer = record["training"][record["stages"]["finetune"]]["transfer"]
    assert (transfer["parts"], transfer["matched"], transfer["parameters"]) == ([], 0, 0)
    assert record["stages"]["finetune"] != scratch.record["stages"]["finetune"]
    (key,) = record["stages"]["pretrain"]
    begun = Seeds().in_fold(0).init
    initial = build_backbone(BackboneSpec(width=SHORT.width), begun).state_dict()
    learnt = weights(store, "pretrain", key)
    moved = {name.split(".")[0] for name, value in initial.items() if (learnt[name] != value).any()}
    assert moved == set(ENCODER)


def test_the_network_is_the_one_from_scratch_to_the_last_bit(results):
    store, both = results
    scratch, ours = (weights(store, "finetune", r.record["stages"]["finetune"]) for r in both)
    assert set(scratch) == set(ours)
    assert all(torch.equal(ours[name], value) for name, value in scratch.items())


def test_the_rows_are_those_from_scratch(results):
    scratch, ours = (pd.read_parquet(result.folder / ROWS_FILE) for result in results[1])
    differing = {name for name in scratch if not scratch[name].equals(ours[name])}
    assert {"run", "method"} <= differing <= OWN, differing
    assert len(scratch) > 0
