"""The format of a report: which one is asked for, and what it makes of the report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from contrabench.errors import ContrabenchError, RequestError, RunError

if TYPE_CHECKING:
    from contrabench.contracts.report import Report, ReportFormat

SCREEN = "terminal"
"""The format of a report that nothing else is said of."""


def chosen_format(name: str | None, as_json: bool, out: Path | None) -> str:
    """The name of the format: as it was asked for, else as the suffix of the file says.

    A file without a suffix gets what a screen would. RequestError if `--json` and `--format`
    contradict each other, or a suffix is that of no format, or of several.
    """
    if as_json:
        if name not in (None, "json"):
            raise RequestError(f"--json and --format {name} contradict each other; give one")
        return "json"
    if name is not None:
        return name
    if out is None or not out.suffix:
        return SCREEN
    from contrabench.contracts.registry import reports

    suffixes = {
        entry.name: entry.value.info.suffix
        for entry in reports.entries()
        if entry.value is not None
    }
    fitting = [known for known, suffix in suffixes.items() if suffix == out.suffix.lower()]
    if not fitting:
        raise RequestError(
            f"no report format has files that end in {out.suffix}; name one with --format, or a "
            f"file in {', '.join(sorted({*suffixes.values()}))}"
        )
    if len(fitting) > 1:
        raise RequestError(
            f"{out} may be of the format {' or '.join(fitting)}; name one with --format"
        )
    return fitting[0]


def load_format(name: str) -> ReportFormat:
    """The format of a name, ready to render; RequestError if there is none, RunError if broken."""
    from contrabench.contracts.registry import reports

    found = reports.get(name)
    try:
        return found()
    except ContrabenchError:
        raise
    # A stranger's code runs here, and may raise anything.
    except Exception as error:
        raise _failure(name, error) from error


def rendered(name: str, renderer: ReportFormat, report: Report, on_screen: bool) -> str | bytes:
    """What a format makes of a report; RunError if it fails, or makes neither text nor bytes."""
    try:
        made: object = renderer.show(report) if on_screen else renderer.render(report)
    except ContrabenchError:
        raise
    # A stranger's code runs here, and may raise anything.
    except Exception as error:
        raise _failure(name, error) from error
    if not isinstance(made, str | bytes):
        raise RunError(
            f"the report format '{name}' failed: it returned {type(made).__name__}, and neither "
            "text nor bytes; nothing was written"
        )
    return made


def _failure(name: str, error: Exception) -> RunError:
    from contrabench.text import one_line

    return RunError(
        f"the report format '{name}' failed: {one_line(error)}; nothing was written. Mend it, or "
        "choose another with --format"
    )
