"""Optional trackers: the curves of a stage in TensorBoard, MLflow or Weights & Biases.

The store is the truth and lacks nothing without them. They are Lightning's loggers, opened so
that a stage's key finds its curves again; one that fails costs a line of warning.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from contrabench.errors import RequestError
from contrabench.progress import Reporter
from contrabench.text import one_line

_PROJECT = "contrabench"
_KEY_TAG = "contrabench.key"
_ADDRESS = "MLFLOW_TRACKING_URI"
_SETTINGS = {
    # A dead server is given up after seconds; MLflow's own patience is minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    # Standard output belongs to results, and what is computed here is nobody else's business.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
}


Values = Mapping[str, object]
Opened = tuple[Any, int]
"""One of Lightning's loggers, and the last step of the curves that are there and stay, or -1."""


def _open_tensorboard(where: Path, name: str, key: str, values: Values, step: int) -> Opened:
    """One folder for each key; a resumed stage withdraws the points that it makes again."""
    from lightning.fabric.loggers import TensorBoardLogger

    root = where / "tensorboard"
    home = f"{re.sub(r'[^A-Za-z0-9._=,-]+', '-', name)}-{key}"
    purge = step if (root / home).exists() else None
    logger = TensorBoardLogger(root, name="", version=home, purge_step=purge, flush_secs=5)
    table = "\n".join(f"| {item} | {value} |" for item, value in values.items())
    logger.experiment.add_text("parameters", f"| name | value |\n|--|--|\n{table}", step)
    return logger, -1


def _open_mlflow(where: Path, name: str, key: str, values: Values, step: int) -> Opened:
    """A run with the key as a tag, on the server of MLFLOW_TRACKING_URI or in a SQLite file."""
    from lightning.pytorch.loggers import MLFlowLogger

    for package in ("mlflow", "alembic", "urllib3.connectionpool"):
        logging.getLogger(package).setLevel(logging.ERROR)
    server, where = os.environ.get(_ADDRESS), where.absolute()
    where.mkdir(parents=True, exist_ok=True)
    # MLflow fails where two processes set up one file, or one experiment, at the same time.
    with FileLock(where / "mlflow.lock"):
        client = importlib.import_module("mlflow").MlflowClient(
            server or f"sqlite:///{(where / 'mlflow.db').as_posix()}"
        )
        if (experiment := client.get_experiment_by_name(_PROJECT)) is None:
            artifacts = None if server else (where / "mlflow-artifacts").as_uri()
            home = client.create_experiment(_PROJECT, artifacts)
        else:
            home = experiment.experiment_id
    found = client.search_runs([home], f"tags.`{_KEY_TAG}` = '{key}'", max_results=1)
    old = found[0] if found else None
    logger = MLFlowLogger(
        _PROJECT,
        run_name=name,
        tracking_uri=client.tracking_uri,
        tags={_KEY_TAG: key},
        run_id=old.info.run_id if old else None,
    )
    run = logger.run_id
    if not server:
        # Opening has made this file the server of the whole process and its next store.
        os.environ.pop(_ADDRESS, None)
    # MLflow refuses to change a parameter, and where a stage is resumed may change some.
    known = old.data.params if old else {}
    logger.log_hyperparams({k: v for k, v in values.items() if k not in known})
    client.update_run(run, status="RUNNING")
    curves = old.data.metrics if old else {}
    steps = [point.step for curve in curves for point in client.get_metric_history(run, curve)]
    return logger, max(steps, default=-1)


def _open_wandb(where: Path, name: str, key: str, values: Values, step: int) -> Opened:
    """An offline folder; a resumed stage adds another with the same id."""
    from lightning.pytorch import loggers

    class WandbLogger(loggers.WandbLogger):  # type: ignore[misc]
        """Ends the run with its stage, which Lightning leaves to the end of the process."""

        def finalize(self, status: str) -> None:
            self.experiment.finish(exit_code=int(status != "success"))

    quiet = {"silent": True, "console": "off", "disable_git": True, "x_disable_stats": True}
    # W&B falls back to a temporary folder if this one is missing.
    where.mkdir(parents=True, exist_ok=True)
    logger = WandbLogger(
        name,
        where,
        id=key,
        project=_PROJECT,
        offline=True,
        reinit="create_new",
        settings=importlib.import_module("wandb").Settings(**quiet),
    )
    logger.log_hyperparams(values)
    return logger, -1


OPENERS: dict[str, Callable[[Path, str, str, Values, int], Opened]] = {
    "tensorboard": _open_tensorboard,
    "mlflow": _open_mlflow,
    "wandb": _open_wandb,
}


def check_trackers(names: Sequence[str]) -> None:
    """RequestError if a tracker is unknown or not installed, before anything is computed."""
    for name in names:
        if name not in OPENERS:
            raise RequestError(f"no tracker '{name}'; there are {', '.join(OPENERS)}")
        if importlib.util.find_spec(name) is None:
            raise RequestError(
                f"{name} is not installed; pip install 'contrabench[{name}]', "
                "or leave the tracker out"
            )


class Tracker(AbstractContextManager["Tracker"]):
    """Where the curves of one stage go; as a context it ends with the stage.

    Args:
        names: of `tensorboard`, `mlflow` and `wandb`; none of them drops everything. RequestError
            if one is unknown or not installed.
        where: folder of the local files. MLflow writes to the server of MLFLOW_TRACKING_URI
            instead if that is set. W&B stays offline.
        run_name: what a reader calls the stage.
        key: of the stage; who tracks the same key again continues the curves of before.
        parameters: what the stage was asked to do.
        reporter: where a tracker's failure is told, once.
    """

    def __init__(
        self,
        names: Sequence[str],
        where: Path,
        run_name: str,
        key: str,
        parameters: Values,
        reporter: Reporter,
    ) -> None:
        check_trackers(names)
        self.names, self.reporter = list(dict.fromkeys(names)), reporter
        self.what = (where, run_name, key, parameters)
        self.opened: dict[str, Opened] = {}
        if names:
            for setting in _SETTINGS.items():
                os.environ.setdefault(*setting)
            # What a cluster's shell has left behind may say that this is not the first process,
            # and Lightning's loggers would keep silent.
            importlib.import_module("lightning_utilities.core.rank_zero").rank_zero_only.rank = 0

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Adds a point to each named curve; it never raises.

        Left out are values that are not finite, and a `step` (optimiser steps done) that the curves
        have passed.
        """
        points = {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
        for name in tuple(self.names):
            with self._alone(name):
                logger, reached = self.opened.get(name) or OPENERS[name](*self.what, step)
                if points and step > reached:
                    logger.log_metrics(points, step)
                    reached = step
                self.opened[name] = logger, reached

    def finish(self, failed: bool = False) -> None:
        """Closes the tracker, as failed if the stage did not reach its end."""
        for name in tuple(self.names):
            with self._alone(name):
                if name in self.opened:
                    self.opened[name][0].finalize("failed" if failed else "success")
        self.names = []

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """What fails in this block switches the tracker off, and nothing else."""
        try:
            yield
        except Exception as error:
            self.names.remove(name)
            self.reporter.line(
                f"  {name} is switched off for this stage, the store is complete without it: "
                f"{one_line(error)[:200]}"
            )

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.finish(failed=kind is not None)
