"""`bench status`: how the studies of a store stand, from any terminal or machine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contrabench.cli import options, output
from contrabench.errors import RequestError
from contrabench.progress import clock
from contrabench.text import counted

if TYPE_CHECKING:
    from rich.console import Console

    from contrabench.study.status import StudyFile, StudyStage

_WORDS = ("done", "running", "failed", "to do")


@options.command("bench status", "bench status 3f2a91bc --json")
def status(
    study: Annotated[
        str | None, typer.Argument(metavar="STUDY", help="Beginning of an id; by default all.")
    ] = None,
    store: options.Store = None,
    config: options.ConfigFile = None,
    json: options.Json = False,
) -> None:
    """Show how far the studies of a store are: done, running, failed, to do."""
    from contrabench.study.status import read_studies

    place = options.load_config(config, store).store
    found = read_studies(place)
    wanted = [item for item in found if item.study.startswith(study or "")]
    if not wanted:
        there = ", ".join(item.study for item in found) or "none"
        raise RequestError(
            f"there is no study{f' {study}' if study else ''} in {place}; there are: {there}. "
            "Begin one with `bench study`, or name another folder with --store"
        )
    if json:
        output.write_json([_as_json(item) for item in wanted])
        return
    for item in wanted:
        _show(output.console(), item)


def _show(screen: Console, item: StudyFile) -> None:
    """One study: counts by kind, what is at work, what has failed."""
    from contrabench.stages.kind import kinds

    spec = item.spec
    # The clock of another machine may be ahead.
    ago = clock(max(0.0, time.time() - item.begun))
    screen.print(
        f"study {item.study}: {', '.join(spec.methods)} on {spec.dataset}, "
        f"{', '.join(spec.labels)} of the labels; begun or continued {ago} ago",
        style="bold",
        soft_wrap=True,
    )
    table = output.plain_table("stages", right=_WORDS)
    for kind in kinds().values():
        stages = [stage for stage in item.stages if stage.kind == kind.name]
        counts = [sum(_word(stage) == word for stage in stages) for word in _WORDS]
        table.add_row(kind.plural, *map(str, counts))
    screen.print(table)
    for stage in item.stages:
        if (beat := stage.beat) is not None:
            left = "" if beat.left is None else f", {clock(beat.left)} left"
            where = f"{beat.done}/{beat.total}{left} {beat.detail}".rstrip()
            screen.print(f"running on {beat.host}: {stage.title}: {where}", soft_wrap=True)
    for stage in item.stages:
        if stage.failure is not None and stage.beat is None:
            why = f"{stage.failure.reason}\n  log: {stage.failure.log}"
            screen.print(f"failed: {stage.title}: {why}", soft_wrap=True)
    undone = sum(_word(stage) == "to do" for stage in item.stages)
    running = any(stage.beat is not None for stage in item.stages)
    if undone and not running:
        screen.print(
            f"Nobody is at work on the {counted(undone, 'stage')} to do; give the command again."
        )


def _word(stage: StudyStage) -> str:
    """The state of a stage; one that is being tried again is running, not failed."""
    return stage.state if stage.beat is None else "running"


def _as_json(item: StudyFile) -> dict[str, Any]:
    return {
        "study": item.study,
        "begun": item.begun,
        "spec": item.spec.model_dump(mode="json"),
        "counts": {word: sum(_word(stage) == word for stage in item.stages) for word in _WORDS},
        "stages": [
            {
                "kind": stage.kind,
                "key": stage.key,
                "title": stage.title,
                "state": _word(stage),
                "running": stage.beat and {**vars(stage.beat), "seconds_left": stage.beat.left},
                "reason": stage.failure and stage.failure.reason,
                "log": stage.failure and str(stage.failure.log),
            }
            for stage in item.stages
        ],
    }
