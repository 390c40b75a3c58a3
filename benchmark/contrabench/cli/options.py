"""Options that several commands share, each written once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

DEFAULT_DATASET = "phantom"
DEFAULT_STORE = Path("contrabench-runs")
PROTOCOL, MACHINE, PLACES = "What to compare", "This machine", "Files"


Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "float32", "bf16"]

DataOption = Annotated[
    Path | None, typer.Option(help="Folder of the dataset's files.", rich_help_panel=PLACES)
]
DatasetOptions = Annotated[
    list[str] | None,
    typer.Option(
        "-d",
        "--dataset-option",
        metavar="NAME=VALUE",
        help="Option of the dataset, see 'bench datasets show'; may be repeated.",
        rich_help_panel=PROTOCOL,
    ),
]
StoreOption = Annotated[
    Path | None,
    typer.Option(
        envvar="CONTRABENCH_STORE",
        help=f"Folder of results; {DEFAULT_STORE} by default.",
        rich_help_panel=PLACES,
        show_default=False,
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(help="Configuration file: data folders, the store.", rich_help_panel=PLACES),
]
