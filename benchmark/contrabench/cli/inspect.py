"""`bench inspect`: what the pre-training of a run has learned."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from contrabench.cli import options, output
from contrabench.errors import RequestError
from contrabench.files import replacing
from contrabench.text import split_words

if TYPE_CHECKING:
    from contrabench.inspection.pretrained import Pretrained
    from contrabench.inspection.representation import TapReport, Viewer

NOTES = (
    "alignment: squared distance of two views of a slice, 0 best and 2 for strangers; "
    "uniformity: spread of the slices on the sphere, lower is wider, 0 is collapse; rank: "
    "directions that the features vary in. Means of a slice's map, centred, at unit length.",
    "probe: R2 of the share of a structure in a cell of the map, by ridge regression on unseen "
    "patients; 0 is what the mean of the other patients reaches.",
)


@options.command(
    "bench inspect 1f3a --out embedding.png",
    "bench inspect contrabench-runs/runs/1f3a5b7c9d1e2f30 --taps centre,dec1",
)
def inspect(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="Key of a run, or its beginning, or its folder.")
    ],
    store: options.Store = None,
    data: options.Data = None,
    stage: Annotated[
        str | None, typer.Option(help="Pre-training stage to look at; by default the last.")
    ] = None,
    taps: Annotated[
        str | None,
        typer.Option(
            metavar="TAP,...",
            help="Feature maps; by default the deepest, the one of quarter and the one of full "
            "resolution, as far as they were trained.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        options.place("Picture of the first tap's features.", panel=None, metavar="FILE.png"),
    ] = None,
    projection: Annotated[
        Literal["tsne", "umap"], typer.Option(help="Layout of the picture; umap needs umap-learn.")
    ] = "tsne",
    device: options.Device = "cpu",
    threads: options.Threads = None,
    config: options.ConfigFile = None,
    json: options.Json = False,
    plugin: options.Plugins = None,
) -> None:
    """Compare a run's pre-trained features with those of its random start."""
    from contrabench.inspection.embedding_plot import check_projection, draw
    from contrabench.inspection.pretrained import find_run, read_pretrained, training_bank
    from contrabench.inspection.representation import Viewer, compare
    from contrabench.training.runtime import make_runtime

    settings = options.load_config(config, store)
    pretrained = read_pretrained(find_run(options.named(run), settings.store), stage)
    wanted = _taps(taps, pretrained)
    if out is not None:
        # Before the work, so that a picture that could not be written does not cost it.
        if not (out.suffix == ".png" and out.parent.is_dir()):
            raise RequestError(f"--out takes a .png file in a folder that exists, not {out}")
        check_projection(projection)
    runtime = make_runtime(device, "float32", threads)
    reporter = output.reporter(stderr=json)
    protocol = pretrained.record["protocol"]
    bank = training_bank(pretrained, settings.folder_of(protocol["dataset"], data), reporter)
    viewer = Viewer(bank, protocol["structures"], runtime.torch_device)
    reports = compare(pretrained, viewer, wanted, reporter)
    if json:
        output.write_json(_as_json(pretrained, viewer, reports))
    else:
        _show(reporter.console, pretrained, viewer, reports)
    if out is not None:
        tap = wanted[0]
        networks = pretrained.networks()
        points = {name: viewer.points(network, tap) for name, network in networks.items()}
        title = f"{_title(pretrained)}, {tap}"
        with output.writing(out), replacing(out) as temporary:
            draw(temporary, title, points, viewer.structures, bank.patients, projection)
        reporter.line(f"wrote {options.shown(out)}")


def _taps(text: str | None, pretrained: Pretrained) -> tuple[str, ...]:
    """The taps asked for, or those that the pre-training has trained."""
    if text is None:
        return pretrained.taps()
    known = pretrained.backbone().taps
    wanted = tuple(split_words(text))
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        named = ", ".join(unknown) or f"'{text}'"
        raise RequestError(f"no tap named {named}; the taps are {', '.join(known)}")
    return wanted


def _title(pretrained: Pretrained) -> str:
    """The run in words."""
    record = pretrained.record
    return f"{record['variant']} on {record['protocol']['dataset']}, stage {pretrained.stage}"


def _basis(pretrained: Pretrained, viewer: Viewer) -> str:
    """Which patients the numbers rest on."""
    return (
        f"{len(viewer.bank.patients)} training patients of fold "
        f"{pretrained.record['spec']['fold']}, with all their labels, whatever share the run was "
        "given; each is predicted from others. No test patient was looked at."
    )


def _as_json(pretrained: Pretrained, viewer: Viewer, reports: list[TapReport]) -> dict[str, Any]:
    record = pretrained.record
    return {
        "run": record["run"],
        "variant": record["variant"],
        "dataset": record["protocol"]["dataset"],
        "stage": pretrained.stage,
        "patients": list(viewer.bank.patients),
        "slices": len(viewer.axial),
        "basis": _basis(pretrained, viewer),
        "chance": viewer.chance(),
        "reports": [report.as_dict() for report in reports],
    }


def _show(
    screen: Console, pretrained: Pretrained, viewer: Viewer, reports: list[TapReport]
) -> None:
    """Prints geometry and probes, each tap's random encoder above the pre-trained one."""
    chance = viewer.chance()
    measures = ("alignment", "uniformity", "rank", "position R2", "orientation", "patient")
    geometry = output.plain_table("tap", "encoder", right=measures, title=_title(pretrained))
    title = "\nProbe of the structures in a cell, R2"
    probes = output.plain_table("tap", "encoder", right=("mean", *viewer.structures), title=title)
    for item in reports:
        geometry.add_row(
            item.tap,
            item.encoder,
            f"{item.alignment:.3f}",
            f"{item.uniformity:.2f}",
            f"{item.effective_rank:.1f} of {item.channels}",
            *(f"{told:.2f}" for told in (item.position, item.orientation, item.patient)),
        )
        values = (item.probe_mean, *item.probe.values())
        probes.add_row(item.tap, item.encoder, *(f"{value:.3f}" for value in values))
    screen.print(geometry)
    screen.print(probes)
    screen.print()
    screen.print(
        *NOTES,
        "position, orientation, patient: told from the mean of a slice's map; balanced accuracy, "
        f"where guessing gives {chance['orientation']:.2f} and {chance['patient']:.2f}.",
        _basis(pretrained, viewer),
        sep="\n",
        style="dim",
        soft_wrap=True,
    )
