"""`bench methods check`: does a method keep the contract?"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contrabench.cli import options, output
from contrabench.contracts.registry import methods
from contrabench.errors import RequestError
from contrabench.progress import clock
from contrabench.text import counted

if TYPE_CHECKING:
    from contrabench.testing import ConformityReport

_COLOURS = {"passed": "green", "failed": "bold red", "skipped": "dim"}


@options.command(
    "bench methods check simclr",
    "bench methods check my_method.py",
    "bench methods check mmgl -o variant=U",
    "bench methods check --all --json",
)
def check(
    context: typer.Context,
    wanted: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME_OR_FILE...", help="Names in `bench methods`, or files."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Check every method.")] = False,
    option: Annotated[
        list[str] | None, options.pairs("-o", "--option", of="method", panel=None)
    ] = None,
    as_json: options.Json = False,
    plugin: options.Plugins = None,
) -> None:
    """Check that a method keeps the contract, on small phantoms and without any data.

    Some seconds for each stage on one CPU core. Exits with 1 if a check fails.
    """
    if every == bool(wanted):
        raise RequestError("name the methods or files to check, or give --all")
    from contrabench.contracts.options import parse_options
    from contrabench.testing.kit import check_method, find_methods

    entries = methods.entries() if every else []
    broken = [{"name": entry.name, "reason": entry.error} for entry in entries if entry.error]
    chosen = {entry.name: entry.value for entry in entries if entry.value is not None}
    for text in wanted or ():
        chosen |= find_methods(text)
    parsed = {
        name: parse_options(method.Options, option, f"method '{name}'").model_dump(mode="json")
        for name, method in chosen.items()
        if option
    }
    as_json = as_json or bool(context.obj)
    told: list[dict[str, Any]] = []
    for name in chosen:
        began = time.monotonic()
        report = check_method(name, parsed.get(name))
        seconds = time.monotonic() - began
        facts = {"name": name, "seconds": round(seconds, 1), "passed": report.passed}
        told.append({**facts, **asdict(report)})
        if not as_json:
            _show(name, report, seconds)
    if as_json:
        output.write_json({"methods": told, "broken": broken})
    else:
        for item in broken:
            output.console().print(f"not usable: {item['name']}: {item['reason']}", soft_wrap=True)
    if broken or not all(item["passed"] for item in told):
        raise typer.Exit(1)


def _show(name: str, report: ConformityReport, seconds: float) -> None:
    """The checks of a method as a table, stages beside each other where they agree."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for item in report.results:
        why = item.reason + (f"\n{item.hint}" if item.hint else "")
        rows.setdefault((item.check, item.status, why), []).append(item.stage)
    title = f"{name}: {report.summary()} ({clock(seconds)})"
    table = output.plain_table("check", "stage", "outcome", "why", title=title, style="dim")
    for (check_name, status, why), stages in rows.items():
        outcome = f"[{_COLOURS[status]}]{status}[/]"
        table.add_row(check_name, ", ".join(stages) or "-", outcome, why)
    screen = output.console()
    screen.print(table, markup=True)
    if report.failures:
        screen.print(f"{counted(len(report.failures), 'check')} of '{name}' failed")
    screen.print()
