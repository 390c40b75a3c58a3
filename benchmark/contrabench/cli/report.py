"""`bench report`: verdict and leaderboard, from the rows of a store; or two of them compared."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from contrabench.cli.common import PluginOption, examples, writing
from contrabench.errors import RequestError
from contrabench.files import replacing

if TYPE_CHECKING:
    from contrabench.report import Report
    from contrabench.store.results import Results

STORE = Path("contrabench-runs")
FORMATS = "terminal, html, markdown, latex, csv, parquet, json, or a plug-in."
EPILOG = examples(
    "bench report",
    "bench report --labels 10% --format markdown --out leaderboard.md",
    "bench report --format html --out report.html",
    "bench report --format markdown --out report.md --pictures pictures",
    "bench report --store submissions/ --format html --out board.html",
    "bench report --compare before.zip contrabench-runs",
)


def report(
    *,
    store: Annotated[
        Path,
        typer.Option(
            envvar="CONTRABENCH_STORE",
            help="Folder that holds the runs, an archive of 'bench submit', or a folder of these.",
        ),
    ] = STORE,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="A B",
            help="Two results side by side, with what changed: paths as for --store, or studies "
            "or protocols of the store by the beginning of their ids.",
            show_default=False,
        ),
    ] = None,
    format_name: Annotated[
        str, typer.Option("--format", metavar="NAME", help=FORMATS)
    ] = "terminal",
    out: Annotated[
        Path | None, typer.Option(help="File to write instead of the screen.", show_default=False)
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder to write the gallery to, one SVG a patient; Markdown refers to them.",
            show_default=False,
        ),
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
    """Show what the runs say: verdict, leaderboard and all that stands behind them."""
    from contrabench.catalogue import reports

    name = "json" if as_json else format_name
    renderer = reports.get(name)()
    if compare and pictures:
        raise RequestError("a comparison has no gallery; leave out --pictures, or --compare")
    if renderer.info.binary and out is None:
        raise RequestError(
            f"{name} is no text for a screen; name a file with --out report{renderer.info.suffix}"
        )
    # Before the work, so that a wrong place does not cost it.
    if out is not None:
        with writing(out):
            out.parent.mkdir(parents=True, exist_ok=True)
    words = ["bench", "report", "--store", str(store)]
    words += ["--compare", *compare] if compare else []
    words += ["--format", name]
    for option, values in (("--dataset", dataset), ("--labels", labels)):
        words += [word for value in values or () for word in (option, value)]
    words += ["--pictures", str(pictures)] if pictures else []
    command = shlex.join(words)
    with ExitStack() as stack:
        if compare:
            made = _compared(stack, compare, store, command, dataset or (), labels or ())
        else:
            drawn = renderer.info.pictures or pictures is not None
            made = _reported(stack, store, command, dataset or (), labels or (), drawn)
        if pictures:
            made = _with_files(made, pictures, out)
        rendered = renderer.render(made)
    if out is None:
        typer.echo(rendered, nl=False)
        return
    with writing(out), replacing(out) as temporary:
        temporary.write_bytes(rendered if isinstance(rendered, bytes) else rendered.encode("utf-8"))
    typer.echo(f"wrote {out}", err=True)


def _reported(
    stack: ExitStack,
    store: Path,
    command: str,
    datasets: Sequence[str],
    labels: Sequence[str],
    pictures: bool,
) -> Report:
    """The report on one result, with a gallery for a format that shows pictures."""
    from contrabench.cli.sources import results_in
    from contrabench.statistics.leaderboard import build_report

    folder, found = stack.enter_context(results_in(store))
    results = _wanted(found, datasets, labels)
    gallery = None
    if pictures:
        from contrabench.gallery.make import make_gallery

        gallery = partial(make_gallery, folder, runs=results.runs)
    return build_report(results, command, labels, gallery)


def _with_files(made: Report, folder: Path, out: Path | None) -> Report:
    """The report with its gallery written to files; tells what could not be drawn."""
    from contrabench.gallery.files import write_pictures

    galleries = [section.gallery for section in made.sections if section.gallery]
    for note in dict.fromkeys(note for one in galleries if not one.exhibits for note in one.notes):
        typer.echo(f"note: {note}", err=True)
    with writing(folder, "another folder with --pictures"):
        return write_pictures(made, folder, out.parent if out else Path())


def _compared(
    stack: ExitStack,
    names: tuple[str, str],
    store: Path,
    command: str,
    datasets: Sequence[str],
    labels: Sequence[str],
) -> Report:
    """Two results side by side."""
    from contrabench.cli.sources import side
    from contrabench.statistics.side_by_side import compare_results

    a, b = (_wanted(stack.enter_context(side(name, store)), datasets, labels) for name in names)
    return compare_results(a, b, names, command, labels)


def _wanted(results: Results, datasets: Sequence[str], labels: Sequence[str]) -> Results:
    """The rows of the wanted datasets; label budgets are only looked for.

    Those that are not asked for may still serve as references.

    Raises:
        RequestError: if no row has a value that was asked for.
    """
    rows = results.rows
    for column, values in (("dataset", datasets), ("labels", labels)):
        present = sorted(map(str, rows[column].unique()))
        for value in values:
            if value not in present:
                raise RequestError(
                    f"no finished run has --{column} {value}; there are: {', '.join(present)}"
                )
    return replace(results, rows=rows[rows["dataset"].isin(datasets)] if datasets else rows)
