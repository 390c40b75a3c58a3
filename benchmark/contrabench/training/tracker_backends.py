"""The trackers' backends: Lightning's loggers, opened so that a key finds its curves again."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

_PROJECT = "contrabench"
_KEY_TAG = "contrabench.key"
_ADDRESS = "MLFLOW_TRACKING_URI"


@dataclass(frozen=True)
class TrackedRun:
    """What is tracked.

    Attributes:
        where: folder of local files.
        name: for readers.
        key: tells one tracked stage from another.
        parameters: plain values by name.
    """

    where: Path
    name: str
    key: str
    parameters: dict[str, Any]


class Backend(ABC):
    """One of Lightning's loggers, opened so that a key comes back to the same curves."""

    logger: Any

    def __init__(self, run: TrackedRun) -> None:
        self.run = run

    @abstractmethod
    def open(self, step: int) -> dict[str, int]:
        """Makes the logger and notes the parameters.

        Args:
            step: of the first point to come.

        Returns:
            The last step of each curve that is there already and stays.
        """

    @abstractmethod
    def close(self, failed: bool) -> None:
        """Writes what is left."""


class _TensorBoard(Backend):
    """One folder for each key; a resumed stage withdraws the points that it makes again."""

    def __init__(self, run: TrackedRun) -> None:
        super().__init__(run)
        from lightning.fabric.loggers import TensorBoardLogger

        importlib.import_module("torch.utils.tensorboard")
        self.make: Callable[..., Any] = TensorBoardLogger

    def open(self, step: int) -> dict[str, int]:
        root = self.run.where / "tensorboard"
        home = f"{re.sub(r'[^A-Za-z0-9._=,-]+', '-', self.run.name)}-{self.run.key}"
        self.logger = self.make(
            root,
            name="",
            version=home,
            purge_step=step if (root / home).exists() else None,
            flush_secs=5,
        )
        table = "\n".join(f"| {name} | {value} |" for name, value in self.run.parameters.items())
        self.logger.experiment.add_text("parameters", f"| name | value |\n|--|--|\n{table}", step)
        return {}

    def close(self, failed: bool) -> None:
        self.logger.finalize("failed" if failed else "success")


class _MLflow(Backend):
    """A run with the key as a tag, on the server of MLFLOW_TRACKING_URI or in a SQLite file."""

    def __init__(self, run: TrackedRun) -> None:
        super().__init__(run)
        # A dead server is given up after seconds (MLflow's own patience is minutes); standard
        # output belongs to results; and what is computed here is nobody else's business.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        self.mlflow = importlib.import_module("mlflow")
        from lightning.pytorch.loggers import MLFlowLogger

        self.make: Callable[..., Any] = MLFlowLogger
        for name in ("mlflow", "alembic", "urllib3.connectionpool"):
            logging.getLogger(name).setLevel(logging.ERROR)

    def open(self, step: int) -> dict[str, int]:
        run, server = self.run, os.environ.get(_ADDRESS)
        client, experiment = self._experiment(server)
        wanted = f"tags.`{_KEY_TAG}` = '{run.key}'"
        found = client.search_runs([experiment], wanted, max_results=1)
        old = found[0] if found else None
        self.logger = self.make(
            _PROJECT,
            run_name=run.name,
            tracking_uri=client.tracking_uri,
            tags={_KEY_TAG: run.key},
            run_id=old.info.run_id if old else None,
        )
        _ = self.logger.experiment
        if not server:
            # Opening has made this file the server of the whole process and its next store.
            os.environ.pop(_ADDRESS, None)
        # MLflow refuses to change a parameter, and where a stage is resumed may change some.
        known = old.data.params if old else {}
        self.logger.log_hyperparams({k: v for k, v in run.parameters.items() if k not in known})
        if old is None:
            return {}
        client.update_run(old.info.run_id, status="RUNNING")
        return {
            name: max(point.step for point in client.get_metric_history(old.info.run_id, name))
            for name in old.data.metrics
        }

    def _experiment(self, server: str | None) -> tuple[Any, str]:
        """A client, and the id of the project's experiment, made if it is not there."""
        if server:
            return self._ask(server, None)
        where = self.run.where
        where.mkdir(parents=True, exist_ok=True)
        # MLflow fails where two processes set up one file at the same time.
        with FileLock(where / "mlflow.lock"):
            return self._ask(
                f"sqlite:///{(where / 'mlflow.db').absolute().as_posix()}",
                (where / "mlflow-artifacts").absolute().as_uri(),
            )

    def _ask(self, uri: str, artifacts: str | None) -> tuple[Any, str]:
        client = self.mlflow.MlflowClient(uri)
        if client.get_experiment_by_name(_PROJECT) is None:
            # Another worker may make it between the question and here.
            with contextlib.suppress(self.mlflow.MlflowException):
                client.create_experiment(_PROJECT, artifacts)
        return client, client.get_experiment_by_name(_PROJECT).experiment_id

    def close(self, failed: bool) -> None:
        self.logger.finalize("failed" if failed else "success")


class _Wandb(Backend):
    """An offline folder; a resumed stage adds another with the same id."""

    def __init__(self, run: TrackedRun) -> None:
        super().__init__(run)
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        self.wandb = importlib.import_module("wandb")
        from lightning.pytorch.loggers import WandbLogger

        self.make: Callable[..., Any] = WandbLogger

    def open(self, step: int) -> dict[str, int]:
        # W&B falls back to a temporary folder if this one is missing.
        self.run.where.mkdir(parents=True, exist_ok=True)
        experiment = self.wandb.init(
            project=_PROJECT,
            name=self.run.name,
            id=self.run.key,
            dir=self.run.where,
            mode="offline",
            resume="allow",
            reinit="create_new",
            settings=self.wandb.Settings(
                silent=True, console="off", disable_git=True, x_disable_stats=True
            ),
        )
        # Steps as an axis of their own, which may start again from a checkpoint.
        experiment.define_metric("trainer/global_step")
        experiment.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        self.logger = self.make(experiment=experiment)
        self.logger.log_hyperparams(self.run.parameters)
        return {}

    def close(self, failed: bool) -> None:
        self.logger.experiment.finish(exit_code=int(failed))


BACKENDS: dict[str, type[Backend]] = {
    "tensorboard": _TensorBoard,
    "mlflow": _MLflow,
    "wandb": _Wandb,
}
