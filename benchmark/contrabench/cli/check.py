"""`bench methods check` and `bench backbones check`: does a plug-in keep the contract?"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contrabench.cli import options, output
from contrabench.contracts import registry
from contrabench.errors import RequestError, RunError
from contrabench.progress import clock
from contrabench.text import counted, some

if TYPE_CHECKING:
    from contrabench.protocol import BackboneSpec
    from contrabench.testing import ConformityReport

_COLOURS = {"passed": "green", "failed": "bold red", "skipped": "dim"}

Wanted = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME_OR_FILE...", help="Names in the list, or files."),
]
NetworkPairs = Annotated[
    list[str] | None, options.pairs("-b", "--backbone-option", of="backbone", panel=None)
]


@options.command(
    "bench methods check simclr",
    "bench methods check my_method.py",
    "bench methods check mmgl -o variant=U",
    "bench methods check mmgl --backbone resnet_unet -b depth=34",
    "bench methods check --all --json",
    name="check",
)
def check_methods(
    context: typer.Context,
    wanted: Wanted = None,
    every: Annotated[bool, typer.Option("--all", help="Check every method.")] = False,
    option: Annotated[
        list[str] | None, options.pairs("-o", "--option", of="method", panel=None)
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(metavar="NAME", help="Try them on it, not on the U-Net.")
    ] = None,
    backbone_option: NetworkPairs = None,
    as_json: options.Json = False,
    plugin: options.Plugins = None,
) -> None:
    """Check that a method keeps the contract, on small phantoms and without any data.

    Some seconds for each stage on one CPU core. Exits with 1 if a check fails.
    """
    from contrabench.testing import check_method

    chosen, broken = _chosen(registry.methods, wanted, every)
    parsed = _parsed("method", chosen, option)
    spec = _tried_on(backbone, backbone_option)
    _tell(
        "method",
        chosen,
        broken,
        lambda name: check_method(name, parsed[name], spec),
        as_json or bool(context.obj),
    )


@options.command(
    "bench backbones check unet",
    "bench backbones check my_backbone.py",
    "bench backbones check resnet_unet -b depth=34",
    "bench backbones check --all --json",
    name="check",
)
def check_backbones(
    context: typer.Context,
    wanted: Wanted = None,
    every: Annotated[bool, typer.Option("--all", help="Check every backbone.")] = False,
    backbone_option: NetworkPairs = None,
    as_json: options.Json = False,
    plugin: options.Plugins = None,
) -> None:
    """Check that a backbone keeps the contract, at tiny size and without any data.

    Some seconds on one CPU core. Exits with 1 if a check fails.
    """
    from contrabench.testing import check_backbone

    chosen, broken = _chosen(registry.backbones, wanted, every)
    parsed = _parsed("backbone", chosen, backbone_option)
    _tell(
        "backbone",
        chosen,
        broken,
        lambda name: check_backbone(name, parsed[name]),
        as_json or bool(context.obj),
    )


def _chosen(
    plugins: registry.Registry[Any], wanted: Sequence[str] | None, every: bool
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The plug-ins to be checked by name, and what cannot be used of all, with the reason."""
    if every == bool(wanted):
        raise RequestError(f"name the {plugins.kind}s or files to check, or give --all")
    from contrabench.testing.report import find

    entries = plugins.entries() if every else []
    broken = [{"name": entry.name, "reason": entry.error} for entry in entries if entry.error]
    chosen = {entry.name: entry.value for entry in entries if entry.value is not None}
    for text in wanted or ():
        chosen |= find(plugins, options.named(text))
    return chosen, broken


def _parsed(
    kind: str, chosen: dict[str, Any], given: Sequence[str] | None
) -> dict[str, dict[str, Any] | None]:
    """The options of each plug-in that were given, checked; None for its defaults."""
    from contrabench.contracts.options import parse_options

    return {
        name: parse_options(one.Options, given, f"{kind} '{name}'").model_dump(mode="json")
        if given
        else None
        for name, one in chosen.items()
    }


def _tried_on(name: str | None, given: Sequence[str] | None) -> BackboneSpec:
    """The network that methods are tried on."""
    from contrabench.testing.trial import TINY

    name = name or TINY.name
    parsed = _parsed("backbone", {name: registry.backbones.get(name)}, given)[name]
    return TINY.model_copy(update={"name": name, "options": parsed or {}})


def _tell(
    kind: str,
    chosen: dict[str, Any],
    broken: list[dict[str, Any]],
    judge: Callable[[str], ConformityReport],
    as_json: bool,
) -> None:
    """Checks one plug-in after the other and tells it; RunError if any does not pass."""
    told: list[dict[str, Any]] = []
    for name in chosen:
        began = time.monotonic()
        report = judge(name)
        seconds = time.monotonic() - began
        facts = {"name": name, "seconds": round(seconds, 1), "passed": report.passed}
        told.append({**facts, **asdict(report)})
        if not as_json:
            _show(name, report, seconds)
    if as_json:
        output.write_json({f"{kind}s": told, "broken": broken})
    else:
        for item in broken:
            output.console().print(f"not usable: {item['name']}: {item['reason']}", soft_wrap=True)
    if broken or not all(item["passed"] for item in told):
        failed = [
            f"{item['name']}: {one['check']} ({one['reason']})"
            for item in told
            for one in item["results"]
            if one["status"] == "failed"
        ]
        names = [*failed, *(f"{item['name']} cannot be used" for item in broken)]
        raise RunError(f"the contract of a {kind} is not kept; {some(names, 3)}")


def _show(name: str, report: ConformityReport, seconds: float) -> None:
    """The checks of a plug-in as a table, stages beside each other where they agree."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for item in report.results:
        why = item.reason + (f"\n{item.hint}" if item.hint else "")
        rows.setdefault((item.check, item.status, why), []).append(item.stage)
    table = output.plain_table("check", "stage", "outcome", "why", style="dim")
    for (check_name, status, why), stages in rows.items():
        outcome = f"[{_COLOURS[status]}]{status}[/]"
        table.add_row(check_name, ", ".join(stages) or "-", outcome, why)
    screen = output.console()
    # No title of the table, which would be broken to its width.
    screen.print(f"{name}: {report.summary()} ({clock(seconds)})", style="bold")
    screen.print(table, markup=True)
    if report.failures:
        screen.print(f"{counted(len(report.failures), 'check')} of '{name}' failed")
    screen.print()
