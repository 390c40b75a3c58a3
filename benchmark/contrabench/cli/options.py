"""Options that several commands share, each written once."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_DATASET = "phantom"
DEFAULT_STORE = Path("contrabench-runs")
PROTOCOL, MACHINE, PLACES = "What to compare", "This machine", "Files"


class Views(StrEnum):
    """Orientations of the slices that are pre-trained on."""

    axial = "axial"
    all = "all"


class RecipeName(StrEnum):
    """Whose optimisation pre-trains."""

    common = "common"
    published = "published"


class DeviceName(StrEnum):
    """Where to train."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class PrecisionName(StrEnum):
    """Arithmetic of the forward pass."""

    auto = "auto"
    float32 = "float32"
    bf16 = "bf16"


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
BudgetOption = Annotated[
    str | None,
    typer.Option(
        help="smoke, quick, standard or paper; by default quick on a CPU, else standard.",
        rich_help_panel=PROTOCOL,
    ),
]
ViewsOption = Annotated[
    Views | None,
    typer.Option(
        help="Orientations to pre-train on; by default the method's own.",
        rich_help_panel=PROTOCOL,
    ),
]
DeepSupervisionOption = Annotated[
    bool | None,
    typer.Option(
        "--deep-supervision/--no-deep-supervision",
        help="Fine-tune with heads on three levels; by default the method's own.",
        rich_help_panel=PROTOCOL,
    ),
]
DeviceOption = Annotated[DeviceName, typer.Option(help="Where to train.", rich_help_panel=MACHINE)]
PrecisionOption = Annotated[
    PrecisionName,
    typer.Option(help="auto is bf16 on CUDA, else float32.", rich_help_panel=MACHINE),
]
CompileOption = Annotated[
    bool, typer.Option("--compile", help="Use torch.compile.", rich_help_panel=MACHINE)
]
ChannelsLastOption = Annotated[
    bool,
    typer.Option("--channels-last", help="Channels-last layout.", rich_help_panel=MACHINE),
]
DevicesOption = Annotated[
    int,
    typer.Option(
        min=1, help="Devices that share the pre-training of one network.", rich_help_panel=MACHINE
    ),
]
TrackOption = Annotated[
    str,
    typer.Option(
        metavar="LIST",
        help="Show losses in tensorboard, mlflow or wandb (offline) as well.",
        rich_help_panel=MACHINE,
        show_default=False,
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


def pin_threads(threads: int | None) -> None:
    """Tells the numerical libraries, before they are loaded, how many threads they will get.

    Some of them split their sums by what the environment says when they are loaded, whatever
    is set later: then `--threads 1` would give other bits with OMP_NUM_THREADS than without.
    """
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)


def tracker_names(text: str) -> tuple[str, ...]:
    """Reads `--track`: names with commas between them."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
