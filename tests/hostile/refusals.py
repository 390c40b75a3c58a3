"""Inputs that have to be refused, as rows: what is wrong, what is asked, and how it ends.

Each family is a file of tests with a list of them; `docs/scripts/refused.py` prints the same rows
with the lines that they end with.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from contrabench.cli.app import main

Make = Callable[[Path], list[str]]
"""Builds the input in an empty folder and gives the words after `bench`."""


@dataclass(frozen=True)
class Refusal:
    """One hostile input.

    Attributes:
        what: is wrong, in words, as a row of the table in the docs.
        make: builds it.
        says: a regular expression found in what is printed: on standard error, or on standard
            output by a command that lists what it has refused or that is not refused at all.
        code: the exit code, 2 for a wrong request, 1 for what failed on its way, and 0 for what
            must make no difference.
        environment: variables that are set meanwhile; `GIVEN` in a value is the folder of the
            input.
    """

    what: str
    make: Make
    says: str
    code: int = 2
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


def ended(words: list[str], home: Path, environment: Mapping[str, str] | None = None) -> Ended:
    """Runs a command line in this process, in a working folder of its own below `home`."""
    place = home / "work"
    place.mkdir(parents=True, exist_ok=True)
    out, err = io.StringIO(), io.StringIO()
    before, code = Path.cwd(), 0
    variables = {"HOME": str(home), "COLUMNS": "200", **(environment or {})}
    with (
        mock.patch.dict(os.environ, variables),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        os.chdir(place)
        try:
            main(words)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        finally:
            os.chdir(before)
    return Ended(code, out.getvalue(), err.getvalue())


def refused(case: Refusal, folder: Path) -> str:
    """Builds an input, asks for it, and checks its end; gives the line that it ended with.

    AssertionError if it ends otherwise, with a traceback, or if the input was changed.
    """
    given = folder / "given"
    given.mkdir(parents=True)
    words = case.make(given)
    before = _content(given)
    variables = {name: text.replace("GIVEN", str(given)) for name, text in case.environment.items()}
    end = ended(words, folder, variables)
    shown = f"{case.what}: `bench {' '.join(words)}` ended with {end.code}\n{end.out}{end.err}"
    assert end.code == case.code, shown
    assert "Traceback" not in end.out + end.err, shown
    told = end.err if re.search(case.says, end.err) else end.out
    assert re.search(case.says, told), shown
    assert _content(given) == before, f"{case.what}: what was given was changed"
    strays = {path.name for path in folder.iterdir()} - {"given", "work", ".cache", ".config"}
    assert not strays, f"{case.what}: {strays} was written outside of the working folder"
    return next(line for line in told.splitlines() if re.search(case.says, line))


def _content(folder: Path) -> dict[str, str]:
    """The hash of every file, and where every link leads."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = str(path.readlink())
        elif path.is_file() and os.access(path, os.R_OK):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
