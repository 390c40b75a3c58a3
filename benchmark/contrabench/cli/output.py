"""What the commands write: consoles, errors, tables, facts and JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from contrabench.errors import RequestError
from contrabench.files import is_disk_full, replacing
from contrabench.progress import ConsoleReporter
from contrabench.text import printable

PIPE_WIDTH = 200
"""Columns of a table that is written to a file or a pipe."""


class Patient(Console):
    """A console that is silent when nobody reads any more: that must not cost what is made."""

    def on_broken_pipe(self) -> None:
        """Goes on without a word."""
        self.quiet = True


def console(stderr: bool = False) -> Console:
    """A console that never breaks a table for a pipe and colours terminals alone."""
    stream = sys.stderr if stderr else sys.stdout
    fits = stream.isatty() or "COLUMNS" in os.environ
    width = None if fits else PIPE_WIDTH
    return Patient(stderr=stderr, highlight=False, markup=False, width=width)


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
        if is_disk_full(error):
            raise
        raise RequestError(
            f"{path} cannot be written ({error.strerror}); choose {instead}"
        ) from error


def write_new(file: Path, text: str, instead: str) -> None:
    """Writes a file; RequestError, with what to choose `instead`, if it is there or cannot be."""
    with writing(file, instead):
        if os.path.lexists(file):
            raise RequestError(f"{file} exists already and is left as it is; choose {instead}")
        with replacing(file) as temporary:
            temporary.write_text(text, encoding="utf-8")


def write_json(data: Any) -> None:
    """Writes JSON to standard output."""
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False))


def show_error(message: str) -> None:
    """Writes an error to standard error, with a red prefix on a terminal."""
    text = Text.assemble(("error: ", "bold red"), printable(message))
    with suppress(OSError):
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
