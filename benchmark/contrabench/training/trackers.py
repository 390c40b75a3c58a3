"""Optional trackers: the curves of a stage in TensorBoard, MLflow or Weights & Biases.

The store is the truth and lacks nothing without them. A tracker is fed from a thread of its
own: a slow one does not hold the training up, and one that fails costs a line of warning.
"""

from __future__ import annotations

import importlib.util
import math
import queue
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from contrabench.errors import RequestError
from contrabench.progress import Reporter
from contrabench.training.tracker_backends import BACKENDS, Backend, TrackedRun

_PATIENCE = 30.0
"""Seconds that the end of a stage waits for a tracker to take its last points."""

Metrics = Mapping[str, float]


class Tracker(Protocol):
    """Where the curves of one stage go. Neither method ever raises or waits for a server."""

    def log(self, metrics: Metrics, step: int) -> None:
        """Adds a point to each named curve.

        Args:
            metrics: values by the name of their curve; those that are not finite are left out.
            step: optimiser steps done. A step that a curve has passed already is left out.
        """

    def finish(self, failed: bool = False) -> None:
        """Closes the tracker, as failed if the stage did not reach its end."""


def check_trackers(names: Sequence[str]) -> None:
    """Refuses a tracker that is unknown or not installed, before anything is computed.

    Raises:
        RequestError: with the names to choose from, or the command that installs it.
    """
    for name in names:
        if name not in BACKENDS:
            raise RequestError(f"no tracker '{name}'; there are {', '.join(BACKENDS)}")
        if importlib.util.find_spec(name) is None:
            raise RequestError(
                f"{name} is not installed; pip install 'contrabench[{name}]', "
                "or leave the tracker out"
            )


def make_trackers(
    names: Sequence[str],
    where: Path,
    run_name: str,
    key: str,
    parameters: Mapping[str, Any],
    reporter: Reporter,
) -> Tracker:
    """Opens trackers for one stage, as one.

    Args:
        names: of `tensorboard`, `mlflow` and `wandb`; none of them gives a tracker that
            drops everything.
        where: folder of the local files. MLflow writes to the server of MLFLOW_TRACKING_URI
            instead if that is set. W&B stays offline.
        run_name: what a reader calls the stage.
        key: of the stage; who tracks the same key again continues the curves of before.
        parameters: what the stage was asked to do; may be nested.
        reporter: where a tracker's failure is told, once.

    Raises:
        RequestError: if a tracker is unknown or not installed.
    """
    check_trackers(names)
    run = TrackedRun(where, run_name, key, dict(_flat(parameters)))
    return _All([_Fed(name, BACKENDS[name](run), reporter) for name in dict.fromkeys(names)])


class _All:
    """Several trackers as one."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self.trackers = trackers

    def log(self, metrics: Metrics, step: int) -> None:
        for tracker in self.trackers:
            tracker.log(metrics, step)

    def finish(self, failed: bool = False) -> None:
        for tracker in self.trackers:
            tracker.finish(failed)


def _flat(parameters: Mapping[str, Any], above: str = "") -> list[tuple[str, Any]]:
    """Names nested values by their path, as in `phase/lr`; what is no plain value is written."""
    items: list[tuple[str, Any]] = []
    for name, value in parameters.items():
        if isinstance(value, Mapping):
            items += _flat(value, f"{above}{name}/")
        else:
            items.append((f"{above}{name}", value if _is_plain(value) else str(value)))
    return items


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float | bool)


class _Fed:
    """Feeds one backend from a thread of its own, and lets it fail alone."""

    def __init__(self, name: str, backend: Backend, reporter: Reporter) -> None:
        self.name, self.backend, self.reporter = name, backend, reporter
        self.points: queue.SimpleQueue[tuple[dict[str, float], int] | bool] = queue.SimpleQueue()
        self.thread: threading.Thread | None = None
        self.fault = ""
        self.off = False

    def log(self, metrics: Metrics, step: int) -> None:
        self._tell()
        if self.off:
            return
        if self.thread is None:
            # A daemon, so that a server that never answers cannot keep the process alive.
            self.thread = threading.Thread(target=self._feed, name=self.name, daemon=True)
            self.thread.start()
        self.points.put(({name: float(value) for name, value in metrics.items()}, step))

    def finish(self, failed: bool = False) -> None:
        if self.thread is not None and not self.off:
            self.points.put(failed)
            self.thread.join(_PATIENCE)
            if self.thread.is_alive():
                self.fault = f"the last points were not taken within {_PATIENCE:.0f} s"
            self._tell()
        self.off = True

    def _tell(self) -> None:
        """Reports from the stage's own thread, so that no line falls into a bar."""
        if self.fault and not self.off:
            self.off = True
            self.reporter.line(
                f"  {self.name} is switched off for this stage, the store is complete without it: "
                f"{self.fault}"
            )

    def _feed(self) -> None:
        try:
            item = self.points.get()
            reached: dict[str, int] = {}
            if not isinstance(item, bool):
                reached = self.backend.open(item[1])
            while not isinstance(item, bool):
                self._pass_on(*item, reached)
                item = self.points.get()
            self.backend.close(failed=item)
        except Exception as error:
            said = (str(error).strip() or "no reason given").splitlines()[0][:200]
            self.fault = f"{type(error).__name__}: {said}"

    def _pass_on(self, metrics: Metrics, step: int, reached: dict[str, int]) -> None:
        fresh = {
            name: value
            for name, value in metrics.items()
            if math.isfinite(value) and step > reached.get(name, -1)
        }
        if fresh:
            self.backend.logger.log_metrics(fresh, step)
            reached.update(dict.fromkeys(fresh, step))
