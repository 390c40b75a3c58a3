"""What a record tells: read by hand, and unknown where it is not told."""

import json
import math

import pytest

from contrabench.files import seal_folder
from contrabench.store.results import read_results
from contrabench.store.runs import FACTS, NUMBERS, WORDS, machine_of, read_facts

RECORD = {
    "cost": {
        "pretrain_seconds": 2.5,
        "finetune_seconds": 4,
        "evaluate_seconds": 0.5,
        "peak_memory_mb": 100.0,
        "parameters": 1000,
        "pretraining_heads": 200,
    },
    "stages": {"pretrain": ["a"], "finetune": "b", "evaluate": "c"},
    "manifests": {"split": "d", "labels": "e"},
    "patients": {"labelled": ["p1", "p2"], "test": ["p3"]},
    "training": {
        "a": {"runtime": {"device": "cuda", "device_name": "H200", "devices": 2, "threads": 8}},
        "b": {"runtime": {"device": "cpu", "device_name": "x86_64", "devices": 1, "threads": 1}},
        "b2": {"runtime": {"device": "cpu", "device_name": "x86_64", "devices": 1, "threads": 1}},
    },
    "environment": {"torch": "2", "contrabench": "0.1"},
    "protocol": {"folds": 99},
    "method": {"name": "not this one", "info": {"fidelity": "reconstruction"}},
}
SPEC = {"protocol": {"folds": 5}, "method": {"name": "mmgl", "code": "c0de"}}


def left(tmp_path, record, spec=""):
    (tmp_path / "run.json").write_text(record)
    (tmp_path / "spec.json").write_text(spec)
    return read_facts(tmp_path)


def test_every_fact_of_a_record(tmp_path):
    facts = left(tmp_path, json.dumps(RECORD), json.dumps(SPEC))
    assert list(facts) == FACTS.names == ["run", *NUMBERS, *WORDS]
    assert {name: facts[name] for name in NUMBERS} == RECORD["cost"]
    assert facts["run"] == tmp_path.name
    assert facts["device"] == "2 x H200 (cuda) and x86_64 (cpu, 1 thread)"
    assert facts["environment"] == '{"contrabench":"0.1","torch":"2"}'
    # Settings are those of the specification, which the key stands for.
    assert json.loads(facts["protocol"]) == {"folds": 5}
    assert json.loads(facts["method_info"]) == {
        "name": "mmgl", "code": "c0de", "info": {"fidelity": "reconstruction"},
    }  # fmt: skip
    assert [facts[name] for name in ("split", "labels_manifest", "evaluate")] == ["d", "e", "c"]
    assert facts["labelled"] == "p1, p2"


def test_kernels_are_those_of_every_stage_that_tells(tmp_path):
    training = {name: {"runtime": dict(one["runtime"])} for name, one in RECORD["training"].items()}
    training["b"]["runtime"]["kernels"] = training["b2"]["runtime"]["kernels"] = "AVX2, MKL 1"
    facts = left(tmp_path, json.dumps({**RECORD, "training": training}))
    assert json.loads(facts["environment"])["kernels"] == "AVX2, MKL 1"
    told = machine_of(tmp_path)
    assert told == "2 x H200 (cuda) and x86_64 (cpu, 1 thread), AVX2, MKL 1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        "[]",
        "null",
        '{"cost": []}',
        '{"cost": {"parameters": "many"}, "patients": {"labelled": 3}, "training": {"a": 1}}',
        '{"cost": {"parameters": 1e999, "peak_memory_mb": NaN, "pretrain_seconds": true}}',
        '{"cost": {"finetune_seconds": -1, "evaluate_seconds": 1' + 400 * "0" + "}}",
        '{"protocol": {"folds": 5}, "method": {"info": {"paper": "x"}}}',
        "[" * 100_000,
    ],
)
def test_what_is_not_told_is_unknown(tmp_path, text):
    facts = left(tmp_path, text, "[]" if len(text) % 2 else '{"protocol": "no", "method": 1}')
    assert all(facts[name] is None for name in NUMBERS)
    assert all(facts[name] == "" for name in WORDS)


def test_a_store_of_runs_with_and_without_cost(tmp_path, lab):
    kept = lab.run(tmp_path, seed=1)
    bare = lab.run(tmp_path, seed=2)
    record = json.loads((kept / "run.json").read_text())
    record["cost"] = {"finetune_seconds": 7.0}
    (kept / "run.json").write_text(json.dumps(record))
    seal_folder(kept)
    results = read_results(tmp_path)
    assert sorted(results.rows["run"].unique()) == sorted(results.runs.index)
    assert results.runs.loc[kept.name, "finetune_seconds"] == 7.0
    assert math.isnan(results.runs.loc[bare.name, "finetune_seconds"])
