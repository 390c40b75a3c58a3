"""`bench doctor`: what is wrong with the environment, the data or the store, and what to do."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from contrabench.cli import options, output
from contrabench.contracts.registry import datasets
from contrabench.doctor.findings import Examined, Property
from contrabench.errors import RequestError
from contrabench.text import counted, some

if TYPE_CHECKING:
    from contrabench.contracts.dataset import Dataset

SHOWN = 5
"""Findings of one check that are told on the screen; `--json` tells all."""
OUTLIERS = (
    "outliers: 3.5 robust deviations (of the logarithm, by its median) from the median, and a "
    "quarter at least; axes: of one case, or a tenth of them at most; both from five cases on"
)
_WORDS = {"error": "error", "warning": "warning", "information": "note"}
_STYLES = {"ok": "green", "error": "bold red", "warning": "yellow", "note": "cyan"}
_INDENT = 11


@options.command(
    "bench doctor",
    "bench doctor --store lab-b-runs --deep",
    "bench doctor --dataset mmwhs --data MMWHS",
)
def doctor(
    store: options.Store = None,
    dataset: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Also read every file of this dataset."),
    ] = None,
    data: options.Data = None,
    dataset_option: options.DatasetPairs = None,
    deep: Annotated[
        bool,
        typer.Option(
            "--deep",
            help="Read weights in full. Without it, their length alone is looked at; all other "
            "files of runs and stages are compared with their checksums.",
        ),
    ] = False,
    config: options.ConfigFile = None,
    as_json: options.Json = False,
    plugin: options.Plugins = None,
) -> None:
    """Look for faults in environment, data and store, and say what to do about each.

    Nothing is mended or removed. Ends with code 1 if there is an error, else with 0.
    """
    from contrabench.doctor.examine import examine

    settings = options.load_config(config, store)
    chosen = _dataset(dataset, settings.folder_of(dataset or "", data), dataset_option or [])
    checks: list[Examined] = []
    screen = output.console()
    for check in examine(settings.store, chosen, deep, output.reporter()):
        if not as_json:
            if not checks or check.area != checks[-1].area:
                place = f" {settings.store}" if check.area == "store" else ""
                screen.print(f"{chr(10) if checks else ''}{check.area}{place}", style="bold")
            mark = _mark(_WORDS[check.worst] if check.worst else "ok")
            screen.print(Text.assemble(mark, f"{check.title}: {check.seen}"), soft_wrap=True)
            if check.table:
                screen.print(_table(check.table))
        checks.append(check)
    counts: Counter[str] = Counter(
        finding.severity for check in checks for finding in check.findings
    )
    if as_json:
        output.write_json(
            {
                "store": str(settings.store),
                "deep": deep,
                "errors": counts["error"],
                "warnings": counts["warning"],
                "information": counts["information"],
                "checks": [asdict(check) for check in checks],
            }
        )
    else:
        _show_findings(screen, checks)
        numbers = (counted(counts[key], word) for key, word in _WORDS.items())
        screen.print(f"\n{', '.join(numbers)}. Nothing was mended or removed.")
    if counts["error"]:
        raise typer.Exit(1)


def _dataset(name: str | None, root: Path | None, options: list[str]) -> Dataset | None:
    """The dataset whose files are to be read, if one is named."""
    if name is None:
        if root is not None or options:
            raise RequestError("--data and -d need --dataset NAME; see: bench datasets")
        return None
    from contrabench.contracts.options import parse_options
    from contrabench.stages.run_spec import open_dataset

    kind = datasets.get(name)
    parsed = parse_options(kind.Options, options, f"dataset '{name}'")
    return open_dataset(name, parsed.model_dump(mode="json"), root)


def _table(rows: tuple[Property, ...]) -> Padding:
    """What was measured of a dataset; a few of the outliers are named."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, caption=OUTLIERS, caption_justify="left")
    for title in ("property", "usual", "all", "outliers"):
        table.add_column(title, justify="right" if title == "usual" else "left")
    for row in rows:
        table.add_row(row.what, row.usual, row.span, Text(some(row.apart), "yellow"))
    return Padding(table, (0, 0, 0, 2))


def _show_findings(screen: Console, checks: list[Examined]) -> None:
    """The findings, the worst first, each with its meaning and its remedy."""
    for severity, word in _WORDS.items():
        for check in checks:
            found = [one for one in check.findings if one.severity == severity]
            for finding in found[:SHOWN]:
                screen.print(Text.assemble("\n", _mark(word), finding.what), soft_wrap=True)
                if finding.means:
                    screen.print(" " * _INDENT + finding.means, style="dim", soft_wrap=True)
                if finding.do:
                    screen.print(" " * _INDENT + f"-> {finding.do}", soft_wrap=True)
            if len(found) > SHOWN:
                more = f"and {len(found) - SHOWN} more under '{check.title}'; --json tells all"
                screen.print(" " * _INDENT + more, style="dim", soft_wrap=True)


def _mark(word: str) -> tuple[str, str]:
    """The word that a line begins with, in its colour."""
    return f"  {word:<{_INDENT - 2}}", _STYLES[word]
