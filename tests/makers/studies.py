"""A run small enough to repeat: four phantom patients, two folds, a dozen steps."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from contrabench.contracts import registry
from contrabench.progress import Silent
from contrabench.protocol import Budget, Phase, Seeds
from contrabench.references import CONTROLS, LEFT_OUT
from contrabench.stages.kind import Making, nodes_of
from contrabench.stages.prepare import prepare
from contrabench.stages.run import Run
from contrabench.stages.run_spec import RunSpec
from contrabench.store.runs import RUN_RECORD
from contrabench.store.stages import StageStore, home_of
from contrabench.study.runs import runs_of
from contrabench.study.session import plan_study
from contrabench.study.spec import make_study
from contrabench.training.runtime import Runtime

TINY = Budget(
    name="tiny",
    pixels=32,
    width=4,
    pretrain=Phase(images=16 * 24, batch=16, lr=1e-3),
    finetune=Phase(images=16 * 24, batch=16, lr=3e-3),
)
RUNTIME = Runtime(device="cpu", precision="float32", threads=1, checkpoint_seconds=0.0)


def make_spec(method="mmgl", options=None, dataset_options=None, **changes):
    kind = registry.methods.get(method)
    phantom = registry.datasets.get("phantom").Options(**{"patients": 4, **(dataset_options or {})})
    spec = {
        "dataset": "phantom",
        "dataset_options": phantom.model_dump(mode="json"),
        "method": method,
        "options": kind.Options(**(options or {})).model_dump(mode="json"),
        "labels": "50%",
        "folds": 2,
        "deviations": kind.deviations,
        "budget": TINY,
        "precision": "float32",
        "seeds": Seeds(),
        **changes,
    }
    return RunSpec(**spec)


def specs_of(**asked):
    """The runs of a study of one method without references, as the command line gets them."""
    words = {
        "methods": ["mmgl"],
        "labels": ["10%"],
        "dataset": "phantom",
        "test_folds": [0],
        "draws": [0],
        "without": list(LEFT_OUT),
        "rates": ["uniform"],
        **asked,
    }
    return runs_of(make_study(words, "the test"), RUNTIME.device, RUNTIME.precision)[0]


def plan_tiny(store, **changes):
    """A study of two methods, one of them with labels in pre-training, planned; no controls."""
    asked = {
        "methods": ["hu", "simclr"],
        "labels": ["50%", "100%"],
        "folds": 2,
        "draws": 2,
        "budget": TINY,
        "dataset": "phantom",
        "dataset_options": {"patients": 4},
        "rates": ["uniform"],
        **changes,
        "without": [*changes.get("without", ()), *CONTROLS],
    }
    return plan_study(make_study(asked, "the test"), None, store, RUNTIME, Silent())


def prepared_cases(spec, store):
    dataset = spec.open_dataset(None)
    return prepare(dataset, spec.dataset, spec.budget.pixels, store, Silent())


@dataclass(frozen=True)
class Made:
    """A run that is done."""

    key: str
    folder: Path
    record: dict[str, Any]
    cached: bool


def make_run(spec, cases, store, reporter=None, root=None):
    """Makes the stages of a run one after another."""
    run, teller = Run(spec, cases, root), reporter or Silent()
    making = Making(run, StageStore(store, teller), RUNTIME)
    for node in nodes_of(run):
        cached = (home_of(store, node.kind) / node.key).is_dir()
        folder = making.make(node)
    return Made(folder.name, folder, json.loads((folder / RUN_RECORD).read_text()), cached)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """A store that holds the prepared phantom, and its cases."""
    store = tmp_path_factory.mktemp("prepared")
    return store, prepared_cases(make_spec(), store)


@pytest.fixture
def execute(prepared, tmp_path):
    """Makes a run in a store of the test's own."""

    def go(spec, store=tmp_path):
        return make_run(spec, prepared[1], store)

    return go
