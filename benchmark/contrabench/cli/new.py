"""`bench methods new`: a method's starting file, ready to run."""

from __future__ import annotations

import importlib.util
import keyword
import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

from contrabench.cli import options, output
from contrabench.contracts.registry import methods
from contrabench.errors import RequestError

LONGEST = 25
"""Characters of a name; longer ones stretch every table that they stand in."""

_NAME = "my_method"


@options.command(
    "bench methods new my_method",
    "bench methods new my_method --joint --out experiments",
    name="new",
)
def new_method(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Lower-case letters, digits and underscores.")
    ],
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where the file goes; made if need be.")
    ] = Path(),
    joint: Annotated[
        bool, typer.Option("--joint", help="One that trains during fine-tuning, not before.")
    ] = False,
    plugin: options.Plugins = None,
) -> None:
    """Write NAME.py: a method that runs as it stands, to make your own of."""
    # The name is that of a file, a module and a method at once.
    if not _usable(name):
        near = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        raise RequestError(
            f"'{name}' cannot be the name of a method's file; use lower-case letters, digits and "
            f"underscores, a letter first" + (f", such as {near}" if _usable(near) else "")
        )
    if len(name) > LONGEST:
        raise RequestError(
            f"'{name}' has {len(name)} characters, and would stretch every table; use {LONGEST} "
            "at most, and the title in the file for the rest"
        )
    file = out / f"{name}.py"
    for entry in methods.entries():
        if entry.name == name:
            raise RequestError(
                f"there is a method '{name}' already ({entry.origin}); choose another name"
            )
    module = importlib.util.find_spec(name)
    if module is not None and module.origin is not None:
        raise RequestError(
            f"'{name}' is the name of an installed Python module, which the file would hide from "
            "programs beside it; choose another name"
        )
    with output.writing(file):
        out.mkdir(parents=True, exist_ok=True)
    output.write_new(file, starting_file(name, joint), "another name, or another folder with --out")
    place = shlex.quote(str(file))
    output.console().print(
        f"{file} is written: {'a mean teacher' if joint else 'SimCLR'}, until you change it. Next:",
        f"  bench methods check {place}",
        f"  bench run --method {name} --plugin {place} --labels 10%",
        "  bench report",
        sep="\n",
        soft_wrap=True,
    )


def _usable(name: str) -> bool:
    return bool(re.fullmatch(r"[a-z][a-z0-9_]*", name)) and not keyword.iskeyword(name)


def starting_file(name: str, joint: bool = False) -> str:
    """A method's starting file, in which the method, its file and its classes bear a name."""
    # The templates are modules of their own, so that they are checked like all others.
    file = "my_joint_method.py" if joint else "my_method.py"
    template = Path(__file__).parents[1] / "templates" / file
    text = template.read_text(encoding="utf-8")
    stem = "".join(word.capitalize() for word in name.split("_"))
    others = re.findall(r"\w+", text.replace("MyMethod", ""))
    if stem in others or keyword.iskeyword(stem):
        # The class would take the place of something that the file imports.
        stem += "Method"
    title = name.replace("_", " ").strip().capitalize()
    return text.replace("MyMethod", stem).replace(_NAME, name).replace("My method", title)
