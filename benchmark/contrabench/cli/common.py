"""What the commands share: options, consoles, JSON and the tables of a listing."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from contrabench.errors import RequestError

if TYPE_CHECKING:
    from contrabench.contracts.registry import Plugin
    from contrabench.protocol import Options

PIPE_WIDTH = 200
"""Columns of a table that is written to a file or a pipe."""

NARROW = 120
"""Columns below which a listing leaves its long facts to `show`."""

LONG = 60
"""Characters above which a list of facts gets one line for each."""


def use_plugins(paths: list[Path] | None) -> list[Path] | None:
    """Adds the paths of `--plugin`; runs while the command line is read.

    Raises:
        RequestError: if there is no plug-in at a path, or its name is taken.
    """
    from contrabench.contracts import discovery

    for path in paths or ():
        discovery.add(path)
    return paths


PluginOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="PATH",
        callback=use_plugins,
        help="Plug-in file or folder; may be repeated. Extends CONTRABENCH_PLUGINS.",
        show_default=False,
    ),
]
"""A parameter of this type adds the plug-ins by itself; the command need not read it."""

JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON instead of tables.")]


def examples(*commands: str) -> str:
    """The epilog of a command: one example a line."""
    return "\n\n".join(["Examples:", *(f"  {command}" for command in commands)])


def console(stderr: bool = False) -> Console:
    """A console that never breaks a table for a pipe and colours terminals alone."""
    stream = sys.stderr if stderr else sys.stdout
    fits = stream.isatty() or "COLUMNS" in os.environ
    return Console(stderr=stderr, highlight=False, markup=False, width=None if fits else PIPE_WIDTH)


@contextmanager
def writing(path: Path, instead: str = "another place with --out") -> Iterator[None]:
    """Tells in a line that a file or folder cannot be written; a full disk passes through.

    Args:
        path: what is written.
        instead: what to choose then.

    Raises:
        RequestError: if it cannot be written there.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise RequestError(
            f"{path} cannot be written ({error.strerror}); choose {instead}"
        ) from error


def write_json(data: Any) -> None:
    """Writes JSON to standard output."""
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False))


def show_error(message: str) -> None:
    """Writes an error to standard error, with a red prefix on a terminal."""
    text = Text.assemble(("error: ", "bold red"), message)
    console(stderr=True).print(text, soft_wrap=True)


@dataclass(frozen=True)
class Listing:
    """The plug-ins of one registry, described.

    Attributes:
        rows: name to facts, in order, of what can be used.
        broken: name, origin and reason of what cannot.
    """

    rows: dict[str, dict[str, Any]]
    broken: list[dict[str, str]]

    def as_json(self, kind: str) -> dict[str, Any]:
        """The listing as JSON-like data, the rows under the given word."""
        rows = [{"name": name, **facts} for name, facts in self.rows.items()]
        return {kind: rows, "broken": self.broken}


def describe_all(
    entries: Iterable[Plugin[Any]], describe: Callable[[Any], dict[str, Any]]
) -> Listing:
    """Describes every plug-in; one whose code fails when asked is listed as broken."""
    from contrabench.text import one_line

    rows: dict[str, dict[str, Any]] = {}
    broken = []
    for entry in entries:
        reason = entry.error
        if reason is None:
            try:
                rows[entry.name] = {**describe(entry.value), "origin": entry.origin}
            # A stranger's code runs here, and may raise anything.
            except Exception as error:
                reason = one_line(error)
        if reason is not None:
            broken.append({"name": entry.name, "origin": entry.origin, "reason": reason})
    return Listing(rows, broken)


def print_listing(
    listing: Listing, headings: Mapping[str, str], kind: str, wide: Sequence[str] = ()
) -> None:
    """Prints a listing as a table, and what cannot be used below it.

    Args:
        listing: what to print.
        headings: fact to column heading.
        kind: the word for one row, e.g. "method".
        wide: facts in sentences, left out where the terminal is narrow.
    """
    out = console()
    left_out = [key for key in wide if out.width < NARROW]
    shown = [key for key in headings if key not in left_out]
    if listing.rows:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for heading in (kind, *(headings[key] for key in shown)):
            table.add_column(heading, no_wrap=heading == kind, overflow="fold")
        for name, facts in listing.rows.items():
            table.add_row(name, *(words(facts[key]) for key in shown))
        out.print(table)
        if left_out:
            rest = " and ".join(headings[key] for key in left_out)
            out.print(f"{rest}: in `bench {kind}s show NAME`, or here on a wider terminal")
    else:
        out.print(f"no {kind} can be used")
    for item in listing.broken:
        where = "" if item["origin"] in item["reason"] else f" ({item['origin']})"
        out.print(f"not usable: {item['name']}{where}: {item['reason']}", soft_wrap=True)


def words(value: Any) -> str:
    """A fact as it stands in a table."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(words(item) for item in value) or "-"
    return "-" if value is None or value == "" else str(value)


def print_facts(facts: Mapping[str, Any]) -> None:
    """Prints names and values in two columns; a value goes on in a new line, and is never cut."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        text = words(value)
        if isinstance(value, list) and len(text) > LONG:
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
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in rows[0]:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(words(value) for value in row.values()))
    out.print(table)


def describe_options(cls: type[Options]) -> list[dict[str, Any]]:
    """The options of a plug-in: name, type, default and description."""
    defaults = cls().model_dump(mode="json")
    return [
        {
            "option": name,
            "type": _type_words(field.annotation),
            "default": defaults[name],
            "description": field.description or "",
        }
        for name, field in cls.model_fields.items()
    ]


def _type_words(annotation: Any) -> str:
    """A type as a reader would write it: `a | b` for choices, `list of x` for sequences."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " | ".join(str(choice) for choice in inner)
    if origin in (Union, UnionType):
        return " | ".join(_type_words(item) for item in inner)
    if origin in (list, tuple, Sequence) and (origin is not tuple or Ellipsis in inner):
        return f"list of {_type_words(inner[0])}"
    if annotation is type(None):
        return "none"
    return annotation.__name__ if isinstance(annotation, type) and not inner else str(annotation)
