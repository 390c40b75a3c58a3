"""A run small enough to repeat: four phantom patients, two folds, a dozen steps."""

from __future__ import annotations

import pytest

from contrabench.contracts import registry
from contrabench.progress import Silent
from contrabench.protocol import Budget, Phase, Seeds
from contrabench.stages.prepare import prepare
from contrabench.stages.request import Plan, RunSpec
from contrabench.study.run import run
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


def make_plan(method="mmgl", options=None, **changes):
    method_class = registry.methods.get(method)
    dataset_class = registry.datasets.get("phantom")
    spec = {
        "dataset": "phantom",
        "method": method,
        "labels": "50%",
        "folds": 2,
        "deviations": method_class.deviations,
        "budget": TINY,
        "precision": "float32",
        "seeds": Seeds(),
        **changes,
    }
    return Plan(
        RunSpec(**spec),
        dataset_class(None, dataset_class.Options(patients=4)),
        method_class(method_class.Options(**(options or {}))),
    )


def plan_tiny(store, **changes):
    """A study of two methods, one of them with labels in pre-training, planned."""
    asked = {
        "methods": ["hu", "simclr"],
        "labels": ["50%", "100%"],
        "folds": 2,
        "draws": 2,
        "budget": TINY,
        "dataset": "phantom",
        "dataset_options": {"patients": 4},
        **changes,
    }
    return plan_study(make_study(asked, "the test"), None, store, RUNTIME, Silent())


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """A store that holds the prepared phantom, and its cases."""
    store = tmp_path_factory.mktemp("prepared")
    return store, prepare(make_plan(), store, Silent())


@pytest.fixture
def execute(prepared, tmp_path):
    """Runs a plan in a store of the test's own."""

    def go(plan, store=tmp_path):
        return run(plan, prepared[1], store, RUNTIME, Silent())

    return go
