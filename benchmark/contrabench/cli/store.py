"""`bench store`: what a store holds, and how stores become one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contrabench.cli import options, output
from contrabench.errors import RequestError
from contrabench.files import expanded, size_of
from contrabench.text import size_words

if TYPE_CHECKING:
    import pandas as pd

    from contrabench.exchange.merge import MergeResult

GROUP = ["dataset", "budget", "recipe", "protocol"]
"""What the rows of one line have in common."""
COLUMNS = [*GROUP, "run", "variant", "labels", "fraction", "labelled_patients", "patient"]
"""The columns of the rows that `contents` needs."""
SHOWN = 20
"""Folders left out of a merge that are named one by one; `--json` names all."""

app = typer.Typer(
    name="store",
    no_args_is_help=True,
    help="Look into a store of results, or merge several.",
    epilog=options.examples("bench store ls", "bench store merge lab-b-runs"),
)


@app.command("ls", epilog=options.examples("bench store ls", "bench store ls --store lab-b --json"))
def list_store(
    store: options.Store = None,
    config: options.ConfigFile = None,
    as_json: options.Json = False,
) -> None:
    """List what a store holds: one line per dataset, budget and protocol, and its disk use."""
    from contrabench.store.results import read_rows

    place = options.load_config(config, store).store
    if not place.is_dir():
        raise RequestError(f"there is no folder {place}; name the store with --store")
    rows, problems = read_rows(place, COLUMNS, output.reporter())
    for problem in problems:
        typer.echo(f"note: {problem}", err=True)
    lines, disk = contents(rows), disk_use(place)
    if as_json:
        output.write_json(
            {"store": str(place), "contents": lines, "bytes": disk, "problems": problems}
        )
        return
    sizes = [{"folder": name, "size": size_words(size)} for name, size in disk.items()]
    output.print_rows(f"{place}", lines, "no finished run")
    output.print_rows("Disk", sizes, "empty")


def contents(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """What rows with `COLUMNS` hold, one line for each of `GROUP`; few labels first."""
    from contrabench.store.rows import labels_of

    lines = []
    for names, part in rows.groupby(GROUP, observed=True):
        counts = {"runs": "run", "methods": "variant", "patients": "patient"}
        lines.append(
            dict(zip(GROUP, map(str, names), strict=True))
            | {name: int(part[column].nunique()) for name, column in counts.items()}
            | {"labels": labels_of(part)}
        )
    return lines


def disk_use(store: Path) -> dict[str, int]:
    """Bytes of all files below each folder of a store; stages by their kind."""
    folders = sorted((*store.iterdir(), *(store / "stages").glob("*")))
    return {
        folder.relative_to(store).as_posix(): size_of(folder)
        for folder in folders
        if folder.is_dir() and folder.name != "stages"
    }


@app.command(
    "merge",
    epilog=options.examples(
        "bench store merge lab-b-runs",
        "bench store merge node1 node2 --into all-runs --dry-run",
        "bench store merge board/*.zip --into all-runs",
    ),
)
def merge(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="FROM...",
            parser=expanded,
            help="Stores, archives of `bench submit`, or folders of archives.",
        ),
    ],
    into: Annotated[Path | None, options.store_place("Store to take into")] = None,
    config: options.ConfigFile = None,
    rows_only: Annotated[
        bool, typer.Option("--rows-only", help="Take the runs, and no weights and predictions.")
    ] = False,
    keep_both: Annotated[
        bool,
        typer.Option(
            "--keep-both",
            help="Take a run that another kind of machine has made with other rows, as a "
            "replicate: both are averaged.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Look through everything and change nothing.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Take the finished work of other stores and archives into one; damaged parts are refused."""
    from contrabench.exchange.merge import merge_stores

    place = options.load_config(config, into).store
    result = merge_stores(
        sources,
        place,
        rows_only=rows_only,
        keep_both=keep_both,
        dry_run=dry_run,
        reporter=output.reporter(),
    )
    if as_json:
        output.write_json({"into": str(place), "dry_run": dry_run, **result.as_dict()})
    else:
        _show(result, place, dry_run)
    if not result.complete:
        raise typer.Exit(1)


def _show(result: MergeResult, into: Path, dry_run: bool) -> None:
    """Prints counts by kind, then what was left out and why."""
    screen = output.console()
    rows = [
        {
            "kind": kind,
            "would be taken" if dry_run else "taken": result.taken[kind],
            "of these in place of damaged ones": result.replaced[kind],
            "there already": result.duplicates[kind],
        }
        for kind in dict.fromkeys((*result.taken, *result.duplicates))
    ]
    none = "nothing finished was found" if result.complete else "nothing that can be taken"
    output.print_rows(f"Into {into}", rows, none)
    for item in result.left_out[:SHOWN]:
        screen.print(f"{item.verdict}: {item.folder}: {item.reason}", soft_wrap=True)
    more = len(result.left_out) - SHOWN
    if more > 0:
        screen.print(f"and {more} more; --json names all")
    if not result.complete:
        rest = "; the rest would be merged" if dry_run else "; the rest is merged"
        left = f"{len(result.left_out)} {'would be ' if dry_run else ''}left out"
        screen.print(f"{left}{rest if rows else ''}.", soft_wrap=True)
    if dry_run:
        screen.print("Nothing was changed.")
