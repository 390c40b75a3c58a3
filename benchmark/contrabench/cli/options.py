"""What commands have in common: their frame, their options, and the configuration behind these."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import typer

from contrabench.errors import RequestError

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


def place(help_text: str, **shown: Any) -> Any:
    """An option that names a folder or a file."""
    return typer.Option(help=help_text, rich_help_panel=PLACES, **shown)


def store_place(help_text: str) -> Any:
    """An option that names the store."""
    text = f"{help_text}; {DEFAULT_STORE} by default."
    return place(text, envvar="CONTRABENCH_STORE")


def pairs(*names: str, of: str, panel: str | None = PROTOCOL) -> Any:
    """An option that sets options of a plug-in."""
    shown = f"Option of the {of}, see 'bench {of}s show'; may be repeated."
    return typer.Option(*names, metavar="NAME=VALUE", help=shown, rich_help_panel=panel)


def machine(help_text: str, *names: str, least: int | None = None, **shown: Any) -> Any:
    """An option on how this machine is used."""
    return typer.Option(*names, help=help_text, min=least, rich_help_panel=MACHINE, **shown)


def _use_plugins(paths: list[Path] | None) -> list[Path] | None:
    """Adds the paths of `--plugin` while the command line is read."""
    from contrabench.contracts import discovery

    for path in paths or ():
        discovery.add(path)
    return paths


Plugins = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="PATH",
        callback=_use_plugins,
        help="Plug-in file or folder; may be repeated. Extends CONTRABENCH_PLUGINS.",
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
    machine(
        "CPU threads of a stage; they change bits. The cores are shared out by default.", least=1
    ),
]
Compile = Annotated[bool, machine("Use torch.compile.", "--compile")]
ChannelsLast = Annotated[bool, machine("Channels-last layout.", "--channels-last")]


@dataclass(frozen=True)
class Config:
    """Content of `contrabench.toml`, under what the command line says."""

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    store: Path = DEFAULT_STORE
    data: dict[str, Path] = field(default_factory=dict)

    def folder_of(self, dataset: str, given: Path | None) -> Path | None:
        """The folder of a dataset's files: the one given, else the configured one, if any."""
        return given or self.data.get(dataset)


def load_config(path: Path | None = None, store: Path | None = None) -> Config:
    """Reads the file named, or by CONTRABENCH_CONFIG, or `contrabench.toml` in this folder.

    Relative paths in it are taken from the file's own folder. Without a file the configuration is
    the default. A `store` of the command line wins. RequestError if a file that was named is not
    there, or any is not understood.
    """
    from pydantic import TypeAdapter, ValidationError

    named = path or os.environ.get("CONTRABENCH_CONFIG")
    file = Path(named or "contrabench.toml")
    if not file.is_file():
        if named:
            raise RequestError(f"there is no configuration file at {named}")
        return Config(store or DEFAULT_STORE)
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
        config = TypeAdapter(Config).validate_python(content)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"{file} is no valid TOML: {error}") from error
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise RequestError(
            f"{file}: '{where}' is not understood; it may hold 'store' and a table [data] with "
            "one folder per dataset"
        ) from error
    base = file.resolve().parent
    if store is None:
        store = base / config.store.expanduser() if "store" in content else DEFAULT_STORE
    return Config(store, {name: base / folder.expanduser() for name, folder in config.data.items()})
