"""Errors that a user can act on: what happened, what it means, what to do.

The command line prints the message alone and exits with the error's code: 2 for a wrong
request (name, option, input data), 1 for a run that failed.
"""

from __future__ import annotations

import copyreg
from collections.abc import Sequence
from typing import Any


class ContrabenchError(Exception):
    """Base of every error that is shown without a traceback; it can be pickled."""

    exit_code = 1

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are made again from `args`, which are not what some of these are made from.
        return copyreg.__newobj__, (type(self), *self.args), vars(self)  # type: ignore[attr-defined]


class RequestError(ContrabenchError):
    """The request cannot be carried out as it stands: a name, an option, a path."""

    exit_code = 2


class DataError(RequestError):
    """The input data has faults; one readable line for each, found before any training."""

    def __init__(self, faults: Sequence[str], where: str = "the data") -> None:
        self.faults = list(faults)
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        lines = "\n".join(f"  - {fault}" for fault in self.faults)
        super().__init__(
            f"{count} in {where}; nothing was trained. Mend the files and run again:\n{lines}"
        )


class RunError(ContrabenchError):
    """A run that was well asked for failed on its way."""


class DiskFullError(RunError):
    """No space is left: not the fault of a stage, and nothing more can be done now."""


class StageBusyError(RunError):
    """Another process is at work on the stage that was asked for."""


class AuditError(RunError):
    """A run broke a rule of the protocol, numbered in `docs/protocol.md`, and was stopped."""

    def __init__(self, rule: int, message: str) -> None:
        self.rule = rule
        super().__init__(f"audit rule {rule}: {message}")
