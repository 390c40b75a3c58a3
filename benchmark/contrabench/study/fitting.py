"""A fit: the stages of a run that tests nobody, one after the other in this process."""

from __future__ import annotations

from pathlib import Path

from contrabench.data.splits import NO_FOLDS
from contrabench.errors import RequestError
from contrabench.progress import Reporter
from contrabench.stages.kind import Making, nodes_of
from contrabench.stages.prepare import prepare_run, unseen_lines
from contrabench.stages.run import Run
from contrabench.stages.run_spec import RunSpec
from contrabench.store.stages import StageStore, check_store, is_store
from contrabench.text import some
from contrabench.training.runtime import Runtime

_NAMED = 6


def fit_network(
    spec: RunSpec,
    root: Path | None,
    pool_root: Path | None,
    store: Path,
    runtime: Runtime,
    reporter: Reporter,
) -> Path:
    """Trains what a run computes on everybody; gives the folder of its record.

    What is done is served from the store, and what was stopped goes on at its checkpoint.

    Raises:
        RequestError: if the settings or the data cannot be trained.
        RunError: if training fails.
    """
    if not is_store(store):
        check_store(store)
    everybody = spec.model_copy(update={"folds": NO_FOLDS, "fold": 0, "split": None})
    cases = prepare_run(everybody, root, pool_root, store, reporter)
    run = Run(everybody, cases, root)
    if not run.split.train:
        raise RequestError("there is no patient to train on")
    reporter.line(
        f"all patients: {run.manifest.sentence()} ({some(run.manifest.patients, _NAMED)}); nobody "
        "is tested"
    )
    for line in unseen_lines([everybody], cases, root):
        reporter.line(f"  {line}")
    making = Making(run, StageStore(store, reporter), runtime)
    runtime.prepare()
    return [making.make(node) for node in nodes_of(run)][-1]
