"""`bench report`: the leaderboard, from the rows of a store."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from contrabench.cli.common import PluginOption, examples
from contrabench.errors import RequestError

if TYPE_CHECKING:
    import pandas as pd

STORE = Path("contrabench-runs")
FORMATS = "terminal, html, markdown, latex, csv, parquet, json, or a plug-in."
EPILOG = examples(
    "bench report",
    "bench report --labels 10% --format markdown --out leaderboard.md",
    "bench report --format html --out report.html",
)


def report(
    *,
    store: Annotated[
        Path, typer.Option(envvar="CONTRABENCH_STORE", help="Folder that holds the runs.")
    ] = STORE,
    format_name: Annotated[
        str, typer.Option("--format", metavar="NAME", help=FORMATS)
    ] = "terminal",
    out: Annotated[
        Path | None, typer.Option(help="File to write instead of the screen.", show_default=False)
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this dataset; may be repeated."),
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(metavar="BUDGET", help="Only this label budget; may be repeated."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    plugin: PluginOption = None,
) -> None:
    """Show the leaderboard: one table per dataset, protocol and label budget."""
    from contrabench.catalogue import reports
    from contrabench.statistics.leaderboard import build_report
    from contrabench.store.results import Results, read_results

    name = "json" if as_json else format_name
    renderer = reports.get(name)()
    if renderer.info.binary and out is None:
        raise RequestError(
            f"{name} is no text for a screen; name a file with --out report{renderer.info.suffix}"
        )
    results = read_results(store)
    for problem in results.problems:
        typer.echo(f"note: {problem}", err=True)
    if results.rows.empty:
        raise RequestError(
            f"{store} holds no finished run, so there is nothing to report; "
            "make one with `bench run`, or name another folder with --store"
        )
    rows = _only(results.rows, "dataset", dataset)
    _only(rows, "labels", labels)
    words = ["bench", "report", "--store", str(store), "--format", name]
    for option, values in (("--dataset", dataset), ("--labels", labels)):
        words += [word for value in values or () for word in (option, value)]
    made = build_report(Results(rows, results.runs), shlex.join(words), labels or ())
    _write(renderer.render(made), out)


def _write(made: str | bytes, out: Path | None) -> None:
    """Writes a file, or text to the screen."""
    if out is None:
        typer.echo(made, nl=False)
        return
    out.write_bytes(made if isinstance(made, bytes) else made.encode("utf-8"))
    typer.echo(f"wrote {out}", err=True)


def _only(rows: pd.DataFrame, column: str, wanted: list[str] | None) -> pd.DataFrame:
    """The rows with one of the wanted values; a value that no row has is an error."""
    present = sorted(rows[column].unique())
    for value in wanted or ():
        if value not in present:
            raise RequestError(
                f"no finished run has --{column} {value}; there are: {', '.join(present)}"
            )
    return rows[rows[column].isin(wanted)] if wanted else rows
