"""`bench submit`: a study's rows as one archive, for others to merge or report on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from contrabench.cli import options, output
from contrabench.text import counted, size_words, unique_beginning

if TYPE_CHECKING:
    from contrabench.exchange.archive import Packed


@options.command(
    "bench submit --out lab-a.zip",
    "bench submit --study 3f2a91bc --out lab-a.zip",
    "bench submit --dataset mmwhs --out board/lab-a.zip --json",
)
def submit(
    *,
    out: Annotated[
        Path,
        options.place(
            "Archive to write, a name in .zip. One that is there is replaced if the new one has "
            "all its runs.",
            panel=None,
        ),
    ],
    study: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Only this study, by the beginning of its id."),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only runs on this dataset.")
    ] = None,
    store: options.Store = None,
    config: options.ConfigFile = None,
    json: options.Json = False,
) -> None:
    """Pack finished runs as one checked archive: rows and records, no weights, no images."""
    from contrabench.exchange.archive import pack

    place = options.load_config(config, store).store
    runs, missing = (None, 0) if study is None else _runs_of(place, study)
    packed = pack(place, out, runs=runs, dataset=dataset, reporter=output.reporter())
    if json:
        facts = {name: told for name, told in packed.listing.items() if name != "files"}
        about = {"archive": str(out), "sha256": packed.sha256, "bytes": packed.size}
        output.write_json({**about, "missing": missing, **facts})
        return
    _show(packed, out, missing)


def _runs_of(store: Path, study: str) -> tuple[set[str], int]:
    """The keys of a study's finished runs, and the number of those that are not finished."""
    from contrabench.store.stages import RUNS
    from contrabench.study.status import read_studies

    found = {item.study: item for item in read_studies(store)}
    hint = "Give the id as `bench status` shows it, or leave out --study for all finished runs"
    item = found[unique_beginning(study, found, f"study in {store}", hint)]
    stages = [stage for stage in item.stages if stage.kind == RUNS]
    # A folder without its marker is damaged, and not merely missing.
    done = {stage.key for stage in stages if (store / RUNS / stage.key).is_dir()}
    return done, len(stages) - len(done)


def _show(packed: Packed, out: Path, missing: int) -> None:
    """What is in the archive, how to tell it from another, and what it gives away."""
    screen, listing = output.console(), packed.listing
    output.print_facts(
        {
            "archive": out,
            "size": f"{size_words(packed.size)} ({packed.size} bytes)",
            "SHA-256": packed.sha256,
            "content": f"{counted(listing['runs'], 'run')}, {counted(listing['rows'], 'row')}",
            "datasets": listing["datasets"],
            "protocols": listing["protocols"],
            "methods": [
                f"{name} (version {', '.join(map(str, versions))})"
                for name, versions in listing["methods"].items()
            ],
        }
    )
    if missing:
        screen.print(
            f"Not finished, and so not in it: {counted(missing, 'run')} of the study; `bench "
            "status` tells why.",
            soft_wrap=True,
        )
    screen.print(
        "Publish the SHA-256 beside the archive. Its rows name patients and cases as the dataset "
        "does: see that its terms allow that.",
        soft_wrap=True,
    )
