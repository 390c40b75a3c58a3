"""The doors of the kit: a report on a method, an assertion for its tests, and what is checked."""

from __future__ import annotations

import random
import re
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal
from unittest import SkipTest

import numpy as np
import torch

from contrabench.contracts import discovery, registry
from contrabench.contracts.method import Method
from contrabench.contracts.options import parse_options
from contrabench.errors import RequestError
from contrabench.testing import checks_declared as declared
from contrabench.testing import checks_training as training
from contrabench.testing.trial import FaultError, JointTrial, Trial
from contrabench.text import one_line

Status = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class Requirement:
    """One thing that a method must do.

    `check` raises FaultError, or SkipTest where it does not apply; it gives what it measured.
    """

    check: Callable[[Any], str | None]
    needs: tuple[str, ...] = ()  # checks without which it would tell their fault again
    whole: bool = False  # looks at the method as a whole, and not at each stage
    joint: bool = False  # looks at joint stages, too


CHECKS: Mapping[str, Requirement] = MappingProxyType(
    {
        "options": Requirement(declared.check_options, whole=True),
        "declaration": Requirement(declared.check_declaration, whole=True),
        "stages": Requirement(declared.check_stages, ("options",), whole=True),
        "labels": Requirement(training.check_labels, ("stages",)),
        "finite": Requirement(training.check_finite, ("labels",), joint=True),
        "channels": Requirement(training.check_channels, ("finite",), joint=True),
        "inputs": Requirement(training.check_inputs, ("finite",), joint=True),
        "batch_of_two": Requirement(training.check_batch_of_two, ("finite",), joint=True),
        "deterministic": Requirement(training.check_deterministic, ("finite",), joint=True),
        "gradients": Requirement(training.check_gradients, ("inputs",), joint=True),
        "resume": Requirement(training.check_resume, ("gradients", "deterministic"), joint=True),
        "order": Requirement(training.check_order, ("resume",)),
        "negatives": Requirement(training.check_negatives, ("resume",)),
        "collapse": Requirement(training.check_collapse, ("negatives",)),
        "positives": Requirement(training.check_positives, ("collapse",)),
        "hand_off": Requirement(declared.check_hand_off, ("stages",), whole=True),
        "cost": Requirement(training.check_cost, ("inputs",), joint=True),
    }
)
"""All checks by name, in the order in which they are made."""

_REMEMBERED: dict[tuple[type[Method], str, str], tuple[CheckResult, ...]] = {}


@dataclass(frozen=True)
class CheckResult:
    """What one check found."""

    check: str
    status: Status  # skipped where it does not apply
    reason: str = ""  # why it failed or was skipped, or what it measured
    hint: str = ""  # what to do about a failure
    stage: str = ""  # the one it looked at; empty for the method as a whole
    method: str = ""


@dataclass(frozen=True)
class ConformityReport:
    """All results, of one method or of several, in the order of the checks."""

    results: tuple[CheckResult, ...]

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return not self.failures

    @property
    def failures(self) -> tuple[CheckResult, ...]:
        """The results of the checks that failed."""
        return tuple(result for result in self.results if result.status == "failed")

    def summary(self) -> str:
        """How many checks passed, failed and were skipped."""
        count = Counter(result.status for result in self.results)
        return f"{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped"

    def failures_text(self) -> str:
        """The failures, each with its reason and its hint."""
        lines = [f"the contract of a method is not kept: {self.summary()}"]
        for item in self.failures:
            stage = f", stage '{item.stage}'" if item.stage else ""
            lines += [f"  {item.method}: {item.check}{stage}"]
            lines += [f"    {item.reason}", f"    {item.hint}"]
        return "\n".join(lines)


def check_method(
    method: type[Method] | str | Path, options: Mapping[str, Any] | None = None
) -> ConformityReport:
    """Checks whether a method keeps the contract, on small phantoms made in memory.

    It takes some seconds for each stage on one CPU core. A method is a class, a registered name, or
    a plug-in file with all methods in it; options are its defaults if None. RequestError for an
    unknown name, a file that cannot be imported, or an option that the method does not take.
    """
    known = {method.__name__: method} if isinstance(method, type) else find_methods(method)
    results: list[CheckResult] = []
    for name, found in known.items():
        made = parse_options(found.Options, options, f"method '{name}'") if options else None
        key = (found, name, repr(made))
        if key not in _REMEMBERED:
            with _keeping_global_state():
                _REMEMBERED[key] = tuple(_results(Trial(found, made), name))
        results += _REMEMBERED[key]
    return ConformityReport(tuple(results))


def assert_conforms(
    method: type[Method] | str | Path,
    check: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Asserts that a method, as for `check_method`, keeps the contract; all of `CHECKS` by default.

    What was checked once is remembered.

    Raises:
        AssertionError: with what failed, why, and what to do about it.
        SkipTest: if the one check asked for does not apply; test runners report it so.
        RequestError: as `check_method`, and if there is no such check.
    """
    if check is not None and check not in CHECKS:
        raise RequestError(f"there is no check '{check}'; the checks are {', '.join(CHECKS)}")
    results = check_method(method, options).results
    report = ConformityReport(tuple(one for one in results if check in (None, one.check)))
    if not report.passed:
        raise AssertionError(report.failures_text())
    if check is not None and all(result.status == "skipped" for result in report.results):
        raise SkipTest(report.results[0].reason)


def find_methods(wanted: str | Path) -> dict[str, type[Method]]:
    """The methods of a registered name, or of a plug-in file, package or folder.

    A string is a path too if it ends in `.py` or names something that exists and no method; the
    path is added to the plug-ins of this process. RequestError if there is no such name, or the
    file cannot be imported or registers no method.
    """
    path = Path(wanted).expanduser().resolve()
    if (
        isinstance(wanted, str)
        and not re.search(r"[/\\]|\.py$", wanted)
        and (not Path(wanted).exists() or wanted in registry.methods.names())
    ):
        return {wanted: registry.methods.get(wanted)}
    files = set(discovery.sources([path]).values())
    # A file that is a built-in, or of an installed distribution, is known by its own module.
    if not (found := _registered_in(files)):
        discovery.add(path)
        for fault in discovery.load_all():
            if fault.path.resolve() in files:
                raise RequestError(f"{fault.path} cannot be used: {fault.reason}")
        found = _registered_in(files)
    if not found:
        raise RequestError(
            f"{wanted} registers no method; put @register_method('name') on its class"
        )
    return found


def _registered_in(files: set[Path]) -> dict[str, type[Method]]:
    """The methods whose classes are written in one of some files."""
    found = {}
    for item in registry.methods.entries():
        if item.value is not None:
            home = getattr(sys.modules.get(item.value.__module__), "__file__", None)
            if home and Path(home).resolve() in files:
                found[item.name] = item.value
    return found


@contextmanager
def _keeping_global_state() -> Iterator[None]:
    """One thread; it and the random states of torch, NumPy and Python are as before at the end."""
    threads, python, numpy = torch.get_num_threads(), random.getstate(), np.random.get_state()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)
        random.setstate(python)
        np.random.set_state(numpy)


def _results(trial: Trial, method: str) -> Iterator[CheckResult]:
    """Makes all checks of a method; skips those whose needs failed, so that a fault fails once."""
    broken: set[tuple[str, str]] = set()
    for name, item in CHECKS.items():
        looked_at: dict[str, Any] = {"": trial}
        if not item.whole and ("stages", "") not in broken and trial.stages:
            looked_at = {each.stage.name: each for each in trial.stages}
        for stage, each in looked_at.items():
            status: Status = "passed"
            hint = ""
            try:
                for need in item.needs:
                    if {(need, stage), (need, "")} & broken:
                        broken.add((name, stage))
                        raise SkipTest(f"needs '{need}'")
                if not item.whole and not stage:
                    raise SkipTest("the method has no stage of its own")
                if isinstance(each, JointTrial) and not item.joint:
                    raise SkipTest("it is about pre-training")
                reason = item.check(each) or ""
            except SkipTest as error:
                status, reason = "skipped", str(error)
            except FaultError as error:
                status, reason, hint = "failed", str(error), error.hint
            # A stranger's code runs here, and may raise anything.
            except Exception as error:
                # The author's frame is the last one outside of torch's code.
                frames = traceback.extract_tb(error.__traceback__)
                own = [frame for frame in frames if "site-packages" not in frame.filename] or frames
                status, reason = "failed", one_line(error)
                hint = f"raised in {Path(own[-1].filename).name}, line {own[-1].lineno}"
            if status == "failed":
                broken.add((name, stage))
            yield CheckResult(name, status, reason, hint, stage, method)
