"""`bench methods check`: does a method keep the contract?"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contrabench.cli.common import (
    JsonOption,
    PluginOption,
    console,
    examples,
    plain_table,
    write_json,
)
from contrabench.errors import RequestError
from contrabench.progress import clock
from contrabench.text import counted

if TYPE_CHECKING:
    from rich.console import Console

    from contrabench.testing import CheckResult, ConformityReport

_COLOURS = {"passed": "green", "failed": "bold red", "skipped": "dim"}


app = typer.Typer()


@app.command(
    epilog=examples(
        "bench methods check simclr",
        "bench methods check my_method.py",
        "bench methods check mmgl -o variant=U",
        "bench methods check --all --json",
    )
)
def check(
    context: typer.Context,
    wanted: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME_OR_FILE...", help="Names in `bench methods`, or files."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Check every method.")] = False,
    option: Annotated[
        list[str] | None,
        typer.Option("-o", "--option", metavar="NAME=VALUE", help="Option of the methods."),
    ] = None,
    as_json: JsonOption = False,
    plugin: PluginOption = None,
) -> None:
    """Check that a method keeps the contract, on small phantoms and without any data.

    Some seconds for each stage on one CPU core. Exits with 1 if a check fails.
    """
    if every == bool(wanted):
        raise RequestError("name the methods or files to check, or give --all")
    from contrabench.contracts.options import parse_options
    from contrabench.contracts.registry import methods
    from contrabench.testing import find_methods
    from contrabench.testing.kit import check_class

    as_json = as_json or bool(context.obj)
    entries = methods.entries() if every else ()
    broken = [{"name": entry.name, "reason": entry.error} for entry in entries if entry.error]
    chosen = {entry.name: entry.value for entry in entries if entry.value is not None}
    for text in wanted or ():
        chosen |= find_methods(text)
    asked = {
        name: parse_options(method.Options, option, f"method '{name}'").model_dump()
        for name, method in chosen.items()
        if option
    }
    told: list[dict[str, Any]] = []
    screen = console(stderr=as_json)
    for name, method in chosen.items():
        began = time.monotonic()
        report = check_class(method, asked.get(name), name)
        seconds = time.monotonic() - began
        told.append({"name": name, "seconds": round(seconds, 1), **report.as_dict()})
        if not as_json:
            _show(screen, name, report, seconds)
    if as_json:
        write_json({"methods": told, "broken": broken})
    else:
        for item in broken:
            screen.print(f"not usable: {item['name']}: {item['reason']}", soft_wrap=True)
    if broken or not all(item["passed"] for item in told):
        raise typer.Exit(1)


def _show(screen: Console, name: str, report: ConformityReport, seconds: float) -> None:
    """The checks of a method as a table, stages beside each other where they agree."""
    title = f"{name}: {report.summary()} ({clock(seconds)})"
    table = plain_table("check", "stage", "outcome", "why", title=title, style="dim")
    rows: dict[tuple[str, str, str], tuple[CheckResult, list[str]]] = {}
    for result in report.results:
        key = (result.check, result.status, result.reason)
        rows.setdefault(key, (result, []))[1].append(result.stage)
    for result, stages in rows.values():
        colour = _COLOURS[result.status]
        why = result.reason + (f"\n{result.hint}" if result.hint else "")
        outcome = f"[{colour}]{result.status}[/]"
        table.add_row(result.check, ", ".join(stages) or "-", outcome, why)
    screen.print(table, markup=True)
    if report.failures:
        screen.print(f"{counted(len(report.failures), 'check')} of '{name}' failed")
    screen.print()
