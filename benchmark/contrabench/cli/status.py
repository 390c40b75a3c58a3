"""`bench status`: how the studies of a store stand, from any terminal or machine."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contrabench.cli import options, output
from contrabench.errors import RequestError
from contrabench.progress import clock
from contrabench.text import budget_words, counted

if TYPE_CHECKING:
    from contrabench.study.status import StudyFile, StudyStage


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
        _show(item)


def _show(item: StudyFile) -> None:
    """One study: counts by kind, what is at work, what has failed."""
    from contrabench.stages.kind import kinds

    screen, spec = output.console(), item.spec
    # The clock of another machine may be ahead.
    ago = clock(max(0.0, time.time() - item.begun))
    screen.print(
        f"study {item.study}: {', '.join(spec.methods)} on {spec.dataset}, "
        f"{budget_words(spec.labels)}; begun or continued {ago} ago",
        style="bold",
        soft_wrap=True,
    )
    all_of_it = _counts(item.stages)
    table = output.plain_table("stages", right=tuple(all_of_it))
    for kind in kinds().values():
        counts = _counts(stage for stage in item.stages if stage.kind == kind.name)
        table.add_row(kind.plural, *map(str, counts.values()))
    screen.print(table)
    for stage in item.stages:
        if (beat := stage.beat) is not None:
            left = "" if beat.left is None else f", {clock(beat.left)} left"
            where = f"{beat.done}/{beat.total}{left} {beat.detail}".rstrip()
            screen.print(f"running on {beat.host}: {stage.title}: {where}", soft_wrap=True)
    for stage in item.stages:
        if stage.state == "failed" and stage.failure is not None:
            why = f"{stage.failure.reason}\n  log: {stage.failure.log}"
            screen.print(f"failed: {stage.title}: {why}", soft_wrap=True)
    if item.led and not all_of_it["running"]:
        screen.print("starting: a worker loads, or waits for its machine")
    elif all_of_it["to do"] and not all_of_it["running"]:
        undone = counted(all_of_it["to do"], "stage")
        again = f"go on with: {item.going_on()}" if item.command else "give the command again."
        screen.print(f"Nobody is at work on the {undone} to do; {again}", soft_wrap=True)
    if all_of_it["failed"] and item.command.startswith("bench study"):
        again = item.going_on("--retry-failed")
        screen.print(f"Run failed stages again with: {again}", soft_wrap=True)


def _counts(stages: Iterable[StudyStage]) -> dict[str, int]:
    states = [stage.state for stage in stages]
    return {state: states.count(state) for state in ("done", "running", "failed", "to do")}


def _as_json(item: StudyFile) -> dict[str, Any]:
    return {
        "study": item.study,
        "begun": item.begun,
        "go_on": item.going_on(),
        "at_work": item.led,
        "spec": item.spec.model_dump(mode="json"),
        "counts": _counts(item.stages),
        "stages": [
            {
                "kind": stage.kind,
                "key": stage.key,
                "title": stage.title,
                "state": stage.state,
                "running": stage.beat and {**vars(stage.beat), "seconds_left": stage.beat.left},
                "reason": stage.failure and stage.failure.reason,
                "log": stage.failure and str(stage.failure.log),
            }
            for stage in item.stages
        ],
    }
