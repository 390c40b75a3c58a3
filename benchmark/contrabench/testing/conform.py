"""The two doors of the kit: a report on a method, and an assertion for its tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import SkipTest

import torch
from pydantic import ValidationError

from contrabench.contracts.method import Method
from contrabench.errors import RequestError
from contrabench.protocol import Options
from contrabench.testing.checks import CHECKS, run_checks
from contrabench.testing.declared import first_fault
from contrabench.testing.find import find_methods
from contrabench.testing.report import Report, Result
from contrabench.testing.trial import Trial

_REMEMBERED: dict[tuple[type[Method], str, str], Report] = {}


def check_method(
    method: type[Method] | str | Path, options: Mapping[str, Any] | None = None
) -> Report:
    """Checks whether a method keeps the contract, on small phantoms made in memory.

    It takes some seconds for each stage on one CPU core.

    Args:
        method: a class, a registered name, or a plug-in file with all methods in it.
        options: of the method, by name; its defaults if None.

    Raises:
        RequestError: for an unknown name, a file that cannot be imported, or an option that
            the method does not take.
    """
    known = {method.__name__: method} if isinstance(method, type) else find_methods(method)
    results: list[Result] = []
    for name, found in known.items():
        results += check_class(found, options, name).results
    return Report(tuple(results))


def assert_conforms(
    method: type[Method] | str | Path,
    check: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Asserts that a method keeps the contract; what was checked once is remembered.

    Args:
        method: as for `check_method`.
        check: one of `CHECKS`; all of them if None.
        options: of the method, by name.

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


def check_class(method: type[Method], options: Mapping[str, Any] | None, name: str) -> Report:
    """As `check_method`, of one class under the name that it goes by."""
    made = _made(method, options, name)
    key = (method, name, repr(made))
    if key not in _REMEMBERED:
        with _quiet():
            _REMEMBERED[key] = Report(tuple(run_checks(Trial(method, made), name)))
    return _REMEMBERED[key]


def _made(method: type[Method], options: Mapping[str, Any] | None, name: str) -> Options | None:
    """The options that were asked for.

    Raises:
        RequestError: if the method does not take them; what else is wrong a check tells.
    """
    if options is None:
        return None
    try:
        return method.Options.model_validate(dict(options))
    except ValidationError as error:
        raise RequestError(f"option of method '{name}': {first_fault(error)}") from error


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
