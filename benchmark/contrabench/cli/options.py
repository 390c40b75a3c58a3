"""What commands have in common: their frame, their options, and the configuration behind these."""

from __future__ import annotations

import functools
import inspect
import os
import re
import shlex
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_type_hints

import typer

from contrabench import limits
from contrabench.errors import RequestError
from contrabench.files import expanded, read_toml
from contrabench.text import split_words

A = TypeVar("A")
DEFAULT_DATASET = "phantom"
DEFAULT_STORE = Path("contrabench-runs")
PROTOCOL, MACHINE, PLACES = "What to compare", "This machine", "Files"


def examples(*lines: str) -> str:
    """The epilog of a command: one example a line."""
    return "\n\n".join(["Examples:", *(f"  {line}" for line in lines)])


def command(*lines: str, name: str | None = None) -> Callable[[Callable[..., None]], typer.Typer]:
    """A decorator that makes a function a command, to be added to a group, with its examples."""

    def decorate(function: Callable[..., None]) -> typer.Typer:
        app = typer.Typer()
        app.command(name, epilog=examples(*lines))(function)
        return app

    return decorate


def place(help_text: str, *names: str, panel: str | None = PLACES, **shown: Any) -> Any:
    """An option that names a folder or a file, made absolute as it is read."""
    about = {"metavar": "PATH", "parser": expanded, "rich_help_panel": panel, **shown}
    return typer.Option(*names, help=help_text, **about)


def store_place(help_text: str) -> Any:
    """An option that names the store."""
    text = f"{help_text}; {DEFAULT_STORE} by default."
    return place(text, envvar="CONTRABENCH_STORE")


def pairs(*names: str, of: str, panel: str | None = PROTOCOL) -> Any:
    """An option that sets options of a plug-in."""
    shown = f"Option of the {of}, see 'bench {of}s show'; may be repeated."
    return typer.Option(*names, metavar="NAME=VALUE", help=shown, rich_help_panel=panel)


def whole(help_text: str, least: int, most: int, panel: str | None = None) -> Any:
    """An option that takes a whole number from `least` to `most`."""

    def read(text: str) -> int:
        # int() reads digits of other scripts, underscores, and more digits than anybody counts.
        number = int(text) if re.fullmatch(r"[0-9]{1,20}", str(text)) else -1
        if not least <= number <= most:
            raise typer.BadParameter(f"it is a whole number from {least} to {most}, not {text!r}")
        return number

    return typer.Option(metavar="INTEGER", parser=read, help=help_text, rich_help_panel=panel)


def machine(help_text: str, *names: str, **shown: Any) -> Any:
    """An option on how this machine is used."""
    return typer.Option(*names, help=help_text, rich_help_panel=MACHINE, **shown)


def _use_plugins(paths: list[Path] | None) -> list[Path] | None:
    """Adds the paths of `--plugin` while the command line is read."""
    from contrabench.contracts import discovery

    for path in paths or ():
        discovery.add(path)
    return paths


Plugins = Annotated[
    list[Path] | None,
    place(
        "Plug-in file or folder; may be repeated. Extends CONTRABENCH_PLUGINS.",
        "--plugin",
        panel=None,
        callback=_use_plugins,
    ),
]
"""A parameter of this type adds the plug-ins by itself; the command need not read it."""
Json = Annotated[bool, typer.Option("--json", help="Write JSON instead of tables.")]
Data = Annotated[Path | None, place("Folder of the dataset's files.")]
DatasetPairs = Annotated[list[str] | None, pairs("-d", "--dataset-option", of="dataset")]
Budget = Annotated[
    str | None,
    typer.Option(
        help="smoke, quick, standard or paper; by default quick on a CPU, else standard.",
        rich_help_panel=PROTOCOL,
    ),
]
Store = Annotated[Path | None, store_place("Folder of results")]
ConfigFile = Annotated[Path | None, place("Configuration file: data folders, the store.")]
Device = Annotated[Literal["auto", "cpu", "cuda", "mps"], machine("Where to compute.")]
Precision = Annotated[
    Literal["auto", "float32", "bf16"], machine("auto is bf16 on CUDA, else float32.")
]
Threads = Annotated[
    int | None,
    whole(
        "CPU threads of a stage; they change bits. The cores are shared out by default.",
        *(1, limits.MACHINE, MACHINE),
    ),
]
Compile = Annotated[bool, machine("Use torch.compile.", "--compile")]
Deterministic = Annotated[
    bool,
    machine("The same bits each time on a GPU too; a CPU needs no asking.", "--deterministic"),
]


@dataclass(frozen=True)
class Config:
    """Content of `contrabench.toml`, under what the command line says."""

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    store: Path = DEFAULT_STORE
    data: dict[str, Path] = field(default_factory=dict)

    def folder_of(self, dataset: str, given: Path | None) -> Path | None:
        """The folder of a dataset's files: the one given, else the configured one, if any."""
        return given or self.data.get(dataset)


@dataclass
class Used:
    """What a command was given and found to use, to tell how it broke off and how it goes on."""

    store: Path | None = None
    words: tuple[str, ...] = ()

    def again(self, name: str, command: str = "") -> str:
        """The command `name` with all its settings, to be given again, or another one with them."""
        ends = ("--json", "--retry-failed", "--measure", "--no-measure")
        words = [word for word in self.words if word not in ends]
        place = words.index(name)
        return shlex.join(["bench", *words[:place], command or name, *words[place + 1 :]])


USED = Used()


def load_config(path: Path | None = None, store: Path | None = None) -> Config:
    """Reads the file named, or by CONTRABENCH_CONFIG, or `contrabench.toml` in this folder.

    Relative paths in it are taken from the file's own folder; all are absolute afterwards. Without
    a file the configuration is the default. A `store` of the command line wins, then that of
    CONTRABENCH_STORE. RequestError if a file that was named is not there, or any is not understood.
    """
    config = _read_config(path)
    USED.store = store or expanded(os.environ.get("CONTRABENCH_STORE") or config.store)
    return replace(config, store=USED.store)


def _read_config(path: Path | None) -> Config:
    from pydantic import TypeAdapter, ValidationError

    named = path or os.environ.get("CONTRABENCH_CONFIG")
    file = expanded(named or "contrabench.toml")
    if not file.is_file():
        if named:
            raise RequestError(f"there is no configuration file at {file}")
        return Config()
    try:
        content = read_toml(file)
        config = TypeAdapter(Config).validate_python(content)
    except OSError as error:
        raise RequestError(f"{file} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise RequestError(
            f"{file}: '{where}' is not understood; it may hold 'store' and a table [data] with "
            "one folder per dataset"
        ) from error
    given = content.get("data", {})
    try:
        base = file.resolve().parent
        data = {name: expanded(folder, base) for name, folder in given.items()}
        store = expanded(content["store"], base) if "store" in content else DEFAULT_STORE
    except RequestError as error:
        raise RequestError(f"{file}: {error}") from error
    return replace(config, store=store, data=data)


def named(text: str) -> str:
    """What may be a name or a path, with its `~` read if it is a path."""
    return str(expanded(text)) if text.startswith("~") else text


def shown(path: Path) -> Path:
    """A path as it is shown: from the current folder, if it lies below it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def places(settings: Config, data: Path | None = None) -> Callable[[str], list[str]]:
    """What a command that is printed needs to find the store, and the files of a dataset.

    `data` is the folder that was given; `FOLDER` stands for one that nobody has configured.
    """

    def words(dataset: str) -> list[str]:
        from contrabench.contracts.registry import datasets

        store = shown(settings.store)
        found = [] if store == DEFAULT_STORE or store.is_file() else ["--store", str(store)]
        if data is not None:
            return [*found, "--data", str(shown(data))]
        with suppress(RequestError):
            if datasets.get(dataset).info.needs_path and dataset not in settings.data:
                found += ["--data", "FOLDER"]
        return found

    return words


def takes(asked: type[A]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the options of a dataclass before its own.

    Its own fields come first, then those that it inherits, without those that it names in
    `left_out`. The command's first parameter is one; its others are keyword-only, annotated as
    typer reads them.
    """
    left_out: tuple[str, ...] = getattr(asked, "left_out", ())
    # Each field's by the names of the module that declares it.
    hints = get_type_hints(asked, include_extras=True)
    shared = sorted(
        (
            parameter.replace(annotation=hints[parameter.name])
            for parameter in inspect.signature(asked).parameters.values()
            if parameter.name not in left_out
        ),
        key=lambda parameter: parameter.name not in asked.__annotations__,
    )

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        rest = list(inspect.signature(command, eval_str=True).parameters.values())[1:]

        @functools.wraps(command)
        def wrapper(**given: Any) -> None:
            told = asked(**{item.name: given.pop(item.name) for item in shared})
            command(told, **given)

        wrapper.__signature__ = inspect.Signature([*shared, *rest])  # type: ignore[attr-defined]
        wrapper.__annotations__ = {}
        return wrapper

    return decorate


def pool_words(text: str) -> tuple[str, list[str], Path | None]:
    """Reads `--pool`: a dataset, its options in brackets, and the folder of its files."""
    found = re.fullmatch(r"([^\[:]*)(?:\[(.*?)\])?(?::(.+))?", text)
    if found is None:
        raise RequestError(
            f"--pool '{text}' is not understood; write DATASET, DATASET:FOLDER or "
            "DATASET[option=value]:FOLDER"
        )
    name, options, folder = found.groups()
    return name, split_words(options or ""), expanded(folder) if folder else None


def fold_numbers(text: str) -> list[int] | None:
    """Reads `--fold`: numbers, or all."""
    words = split_words(text)
    if words == ["all"]:
        return None
    if stray := [word for word in words if not re.fullmatch("[0-9]{1,4}", word)]:
        raise RequestError(f"'{stray[0]}' is no fold; write numbers from 0, as --fold 0,1, or all")
    return [int(word) for word in words]
