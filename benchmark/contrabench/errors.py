"""Errors that a user can act on: what happened, what it means, what to do.

The command line prints the message alone and exits with the error's code: 2 for a wrong
request (name, option, input data), 1 for a run that failed.
"""

from __future__ import annotations

from collections.abc import Sequence


class ContrabenchError(Exception):
    """Base of every error that is shown without a traceback."""

    exit_code = 1


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
