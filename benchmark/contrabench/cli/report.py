"""`bench report`: the leaderboard, from the rows of a store."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contrabench.cli.common import JsonOption, PluginOption, examples, write_json
from contrabench.errors import RequestError

if TYPE_CHECKING:
    import pandas as pd

    from contrabench.report import Report, Section

STORE = Path("contrabench-runs")
EPILOG = examples(
    "bench report",
    "bench report --labels 10% --format markdown --out leaderboard.md",
)


def report(
    *,
    store: Annotated[
        Path, typer.Option(envvar="CONTRABENCH_STORE", help="Folder that holds the runs.")
    ] = STORE,
    format_name: Annotated[
        str, typer.Option("--format", metavar="NAME", help="terminal, markdown, csv, or a plug-in.")
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
    as_json: JsonOption = False,
    plugin: PluginOption = None,
) -> None:
    """Show the leaderboard: one table per dataset, protocol and label budget."""
    from contrabench.catalogue import reports
    from contrabench.statistics.leaderboard import build_report
    from contrabench.store.rows import read_rows

    renderer = None if as_json else reports.get(format_name)()
    rows, problems = read_rows(store)
    for problem in problems:
        typer.echo(f"note: {problem}", err=True)
    if rows.empty:
        raise RequestError(
            f"{store} holds no finished run, so there is nothing to report; "
            "make one with `bench run`, or name another folder with --store"
        )
    rows = _only(rows, "dataset", dataset)
    _only(rows, "labels", labels)
    words = ["bench", "report", "--store", str(store)]
    words += ["--json"] if as_json else ["--format", format_name]
    for option, values in (("--dataset", dataset), ("--labels", labels)):
        words += [word for value in values or () for word in (option, value)]
    made = build_report(rows, shlex.join(words), labels or ())
    if renderer is None:
        write_json(_as_json(made))
    elif out is None:
        typer.echo(renderer.render(made), nl=False)
    else:
        out.write_text(renderer.render(made), encoding="utf-8")
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


def _as_json(made: Report) -> dict[str, Any]:
    """The sections as JSON-like data; a missing number is null."""
    return {"command": made.command, "sections": [_section(one) for one in made.sections]}


def _section(section: Section) -> dict[str, Any]:
    rows = section.table.astype(object).where(section.table.notna(), None)
    return {
        "title": section.title,
        "protocol": section.protocol,
        "rows": rows.to_dict(orient="records"),
        "notes": list(section.notes),
    }
