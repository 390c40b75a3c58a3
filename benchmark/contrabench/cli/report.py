"""`bench report`: verdict and leaderboard, from the rows of a store; or two of them compared."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from contrabench.cli.common import (
    DEFAULT_STORE,
    PLACES,
    ConfigOption,
    PluginOption,
    examples,
    writing,
)
from contrabench.cli.rendering import SCREEN, chosen_format, load_format, rendered
from contrabench.cli.sources import is_path
from contrabench.errors import RequestError
from contrabench.files import replacing
from contrabench.text import counted

if TYPE_CHECKING:
    from contrabench.contracts.report import Report

FORMATS = (
    "terminal, html, markdown, latex, csv, parquet, json, or a plug-in; by default what the "
    f"suffix of --out says, else {SCREEN}."
)


app = typer.Typer()


@app.command(
    epilog=examples(
        "bench report",
        "bench report --labels 10% --format markdown --out leaderboard.md",
        "bench report --out report.html",
        "bench report --out report.md --pictures pictures",
        "bench report --store submissions/ --out board.html",
        "bench report --compare before.zip contrabench-runs",
    )
)
def report(
    context: typer.Context,
    *,
    store: Annotated[
        Path | None,
        typer.Option(
            envvar="CONTRABENCH_STORE",
            help="Folder that holds the runs, an archive of 'bench submit', or a folder of such "
            f"archives; {DEFAULT_STORE} by default.",
            rich_help_panel=PLACES,
            show_default=False,
        ),
    ] = None,
    config: ConfigOption = None,
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
        str | None, typer.Option("--format", metavar="NAME", help=FORMATS, show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write instead of the screen; its suffix chooses the format, unless "
            "--format does.",
            show_default=False,
        ),
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
    from contrabench.cli.config import load_config

    name = chosen_format(format_name, as_json, out)
    renderer = load_format(name)
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
    place = _near(load_config(config, store).store)
    words = _command(context, None if compare and all(map(is_path, compare)) else place)
    words += ["--compare", *compare] if compare else []
    words += ["--format", name]
    for option, values in (("--dataset", dataset), ("--labels", labels)):
        words += [word for value in values or () for word in (option, value)]
    words += ["--pictures", str(pictures)] if pictures else []
    command = shlex.join(words)
    if compare:
        made = _compared(compare, place, command, dataset or (), labels or ())
    else:
        drawn = renderer.info.pictures or pictures is not None
        made = _reported(place, command, dataset or (), labels or (), drawn)
    if pictures:
        made = _with_files(made, pictures, out)
    content = rendered(name, renderer, made, on_screen=out is None)
    if pictures:
        _tell_files(made, pictures, name, content)
    if out is None:
        typer.echo(content, nl=False)
        return
    with writing(out), replacing(out) as temporary:
        temporary.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    typer.echo(f"wrote {out}", err=True)


def _command(context: typer.Context, store: Path | None) -> list[str]:
    """The first words of the command that makes a report again, whatever files configure."""
    groups = [context.parent, context] if context.parent else [context]
    plugins = [path for group in groups for path in group.params.get("plugin") or ()]
    return [
        *("bench", "report"),
        *(word for path in dict.fromkeys(plugins) for word in ("--plugin", str(path))),
        *(("--store", str(store)) if store else ()),
    ]


def _near(path: Path) -> Path:
    """A path as a reader would write it in this folder."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _reported(
    store: Path,
    command: str,
    datasets: Sequence[str],
    labels: Sequence[str],
    pictures: bool,
) -> Report:
    """The report on one result, with a gallery for a format that shows pictures."""
    from contrabench.cli.sources import results_in, wanted
    from contrabench.report.build import build_report

    results = wanted(results_in(store), datasets, labels)
    gallery = None
    if pictures:
        from contrabench.report.gallery.make import make_gallery

        gallery = partial(make_gallery, store, runs=results.runs)
    return build_report(results, command, labels, gallery)


def _with_files(made: Report, folder: Path, out: Path | None) -> Report:
    """The report with its gallery written to files; tells what could not be drawn."""
    from contrabench.report.gallery.svg import write_pictures

    galleries = [section.gallery for section in made.sections if section.gallery]
    for note in dict.fromkeys(note for one in galleries if not one.exhibits for note in one.notes):
        typer.echo(f"note: {note}", err=True)
    with writing(folder, "another folder with --pictures"):
        return write_pictures(made, folder, out.parent if out else Path())


def _tell_files(made: Report, folder: Path, name: str, content: str | bytes) -> None:
    """Tells of pictures that were written and that the report does not lead to."""
    files = [
        Path(exhibit.file).name
        for section in made.sections
        if section.gallery
        for exhibit in section.gallery.exhibits
    ]
    text = content if isinstance(content, str) else ""
    if files and not any(file in text for file in files):
        number = counted(len(files), "picture")
        typer.echo(f"note: {number} written to {folder}; {name} does not refer to them", err=True)


def _compared(
    names: tuple[str, str],
    store: Path,
    command: str,
    datasets: Sequence[str],
    labels: Sequence[str],
) -> Report:
    """Two results side by side."""
    from contrabench.cli.sources import both_sides, wanted
    from contrabench.report.changes import SIDES
    from contrabench.report.comparing import compare_results

    a, b = (
        wanted(held, datasets, labels, f"{side} ({name})")
        for held, side, name in zip(both_sides(names, store), SIDES, names, strict=True)
    )
    return compare_results(a, b, names, command, labels)
