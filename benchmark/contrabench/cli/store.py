"""`bench store`: what a store holds, and how stores become one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contrabench.cli.common import JsonOption, console, examples, print_rows, write_json
from contrabench.cli.options import DEFAULT_STORE
from contrabench.errors import RequestError

if TYPE_CHECKING:
    from contrabench.store.merge_result import MergeResult

SHOWN = 20
"""Folders left out of a merge that are named one by one; `--json` names all."""

app = typer.Typer(
    no_args_is_help=True,
    help="Look into a store of results, or merge several.",
    epilog=examples("bench store ls", "bench store merge lab-b-runs"),
)


@app.command("ls", epilog=examples("bench store ls", "bench store ls --store lab-b --json"))
def list_store(
    store: Annotated[
        Path, typer.Option(envvar="CONTRABENCH_STORE", help="Folder that holds the runs.")
    ] = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """List what a store holds: one line per dataset, budget and protocol, and its disk use."""
    from contrabench.progress import ConsoleReporter
    from contrabench.store.overview import COLUMNS, contents, disk_use
    from contrabench.store.rows import read_rows

    if not store.is_dir():
        raise RequestError(f"there is no folder {store}; name the store with --store")
    reporter: Any = ConsoleReporter(console(stderr=True))
    rows, problems = read_rows(store, COLUMNS, reporter)
    for problem in problems:
        typer.echo(f"note: {problem}", err=True)
    lines, disk = contents(rows), disk_use(store)
    if as_json:
        write_json({"store": str(store), "contents": lines, "bytes": disk, "problems": problems})
        return
    print_rows(f"{store}", lines, "no finished run")
    print_rows(
        "Disk",
        [{"folder": name, "size": size_words(size)} for name, size in disk.items()],
        "empty",
    )


@app.command(
    "merge",
    epilog=examples(
        "bench store merge lab-b-runs",
        "bench store merge node1 node2 --into all-runs --dry-run",
        "bench store merge board/*.zip --into all-runs",
    ),
)
def merge(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="FROM...", help="Stores, archives of `bench submit`, or folders of these."
        ),
    ],
    into: Annotated[
        Path, typer.Option(envvar="CONTRABENCH_STORE", help="Store to take into.")
    ] = DEFAULT_STORE,
    rows_only: Annotated[
        bool, typer.Option("--rows-only", help="Take the runs, and no weights and predictions.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Look through everything and change nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Take the finished work of other stores and archives into one; damaged parts are refused."""
    from contrabench.progress import ConsoleReporter
    from contrabench.store.merge import merge_stores

    reporter: Any = ConsoleReporter(console(stderr=True))
    result = merge_stores(sources, into, rows_only=rows_only, dry_run=dry_run, reporter=reporter)
    if as_json:
        write_json({"into": str(into), "dry_run": dry_run, **result.as_dict()})
    else:
        _show(result, into, dry_run)
    if not result.complete:
        raise typer.Exit(1)


def _show(result: MergeResult, into: Path, dry_run: bool) -> None:
    """Prints counts by kind, then what was left out and why."""
    screen = console()
    kinds = [*result.taken, *(kind for kind in result.duplicates if kind not in result.taken)]
    rows = [
        {
            "kind": kind,
            "would be taken" if dry_run else "taken": result.taken.get(kind, 0),
            "of these in place of damaged ones": result.replaced.get(kind, 0),
            "there already": result.duplicates.get(kind, 0),
        }
        for kind in kinds
    ]
    print_rows(f"Into {into}", rows, "nothing finished was found")
    for item in result.left_out[:SHOWN]:
        screen.print(f"{item.verdict}: {item.folder}: {item.reason}", soft_wrap=True)
    more = len(result.left_out) - SHOWN
    if more > 0:
        screen.print(f"and {more} more; --json names all")
    if not result.complete:
        screen.print(f"{len(result.left_out)} left out; the rest is merged.", soft_wrap=True)


def size_words(count: int) -> str:
    """Bytes as a reader would write them."""
    size, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{size:.0f} {units[0]}" if units[0] == "B" else f"{size:.1f} {units[0]}"
