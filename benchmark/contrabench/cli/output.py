"""What the commands write: consoles, errors, tables, facts and JSON."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from contrabench.errors import RequestError
from contrabench.progress import ConsoleReporter

PIPE_WIDTH = 200
"""Columns of a table that is written to a file or a pipe."""


def console(stderr: bool = False) -> Console:
    """A console that never breaks a table for a pipe and colours terminals alone."""
    stream = sys.stderr if stderr else sys.stdout
    fits = stream.isatty() or "COLUMNS" in os.environ
    return Console(stderr=stderr, highlight=False, markup=False, width=None if fits else PIPE_WIDTH)


def reporter(stderr: bool = True) -> ConsoleReporter:
    """Tells of progress, beside or above the answer, on its `console`."""
    return ConsoleReporter(console(stderr))


@contextmanager
def writing(path: Path, instead: str = "another place with --out") -> Iterator[None]:
    """RequestError in a line if a file or folder cannot be written; a full disk passes through.

    `instead` is what to choose then.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise RequestError(
            f"{path} cannot be written ({error.strerror}); choose {instead}"
        ) from error


def write_new(file: Path, text: str, instead: str) -> None:
    """Writes a file; RequestError, with what to choose `instead`, if it is there or cannot be."""
    with writing(file, instead):
        try:
            with file.open("x", encoding="utf-8") as target:
                target.write(text)
        except FileExistsError:
            raise RequestError(
                f"{file} exists already and is left as it is; choose {instead}"
            ) from None


def write_json(data: Any) -> None:
    """Writes JSON to standard output."""
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False))


def show_error(message: str) -> None:
    """Writes an error to standard error, with a red prefix on a terminal."""
    text = Text.assemble(("error: ", "bold red"), message)
    console(stderr=True).print(text, soft_wrap=True)


def plain_table(
    *left: str, right: Sequence[str] = (), title: str | None = None, style: str = "bold"
) -> Table:
    """A table without lines, of columns of words and then of numbers; nothing is ever cut."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style=style)
    table.title, table.title_justify, table.title_style = title, "left", "bold"
    for heading in left:
        table.add_column(heading, no_wrap=heading == left[0], overflow="fold")
    for heading in right:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def words(value: Any) -> str:
    """A fact as it stands in a table."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(words(item) for item in value) or "-"
    return "-" if value is None or value == "" else str(value)


def print_facts(facts: Mapping[str, Any]) -> None:
    """Prints names and values in two columns; of a long list each item has a line."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        text = words(value)
        if isinstance(value, list) and len(text) > 60:
            text = "\n".join(words(item) for item in value)
        table.add_row(name.replace("_", " "), text)
    console().print(table)


def print_rows(title: str, rows: Sequence[Mapping[str, Any]], none: str) -> None:
    """Prints rows of equal keys as a table under a title; `none` where there are none."""
    out = console()
    out.print(f"\n{title}", style="bold")
    if not rows:
        out.print(none)
        return
    table = plain_table(*rows[0], style="dim")
    for row in rows:
        table.add_row(*(words(value) for value in row.values()))
    out.print(table)
