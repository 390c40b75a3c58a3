"""`bench plan`: what a study would do, before anything of it runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from shutil import disk_usage
from typing import TYPE_CHECKING, Annotated, Any

from rich.text import Text
from rich.tree import Tree

from contrabench.cli import options, output
from contrabench.cli.asked_study import StudyArguments
from contrabench.cli.study_view import headline
from contrabench.files import nearest_there
from contrabench.progress import clock
from contrabench.text import counted, size_words

if TYPE_CHECKING:
    from rich.table import Table

    from contrabench.study.forecast import Forecast
    from contrabench.study.graph import Graph, PlannedStage
    from contrabench.study.scheduler import Board
    from contrabench.study.session import Session

_ORDER = ("failed", "blocked", "to do", "done", "cached", "not needed")
"""States of a stage before anything runs, the most telling first."""
_SHOWN = ("done", "cached", "to do", "failed", "blocked", "not needed")
_STYLES = {"done": "green", "cached": "green", "failed": "red", "blocked": "red"}


@options.command(
    "bench plan --methods mmgl,simclr --labels 10%,40% --budget quick",
    "bench plan study.toml --json",
)
@options.takes(StudyArguments)
def plan(
    asked: StudyArguments,
    *,
    measure: Annotated[
        bool,
        options.machine("Take a few steps of each kind of stage that has not been timed here yet."),
    ] = True,
    json: options.Json = False,
) -> None:
    """Show the stages of a study: done, failed, to do; what sharing saves; time and disk."""
    from contrabench.study.forecast import forecast

    reporter = output.reporter(stderr=json)
    runtime = asked.runtime()
    session = asked.session(runtime, reporter)
    for line in headline(session):
        reporter.line(line)
    board = session.survey()
    expected = forecast(session, board, asked.at_once(runtime.device), measure, reporter)
    if json:
        output.write_json(_as_json(session, board, expected))
        return
    screen = reporter.console
    screen.print(_tree(session.graph, board))
    screen.print()
    screen.print(_counts(board, expected))
    for line in _remarks(session, board, expected):
        screen.print(line, soft_wrap=True)


def _tree(graph: Graph, board: Board) -> Tree:
    """Variants, their pre-trainings in order, and the runs that rest on each."""
    tree = Tree(Text(), hide_root=True, guide_style="dim")
    branches: dict[str, Tree] = {}
    groups: dict[tuple[str, str], dict[str, list[PlannedStage]]] = {}
    for key, stage in graph.stages.items():
        if stage.node.kind not in ("pretrain", "runs"):
            continue
        before = _before(graph, stage)
        home = before or stage.variant
        if home not in branches:
            branches[home] = tree.add(Text(home, "bold"))
        if stage.node.kind == "pretrain":
            words = f"pre-train {stage.node.name}: {stage.place}"
            branches[key] = branches[home].add(_leaf(words, _status(board, key)))
            continue
        # A variant that shares another one's pre-training stands under it, by its name.
        shared = before is not None and graph.stages[before].variant != stage.variant
        name = f"{stage.variant}: " if shared else ""
        place = "" if before else f"fold {stage.spec.fold}, "
        words = f"{name}fine-tune, evaluate, rows: {place}"
        chain = [one for one in stage.node.inputs if graph.stages[one].node.kind != "pretrain"]
        state = _state(_status(board, one) for one in (*chain, key))
        groups.setdefault((home, words), {}).setdefault(state, []).append(stage)
    for (home, words), by_state in groups.items():
        for state, stages in by_state.items():
            branches[home].add(_leaf(words + _runs(stages), state))
    return tree


def _runs(stages: list[PlannedStage]) -> str:
    """Runs that differ in labels, draws and seeds alone."""
    labels = ", ".join(dict.fromkeys(stage.spec.labels for stage in stages))
    draws = ", ".join(str(draw) for draw in sorted({stage.spec.draw for stage in stages}))
    plural = "" if draws.isdigit() else "s"
    return f"{labels}, draw{plural} {draws} ({counted(len(stages), 'run')})"


def _before(graph: Graph, stage: PlannedStage) -> str | None:
    """The pre-training that a stage starts from, or a run's first fine-tuning."""
    inputs = reversed(stage.node.inputs)
    return next((key for key in inputs if graph.stages[key].node.kind == "pretrain"), None)


def _status(board: Board, key: str) -> str:
    """The state of a stage in words: what is in the store is cached, a run's rows are done."""
    status = board.status[key]
    if status == "cached" and board.graph.stages[key].node.kind == "runs":
        return "done"
    return "to do" if status == "waiting" else status


def _state(chain: Iterable[str]) -> str:
    """The state of stages that follow each other, the last of them a run's rows."""
    found = set(chain)
    if found == {"to do", "cached"}:
        return "begun"
    return next(state for state in _ORDER if state in found)


def _leaf(words: str, state: str) -> Text:
    """A line of the tree with its state."""
    return Text.assemble(words, "  ", (state, _STYLES.get(state, "yellow")))


def _counts(board: Board, expected: Forecast) -> Table:
    """Stages by kind and state, and the work that is left of each kind."""
    from contrabench.stages.kind import kinds

    found = {_status(board, key) for key in board.status}
    shown = [state for state in _SHOWN if state in found]
    table = output.plain_table("stages", right=(*shown, "all", "work left"))
    for kind in kinds().values():
        stages = board.graph.of_kind(kind.name)
        counts = Counter(_status(board, stage.key) for stage in stages)
        seconds = expected.by_kind.get(kind.name, 0.0)
        left = clock(seconds) if seconds else "-"
        table.add_row(kind.plural, *(str(counts[s]) for s in shown), str(len(stages)), left)
    return table


def _remarks(session: Session, board: Board, expected: Forecast) -> list[str]:
    """Time and disk in words, and what has failed."""
    runtime = session.runtime
    lines = []
    if expected.seconds:
        told = ((expected.recorded, "that ran here before"), (expected.measured, "measured now"))
        known = [f"{counted(number, 'kind')} of stages {when}" for number, when in told if number]
        lines.append(
            f"Expected: {clock(expected.seconds)} with {counted(expected.workers, 'worker')} "
            f"({runtime.device}, {counted(runtime.threads, 'thread')} each), from "
            f"{' and '.join(known)}."
        )
    if expected.disk:
        lines.append(
            f"Disk: about {size_words(expected.disk)} to be kept, "
            f"{size_words(disk_usage(nearest_there(session.store)).free)} free."
        )
    if expected.unknown:
        lines.append(
            f"Not counted: {counted(expected.unknown, 'stage')} whose time was not measured."
        )
    for stage in board.failed:
        lines.append(f"Failed: {stage.title}: {board.reasons[stage.key]}")
    if board.failed:
        again = options.USED.again("plan", "study")
        lines.append(f"Failed stages are run again with: {again} --retry-failed")
    return lines


def _as_json(session: Session, board: Board, expected: Forecast) -> dict[str, Any]:
    graph = session.graph
    return {
        "study": session.study,
        "spec": session.spec.model_dump(mode="json"),
        "runs": len(graph.runs),
        "pretrainings": graph.pretrainings,
        "pretrainings_without_sharing": graph.pretrainings_asked,
        "volumes": {
            "labelled": sum(case.labelled for case in session.cases),
            "unlabelled": sum(not case.labelled for case in session.cases),
        },
        "notes": list(session.notes),
        "expected": asdict(expected),
        "stages": [
            {
                "kind": stage.node.kind,
                "key": key,
                "title": stage.title,
                "state": _status(board, key),
                "reason": board.reasons.get(key),
                "units": stage.node.units,
                "inputs": list(stage.node.inputs),
                "runs": stage.runs,
            }
            for key, stage in graph.stages.items()
        ],
    }
