"""`bench export`: the network of a run or a fit, for programs that do not know this one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from contrabench.cli import options, output
from contrabench.files import expanded


@options.command(
    "bench export 1f3a --out heart-network",
    "bench export 1f3a --part encoder --format monai --out encoder",
    "bench export 1f3a --out heart-network --push me/heart-network",
)
def export(
    network: Annotated[
        str, typer.Argument(metavar="RUN", help="Key of a run or a fit, its beginning, or folder.")
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="FOLDER", parser=expanded, help="New folder for network and card."),
    ],
    part: Annotated[
        Literal["network", "encoder"], typer.Option(help="The whole, or what pre-training trains.")
    ] = "network",
    form: Annotated[
        Literal["safetensors", "torch", "torchscript", "onnx", "monai", "timm"],
        typer.Option(
            "--format", help="monai, timm: the counterpart in that library, if there is one."
        ),
    ] = "safetensors",
    push: Annotated[
        str | None,
        typer.Option(
            metavar="OWNER/NAME",
            help="Upload the folder to this model repository of Hugging Face as well; a new one is "
            "private.",
        ),
    ] = None,
    store: options.Store = None,
    config: options.ConfigFile = None,
    as_json: options.Json = False,
    plugin: options.Plugins = None,
) -> None:
    """Write a trained network with a card: what it is, and the lines of Python that load it."""
    settings = options.load_config(config, store)
    from contrabench.use.export import export as write
    from contrabench.use.hub import Repository
    from contrabench.use.trained import find_trained

    hub = Repository.opened(push) if push is not None else None
    files = write(find_trained(network, settings.store), part, form, out)
    if as_json:
        output.write_json([str(file) for file in files])
    else:
        written = [f"wrote {file}" for file in files]
        output.console().print(*written, sep="\n", soft_wrap=True, markup=False)
    if hub is not None:
        url = hub.push(out)
        output.reporter(stderr=as_json).line(f"pushed to {url}")
