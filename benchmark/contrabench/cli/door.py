"""What the command line finds around it, made such that the commands need not think of it."""

from __future__ import annotations

import getpass
import os
import sys

from contrabench.cli.output import show_error
from contrabench.errors import RequestError


def open_door() -> None:
    """Makes the process's surroundings usable; RequestError if there is no current folder.

    Closed streams lead nowhere, a character that a stream's encoding lacks is written as an escape,
    a width that is no number is forgotten, and a user id without a name is its own name, for the
    libraries that ask for it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # The next file would get the number, and what is printed with it.
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
        if change := getattr(getattr(sys, name), "reconfigure", None):
            change(errors="backslashreplace")
    for name in ("COLUMNS", "LINES", "TERMINAL_WIDTH"):
        value = os.environ.get(name, "1")
        if not (value.isascii() and value.isdigit() and int(value[:6])):
            del os.environ[name]
    try:
        getpass.getuser()
    except (OSError, KeyError):
        os.environ["LOGNAME"] = f"uid-{os.getuid()}"
    try:
        os.getcwd()  # noqa: PTH109 - nothing else is asked for
    except OSError as error:
        raise RequestError(
            f"the current folder is not there any more ({error.strerror}); change to one that is"
        ) from None


def close_door(code: int) -> int:
    """Writes out what was printed; gives the exit code.

    Whoever reads no more, as `head`, has seen what it wanted.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            with open(os.devnull, "w") as nowhere:  # noqa: PTH123
                # What is left in it is written once more at the very end.
                os.dup2(nowhere.fileno(), stream.fileno())
            if not isinstance(error, BrokenPipeError):
                show_error(f"standard output cannot be written: {error.strerror}")
                code = code or 1
    return code
