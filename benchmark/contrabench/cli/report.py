"""`bench report`: verdict and leaderboard, from the rows of a store; or two of them compared."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from contrabench.cli import options, output
from contrabench.cli.options import Config
from contrabench.contracts.registry import reports
from contrabench.errors import ContrabenchError, RequestError, RunError
from contrabench.files import expanded, write_bytes
from contrabench.text import asked_labels, counted, did_you_mean, one_line, unique_beginning

if TYPE_CHECKING:
    from contrabench.contracts.report import Report
    from contrabench.store.results import Results

SCREEN = "terminal"
"""The format of a report that nothing else is said of."""
FORMATS = (
    "terminal, html, markdown, readme, latex, csv, parquet, json, the figures svg, pdf and png, "
    "or a plug-in; by default what the "
    f"suffix of --out says, else {SCREEN}."
)


@options.command(
    "bench report",
    "bench report --labels 10% --all",
    "bench report --section pairs",
    "bench report --labels 10% --format markdown --out leaderboard.md",
    "bench report --out report.html",
    "bench report --out report.md --pictures pictures",
    "bench report --store submissions/ --out board.html",
    "bench report --compare before.zip contrabench-runs",
)
def report(
    context: typer.Context,
    *,
    store: Annotated[
        Path | None,
        options.store_place(
            "Folder that holds the runs, an archive of 'bench submit', or a folder of such archives"
        ),
    ] = None,
    config: options.ConfigFile = None,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="A B",
            help="Two results side by side, with what changed: paths as for --store, or studies "
            "or protocols of the store by the beginning of their ids.",
        ),
    ] = None,
    format_name: Annotated[
        str | None, typer.Option("--format", metavar="NAME", help=FORMATS)
    ] = None,
    out: Annotated[
        Path | None,
        options.place(
            "File to write instead of the screen; its suffix chooses the format, unless --format "
            "does.",
            panel=None,
        ),
    ] = None,
    pictures: Annotated[
        Path | None,
        options.place(
            "Folder to write the gallery to, one SVG a patient; Markdown refers to them.",
            panel=None,
            metavar="FOLDER",
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
    rates: Annotated[
        Literal["uniform", "gentle"] | None,
        typer.Option(
            help="Rates of fine-tuning that rank; by default those that the studies of the store "
            "named first, else uniform."
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All tables on the screen, not the answer alone.")
    ] = False,
    section: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="One table alone, such as pairs or cost, in any format; may be repeated.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    plugin: options.Plugins = None,
) -> None:
    """Show what the runs say: the answer on one screen, and with --all what stands behind it."""
    # Read when NumPy is loaded: for sums as small as these, threads spin longer than they compute.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    name = chosen_format(format_name, as_json, out)
    with strangers_code(name):
        renderer = reports.get(name)()
    if compare and pictures:
        raise RequestError("a comparison has no gallery; leave out --pictures, or --compare")
    if renderer.info.binary and out is None:
        raise RequestError(
            f"{name} is no text for a screen; name a file with --out report{renderer.info.suffix}"
        )
    # Before the work, so that a wrong place does not cost it.
    if out is not None:
        with output.writing(out):
            out.parent.mkdir(parents=True, exist_ok=True)
    settings = options.load_config(config, store)
    place = settings.store
    contexts = [context.parent, context] if context.parent else [context]
    plugins = [path for each in contexts for path in each.params.get("plugin") or ()]
    parts: list[tuple[object, ...]] = [
        *(("--plugin", options.shown(path)) for path in dict.fromkeys(plugins)),
        *([] if compare and all(map(_is_path, compare)) else [("--store", options.shown(place))]),
        *([("--compare", *compare)] if compare else []),
        *([] if name == SCREEN else [("--format", name)]),
        *(("--dataset", one) for one in dataset or ()),
        *(("--labels", one) for one in labels or ()),
        *(("--section", one) for one in section or ()),
        *([("--rates", rates)] if rates else []),
        *([("--pictures", options.shown(pictures))] if pictures else []),
    ]
    command = shlex.join(["bench", "report", *(str(word) for part in parts for word in part)])
    drawn = renderer.info.pictures or pictures is not None
    made = _made(settings, compare, command, dataset or (), _budgets(labels or ()), rates, drawn)
    if section:
        made = only(made, section)
    elif everything and name == SCREEN:
        made = replace(made, sections=tuple(replace(one, answer=None) for one in made.sections))
    if pictures:
        made = _with_pictures(made, pictures, out)
    content: object
    with strangers_code(name):
        content = renderer.show(made) if out is None else renderer.render(made)
        if not isinstance(content, str | bytes):
            raise TypeError(f"it returned {type(content).__name__}, and neither text nor bytes")
    galleries = [section.gallery for section in made.sections if section.gallery]
    files = [Path(one.file).name for gallery in galleries for one in gallery.exhibits if one.file]
    if files and not any(file in str(content) for file in files):
        number = counted(len(files), "picture")
        typer.echo(f"note: {number} written to {pictures}; {name} does not refer to them", err=True)
    if out is None:
        typer.echo(content, nl=False)
        return
    with output.writing(out):
        write_bytes(out, content if isinstance(content, bytes) else content.encode("utf-8"))
    typer.echo(f"wrote {options.shown(out)}", err=True)


def only(made: Report, names: Sequence[str]) -> Report:
    """The report with the tables of some names alone; RequestError if there is none of a name."""
    known = dict.fromkeys(table.name for one in made.sections for table in one.tables)
    for name in names:
        if name not in known:
            raise RequestError(
                f"there is no table '{name}' in this report; {did_you_mean(name, known)}there are: "
                f"{', '.join(known)}"
            )
    kept = (
        replace(
            one,
            tables=tuple(table for table in one.tables if table.name in names),
            verdict=(),
            notes=(),
            answer=None,
        )
        for one in made.sections
    )
    return replace(made, sections=tuple(one for one in kept if one.tables))


def chosen_format(name: str | None, as_json: bool, out: Path | None) -> str:
    """The name of the format: as it was asked for, else as the suffix of the file says."""
    if as_json and name not in (None, "json"):
        raise RequestError(f"--json and --format {name} contradict each other; give one")
    if as_json or name is not None:
        return name or "json"
    if out is None or not out.suffix:
        return SCREEN
    known = {one.name: one.value.info.suffix for one in reports.entries() if one.value is not None}
    ends = {name: suffix for name, suffix in known.items() if out.name.lower().endswith(suffix)}
    longest = max(map(len, ends.values()), default=0)
    fitting = [name for name, suffix in ends.items() if len(suffix) == longest]
    if not fitting:
        raise RequestError(
            f"no report format has files that end in {out.suffix}; name one with --format, or a "
            f"file in {', '.join(sorted({*known.values()}))}"
        )
    if len(fitting) > 1:
        raise RequestError(
            f"{out} may be of the format {' or '.join(fitting)}; name one with --format"
        )
    return fitting[0]


@contextmanager
def strangers_code(name: str) -> Iterator[None]:
    """Around code of a format, which may raise anything."""
    try:
        yield
    except ContrabenchError:
        raise
    except Exception as error:
        raise RunError(
            f"the report format '{name}' failed: {one_line(error)}; nothing was written. Mend it, "
            "or choose another with --format"
        ) from error


def _made(
    settings: Config,
    compare: tuple[str, str] | None,
    command: str,
    datasets: Sequence[str],
    labels: Sequence[str],
    rates: str | None,
    drawn: bool,
) -> Report:
    """The report on one result, with a gallery for a format that shows pictures, or on two."""
    store = settings.store
    if compare is None:
        results = wanted(results_in(store), datasets, labels)
        ranks, place = rates or named_first(store), options.places(settings)
        if not drawn:
            from contrabench.report.kept import kept_report

            return kept_report(results, command, labels, ranks, place)
        from contrabench.report.build import build_report
        from contrabench.report.gallery.make import make_gallery

        gallery = partial(make_gallery, store, runs=results.runs)
        return build_report(results, command, labels, ranks, gallery, place)
    from contrabench.report.changes import SIDES
    from contrabench.report.comparing import compare_results

    # A name that is mistyped is told before archives are unpacked.
    found = {name: results_named(name, store) for name in sorted({*compare}, key=_is_path)}
    a, b = (
        wanted(found[name], datasets, labels, f" of {side} ({name})")
        for side, name in zip(SIDES, compare, strict=True)
    )
    return compare_results(a, b, compare, command, labels)


def named_first(store: Path) -> str:
    """The rates of fine-tuning that all studies of a store let rank; else the usual ones."""
    from contrabench.study.status import read_studies

    found = {item.spec.rates[0] for item in read_studies(store) if item.spec.rates}
    return found.pop() if len(found) == 1 else "uniform"


def _with_pictures(made: Report, folder: Path, out: Path | None) -> Report:
    """The report with its gallery written to files; tells what could not be drawn."""
    from contrabench.report.gallery.svg import write_pictures

    galleries = [section.gallery for section in made.sections if section.gallery]
    for note in dict.fromkeys(note for one in galleries if not one.exhibits for note in one.notes):
        typer.echo(f"note: {note}", err=True)
    with output.writing(folder, "another folder with --pictures"):
        return write_pictures(made, folder, out.parent if out else Path.cwd())


def results_in(path: Path) -> Results:
    """Reads a store, an archive of `bench submit`, or a folder of archives; tells what is left out.

    RequestError if there is no finished run, or an archive is not sound.
    """
    from contrabench.contracts.report import plain
    from contrabench.exchange.reading import results_at

    if not path.exists():
        raise RequestError(
            f"there is no folder or file {path}; make results with `bench run`, or name another "
            "place with --store"
        )
    results = results_at(path, output.reporter())
    for problem in results.problems:
        typer.echo(plain(f"note: {problem}"), err=True)
    if results.rows.empty:
        advice = (
            "the notes above tell what was left out and why"
            if results.problems
            else "make one with `bench run`, or name another folder with --store"
        )
        raise RequestError(
            f"{path} holds no finished run that can be used, so there is nothing to report; "
            f"{advice}"
        )
    return results


def _is_path(name: str) -> bool:
    """Whether a side of a comparison is a folder or a file, and not a part of the store."""
    return expanded(name).exists()


def results_named(name: str, store: Path) -> Results:
    """Reads one side of a comparison: a path, or a study or protocol by its beginning."""
    if _is_path(name):
        return results_in(expanded(name))
    from contrabench.study.status import read_studies

    try:
        results = results_in(store)
    except RequestError as error:
        raise RequestError(
            f"'{name}' is no path, and cannot be looked for among studies and protocols: {error}"
        ) from error
    studies = {
        item.study: {stage.key for stage in item.stages if stage.kind == "runs"}
        for item in read_studies(store)
    }
    protocols = sorted(map(str, results.rows["protocol"].unique()))
    what = f"study or protocol in {store}"
    found = unique_beginning(name, (*studies, *protocols), what, "There is no such path either")
    rows = results.rows
    rows = rows[rows["run"].isin(studies[found]) if found in studies else rows["protocol"] == found]
    if rows.empty:
        raise RequestError(f"the study {found} has no finished run yet; see `bench status`")
    return replace(results, rows=rows)


def wanted(
    results: Results, datasets: Sequence[str], labels: Sequence[str], holder: str = ""
) -> Results:
    """The rows of the wanted datasets; label budgets are only looked for among these.

    Those that are not asked for may still serve as references. RequestError if no row has a value
    that was asked for.
    """
    from contrabench.store.rows import labels_of

    rows = results.rows
    _look_for("dataset", datasets, sorted(map(str, rows["dataset"].unique())), holder)
    if datasets:
        rows = rows[rows["dataset"].isin(datasets)]
        holder = f" on {' and '.join(datasets)}{holder}"
    _look_for("labels", labels, labels_of(rows), holder)
    return replace(results, rows=rows)


def _budgets(labels: Sequence[str]) -> list[str]:
    """A bare count as rows write it, `3` as `3 patients`; the others as they are."""
    return [counted(int(one), "patient") if one.isdecimal() else one for one in labels]


def _look_for(option: str, values: Sequence[str], present: Sequence[str], holder: str) -> None:
    for value in values:
        if value not in present:
            # A number, `10` or `0.1`, may have been meant as a share.
            hint, number = "there are", asked_labels(value)
            if number.replace(".", "", 1).isdecimal():
                readings = (f"{float(number):g}%", f"{100 * float(number):g}%")
                meant = [known for known in present if known in readings]
                hint = f"did you mean {meant[0]}? There are" if meant else hint
            raise RequestError(
                f"no finished run{holder} has --{option} {number}; {hint}: {', '.join(present)}"
            )
