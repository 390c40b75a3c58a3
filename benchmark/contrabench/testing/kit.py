"""The doors of the kit: a report on a method, an assertion for its tests, and what is checked."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any
from unittest import SkipTest

from contrabench.contracts import conformity, registry
from contrabench.contracts.method import Method
from contrabench.contracts.options import parse_options
from contrabench.errors import RequestError
from contrabench.protocol import BackboneSpec
from contrabench.testing import checks_declared as declared
from contrabench.testing import checks_loss as loss
from contrabench.testing import checks_training as training
from contrabench.testing.report import (
    CheckResult,
    ConformityReport,
    Requirement,
    find,
    keeping_global_state,
    results,
)
from contrabench.testing.trial import TINY, Trial

CHECKS: Mapping[str, Requirement] = MappingProxyType(
    {
        "options": Requirement(declared.check_options, whole=True),
        "declaration": Requirement(declared.check_declaration, whole=True),
        "stages": Requirement(declared.check_stages, ("options",), whole=True),
        "counts": Requirement(loss.check_counts, ("stages",), joint=True),
        "labels": Requirement(loss.check_labels, ("counts",)),
        "finite": Requirement(loss.check_finite, ("labels",), joint=True),
        "channels": Requirement(loss.check_channels, ("finite",), joint=True),
        "inputs": Requirement(loss.check_inputs, ("finite",), joint=True),
        "slopes": Requirement(loss.check_slopes, ("inputs",), joint=True),
        "batch_of_two": Requirement(loss.check_batch_of_two, ("finite",), joint=True),
        "deterministic": Requirement(training.check_deterministic, ("finite",), joint=True),
        "gradients": Requirement(training.check_gradients, ("slopes",), joint=True),
        "resume": Requirement(training.check_resume, ("gradients", "deterministic"), joint=True),
        "order": Requirement(training.check_order, ("resume",)),
        "negatives": Requirement(training.check_negatives, ("resume",)),
        "collapse": Requirement(training.check_collapse, ("negatives",)),
        "positives": Requirement(training.check_positives, ("collapse",)),
        "hand_off": Requirement(declared.check_hand_off, ("stages", "slopes"), whole=True),
        "cost": Requirement(loss.check_cost, ("inputs",), joint=True),
    }
)
"""All checks by name, in the order in which they are made."""

_REMEMBERED: dict[tuple[type[Method], str, str, str], tuple[CheckResult, ...]] = {}


def check_method(
    method: type[Method] | str | Path,
    options: Mapping[str, Any] | None = None,
    backbone: BackboneSpec = TINY,
) -> ConformityReport:
    """Checks whether a method keeps the contract, on small phantoms made in memory.

    It takes some seconds for each stage on one CPU core. A method is a class, a registered name, or
    a plug-in file with all methods in it; options are its defaults if None. It is tried on a small
    U-Net, or on another `backbone`. RequestError for an unknown name, a file that cannot be
    imported, or an option that the method does not take.
    """
    known = {method.__name__: method} if isinstance(method, type) else find_methods(method)
    told: list[CheckResult] = []
    for name, found in known.items():
        made = parse_options(found.Options, options, f"method '{name}'") if options else None
        key = (found, name, repr(made), repr(backbone))
        if key not in _REMEMBERED:
            with keeping_global_state():
                trial = Trial(found, made, backbone)
                _REMEMBERED[key] = tuple(results(CHECKS, trial, name))
            # The verdict that stands beside rows is that on the usual network.
            if backbone == TINY and not conformity.is_ours(found.__module__):
                failed = [r.check for r in _REMEMBERED[key] if r.status == "failed"]
                # Without valid options, or without source, there is nothing to keep it by.
                with suppress(RequestError, ValueError):
                    conformity.keep(found(made), list(dict.fromkeys(failed)))
        told += _REMEMBERED[key]
    return ConformityReport(tuple(told))


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
    told = check_method(method, options).results
    report = ConformityReport(tuple(one for one in told if check in (None, one.check)))
    if not report.passed:
        raise AssertionError(report.failures_text())
    if check is not None and all(result.status == "skipped" for result in report.results):
        raise SkipTest(report.results[0].reason)


def find_methods(wanted: str | Path) -> dict[str, type[Method]]:
    """The methods of a registered name, or of a plug-in file, package or folder, as of `find`."""
    return find(registry.methods, wanted)
