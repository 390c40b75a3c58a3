"""`bench methods new` and `bench backbones new`: a plug-in's starting file, ready to run."""

from __future__ import annotations

import importlib.util
import keyword
import re
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from contrabench.cli import options, output
from contrabench.contracts import registry
from contrabench.errors import RequestError

LONGEST = 25
"""Characters of a name; longer ones stretch every table that they stand in."""

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="Lower-case letters, digits and underscores.")
]
Out = Annotated[
    Path,
    options.place("Where the file goes; made if need be.", panel=None, metavar="FOLDER"),
]


@options.command(
    "bench methods new my_method",
    "bench methods new my_method --joint --out experiments",
    name="new",
)
def new_method(
    name: Name,
    out: Out = Path(),
    joint: Annotated[
        bool, typer.Option("--joint", help="One that trains during fine-tuning, not before.")
    ] = False,
    plugin: options.Plugins = None,
) -> None:
    """Write NAME.py: a method that runs as it stands, to make your own of."""
    _write(
        registry.methods,
        name,
        out,
        starting_file(name, "my_joint_method" if joint else "my_method"),
        "a mean teacher" if joint else "SimCLR",
        "run --method {name} --plugin {place} --labels 10%",
    )


@options.command(
    "bench backbones new my_backbone",
    "bench backbones new my_backbone --out experiments",
    name="new",
)
def new_backbone(name: Name, out: Out = Path(), plugin: options.Plugins = None) -> None:
    """Write NAME.py: a backbone that runs as it stands, to make your own of."""
    _write(
        registry.backbones,
        name,
        out,
        starting_file(name, "my_backbone"),
        "a small U-Net",
        "methods check simclr --backbone {name} --plugin {place}",
        "run --method simclr --labels 10% --backbone {name} --plugin {place}",
    )


def _write(
    plugins: registry.Registry[Any], name: str, out: Path, text: str, what: str, *more: str
) -> None:
    """Writes a starting file, which is `what`, and tells the commands that come next."""
    kind = plugins.kind
    _demand_free(plugins, name)
    file = out / f"{name}.py"
    with output.writing(file):
        out.mkdir(parents=True, exist_ok=True)
    output.write_new(file, text, "another name, or another folder with --out")
    place = shlex.quote(str(options.shown(file)))
    output.console().print(
        f"{place} is written: {what}, until you change it. Next:",
        f"  bench {kind}s check {place}",
        *(f"  bench {one.format(name=name, place=place)}" for one in more),
        "  bench report",
        sep="\n",
        soft_wrap=True,
    )


def _demand_free(plugins: registry.Registry[Any], name: str) -> None:
    """RequestError if a name cannot be that of a file, a module and a plug-in at once."""
    kind = plugins.kind
    if not _usable(name):
        near = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        raise RequestError(
            f"'{name}' cannot be the name of a {kind}'s file; use lower-case letters, digits and "
            f"underscores, a letter first" + (f", such as {near}" if _usable(near) else "")
        )
    if len(name) > LONGEST:
        raise RequestError(
            f"'{name}' has {len(name)} characters, and would stretch every table; use {LONGEST} "
            "at most, and the title in the file for the rest"
        )
    for entry in plugins.entries():
        if entry.name == name:
            raise RequestError(
                f"there is a {kind} '{name}' already ({entry.origin}); choose another name"
            )
    module = importlib.util.find_spec(name)
    if module is not None and module.origin is not None:
        raise RequestError(
            f"'{name}' is the name of an installed Python module, which the file would hide from "
            "programs beside it; choose another name"
        )


def _usable(name: str) -> bool:
    return bool(re.fullmatch(r"[a-z][a-z0-9_]*", name)) and not keyword.iskeyword(name)


def starting_file(name: str, template: str = "my_method") -> str:
    """The starting file of a template, in which the plug-in, its file and its classes bear a name.

    The templates are `my_method`, `my_joint_method` and `my_backbone`.
    """
    # They are modules of their own, so that they are checked like all others.
    file = Path(__file__).parents[1] / "templates" / f"{template}.py"
    text = file.read_text(encoding="utf-8")
    kind = template.rpartition("_")[2]
    stem = "".join(word.capitalize() for word in name.split("_"))
    others = re.findall(r"\w+", text.replace(f"My{kind.capitalize()}", ""))
    if stem in others or keyword.iskeyword(stem):
        # The class would take the place of something that the file imports.
        stem += kind.capitalize()
    title = name.replace("_", " ").strip().capitalize()
    text = text.replace(f"My{kind.capitalize()}", stem).replace(f"my_{kind}", name)
    return text.replace(f"My {kind}", title)
