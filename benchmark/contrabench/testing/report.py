"""What the kits for methods and for backbones share: how checks are made, and what they tell."""

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
from typing import Any, Literal
from unittest import SkipTest

import numpy as np
import torch

from contrabench.contracts import discovery, intact, registry
from contrabench.errors import RequestError
from contrabench.text import one_line

Status = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class Requirement:
    """One thing that a plug-in must do.

    `check` raises FaultError, or SkipTest where it does not apply; it gives what it measured.
    """

    check: Callable[[Any], str | None]
    needs: tuple[str, ...] = ()  # checks without which it would tell their fault again
    whole: bool = False  # looks at the plug-in as a whole, and not at each stage
    joint: bool = False  # looks at joint stages, too


class FaultError(Exception):
    """Raised by a check that a plug-in does not pass: what was found, and what to do about it."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.hint = hint


@dataclass(frozen=True)
class CheckResult:
    """What one check found."""

    check: str
    status: Status  # skipped where it does not apply
    reason: str = ""  # why it failed or was skipped, or what it measured
    hint: str = ""  # what to do about a failure
    stage: str = ""  # the one it looked at; empty for the plug-in as a whole
    plugin: str = ""


@dataclass(frozen=True)
class ConformityReport:
    """All results, of one plug-in or of several, in the order of the checks."""

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
        lines = [f"the contract is not kept: {self.summary()}"]
        for item in self.failures:
            stage = f", stage '{item.stage}'" if item.stage else ""
            lines += [f"  {item.plugin}: {item.check}{stage}"]
            lines += [f"    {item.reason}", f"    {item.hint}"]
        return "\n".join(lines)


def find(plugins: registry.Registry[Any], wanted: str | Path) -> dict[str, Any]:
    """The plug-ins of one kind of a registered name, or of a file, package or folder.

    A string is a path too if it ends in `.py` or names something that exists and no plug-in; the
    path is added to the plug-ins of this process. RequestError if there is no such name, or the
    file cannot be imported or registers none.
    """
    path = Path(wanted).expanduser().resolve()
    if (
        isinstance(wanted, str)
        and not re.search(r"[/\\]|\.py$", wanted)
        and (not Path(wanted).exists() or wanted in plugins.names())
    ):
        return {wanted: plugins.get(wanted)}
    files = set(discovery.sources([path]).values())
    # A file that is a built-in, or of an installed distribution, is known by its own module.
    if not (found := _registered_in(plugins, files)):
        discovery.add(path)
        for fault in discovery.load_all():
            if fault.path.resolve() in files:
                raise RequestError(f"{fault.path} cannot be used: {fault.reason}")
        found = _registered_in(plugins, files)
    if not found:
        raise RequestError(
            f"{wanted} registers no {plugins.kind}; put @register_{plugins.kind}('name') on its "
            "class"
        )
    return found


def _registered_in(plugins: registry.Registry[Any], files: set[Path]) -> dict[str, Any]:
    """The plug-ins whose classes are written in one of some files."""
    found = {}
    for item in plugins.entries():
        if item.value is not None:
            home = getattr(sys.modules.get(item.value.__module__), "__file__", None)
            if home and Path(home).resolve() in files:
                found[item.name] = item.value
    return found


@contextmanager
def keeping_global_state() -> Iterator[None]:
    """One thread; it and all other global state are as before at the end."""
    before = intact.Picture()
    threads, python, numpy = torch.get_num_threads(), random.getstate(), np.random.get_state()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        before.undo()
        torch.set_num_threads(threads)
        random.setstate(python)
        np.random.set_state(numpy)


def results(checks: Mapping[str, Requirement], trial: Any, plugin: str) -> Iterator[CheckResult]:
    """Makes all checks of a plug-in; skips those whose needs failed, so that a fault fails once."""
    broken: set[tuple[str, str]] = set()
    for name, item in checks.items():
        looked_at: dict[str, Any] = {"": trial}
        if not item.whole and ("stages", "") not in broken and trial.stages:
            looked_at = {each.stage.name: each for each in trial.stages}
        for stage, each in looked_at.items():
            status: Status = "passed"
            hint = ""
            try:
                for need in item.needs:
                    places = {(need, stage), (need, "")}
                    if places & broken or (item.whole and need in {name for name, _ in broken}):
                        broken.add((name, stage))
                        raise SkipTest(f"needs '{need}'")
                if not item.whole and not stage:
                    raise SkipTest("the method has no stage of its own")
                if getattr(each, "joint", False) and not item.joint:
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
            yield CheckResult(name, status, reason, hint, stage, plugin)
