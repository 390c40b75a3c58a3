"""`bench predict`: masks for volumes, by the network of a run or a fit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from contrabench.cli import options, output
from contrabench.errors import RequestError
from contrabench.files import expanded
from contrabench.text import counted


@options.command(
    "bench predict 1f3a scans/ --out masks/",
    "bench predict 1f3a heart_0000.nii.gz heart_0001.nii.gz --out masks/ --probabilities",
    "bench predict 1f3a scans/ --out masks/ --ensemble",
)
def predict(
    network: Annotated[
        str, typer.Argument(metavar="RUN", help="Key of a run or a fit, its beginning, or folder.")
    ],
    inputs: Annotated[
        list[Path],
        typer.Argument(metavar="INPUTS...", parser=expanded, help="Volumes, or folders of them."),
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="FOLDER", parser=expanded, help="Where NAME.nii.gz are written."),
    ],
    ensemble: Annotated[
        bool,
        typer.Option("--ensemble", help="Ask the networks of all folds of the run together."),
    ] = False,
    probabilities: Annotated[
        bool,
        typer.Option(
            "--probabilities", help="Write those of each class as well, along a fourth axis."
        ),
    ] = False,
    store: options.Store = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    config: options.ConfigFile = None,
    as_json: options.Json = False,
    plugin: options.Plugins = None,
) -> None:
    """Segment volumes: masks on their own grid, with the label values of the training data.

    Masks of the same network that are there already are left alone, so the same command goes on
    where it stopped. Ends with code 1 if an input could not be read, or another file lies in the
    place of its mask; all others are done.
    """
    settings = options.load_config(config, store)
    from contrabench.training.runtime import make_runtime
    from contrabench.use.predict import Predictor, inputs_of
    from contrabench.use.trained import find_trained

    trained = find_trained(network, settings.store)
    cases = inputs_of(inputs, len(trained.channels))
    if out.exists() and not out.is_dir():
        raise RequestError(f"--out names the folder for masks, and {out} is a file")
    asked = trained.siblings() if ensemble else [trained]
    reporter = output.reporter(stderr=as_json)
    folds = f"{counted(len(asked), 'network')}, " if ensemble else ""
    names = ", ".join(structure.name for structure in trained.structures)
    reporter.line(
        f"{folds}{trained.record['variant']} trained on {trained.spec.place()}: {names}; "
        f"{counted(len(cases), 'volume')}"
    )
    out.mkdir(parents=True, exist_ok=True)
    runtime = make_runtime(device, "auto", threads)
    outcomes = Predictor(asked, runtime, probabilities).work_off(cases, out, reporter)
    failed = [one for one in outcomes if one.state == "failed"]
    if as_json:
        output.write_json([{**one._asdict(), "file": str(one.file)} for one in outcomes])
    else:
        for one in failed:
            output.show_error(one.reason)
        done, kept = (
            sum(one.state == state for one in outcomes) for state in ("done", "there already")
        )
        there = f", {kept} there already" if kept else ""
        wrong = f", {len(failed)} not" if failed else ""
        reporter.line(f"{counted(done, 'mask')} written to {out}{there}{wrong}")
    if failed:
        raise typer.Exit(1)
