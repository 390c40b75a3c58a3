"""The doors of the kit: a report on a method, an assertion for its tests, and what is checked."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any
from unittest import SkipTest

import torch
from pydantic import ValidationError

from contrabench.contracts import discovery, registry
from contrabench.contracts.method import Method
from contrabench.errors import RequestError
from contrabench.protocol import Options
from contrabench.testing import checks_declared, checks_losses, checks_training
from contrabench.testing.conformity import (
    CheckResult,
    ConformityReport,
    FaultError,
    NotApplicableError,
    Requirement,
)
from contrabench.testing.trial import Trial
from contrabench.text import one_line

CHECKS: Mapping[str, Requirement] = MappingProxyType(
    checks_declared.CHECKS | checks_losses.CHECKS | checks_training.CHECKS
)
"""All checks by name, in the order in which they are made."""

_REMEMBERED: dict[tuple[type[Method], str, str], ConformityReport] = {}


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
        results += check_class(found, options, name).results
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
    report = check_method(method, options)
    if check is not None:
        report = report.only(check)
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
    if isinstance(wanted, str) and not _is_path(wanted):
        return {wanted: registry.methods.get(wanted)}
    path = _real(wanted)
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


def _is_path(text: str) -> bool:
    if text.endswith(".py") or "/" in text or "\\" in text:
        return True
    return Path(text).exists() and text not in registry.methods.names()


def _registered_in(files: set[Path]) -> dict[str, type[Method]]:
    """The methods whose classes are written in one of some files."""
    usable = {item.name: item.value for item in registry.methods.entries() if item.value}
    homes = {
        name: getattr(sys.modules.get(value.__module__), "__file__", None)
        for name, value in usable.items()
    }
    return {name: usable[name] for name, home in homes.items() if home and _real(home) in files}


def _real(path: str | Path) -> Path:
    return Path(path).expanduser().resolve()


def check_class(
    method: type[Method], options: Mapping[str, Any] | None, name: str
) -> ConformityReport:
    """As `check_method`, of one class under the name that it goes by."""
    made: Options | None = None
    if options is not None:
        try:
            made = method.Options.model_validate(dict(options))
        except ValidationError as error:
            raise RequestError(
                f"option of method '{name}': {checks_declared.first_fault(error)}"
            ) from error
    key = (method, name, repr(made))
    if key not in _REMEMBERED:
        with _quiet():
            _REMEMBERED[key] = ConformityReport(tuple(_results(Trial(method, made), name)))
    return _REMEMBERED[key]


@contextmanager
def _quiet() -> Iterator[None]:
    """One thread, as the checks promise, and torch's random state left as it was."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)


def _results(trial: Trial, method: str) -> Iterator[CheckResult]:
    """Makes all checks of a method; skips those whose needs failed, so that a fault fails once."""
    broken: set[tuple[str, str]] = set()
    for name, item in CHECKS.items():
        looks = {"": partial(_no_stage)}
        if item.whole:
            looks = {"": partial(item.look, trial)}
        elif ("stages", "") not in broken and trial.stages:
            looks = {each.stage.name: partial(item.look, each) for each in trial.stages}
        for stage, look in looks.items():
            cause = next((need for need in item.needs if {(need, stage), (need, "")} & broken), "")
            if cause:
                result = CheckResult(name, "skipped", f"needs '{cause}'", "", stage, method)
            else:
                result = _made(look, name, stage, method)
            if cause or result.status == "failed":
                broken.add((name, stage))
            yield result


def _no_stage() -> str | None:
    raise NotApplicableError("the method has no pre-training stage")


def _made(look: partial[str | None], check: str, stage: str, method: str) -> CheckResult:
    """Makes one check of one stage."""
    try:
        return CheckResult(check, "passed", look() or "", "", stage, method)
    except NotApplicableError as error:
        return CheckResult(check, "skipped", str(error), "", stage, method)
    except FaultError as error:
        return CheckResult(check, "failed", error.reason, error.hint, stage, method)
    # A stranger's code runs here, and may raise anything.
    except Exception as error:
        hint = f"raised in {_place(error)}"
        return CheckResult(check, "failed", one_line(error), hint, stage, method)


def _place(error: BaseException) -> str:
    """File and line of the frame that is the author's: the last one outside of torch's code."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "site-packages" not in frame.filename] or frames
    return f"{Path(own[-1].filename).name}, line {own[-1].lineno}"
