"""`bench study`: the whole comparison from one command, to be stopped and continued at will."""

from __future__ import annotations

import shlex
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from contrabench.cli import options, output
from contrabench.cli.asked_study import StudyArguments
from contrabench.cli.study_view import StudyView, end_of, headline, store_words
from contrabench.files import expanded
from contrabench.text import counted

if TYPE_CHECKING:
    from contrabench.study.scheduler import Board
    from contrabench.study.session import Session

STARTING_FILE = Path("study.toml")


class StudyGroup(TyperGroup):
    """`bench study FILE` and `bench study --methods ...` run; `bench study init` writes a file."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Puts the name of the usual command where none is given."""
        if not args or args[0] not in self.commands:
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Leaves that name out of the usage line."""
        name, command, rest = super().resolve_command(ctx, args)
        return ("" if name == "run" else name), command, rest


app = typer.Typer(
    name="study",
    cls=StudyGroup,
    help="Run a whole comparison: methods x labels x draws x folds x seeds.",
)


@app.command(
    "run",
    hidden=True,
    epilog=options.examples(
        "bench study --methods mmgl,simclr --labels 10%,20%,40% --budget quick",
        "bench study --methods all --exclude densecl --labels 10% --workers 2 --threads 1",
        "bench study study.toml --executor ray -x address=head:6379",
        "bench study study.toml --executor slurm -x partition=gpu -x minutes=240",
    ),
)
@options.takes(StudyArguments)
def run(
    asked: StudyArguments,
    *,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run failed stages again.")
    ] = False,
    executor: Annotated[
        str,
        options.machine(
            "Where the stages are made: local worker processes, or a cluster of ray or slurm."
        ),
    ] = "local",
    executor_option: Annotated[
        list[str] | None,
        options.machine(
            "Option of the executor, as address=HOST:PORT of ray; may be repeated.",
            *("-x", "--executor-option"),
            metavar="NAME=VALUE",
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Run methods x labels x draws x folds x seeds as one plan whose shared parts run once.

    Stop it at any moment and give the same command again: it goes on where it was.
    """
    from contrabench.contracts.options import parse_options
    from contrabench.contracts.registry import executors
    from contrabench.study.forecast import learned

    reporter = output.reporter(stderr=json)
    kind = executors.get(executor)
    given = parse_options(kind.Options, executor_option or (), f"executor '{executor}'")
    here = asked.runtime() if kind.on_this_machine else None
    # Before anything is prepared, so that a cluster that is not there costs no time.
    device = asked.device if here is None else here.device
    crew = kind(asked.crew(device, 1 if here is None else here.threads), given)
    with closing(crew):
        session = asked.session(here or asked.runtime(crew.device), reporter)
        for line in headline(session):
            reporter.line(line)
        board = session.survey(retry_failed)
        view = StudyView(session, board, reporter.console, crew, learned(session))
        with view.open():
            stopped = session.run(board, crew, view, options.USED.again("study"))
    if json:
        output.write_json(_as_json(session, board, stopped))
    else:
        _conclude(reporter.console, session, board)
    end_of(board, stopped)


@app.command(
    "init",
    epilog=options.examples(
        "bench study init",
        "bench study init ablation.toml",
        "bench study init ladder.toml --ladder",
    ),
)
def init(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", parser=expanded, help="Where it goes.")
    ] = STARTING_FILE,
    *,
    ladder: Annotated[
        bool,
        typer.Option("--ladder", help="The ladder of baselines: scratch, from weak to strong."),
    ] = False,
) -> None:
    """Write a study with comments, to make your own of."""
    name = "ladder.toml" if ladder else "study.toml"
    template = Path(__file__).parents[1] / "templates" / name
    output.write_new(file, template.read_text(encoding="utf-8"), "another place")
    place = shlex.quote(str(options.shown(file)))
    next_commands = f"  bench plan {place}\n  bench study {place}"
    output.console().print(f"{place} is written. Next:\n{next_commands}", soft_wrap=True)


def _conclude(screen: Console, session: Session, board: Board) -> None:
    """What was done, what failed and why, and what to do next."""
    from contrabench.store.failures import read_failure
    from contrabench.store.stages import home_of

    count = board.count
    words = [f"{counted(count('done'), 'stage')} made", f"{count('cached')} served from the store"]
    words += [f"{count('failed')} failed"] if count("failed") else []
    words += [f"{count('blocked')} not tried because of that"] if count("blocked") else []
    screen.print(f"{', '.join(words)}.", soft_wrap=True)
    for stage in board.failed:
        failure = read_failure(home_of(session.store, stage.node.kind), stage.key)
        where = f"\n  log: {failure.log}" if failure and failure.log.is_file() else ""
        screen.print(f"failed: {stage.title}: {board.reasons[stage.key]}{where}", soft_wrap=True)
    if board.failed:
        again = options.USED.again("study")
        screen.print(f"Run failed stages again with: {again} --retry-failed", soft_wrap=True)
    if board.complete:
        command = f"bench report{store_words(session.store)}"
        screen.print(f"All rows are there: {command}", soft_wrap=True)


def _as_json(session: Session, board: Board, stopped: str) -> dict[str, Any]:
    return {
        "study": session.study,
        "store": str(session.store),
        "complete": board.complete,
        "stopped": stopped or None,
        "made": board.count("done"),
        "cached": board.count("cached"),
        "pretrainings": session.graph.pretrainings,
        "failed": [
            {"key": stage.key, "title": stage.title, "reason": board.reasons[stage.key]}
            for stage in board.failed
        ],
        "runs": [stage.key for stage in session.graph.runs],
    }
